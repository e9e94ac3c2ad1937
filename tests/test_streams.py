"""The registry: limits, counters, and the way in which open responses are ended when the server goes down."""

import asyncio
import json
import signal
import threading
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from types import SimpleNamespace

import anyio
import pytest
import trio
import uvloop
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount, Route

from asgi import Call
from dual_mode_streaming import DualModeResponse, Outcome, Streams, dual_mode, errors
from dual_mode_streaming.drained import Drained
from dual_mode_streaming.signals import Chain
from dual_mode_streaming.streams import STREAMS_IN_SCOPE, registry_of

SSE = {"accept": "text/event-stream"}
NDJSON = {"accept": "application/x-ndjson"}
BATCH = {"accept": "application/json"}

in_each_format = pytest.mark.parametrize("headers", [SSE, NDJSON], ids=["sse", "ndjson"])
on_each_loop = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def law(registry):
    """What holds for the counters at all times."""
    for counts in (registry.snapshot().streams, registry.snapshot().batches):
        assert counts.opened == sum(counts.outcomes.values()) + counts.open
        assert counts.open >= 0
    return True


class Held:
    """A source that gives one item and waits for its gate, and the endpoint that answers with it."""

    def __init__(self, registry, **options):
        self.gate = asyncio.Event()
        self.runs = 0
        self.order = []
        self.options = {"streams": registry, "on_finish": self.finished, **options}

    async def source(self):
        self.runs += 1
        try:
            yield {"n": 1}
            await self.gate.wait()
            yield {"n": 2}
        finally:
            await asyncio.sleep(0)
            self.order.append("closed")

    def finished(self, outcome, partial):
        self.order.append(outcome.value)

    async def __call__(self, scope, receive, send):
        await DualModeResponse(self.source(), **self.options)(scope, receive, send)


async def opened(app, headers=SSE, **request):
    """Begin a stream, and wait until its first item is there."""
    call = Call(app, headers=headers, **request).begin()
    await call.until_body_has(b'"n":1')
    return call


async def cut(call):
    """Wait for the end of a call whose connection is cut."""
    with pytest.raises(errors.StreamAborted):
        await call.end()
    return call


def farewell(call):
    """Read the last words of a drained stream: the problem, and the retry time where there is one."""
    if call.headers["content-type"].startswith("text/event-stream"):
        *_, block, rest = call.body.decode().split("\n\n")
        assert (call.complete, rest) == (True, "")
        retry, name, data = block.split("\n")
        assert name == "event: error"
        return json.loads(data.removeprefix("data: ")), int(retry.removeprefix("retry: "))
    assert not call.complete
    return json.loads(call.body.splitlines()[-1])["error"], None


# --- limits --------------------------------------------------------------------------------------


@in_each_format
@pytest.mark.asyncio
async def test_as_many_streams_as_may_be(headers, caplog):
    registry = Streams(max_streams=2)
    held = Held(registry)
    calls = [await opened(held, headers) for _ in range(2)]

    refused = await Call(held, headers=headers).run()
    assert (refused.status, refused.headers["content-type"]) == (503, "application/problem+json")
    problem = json.loads(refused.body)
    assert (problem["code"], problem["limit"]) == ("too_many_streams", 2)
    assert refused.headers["retry-after"] == str(problem["retry_after"])
    assert 1 <= problem["retry_after"] <= 5
    assert "connection" not in refused.headers
    assert (registry.open, registry.opened, registry.refused, held.runs) == (2, 2, 1, 2)
    assert not caplog.records  # no failure of anybody, and it may happen a thousand times a second

    held.gate.set()
    await asyncio.gather(*(call.end() for call in calls))
    assert (await Call(held, headers=headers).run()).status == 200
    assert (registry.open, registry.opened, registry.outcomes[Outcome.DONE]) == (0, 3, 3)


@pytest.mark.asyncio
async def test_as_many_streams_of_one_client_as_may_be():
    registry = Streams(max_per_key=1)
    held = Held(registry)
    call = await opened(held)

    refused = await Call(held, headers=SSE).run()
    assert refused.status == 429
    assert json.loads(refused.body)["limit"] == 1
    other = await opened(held, scope={"client": ("127.0.0.2", 1)})
    nameless = [await opened(held, scope={"client": None}) for _ in range(2)]

    held.gate.set()
    await asyncio.gather(*(call.end() for call in [call, other, *nameless]))
    assert registry._keys == {}  # nothing is kept of clients that have left


