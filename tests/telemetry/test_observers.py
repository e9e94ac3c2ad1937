"""What observers are told: of each response once, in both modes and all formats, whatever its end; never per item."""

import asyncio
import logging

import pytest
import trio
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from asgi import Call
from dual_mode_streaming import Channel, DualModeResponse, Outcome, Runs, ServerSentEvent, Streams, errors, last
from dual_mode_streaming.observers import FirstNoted, Observer, notes_of, route_of
from dual_mode_streaming.streams import STREAMS_IN_SCOPE

ACCEPTS = {
    "batch": "application/json",
    "sse": "text/event-stream",
    "ndjson": "application/x-ndjson",
    "json-seq": "application/json-seq",
}
in_each_format = pytest.mark.parametrize("accept", ACCEPTS.values(), ids=ACCEPTS)


class Told(Observer):
    """Writes down what it is told."""

    def __init__(self):
        self.moments = []
        self.responses = []
        self.runs = []
        self.verbs = []

    def opened(self, response):
        assert (response.outcome, response.duration, response.items) == (None, None, 0)
        self.moments.append("opened")
        self.responses.append(response)

    def first_item(self, response):
        self.moments.append("first item")

    def ended(self, response):
        assert response is self.responses[-1] or len(self.responses) > 1
        self.moments.append(response.outcome.value)

    def refused(self, scope, error):
        self.moments.append(f"refused {error.code}")

    def run_began(self, run):
        self.runs.append(run)

    def run_ended(self, run):
        self.moments.append(f"run {run.outcome.value}")

    def store_answered(self, store, verb, seconds, error):
        assert seconds >= 0
        self.verbs.append((store, verb, error))

    @property
    def response(self):
        (response,) = self.responses
        return response


def answering(source, told, **options):
    async def app(scope, receive, send):
        await DualModeResponse(source(), streams=Streams(observers=[told]), **options)(scope, receive, send)

    return app


async def three():
    for number in range(3):
        yield {"n": number}


@in_each_format
@pytest.mark.asyncio
async def test_a_complete_response(accept):
    told = Told()
    call = await Call(answering(three, told), headers={"accept": accept}).run()
    seen = told.response
    assert told.moments == ["opened", "first item", "done"]
    assert seen.streams is (accept != ACCEPTS["batch"])
    assert seen.media_type == accept
    assert (seen.items, seen.bytes, seen.status, seen.status_code) == (3, len(call.body), 200, 200)
    assert (seen.error, seen.heartbeats, seen.silence, seen.behind) == (None, 0, 0.0, None)
    assert 0 <= seen.first_after <= seen.duration


@in_each_format
def test_the_plain_form_tells_the_same(accept):
    told = Told()

    async def main():
        messages = []

        async def send(message):
            messages.append(message)

        async def receive():
            await trio.sleep_forever()

        scope = Call(None, headers={"accept": accept}).scope
        await answering(three, told)(scope, receive, send)
        return sum(len(message.get("body", b"")) for message in messages)

    sent = trio.run(main)
    assert told.moments == ["opened", "first item", "done"]
    assert (told.response.items, told.response.bytes, told.response.status) == (3, sent, 200)


@in_each_format
@pytest.mark.asyncio
async def test_the_first_item_is_told_when_it_comes_and_not_when_it_is_sent(accept):
    told, gate = Told(), asyncio.Event()

    async def source():
        yield ServerSentEvent(comment="this is no item")
        await gate.wait()
        yield 1
        await asyncio.sleep(0)
        seen.append((list(told.moments), told.response.items))
        yield 2

    seen = []
    call = Call(answering(source, told), headers={"accept": accept}).begin()
    await asyncio.sleep(0)
    assert told.moments == ["opened"]
    gate.set()
    await call.end()
    # Comments in a batch are told from items when it is complete, and not before.
    assert seen == [(["opened", "first item"], 0 if accept == ACCEPTS["batch"] else 1)]
    assert told.response.items == 2


@in_each_format
@pytest.mark.asyncio
async def test_an_error_before_the_first_item_and_one_after_it(accept):
    async def at_once():
        raise errors.InvalidRequest("no such thing")
        yield

    async def later():
        yield 1
        await asyncio.sleep(0)
        raise RuntimeError("secret")

    told = Told()
    await Call(answering(at_once, told), headers={"accept": accept}).run()
    assert told.moments == ["opened", "error"]
    assert (told.response.status, type(told.response.error)) == (400, errors.InvalidRequest)

    told = Told()
    call = Call(answering(later, told), headers={"accept": accept}).begin()
    if accept == ACCEPTS["batch"]:
        with pytest.raises(RuntimeError):
            await call.end()
        assert (told.response.status, told.response.status_code) == (None, 500)  # the application answers
    else:
        try:
            await call.end()
        except errors.StreamAborted:
            assert accept != ACCEPTS["sse"]
        assert told.response.status_code == 200
    assert told.moments == ["opened", "first item", "error"]
    assert type(told.response.error) is RuntimeError


