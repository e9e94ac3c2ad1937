"""Channels on real servers: events are pushed to clients that come, read slowly, come back and leave."""

from __future__ import annotations

import asyncio

import pytest

from dual_mode_streaming.sse import SSEDecoder
from servers.running import COMMANDS, serving
from servers.wire import ask, opened

SSE = {"Accept": "text/event-stream"}
PREFIXES = pytest.mark.parametrize("prefix", ["", "/wrapped"], ids=["bare", "BaseHTTPMiddleware"])


@pytest.fixture(scope="module", params=[name for name in COMMANDS if "trio" not in name])
def server(request, tmp_path_factory):
    """A running server. A channel needs asyncio."""
    with serving(request.param, tmp_path_factory.mktemp("server")) as server:
        yield server
    assert server.trouble() == []


async def publish(port, key, text, times=1):
    reply = await ask(port, f"/channel/{key}?times={times}", method="POST", body=text.encode())
    assert reply.status == 200
    return reply.json["subscribers"]


def events_of(body):
    decoder = SSEDecoder()
    return decoder.feed(body) + decoder.flush()


@pytest.mark.asyncio
@PREFIXES
async def test_every_client_gets_every_event_and_the_end(port, key, prefix):
    async with (
        opened(port, f"{prefix}/channel/{key}", SSE) as first,
        opened(port, f"{prefix}/channel/{key}", SSE) as second,
    ):
        for client in (first, second):
            assert (await client.head()).status == 200
        for number in range(3):
            assert await publish(port, key, str(number)) == 2
            for client in (first, second):
                await client.until(b'"%d"' % number)
        # More than a subscriber may be behind, in one go: who reads loses nothing.
        await publish(port, key, "burst", times=300)
        for client in (first, second):
            await client.until(b"burst", times=300)
        await ask(port, f"/channel/{key}", method="DELETE")
        for client in (first, second):
            assert (await client.end()).complete
        texts = [[event.data for event in events_of(client.reply.body)] for client in (first, second)]
        assert texts[0] == texts[1] == ['"0"', '"1"', '"2"', *['"burst"'] * 300, '{"items":303}']


@pytest.mark.asyncio
@PREFIXES
async def test_heartbeats_come_between_events_and_never_inside_of_them(port, key, prefix):
    async with opened(port, f"{prefix}/channel/{key}", SSE) as client:
        await client.head()
        for number in range(3):
            beats = client.reply.body.count(b": \n\n")
            await client.until(b": \n\n", times=beats + 1)
            await publish(port, key, str(number))
            await client.until(b'"%d"' % number)
        blocks = client.reply.body.split(b"\n\n")
        assert {block for block in blocks if not block.startswith(b"id: ")} <= {b": ", b""}


@pytest.mark.asyncio
async def test_a_client_that_comes_back_misses_nothing(port, key):
    async with opened(port, f"/channel/{key}", SSE) as client:
        await client.head()
        await publish(port, key, "one")
        await client.until(b'"one"')
        seen = events_of(client.reply.body)[-1].id
    await publish(port, key, "two")
    async with opened(port, f"/channel/{key}", {**SSE, "Last-Event-ID": seen}) as client:
        await client.until(b'"two"')
        await publish(port, key, "three")
        await client.until(b'"three"')
        assert [event.data for event in events_of(client.reply.body)] == ['"two"', '"three"']
    batch = await ask(port, f"/channel/{key}")
    assert batch.json == {"data": ["one", "two", "three"]}


@pytest.mark.asyncio
@PREFIXES
async def test_a_client_that_leaves_is_no_subscriber_any_more(port, key, prefix):
    async with opened(port, f"{prefix}/channel/{key}", SSE) as stays:
        await stays.head()
        async with opened(port, f"{prefix}/channel/{key}", SSE) as leaves:
            await leaves.head()
            assert await publish(port, key, "both") == 2
            await leaves.until(b"both")
        async with asyncio.timeout(8):
            while await publish(port, key, "x") != 1:
                pass


@pytest.mark.asyncio
async def test_a_client_that_does_not_read_is_ended(port, key):
    async with opened(port, f"/channel/{key}", SSE) as stuck:
        await stuck.head()
        async with asyncio.timeout(30):
            while await publish(port, key, "x" * 60_000, times=20):
                pass
        assert b"event: done" not in (await stuck.end()).body