def test_one_client_leaves_with_one_of_its_streams():
    registry = Streams(max_per_key=2)
    scope = {"client": ("127.0.0.1", 1)}
    first, _second = registry.admit(scope), registry.admit(scope)
    first.leave()
    first.leave()
    registry.admit(scope)
    with pytest.raises(errors.TooManyStreams):
        registry.admit(scope)
    assert (registry.open, registry.opened, registry.refused) == (2, 3, 1)


@pytest.mark.asyncio
async def test_a_key_of_ones_own():
    registry = Streams(max_per_key=1, key=lambda request: request.headers.get("x-user"))
    held = Held(registry)
    calls = [await opened(held, {**SSE, **user}) for user in ({"x-user": "anna"}, {"x-user": "bert"}, {}, {})]

    assert (await Call(held, headers={**SSE, "x-user": "anna"}).run()).status == 429
    held.gate.set()
    await asyncio.gather(*(call.end() for call in calls))
    assert (await Call(held, headers={**SSE, "x-user": "anna"}).run()).status == 200


@pytest.mark.asyncio
async def test_a_key_that_cannot_be_had_is_an_error_of_the_application():
    def key(request: Request):
        raise PermissionError

    held = Held(Streams(max_per_key=1, key=key))
    with pytest.raises(PermissionError):
        await Call(held, headers=SSE).run()
    assert held.runs == 0


@pytest.mark.asyncio
async def test_a_source_that_is_refused_is_closed_and_never_begun():
    registry = Streams(max_streams=1)
    call = await opened(Held(registry))
    log = []

    class Source:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise AssertionError

        async def aclose(self):
            log.append("closed")

    refused = await Call(DualModeResponse(Source(), streams=registry), headers=SSE).run()
    assert (refused.status, log) == (503, ["closed"])
    call.leave()
    await call.end()


@pytest.mark.asyncio
async def test_the_limits_are_not_for_batches_but_they_are_counted():
    registry = Streams(max_streams=1, max_per_key=1)
    held = Held(registry)
    call = await opened(held)
    batches = [Call(held, headers=BATCH).begin() for _ in range(3)]
    while registry.batches.open < 3:
        await asyncio.sleep(0)
    held.gate.set()
    for batch in batches:
        assert (await batch.end()).body == b'{"data":[{"n":1},{"n":2}]}'
    await call.end()

    seen = registry.snapshot()
    assert (seen.batches.opened, seen.batches.open, seen.batches.items) == (3, 0, 6)
    assert seen.batches.bytes == 3 * len(batches[0].body)
    assert (seen.streams.opened, seen.streams.items, seen.streams.bytes) == (1, 2, len(call.body))
    assert (registry.items, registry.bytes) == (2, len(call.body))


@pytest.mark.parametrize("request_", [{}, {"headers": BATCH}, {"method": "POST"}, {"query": "stream=0"}])
@pytest.mark.asyncio
async def test_every_batch_is_counted_and_can_be_refused(request_):
    registry = Streams()

    async def items():
        yield {"n": 1}

    async def app(scope, receive, send):
        await DualModeResponse(items(), streams=registry)(scope, receive, send)

    assert (await Call(app, **request_).run()).body == b'{"data":[{"n":1}]}'
    assert (registry.batches.outcomes[Outcome.DONE], registry.batches.items) == (1, 1)
    await registry.drain(0)
    assert (await Call(app, **request_).run()).status == 503
    assert (registry.batches.refused, registry.refused) == (1, 0)


@pytest.mark.asyncio
async def test_what_needs_no_source_is_not_counted():
    registry = Streams(max_streams=1)
    held = Held(registry)
    assert (await Call(held, headers=SSE, method="HEAD").run()).status == 200
    assert (await Call(held, headers={**SSE, "last-event-id": "dms-done"}).run()).status == 204
    assert (await Call(held, headers={"accept": "image/png"}).run()).status == 406
    assert (registry.opened, registry.refused, registry.batches.opened) == (0, 0, 0)