@in_each_format
@pytest.mark.asyncio
async def test_a_client_that_leaves(accept):
    async def endless():
        yield 1
        await asyncio.Event().wait()

    told = Told()
    call = Call(answering(endless, told), headers={"accept": accept}).begin()
    while "first item" not in told.moments:
        await asyncio.sleep(0)
    call.leave()
    await call.end()
    assert told.moments == ["opened", "first item", "client_gone"]


@pytest.mark.asyncio
async def test_a_source_that_does_not_close_is_counted(caplog):
    gate = asyncio.Event()

    async def stubborn():
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            await gate.wait()

    told = Told()
    streams = Streams(observers=[told])

    async def app(scope, receive, send):
        await DualModeResponse(stubborn(), streams=streams, close_timeout=0.01)(scope, receive, send)

    call = Call(app, headers={"accept": ACCEPTS["sse"]}).begin()
    await call.until_body_has(b"data: 1")
    call.leave()
    await call.end()
    gate.set()
    await asyncio.sleep(0)
    assert told.response.left_behind
    assert streams.snapshot().streams.left_behind == 1
    assert "left behind" in caplog.text


@pytest.mark.asyncio
async def test_a_source_that_cannot_be_opened_ends_too():
    told = Told()
    with pytest.raises(TypeError):
        await Call(answering(lambda: 7, told)).run()
    assert told.moments == ["opened", "error"]
    assert isinstance(told.response.error, TypeError)


@pytest.mark.asyncio
async def test_silence_is_what_heartbeats_alone_fill():
    """Between the item and the last event nothing comes but heartbeats; the author's own comments are not silence."""
    told, gate = Told(), asyncio.Event()

    async def source():
        yield 1
        await gate.wait()
        yield 2

    app = answering(source, told, heartbeat=0.005, commit_after=0)
    call = Call(app, headers={"accept": ACCEPTS["sse"]}).begin()
    await call.until(lambda: call.body.count(b": \n\n") >= 3)
    seen = told.response
    so_far = seen.silence
    assert seen.heartbeats >= 3
    assert so_far > 0.005
    gate.set()
    await call.end()
    assert seen.heartbeats == call.body.count(b": \n\n")
    assert so_far < seen.silence < seen.duration
    assert seen.bytes == len(call.body)


@pytest.mark.asyncio
async def test_what_is_refused():
    told = Told()
    streams = Streams(max_streams=1, max_per_key=1, observers=[told])
    with streams.admit({"headers": []}):
        with pytest.raises(errors.TooManyStreams):
            streams.admit({"headers": [], "client": ("a", 1)})
        await streams.drain(0)
        with pytest.raises(errors.Draining):
            streams.admit({"headers": []})
    assert told.moments == ["opened", "refused too_many_streams", "refused draining", "done"]


@pytest.mark.asyncio
async def test_an_observer_that_raises_changes_nothing_and_is_logged(caplog):
    class Broken(Observer):
        def opened(self, response):
            raise RuntimeError("opened")

        def first_item(self, response):
            raise RuntimeError("first")

        def ended(self, response):
            raise RuntimeError("ended")

    told = Told()
    streams = Streams(observers=[Broken(), told])

    async def app(scope, receive, send):
        await DualModeResponse(three(), streams=streams)(scope, receive, send)

    with caplog.at_level(logging.ERROR):
        call = await Call(app, headers={"accept": ACCEPTS["sse"]}).run()
    assert call.complete
    assert told.moments == ["opened", "first item", "done"]
    assert [record.getMessage() for record in caplog.records] == [
        "Broken raised in opened",
        "Broken raised in first_item",
        "Broken raised in ended",
    ]
    assert streams.open == 0


@pytest.mark.asyncio
async def test_two_applications_in_one_process_do_not_see_each_other():
    one, other = Told(), Told()
    await Call(answering(three, one), headers={"accept": ACCEPTS["sse"]}).run()
    await Call(answering(three, other)).run()
    assert [seen.media_type for seen in one.responses] == ["text/event-stream"]
    assert [seen.media_type for seen in other.responses] == ["application/json"]


@pytest.mark.asyncio
async def test_without_observers_nothing_of_this_is_made(monkeypatch):
    def never(*_, **__):
        raise AssertionError

    monkeypatch.setattr("dual_mode_streaming.streams.Observed", never)
    monkeypatch.setattr("dual_mode_streaming.exchange.FirstNoted", never)
    streams = Streams()

    async def app(scope, receive, send):
        await DualModeResponse(three(), streams=streams)(scope, receive, send)

    for accept in ACCEPTS.values():
        await Call(app, headers={"accept": accept}).run()
    assert streams.items == 9


