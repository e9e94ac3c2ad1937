"""Sources that fail on purpose, and the reader that leaves on purpose, in real endpoints."""

from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from dual_mode_streaming import DualModeResponse
from dual_mode_streaming.errors import ProtocolError
from dual_mode_streaming.testing import (
    Crash,
    EventReader,
    ManualSource,
    StreamingASGITransport,
    WatchedSource,
    crash_after,
    hang_after,
)

FORMATS = ["text/event-stream", "application/x-ndjson", "application/jsonl", "application/json-seq"]


async def count(limit, closed=None):
    try:
        for number in range(limit):
            yield number
    finally:
        if closed is not None:
            closed.append(True)


def client_of(source, **options):
    async def endpoint(request):
        return DualModeResponse(source, **options)

    app = Starlette(routes=[Route("/", endpoint)])
    transport = StreamingASGITransport(app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://testserver", timeout=10)


@asynccontextmanager
async def opened(source, media_type, **options):
    """A client's view of an endpoint: the response, and the reader of its events."""
    async with (
        client_of(source, **options) as client,
        client.stream("GET", "/", headers={"accept": media_type}) as one,
        EventReader(one) as events,
    ):
        yield one, events


@asynccontextmanager
async def answer_of(body, media_type):
    """The answer of some server."""
    answer = httpx2.Response(200, content=body, headers={"content-type": media_type})
    async with (
        httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: answer)) as client,
        client.stream("GET", "http://x/") as response,
    ):
        yield response


# --- the tools by themselves ---------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("after", [0, 2, 3])
async def test_a_source_crashes_at_the_item_it_was_told_to(after):
    closed, got = [], []
    source = crash_after(count(3, closed), after)
    with pytest.raises(Crash, match=f"after {after} items"):
        got.extend([item async for item in appended(source, got)])
    assert got == list(range(after))
    assert (source.given, source.closed) == (after, True)
    assert isinstance(source.error, Crash)
    assert closed == ([True] if after else [])


async def appended(source, got):
    async for item in source:
        got.append(item)
    return
    yield


@pytest.mark.asyncio
async def test_a_source_that_is_shorter_crashes_at_its_end_with_the_error_it_was_given():
    source = crash_after([1], 5, KeyError("mine"))
    assert await anext(source) == 1
    with pytest.raises(KeyError, match="mine"):
        await anext(source)


@pytest.mark.asyncio
async def test_a_source_hangs_until_its_gate_is_opened():
    gate = anyio.Event()
    source = hang_after(count(3), 2, gate)
    assert [await anext(source), await anext(source)] == [0, 1]
    got = []

    async def read():
        got.extend([item async for item in source])

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await source.until_waiting()
        assert (source.waiting, source.given, source.closed) == (True, 2, False)
        gate.set()
        await source.until_given(3)
        await source.until_closed()
    assert got == [2]
    assert (source.closed, source.error) == (True, None)


@pytest.mark.asyncio
async def test_a_source_that_hangs_without_a_gate_is_closed_with_what_it_wraps():
    closed = []
    source = hang_after(count(3, closed), 1)
    await anext(source)
    await source.aclose()
    assert (closed, source.closed) == ([True], True)


@pytest.mark.asyncio
async def test_a_source_led_by_hand():
    source = ManualSource()
    source.give(1, 2)
    assert [await anext(source), await anext(source)] == [1, 2]
    source.crash(KeyError("mine"))
    with pytest.raises(KeyError, match="mine"):
        await anext(source)
    other = ManualSource()
    other.give("last")
    other.end()
    assert [item async for item in other] == ["last"]
    assert other.closed


@pytest.mark.asyncio
async def test_a_watched_source_may_be_anything_that_is_a_source():
    source = WatchedSource([1, 2])
    assert [item async for item in source] == [1, 2]
    assert (source.given, source.closed) == (2, True)

    class Plain:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

    plain = WatchedSource(Plain())
    assert [item async for item in plain] == []
    assert plain.closed


# --- in endpoints --------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("media_type", FORMATS)
async def test_leaving_at_an_item_closes_the_source(media_type):
    source = ManualSource()
    source.give({"n": 1}, {"n": 2}, {"n": 3})
    async with opened(source, media_type) as (_, events):
        assert [event.data for event in await events.take(2)] == [{"n": 1}, {"n": 2}]
        await source.until_waiting()
        assert not source.closed
    assert source.closed
    assert source.given == 3


@pytest.mark.asyncio
@pytest.mark.parametrize("media_type", FORMATS)
async def test_a_crash_behind_items_is_an_error_event_in_every_format(media_type):
    source = crash_after(count(5), 2)
    async with opened(source, media_type) as (_, events):
        first = await events.take(3)
        assert [event.data for event in first[:2]] == [0, 1]
        assert (first[2].event, first[2].data["status"]) == ("error", 500)
        if media_type == "text/event-stream":
            assert await events.take(1) == []
        else:
            with pytest.raises(httpx2.RemoteProtocolError):
                await anext(events)
    assert source.closed


@pytest.mark.asyncio
@pytest.mark.parametrize("media_type", FORMATS)
async def test_a_reader_reads_a_whole_stream(media_type):
    async with opened(count(3), media_type) as (_, events):
        got = [event async for event in events]
        assert await events.take(1) == []
    assert [event.data for event in got if event.event is None] == [0, 1, 2]
    assert [event.event for event in got][3:] == (["done"] if media_type == "text/event-stream" else [])


@pytest.mark.asyncio
async def test_a_reader_that_stalls_is_a_slow_client():
    outcomes = []
    source = WatchedSource("x" * 50_000 async for _ in count(1000))

    def finish(outcome, _):
        outcomes.append(outcome.value)

    async with opened(source, "application/x-ndjson", send_timeout=0.01, on_finish=finish) as (response, _):
        await response.extensions["asgi_call"].until_ended()
        assert outcomes == ["slow_client"]
        assert source.closed
        assert source.given < 10


@pytest.mark.asyncio
async def test_text_that_is_no_json_is_an_events_data_as_it_is():
    async with answer_of(b"data: a b\n\n", "text/event-stream") as response, EventReader(response) as events:
        assert [event.data for event in await events.take(9)] == ["a b"]


@pytest.mark.asyncio
async def test_what_breaks_the_format_is_told():
    async with answer_of(b"1\nnot json\n", "application/jsonl") as response, EventReader(response) as events:
        with pytest.raises(ProtocolError, match="is not JSON"):
            await events.take(9)
    async with answer_of(b"{}", "application/json") as response:
        with pytest.raises(ValueError, match="not that of a stream"):
            EventReader(response)