@pytest.mark.asyncio
async def test_what_is_no_source_has_come_and_gone():
    registry = Streams()
    with pytest.raises(TypeError):
        await Call(DualModeResponse(7, streams=registry), headers=SSE).run()
    assert (registry.open, registry.opened, registry.outcomes[Outcome.ERROR]) == (0, 1, 1)


@pytest.mark.parametrize("bound", ["max_streams", "max_per_key"])
def test_a_bound_is_above_zero(bound):
    with pytest.raises(ValueError, match=bound):
        Streams(**{bound: 0})


@pytest.mark.parametrize("grace", [-1, float("nan")])
@pytest.mark.asyncio
async def test_a_grace_is_not_negative(grace):
    with pytest.raises(ValueError, match="grace"):
        Streams(grace=grace)
    with pytest.raises(ValueError, match="grace"):
        await Streams().drain(grace)


def test_what_is_given_as_a_registry_is_one():
    with pytest.raises(TypeError, match=r"Streams\(\)"):
        DualModeResponse([], streams=object())


# --- which registry ------------------------------------------------------------------------------


def test_where_the_registry_is_found():
    given, of_app, in_scope = Streams(), Streams(), Streams()
    bare, app = Starlette(), Starlette()
    app.state.streams = of_app
    assert registry_of({"app": app, STREAMS_IN_SCOPE: in_scope}, given) is given
    assert registry_of({"app": app, STREAMS_IN_SCOPE: in_scope}, None) is of_app
    assert registry_of({"app": bare, STREAMS_IN_SCOPE: in_scope}, None) is in_scope
    assert registry_of({STREAMS_IN_SCOPE: in_scope}, None) is in_scope
    assert registry_of({"app": bare}, None) is None
    assert registry_of({"app": SimpleNamespace()}, None) is None
    assert registry_of({"app": SimpleNamespace(state=SimpleNamespace(streams=of_app))}, None) is of_app
    assert registry_of({}, None) is None


def test_another_thing_of_that_name_is_left_alone():
    app = Starlette()
    app.state.streams = ["the author's own"]
    assert registry_of({"app": app}, None) is None


def test_two_applications_in_one_process_know_nothing_of_each_other():
    def application(limit):
        app = FastAPI()
        app.state.streams = Streams(max_streams=limit)
        inner = []

        @app.get("/")
        @dual_mode
        async def endpoint(depth: int = 0):
            """Answer with the statuses of requests that are made while this one is open."""
            if depth:
                async with AsyncExitStack() as stack:
                    call = Call(app, query=f"depth={depth - 1}", headers=SSE)
                    inner.append(await stack.enter_async_context(ending(call)))
            yield depth

        return app, inner

    @asynccontextmanager
    async def ending(call):
        yield (await call.run()).status

    (one, ones), (two, twos) = application(1), application(2)
    for app in (one, two):
        assert TestClient(app).get("/?depth=2", headers=SSE).status_code == 200
    assert (ones, twos) == ([503], [503, 200])
    assert (one.state.streams.refused, two.state.streams.refused) == (1, 1)
    assert (one.state.streams.opened, two.state.streams.opened) == (1, 2)


# --- counters ------------------------------------------------------------------------------------