@pytest.mark.asyncio
async def test_the_source_of_a_batch_is_closed_behind_the_note():
    class Source:
        closed = False

        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

        async def aclose(self):
            self.closed = True

    source, told = Source(), Told()
    await Call(answering(lambda: source, told)).run()
    assert source.closed
    assert told.moments == ["opened", "done"]
    assert FirstNoted(source, print).__aiter__() is not source


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/plain", "/plain"),
        ("/items/7", "/items/{item}"),
        ("/v1/items/7", "/v1/items/{item}"),
        ("/of/acme/items/7", "/of/{tenant}/items/{item}"),
        ("/of/items/items/7", "/of/{tenant}/items/{item}"),
        ("/files/a/b/c", "/files/{rest}"),
    ],
)
@pytest.mark.asyncio
async def test_the_route_stands_for_the_path(path, route):
    told = Told()

    async def endpoint(request):
        return DualModeResponse(three(), streams=Streams(observers=[told]))

    items = Route("/items/{item}", endpoint)
    app = Starlette(
        routes=[
            Route("/plain", endpoint),
            Route("/files/{rest:path}", endpoint),
            items,
            Mount("/v1", routes=[items]),
            Mount("/of/{tenant}", routes=[items]),
        ]
    )
    await Call(app, path).run()
    assert told.response.route == route


def test_where_the_framework_does_not_tell_there_is_no_route():
    assert route_of({"type": "http", "path": "/secret/7"}) == ""


@pytest.mark.asyncio
async def test_notes_may_be_made_before_and_while_the_source_runs():
    told = Told()

    async def endpoint(request):
        notes_of(request.scope)["tenant"] = "acme"

        async def source():
            yield 1
            notes_of(request.scope)["rows"] = 1

        return DualModeResponse(source(), streams=Streams(observers=[told]))

    await Call(Starlette(routes=[Route("/", endpoint)]), headers={"accept": ACCEPTS["sse"]}).run()
    assert told.response.notes == {"tenant": "acme", "rows": 1}


# --- those who come back -------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_how_far_behind_a_subscriber_is_who_comes_back():
    channel, told = Channel(history=3), Told()
    ids = [await channel.publish(number) for number in range(5)]
    for last_id, behind in [(ids[-1], 0), (ids[2], 2), (ids[0], 4), ("of-another-1", 3), (None, None)]:
        headers = {"accept": ACCEPTS["sse"], **({} if last_id is None else {"last-event-id": last_id})}
        call = Call(answering(lambda: channel, told), headers=headers).begin()
        await call.until(lambda call=call: call.started)
        call.leave()
        await call.end()
        seen = told.responses.pop()
        assert (seen.last_event_id, seen.behind) == (last_id, behind)
    channel.close()


@pytest.mark.asyncio
async def test_runs_their_followers_and_their_store():
    told = Told()
    runs = Runs(observers=[told])
    streams = Streams(observers=[told])

    async with runs.lifespan():
        run = await runs.start(three(), fold=last)
        whole = await Call(run.response(streams=streams), headers={"accept": ACCEPTS["sse"]}).run()
        first = whole.body.decode().split("id: ")[1].split("\n")[0]
        headers = {"accept": ACCEPTS["sse"], "last-event-id": first}
        await Call(run.response(streams=streams), headers=headers).run()
        assert [seen.behind for seen in told.responses] == [None, 3]  # two items and the end
        assert [seen.items for seen in told.responses] == [3, 2]

    (seen,) = told.runs
    assert (seen.run_id, seen.outcome, seen.items) == (run.id, Outcome.DONE, 3)
    assert seen.duration >= 0
    assert "run done" in told.moments
    assert {verb for _, verb, _ in told.verbs} >= {"open", "claim", "append", "read"}
    assert {store for store, _, _ in told.verbs} == {"MemoryStore"}
    with pytest.raises(errors.RunNotFound):
        await runs.cancel("none")
    assert isinstance(told.verbs[-1][2], errors.RunNotFound)


@pytest.mark.asyncio
async def test_a_run_that_fails_and_one_that_is_cancelled():
    async def failing():
        yield 1
        raise errors.InvalidRequest("no")

    async def waiting():
        await asyncio.Event().wait()
        yield

    told = Told()
    runs = Runs(observers=[told])
    async with runs.lifespan():
        failed = await runs.start(failing())
        with pytest.raises(errors.RunError):
            async for _ in runs.follow(failed.id):
                pass
        cancelled = await runs.start(waiting())
        await runs.cancel(cancelled.id)
        while len([moment for moment in told.moments if moment.startswith("run")]) < 2:
            await asyncio.sleep(0)
    assert [moment for moment in told.moments if moment.startswith("run")] == ["run error", "run cancelled"]


@pytest.mark.asyncio
async def test_a_registry_in_the_scope_is_observed_as_well():
    told = Told()

    async def app(scope, receive, send):
        await DualModeResponse(three())(scope, receive, send)

    await Call(app, scope={STREAMS_IN_SCOPE: Streams(observers=[told])}).run()
    assert told.moments == ["opened", "first item", "done"]
