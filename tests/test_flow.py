"""The pump against the plain `async for`: whatever a source does, both see the same."""

import asyncio
import contextlib
import contextvars
import json

import anyio
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.routing import Route

from asgi import Call
from dual_mode_streaming import DualModeResponse
from dual_mode_streaming.errors import StreamAborted
from dual_mode_streaming.flow import Pump
from dual_mode_streaming.pace import Pace

NDJSON = {"accept": "application/x-ndjson"}
VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


# --- sources of every shape ----------------------------------------------------------------------------


async def soon(turns):
    for _ in range(turns):
        await asyncio.sleep(0)
    return turns


async def inner(count):
    try:
        for number in range(count):
            await asyncio.sleep(0)
            yield f"inner {number}"
    finally:
        await asyncio.sleep(0)


async def wait_for_future():
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(future.set_result, "future")
    return await future


async def wait_for_queue():
    queue = asyncio.Queue()
    task = asyncio.create_task(queue.put("queue"))
    got = await queue.get()
    await task
    return got


async def time_out():
    try:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
    except TimeoutError:
        return "timeout"


async def task_group():
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(soon(turns)) for turns in (1, 3)]
    return [task.result() for task in tasks]


async def failing_group():
    async def fail():
        await asyncio.sleep(0)
        raise KeyError("child")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await asyncio.Event().wait()
    except* KeyError:
        pass
    return "group failed"


async def move_on():
    with anyio.move_on_after(0.001) as scope:
        await anyio.sleep_forever()
    return f"scope {scope.cancelled_caught}"


async def shielded():
    with anyio.CancelScope(shield=True):
        await anyio.sleep(0)
    return "shielded"


async def cancelled_child():
    child = asyncio.create_task(asyncio.Event().wait())
    asyncio.get_running_loop().call_soon(child.cancel)
    try:
        await child
    except asyncio.CancelledError:
        return "child cancelled"


async def shared_future(state):
    """Two tasks wait for one future: the mark on it that says so is shared as well."""
    future = asyncio.get_running_loop().create_future()

    async def other():
        await future

    task = asyncio.create_task(other())
    asyncio.get_running_loop().call_later(0.001, lambda: future.done() or future.set_result(None))
    await future
    await task
    return "shared"


WAITS = {
    "turn": lambda state: soon(1),
    "turns": lambda state: soon(3),
    "future": lambda state: wait_for_future(),
    "queue": lambda state: wait_for_queue(),
    "timeout": lambda state: time_out(),
    "group": lambda state: task_group(),
    "failing group": lambda state: failing_group(),
    "move on": lambda state: move_on(),
    "shield": lambda state: shielded(),
    "thread": lambda state: anyio.to_thread.run_sync(lambda: "thread"),
    "child": lambda state: cancelled_child(),
    "shared": shared_future,
}


async def source(script, log):
    """Act out a script, and write down what only the source can see."""
    task = asyncio.current_task()
    token = VARIABLE.set("mine")
    try:
        for number, step in enumerate(script):
            assert asyncio.current_task() is task, "the source has changed its task"
            assert VARIABLE.get() == "mine", "the source has lost its context"
            if step in WAITS:
                log.append(await WAITS[step](log))
            elif step == "burst":
                for extra in range(5):
                    yield [number, extra]
            elif step == "large":
                yield [number, "x" * 40_000]
            elif step == "nested":
                async for item in inner(2):
                    yield item
            elif step == "raise":
                raise LookupError(f"step {number}")
            elif step == "variable":
                VARIABLE.set("mine")
            else:
                yield number
    finally:
        log.append("closing")
        await asyncio.sleep(0)
        log.append("closed")
        VARIABLE.reset(token)


SCRIPTS = st.lists(
    st.sampled_from(["item", "item", "burst", "large", "nested", "variable", "raise", *WAITS]), max_size=8
)


async def plainly(script):
    log, items, error = [], [], None
    try:
        async for item in source(script, log):
            items.append(item)
    except LookupError as raised:
        error = str(raised)
    return items, error, log


class Server:
    """A server whose sends wait now and then, for so many turns."""

    def __init__(self, waits):
        self._waits = iter(waits)
        self.messages = []
        self._busy = False

    async def receive(self):
        await asyncio.Event().wait()

    async def send(self, message):
        assert not self._busy, "two sends at once"
        self._busy = True
        for _ in range(next(self._waits, 0)):
            await asyncio.sleep(0)
        self.messages.append(message)
        self._busy = False