ENDS = ("done", "error", "late error", "client gone", "cancelled", "deadline", "drained", "send fails")


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ENDS), st.sampled_from([SSE, NDJSON, BATCH])), max_size=12))
def test_whoever_was_admitted_leaves_once(plan):
    """Whatever happens to responses, `opened` is the sum of `outcomes` and `open`."""
    registry = Streams()
    gates = {}

    async def source(number, end):
        if end == "error":
            raise ValueError
        yield {"n": 1}
        await gates[number].wait()
        if end == "late error":
            raise ValueError
        yield {"n": 2}

    async def app(number, end, scope, receive, send):
        options = {"deadline": 0.001} if end == "deadline" else {}
        await DualModeResponse(source(number, end), streams=registry, **options)(scope, receive, send)

    async def respond(number, end, headers):
        gates[number] = asyncio.Event()
        call = Call(lambda *asgi: app(number, end, *asgi), headers=headers).begin()
        while registry.opened + registry.batches.opened <= number:
            await asyncio.sleep(0)
        assert law(registry)
        if end == "send fails":
            call.send_error = OSError("gone")
        if end in ("done", "late error", "send fails"):
            gates[number].set()
        elif end == "client gone":
            call.leave()
        elif end == "cancelled":
            await asyncio.sleep(0)
            call.task.cancel()
        return call

    async def all_of_them():
        calls = [await respond(number, *one) for number, one in enumerate(plan)]
        await registry.drain(0)
        await asyncio.gather(*(call.task for call in calls), return_exceptions=True)

    asyncio.run(all_of_them())
    assert law(registry)
    seen = registry.snapshot()
    assert (seen.streams.open, seen.batches.open) == (0, 0)
    assert seen.streams.opened + seen.batches.opened == len(plan)
    ends = Counter(end for end, _ in plan)
    together = Counter(seen.streams.outcomes) + Counter(seen.batches.outcomes)
    assert together[Outcome.ERROR] >= ends["error"]


@pytest.mark.asyncio
async def test_a_snapshot_stands_still():
    registry = Streams()
    held = Held(registry)
    call = await opened(held)
    before = registry.snapshot()
    held.gate.set()
    await call.end()
    assert (before.streams.open, before.streams.outcomes[Outcome.DONE], before.draining) == (1, 0, False)
    assert (registry.open, registry.outcomes[Outcome.DONE]) == (0, 1)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, Outcome.DONE), (ValueError, Outcome.ERROR), (asyncio.CancelledError, Outcome.CANCELLED)],
)
def test_an_entry_of_ones_own(error, outcome):
    registry = Streams()
    with pytest.raises(error) if error else nullcontext(), registry.admit({}) as entry:
        assert registry.open == 1
        if error:
            raise error
    entry.leave()
    assert (registry.open, registry.outcomes[outcome]) == (0, 1)


def test_an_entry_that_says_how_it_ended():
    registry = Streams()
    with registry.admit({}, streams=False) as entry:
        entry.ended(Outcome.IDLE, 7)
    assert (registry.batches.outcomes[Outcome.IDLE], registry.batches.items, registry.opened) == (1, 7, 0)


@pytest.mark.parametrize("headers", [SSE, BATCH])
@pytest.mark.asyncio
async def test_a_burst_that_comes_and_goes(headers):
    registry = Streams()
    held = Held(registry)
    calls = [Call(held, headers=headers).begin() for _ in range(2000)]
    while registry.open + registry.batches.open < 2000:
        await asyncio.sleep(0)
    draining = asyncio.ensure_future(registry.drain(0))
    await asyncio.gather(*(call.task for call in calls), draining)
    seen = registry.snapshot()
    counts = seen.streams if headers is SSE else seen.batches
    assert (counts.open, counts.opened, counts.outcomes[Outcome.DRAINED]) == (0, 2000, 2000)
    assert registry._entries == set()


# --- draining ------------------------------------------------------------------------------------


async def asleep(gate):
    yield {"n": 1}
    await gate.wait()


async def ticking(gate):
    while True:
        yield {"n": 1}
        await asyncio.sleep(0)


async def never_waiting(gate):
    while True:
        yield {"n": 1}


@in_each_format
@pytest.mark.parametrize("source", [asleep, ticking, never_waiting])
@on_each_loop
def test_every_stream_can_be_drained(new_loop, source, headers):
    registry = Streams()
    log = []

    async def items():
        try:
            async for item in source(asyncio.Event()):
                yield item
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    def finish(outcome, partial):
        log.append(outcome)

    async def scenario():
        response = DualModeResponse(items(), streams=registry, on_finish=finish, batch_max_items=10, retry=(7, 9))
        call = await opened(response, headers)
        await registry.drain(0)
        assert log == ["closed", Outcome.DRAINED]
        assert (registry.open, registry.outcomes[Outcome.DRAINED]) == (0, 1)
        await (call.end() if headers is SSE else cut(call))
        problem, retry = farewell(call)
        assert (problem["status"], problem["code"]) == (503, "draining")
        assert retry is None or 7 <= retry <= 9

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scenario())


@in_each_format
@pytest.mark.asyncio
async def test_a_client_that_takes_nothing_does_not_hold_a_drain_up(headers, monkeypatch):
    monkeypatch.setattr("dual_mode_streaming.exchange.FAREWELL_WITHIN", 0.01)
    registry = Streams()
    held = Held(registry, send_timeout=None)
    call = Call(held, headers=headers)
    call.stop_reading()
    call.begin()
    await call.until_blocked()
    await registry.drain(0)
    assert held.order == ["closed", "drained"]
    assert registry.outcomes[Outcome.DRAINED] == 1
    await (call.end() if headers is SSE else cut(call))
    assert not call.complete


@pytest.mark.asyncio
async def test_a_heartbeat_that_nobody_takes_does_not_hold_a_drain_up(monkeypatch):
    monkeypatch.setattr("dual_mode_streaming.exchange.FAREWELL_WITHIN", 0.01)
    registry = Streams()
    held = Held(registry, send_timeout=None, commit_after=0, heartbeat=0.001)
    call = await opened(held)
    call.stop_reading()
    await call.until_blocked()
    await registry.drain(0)
    assert held.order == ["closed", "drained"]
    assert call.task.done()
    assert not call.complete


@in_each_format
@pytest.mark.asyncio
async def test_who_has_no_headers_yet_gets_the_status(headers):
    registry = Streams()

    async def silent():
        await asyncio.Event().wait()
        yield

    async def app(scope, receive, send):
        await DualModeResponse(silent(), streams=registry)(scope, receive, send)

    call = Call(app, headers=headers).begin()
    newer = Call(app, headers=headers, scope={"http_version": "2"}).begin()
    while registry.open < 2:
        await asyncio.sleep(0)
    await registry.drain(0)
    for one in (call, newer):
        await one.end()
        assert (one.status, one.headers["content-type"]) == (503, "application/problem+json")
        assert json.loads(one.body)["code"] == "draining"
        assert 1 <= int(one.headers["retry-after"]) <= 5
    assert call.headers["connection"] == "close"
    assert "connection" not in newer.headers  # RFC 9113, section 8.2.2


@pytest.mark.asyncio
async def test_an_exception_handler_of_the_application_answers_in_its_own_way():
    registry = Streams(max_streams=1)

    async def endpoint(request):
        return DualModeResponse([1], streams=registry)

    async def refuse(request, error):
        return DualModeResponse([type(error).__name__], 418, mode="batch", streams=Streams())

    app = Starlette(routes=[Route("/", endpoint)], exception_handlers={errors.DualModeError: refuse})
    await registry.drain(0)
    answer = TestClient(app).get("/", headers=SSE)
    assert (answer.status_code, answer.json()) == (418, {"data": ["Draining"]})


@pytest.mark.parametrize("options", [{}, {"batch_keepalive": True, "commit_after": 0, "heartbeat": 0.001}])
@pytest.mark.asyncio
async def test_a_batch_that_still_runs_at_the_end(options):
    registry = Streams()
    held = Held(registry, **options)
    call = Call(held, headers=BATCH).begin()
    if options:
        await call.until_body_has(b" ")
        await registry.drain(0)
        await cut(call)
    else:
        while not held.runs:
            await asyncio.sleep(0)
        await registry.drain(0)  # perhaps before its life has begun
        await call.end()
        assert (call.status, json.loads(call.body)["code"]) == (503, "draining")
        assert call.headers["connection"] == "close"
    assert held.order == ["closed", "drained"]
    assert registry.batches.outcomes[Outcome.DRAINED] == 1


@pytest.mark.parametrize("headers", [SSE, NDJSON, BATCH])
@pytest.mark.asyncio
async def test_what_ends_by_itself_in_time_may_do_so(headers):
    registry = Streams()
    held = Held(registry)
    call = Call(held, headers=headers).begin()
    while not held.runs:
        await asyncio.sleep(0)
    draining = asyncio.ensure_future(registry.drain(1000))
    await asyncio.sleep(0)
    assert registry.draining
    held.gate.set()
    await draining
    await call.end()
    assert (call.complete, held.order) == (True, ["closed", "done"])