async def through_the_pump(script, waits, **options):
    log, error = [], None
    server = Server(waits)

    async def fold_error(scope, receive, send):
        await DualModeResponse(source(script, log), **options)(scope, receive, send)

    call = Call(fold_error, headers=NDJSON)
    try:
        await fold_error(call.scope, server.receive, server.send)
    except LookupError as raised:
        error = str(raised)
    except StreamAborted:
        pass
    body = b"".join(message.get("body", b"") for message in server.messages[1:])
    items = [json.loads(line) for line in body.splitlines()]
    if items and isinstance(items[-1], dict):
        error = items.pop()["error"]["detail"].removeprefix("LookupError: ").strip("'")
    return items, error, log


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(SCRIPTS, st.lists(st.integers(0, 4), max_size=12), st.sampled_from([0.0, 0.0005, 60.0]))
def test_the_pump_is_equal_to_the_plain_loop(script, waits, linger):
    async def both():
        assert VARIABLE.get() == "unset"
        return await plainly(script), await through_the_pump(script, waits, debug=True, linger=linger)

    (items, error, log), (pumped, pumped_error, pumped_log) = asyncio.run(both())
    assert pumped == items
    assert (pumped_error or "").strip("'") == (error or "").strip("'")
    assert pumped_log == log


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(SCRIPTS, st.integers(0, 30), st.lists(st.integers(0, 4), max_size=12))
def test_a_cancellation_at_any_await_closes_the_source(script, turns, waits):
    async def main():
        log = []
        server = Server(waits)
        response = DualModeResponse(source(script, log))
        task = asyncio.create_task(response(Call(None, headers=NDJSON).scope, server.receive, server.send))
        await soon(turns)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, LookupError, StreamAborted):
            await task
        assert log == [] or "closing" in log, "the source's finally has not run"
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not {each for each in left if not each.done()}, "a task is left over"

    asyncio.run(main())


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(SCRIPTS, st.integers(0, 30), st.lists(st.integers(0, 4), max_size=12), st.booleans())
def test_a_disconnect_at_any_moment_closes_the_source(script, turns, waits, batch):
    async def main():
        log = []
        server = Server(waits)
        gone = asyncio.Event()

        async def receive():
            await gone.wait()
            return {"type": "http.disconnect"}

        response = DualModeResponse(source(script, log), mode="batch" if batch else None)
        task = asyncio.create_task(response(Call(None, headers=NDJSON).scope, receive, server.send))
        await soon(turns)
        gone.set()
        with contextlib.suppress(LookupError, StreamAborted):
            await task
        # A source that was closing anyway may be cancelled in its clean-up, as any asyncio code.
        assert log == [] or log[-1] in ("closing", "closed")
        assert task.cancelling() == 0, "our own cancellation was taken back"

    asyncio.run(main())


# --- single traps --------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_timeout_of_the_source_does_not_hit_a_blocked_send():
    timed_out = asyncio.Event()

    async def impatient():
        yield 1
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            timed_out.set()
        yield 2

    async def app(scope, receive, send):
        await DualModeResponse(impatient())(scope, receive, send)

    call = Call(app, headers=NDJSON)
    call.stop_reading()
    call.begin()
    await call.until_blocked()
    async with asyncio.timeout(5):
        await timed_out.wait()
    call.read_on()
    await call.end()
    assert call.body == b"1\n2\n"


@pytest.mark.asyncio
async def test_the_source_may_end_or_fail_while_a_send_is_blocked():
    for ending in ("return", "raise"):
        over = asyncio.Event()

        async def impatient(ending=ending, over=over):
            yield 1
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.Event().wait()
            except TimeoutError:
                over.set()
            if ending == "raise":
                raise LookupError("late")

        async def app(scope, receive, send, impatient=impatient):
            await DualModeResponse(impatient(), debug=True)(scope, receive, send)

        call = Call(app, headers={"accept": "text/event-stream"})
        call.stop_reading()
        call.begin()
        await call.until_blocked()
        async with asyncio.timeout(5):
            await over.wait()
        call.read_on()
        await call.end()
        assert b"data: 1\n" in call.body
        assert (b"event: error" if ending == "raise" else b"event: done") in call.body


@pytest.mark.asyncio
@pytest.mark.parametrize("then", [[], [1], [1, "x" * 100_000, 2]], ids=["nothing", "an item", "a burst"])
async def test_scopes_of_the_source_and_of_a_blocked_send_do_not_nest(then):
    """Both are entered in the same task, but neither is inside the other: each must be left as it was entered.

    What the source gives meanwhile does not overtake what is being sent.
    """
    scopes, log = [], []

    async def impatient():
        yield 0
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await anyio.sleep_forever()
        log.append(("source", scope.cancelled_caught))
        for item in then:
            yield item

    async def app(scope, receive, send):
        async def scoped_send(message):
            with anyio.CancelScope() as around:
                if b"0\n" in message.get("body", b""):
                    scopes[0].cancel()
                    for _ in range(5):
                        await asyncio.sleep(0)
                await send(message)
            log.append(("send", around.cancelled_caught))

        await DualModeResponse(impatient())(scope, receive, scoped_send)

    async def inside_a_scope(scope, receive, send):
        with anyio.CancelScope() as outer:
            await app(scope, receive, send)
        assert not outer.cancelled_caught

    call = await Call(inside_a_scope, headers=NDJSON).run()
    assert [json.loads(line) for line in call.body.splitlines()] == [0, *then]
    assert call.complete
    assert ("source", True) in log
    assert ("send", True) not in log