@pytest.mark.asyncio
async def test_a_stream_is_told_when_it_is_half_as_old_as_the_grace_and_a_batch_at_the_end():
    registry = Streams()
    order = []
    for name, streams, age in [
        ("batch", False, 900),
        ("young", True, 0.0),
        ("middle", True, 499.99),
        ("old", True, 500),
    ]:
        entry = registry.admit({}, streams=streams)
        entry.since -= age
        entry.on_drain(lambda why, name=name, entry=entry: (order.append(name), entry.leave()))
    draining = asyncio.ensure_future(registry.drain(1000))
    while len(order) < 2:
        await asyncio.sleep(0)
    assert (order, draining.done(), registry.open, registry.batches.open) == (["old", "middle"], False, 1, 1)
    second = asyncio.ensure_future(registry.drain(0))  # in a hurry now
    await asyncio.gather(draining, second)
    assert sorted(order[2:]) == ["batch", "young"]


@pytest.mark.asyncio
async def test_a_source_that_ignores_its_cancellation_is_left_behind(caplog):
    registry = Streams()
    gate = asyncio.Event()

    async def stubborn():
        yield {"n": 1}
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    call = await opened(DualModeResponse(stubborn(), streams=registry, close_timeout=0.01))
    await registry.drain(0)
    assert (registry.open, registry.outcomes[Outcome.DRAINED]) == (0, 1)
    assert "was left behind" in caplog.text
    assert farewell(await call.end())[0]["code"] == "draining"
    gate.set()
    await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_what_never_leaves_does_not_hold_a_drain_up_for_ever(caplog, monkeypatch):
    monkeypatch.setattr("dual_mode_streaming.streams.LEAVING", 0.01)
    registry = Streams()
    told = []
    with registry.admit({}) as entry:
        entry.on_drain(told.append)
        await registry.drain(0)
        assert "1 responses did not end" in caplog.text
        await registry.drain(0)
        assert (registry.open, len(told)) == (1, 1)


@pytest.mark.asyncio
async def test_to_drain_nothing_is_over_at_once():
    registry = Streams(grace=1000)
    await registry.drain()
    await registry.drain()
    assert registry.draining
    with pytest.raises(errors.Draining):
        registry.admit({})


@pytest.mark.asyncio
async def test_a_client_that_left_while_its_source_goes_on_has_nothing_to_be_told():
    registry = Streams()
    held = Held(registry, on_disconnect="finish")
    call = await opened(held)
    call.leave()
    for _ in range(20):
        await asyncio.sleep(0)
    sent = len(call.messages)
    await registry.drain(0)
    await call.end()
    assert (held.order, len(call.messages)) == (["closed", "drained"], sent)


def test_a_registry_serves_many_event_loops_one_after_another():
    registry = Streams()

    async def life():
        async with registry.lifespan():
            assert not registry.draining
            held = Held(registry)
            call = await opened(held)
            await registry.drain(0)
            await call.end()

    for new_loop in (asyncio.new_event_loop, uvloop.new_event_loop) * 3:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(life())
    assert (registry.opened, registry.outcomes[Outcome.DRAINED]) == (6, 6)


def test_a_registry_drains_under_trio():
    registry = Streams()

    async def scenario():
        async with registry.lifespan(), anyio.create_task_group() as group:
            scope = anyio.CancelScope()

            async def respond():
                with registry.admit({}) as entry, scope:
                    entry.on_drain(lambda why: scope.cancel())
                    await anyio.sleep_forever()
                entry.ended(Outcome.DRAINED)

            group.start_soon(respond)
            while not registry.open:
                await anyio.lowlevel.checkpoint()
            await registry.drain(0)
            assert registry.open == 0

    trio.run(scenario)
    assert registry.opened == 1


# --- signals -------------------------------------------------------------------------------------


@contextmanager
def handling(number):
    """Handle a signal as a server does, and put back what was there."""
    heard = []
    before = signal.signal(number, lambda *_: heard.append(number))
    try:
        yield heard
    finally:
        signal.signal(number, before)


@on_each_loop
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("by_loop", [False, True])
def test_a_signal_drains_and_the_server_hears_of_it_too(new_loop, number, by_loop):
    registry = Streams(grace=0)
    with handling(number) as heard:
        ours = signal.getsignal(number)

        async def scenario():
            loop = asyncio.get_running_loop()
            if by_loop:
                loop.add_signal_handler(number, heard.append, number)
            before = signal.getsignal(number)
            async with registry.lifespan():
                held = Held(registry)
                call = await opened(held)
                signal.raise_signal(number)
                assert heard == ([] if by_loop else [number])  # a handler of Python's is not made to wait
                await call.end()
                assert held.order == ["closed", "drained"]
                while not heard:
                    await asyncio.sleep(0)
            assert heard == [number]
            assert signal.getsignal(number) == before
            signal.raise_signal(number)
            while len(heard) < 2:
                await asyncio.sleep(0)
            if by_loop:
                loop.remove_signal_handler(number)
                signal.signal(number, ours)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(scenario())
        assert heard == [number, number]
        assert signal.getsignal(number) is ours


@pytest.mark.asyncio
async def test_two_registries_hear_of_one_signal_and_may_stop_listening_in_any_order():
    one, two = Streams(grace=0), Streams(grace=0)
    with handling(signal.SIGTERM) as heard:
        before = signal.getsignal(signal.SIGTERM)
        first, second = one.drain_on_signals(), two.drain_on_signals()
        signal.raise_signal(signal.SIGTERM)
        while not (one.draining and two.draining):
            await asyncio.sleep(0)
        assert heard == [signal.SIGTERM]
        one.draining = two.draining = False
        on_top = signal.getsignal(signal.SIGTERM)
        first.restore()
        assert signal.getsignal(signal.SIGTERM) == on_top
        signal.raise_signal(signal.SIGTERM)
        for _ in range(3):
            await asyncio.sleep(0)
        assert (one.draining, two.draining, len(heard)) == (False, False, 2)  # it had drained for the first one
        second.restore()
        assert signal.getsignal(signal.SIGTERM) != before  # `first` is passed through
        signal.raise_signal(signal.SIGTERM)
        assert len(heard) == 3
        first.restore()
        assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.asyncio
async def test_one_registry_may_listen_twice():
    registry = Streams(grace=0)
    with handling(signal.SIGTERM) as heard:
        before = signal.getsignal(signal.SIGTERM)
        async with registry.lifespan(), registry.lifespan():
            call = await opened(Held(registry))
            signal.raise_signal(signal.SIGTERM)
            await call.end()
        assert (heard, signal.getsignal(signal.SIGTERM)) == ([signal.SIGTERM], before)


@pytest.mark.asyncio
async def test_a_signal_that_is_ignored_stays_ignored():
    registry = Streams()
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with registry.drain_on_signals():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(0)
        assert not registry.draining
    finally:
        signal.signal(signal.SIGTERM, before)


def test_outside_the_main_thread_nothing_is_touched():
    registry = Streams()
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    during = []

    async def live():
        async with registry.lifespan():
            during.extend(signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT))

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    thread.join()
    assert during == before


def test_a_signal_after_the_event_loop_was_closed_does_what_it_does():
    registry = Streams()
    with handling(signal.SIGTERM) as heard:

        async def listen():
            return registry.drain_on_signals()

        chain = asyncio.run(listen())
        signal.raise_signal(signal.SIGTERM)
        chain.restore()
        assert heard == [signal.SIGTERM]


def test_a_deadly_signal_is_let_through_by_whoever_was_told():
    told = []
    with handling(signal.SIGTERM):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        chain = Chain(told.append, (signal.SIGTERM,))
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # parents send it twice; it does not hurry
        assert [callable(then) for then in told] == [True]
        chain.restore()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_second_ctrl_c_does_not_wait():
    told = []
    with handling(signal.SIGINT):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with Chain(told.append, (signal.SIGINT,)):
            signal.raise_signal(signal.SIGINT)
            assert [callable(then) for then in told] == [True]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)


# --- the lifespan --------------------------------------------------------------------------------


def test_the_lifespan_of_an_application():
    registry = Streams(max_streams=1)
    app = FastAPI(lifespan=registry.lifespan)

    @app.get("/")
    @dual_mode
    async def endpoint():
        yield registry.open

    for _ in range(2):
        with TestClient(app) as client:
            assert app.state.streams is registry
            assert client.get("/", headers=NDJSON).text == "1\n"
        assert client.get("/", headers=NDJSON).status_code == 503
        assert client.get("/").status_code == 503
    assert registry.opened == 2