@pytest.mark.asyncio
async def test_a_scope_around_a_blocked_send_cancels_the_send_alone():
    log = []

    async def patient():
        yield 0
        try:
            await asyncio.sleep(0)
            await released.wait()
        except asyncio.CancelledError:
            log.append("source cancelled")
            raise
        yield 1

    released = asyncio.Event()

    async def app(scope, receive, send):
        async def scoped_send(message):
            if b"0\n" in message.get("body", b""):
                with anyio.CancelScope() as around:
                    asyncio.get_running_loop().call_soon(around.cancel)
                    await anyio.sleep_forever()
                log.append(around.cancelled_caught)
                released.set()
            await send(message)

        await DualModeResponse(patient())(scope, receive, scoped_send)

    call = await Call(app, headers=NDJSON).run()
    assert call.body == b"0\n1\n"
    assert log == [True]


@pytest.mark.asyncio
async def test_items_changed_after_they_were_yielded_are_sent_as_they_were():
    async def reuses_its_item():
        item = {}
        for number in range(3):
            item["n"] = number
            yield item

    async def app(scope, receive, send):
        await DualModeResponse(reuses_its_item())(scope, receive, send)

    call = await Call(app, headers=NDJSON).run()
    assert call.body == b'{"n":0}\n{"n":1}\n{"n":2}\n'


class Plain:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def slow_send(message):
            async with asyncio.timeout(5):
                await asyncio.sleep(0)
                await send(message)

        await self.app(scope, receive, slow_send)


class Scoped:
    """Middleware that opens an anyio scope around each send, which must be left by the task that entered it."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def scoped_send(message):
            with anyio.fail_after(5):
                await anyio.sleep(0)
                await send(message)

        await self.app(scope, receive, scoped_send)


class Base(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-seen"] = "yes"
        return response


@pytest.mark.asyncio
@pytest.mark.parametrize("kinds", [[Plain], [Scoped], [Base], [Base, Scoped, Plain]], ids=str)
async def test_behind_middleware(kinds):
    log = []

    async def endpoint(request: Request):
        script = ["item", "turn", "timeout", "item", "move on", "burst", "group", "item"]
        return DualModeResponse(source(script, log))

    app = Starlette(routes=[Route("/", endpoint)], middleware=[Middleware(kind) for kind in kinds])
    call = await Call(app, headers=NDJSON).run()
    assert [json.loads(line) for line in call.body.splitlines()] == [0, 3, *([5, n] for n in range(5)), 7]
    assert call.complete
    batch = await Call(app).run()
    assert json.loads(batch.body)["data"] == [json.loads(line) for line in call.body.splitlines()]
    assert log[-1] == "closed"


@pytest.mark.asyncio
@pytest.mark.parametrize("kinds", [[Scoped], [Base], [Base, Scoped]], ids=str)
async def test_a_client_that_leaves_behind_middleware(kinds):
    closed = asyncio.Event()

    async def endpoint(request: Request):
        async def endless():
            try:
                while True:
                    yield 1
                    await asyncio.sleep(0)
            finally:
                closed.set()

        return DualModeResponse(endless())

    app = Starlette(routes=[Route("/", endpoint)], middleware=[Middleware(kind) for kind in kinds])
    call = Call(app, headers=NDJSON).begin()
    await call.until_body_has(b"1\n")
    call.leave()
    await call.end()
    assert closed.is_set()


@pytest.mark.asyncio
async def test_the_pump_gives_the_result_and_the_error_of_the_work():
    async def work(error=None):
        await asyncio.sleep(0)
        if error:
            raise error
        return "result"

    pump = Pump(lambda waits_for: None, lambda: None)
    assert await pump.run(work()) == "result"
    with pytest.raises(LookupError):
        await pump.run(work(LookupError()))


@pytest.mark.asyncio
async def test_an_errand_that_fails_cancels_the_work():
    seen = []

    async def work():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def fails_at_once():
        raise OSError

    async def fails_later():
        await asyncio.sleep(0)
        raise OSError

    for errand in (fails_at_once, fails_later):
        pump = Pump(lambda waits_for, errand=errand: errand(), lambda: seen.append("blocked"))
        with pytest.raises(asyncio.CancelledError):
            await pump.run(work())
    assert seen == ["cancelled", "blocked", "cancelled"]


@pytest.mark.asyncio
async def test_a_cancellation_ends_a_blocked_errand_when_the_work_lets_it_pass():
    seen = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("work")

    async def errand():
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("errand")

    blocked = asyncio.Event()
    task = asyncio.create_task(_run(Pump(lambda waits_for: errand(), blocked.set), work()))
    await blocked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["work", "errand"]


async def _run(pump, work):
    return await pump.run(work)


def test_the_pace_is_slow_where_items_are_dear_and_a_wait_begins_a_new_turn(monkeypatch):
    now = 0.0
    monkeypatch.setattr("dual_mode_streaming.pace.monotonic", lambda: now)
    pace = Pace()
    assert not pace.overdue()
    now += 0.003
    assert pace.overdue()
    pace.waited = True
    assert not pace.overdue()
    for _ in range(10):
        pace.overdue()
    assert pace.step == 32
    now += 0.003
    assert asyncio.run(pace.turn()) == 16
    pace.stopped = True
    with pytest.raises(asyncio.CancelledError):
        pace.overdue()