def test_a_part_of_a_lifespan():
    registry = Streams()
    order = []

    @asynccontextmanager
    async def lifespan(app):
        order.append("database opened")
        async with registry.lifespan(app):
            yield
        order.append(f"database closed, draining={registry.draining}")

    with TestClient(Starlette(lifespan=lifespan)):
        order.append("serving")
    assert order == ["database opened", "serving", "database closed, draining=True"]


@pytest.mark.asyncio
async def test_the_registry_that_the_application_has_is_not_replaced():
    app = Starlette()
    app.state.streams = own = Streams()
    async with Streams().lifespan(app):
        assert app.state.streams is own


@pytest.mark.asyncio
async def test_a_lifespan_that_fails_does_not_drain():
    registry = Streams(grace=1000)

    async def live():
        async with registry.lifespan():
            registry.admit({})
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await live()
    assert not registry.draining


# --- any application -----------------------------------------------------------------------------


class Lifespan:
    """Drives the lifespan of an application, as a server does."""

    def __init__(self, app):
        self.told = []
        self.news = asyncio.Queue()
        self.changed = asyncio.Condition()
        self.task = asyncio.get_running_loop().create_task(app({"type": "lifespan"}, self.news.get, self._told))

    async def _told(self, message):
        self.told.append(message["type"])
        async with self.changed:
            self.changed.notify_all()

    async def phase(self, name):
        self.news.put_nowait({"type": f"lifespan.{name}"})
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: any(name in told for told in self.told))
        return self.told[-1]


async def no_lifespan(scope, receive, send):
    assert scope["type"] == "http"
    held = scope["test.held"]
    await DualModeResponse(held.source(), on_finish=held.finished)(scope, receive, send)


async def deaf(scope, receive, send):
    """Hears of the startup, and leaves without a word."""
    if scope["type"] == "lifespan":
        await receive()
        return
    await no_lifespan(scope, receive, send)


async def answering(request):
    held = request.scope["test.held"]
    return DualModeResponse(held.source(), on_finish=held.finished)


mounting = Starlette(routes=[Mount("/", app=Starlette(routes=[Route("/", answering)]))])


@pytest.mark.parametrize("app", [no_lifespan, deaf, mounting, Starlette(routes=[Route("/", answering)])])
@pytest.mark.asyncio
async def test_any_application_is_drained(app):
    drained = Drained(app, grace=0)
    lifespan = Lifespan(drained)
    assert await lifespan.phase("startup") == "lifespan.startup.complete"
    held = Held(None)
    call = await opened(drained, scope={"test.held": held})
    assert drained.streams.open == 1
    assert await lifespan.phase("shutdown") == "lifespan.shutdown.complete"
    assert held.order == ["closed", "drained"]
    assert farewell(await call.end())[0]["code"] == "draining"
    await lifespan.task
    assert lifespan.told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.asyncio
async def test_any_application_is_drained_on_a_signal_and_before_its_own_shutdown():
    own = Streams()
    order = []

    @asynccontextmanager
    async def lifespan(app):
        yield
        order.append(own.open)

    app = Starlette(routes=[Route("/", answering)], lifespan=lifespan)
    app.state.streams = own
    drained = Drained(app, grace=0)
    assert drained.streams is own
    with handling(signal.SIGTERM) as heard:
        life = Lifespan(drained)
        await life.phase("startup")
        held = Held(None)
        call = await opened(drained, scope={"test.held": held})
        signal.raise_signal(signal.SIGTERM)
        await call.end()
        assert (held.order, heard) == (["closed", "drained"], [signal.SIGTERM])
        await life.phase("shutdown")
        await life.task
    assert order == [0]


@pytest.mark.asyncio
async def test_an_application_that_cannot_start_says_so():
    @asynccontextmanager
    async def broken(app):
        raise ValueError("no database")
        yield

    life = Lifespan(Drained(Starlette(lifespan=broken)))
    assert await life.phase("startup") == "lifespan.startup.failed"
    with pytest.raises(ValueError, match="no database"):
        await life.task
