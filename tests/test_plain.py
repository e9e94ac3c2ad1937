"""The plain form: the same answers as the pump gives, on asyncio and on trio, by anyio alone."""

import json
import sys
import threading

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request

from dual_mode_streaming import Outcome, ServerSentEvent, Streams, errors, last
from dual_mode_streaming.sources import DecidingSource
from forms import FORMS, PLAIN_FORMS, PUMP, TRIO, Ask, asked, respond, run, settle

SSE, NDJSON, JSON_SEQ = STREAMS = ("text/event-stream", "application/x-ndjson", "application/json-seq")
MODES = (None, *STREAMS)
EVENT_NAMES = ("tick", "done")


# --- the forms are equal -------------------------------------------------------------------------------


class Script:
    """A source that does what a list says, and logs what it saw."""

    def __init__(self, steps, clean_up, swallows, server):
        self.steps = steps
        self.clean_up = clean_up
        self.swallows = swallows
        self.server = server
        self.log = []

    async def run(self):
        cancelled = anyio.get_cancelled_exc_class()
        try:
            for step in self.steps:
                try:
                    match step:
                        case ("leave", stays):
                            self.server.leave()
                            if stays:
                                await self.server.told.wait()
                                await settle(5)
                            else:
                                await anyio.sleep_forever()
                        case _:
                            item = await self.act(step)
                            if item is not None:
                                yield item
                except cancelled:
                    self.log.append("cancelled")
                    if not self.swallows:
                        raise
                    return
        finally:
            error = sys.exception()
            self.log.append("cancelled" if isinstance(error, cancelled) else type(error).__name__)
            for step in self.clean_up:
                await self.act(step)
            self.log.append("closed")

    async def act(self, step):
        match step:
            case ("item" | "event", item):
                return item
            case ("turn",):
                await anyio.sleep(0)
                self.log.append(self.server.body)  # what was ready has been sent
            case ("wait",):
                await anyio.sleep(0.0005)
                self.log.append(self.server.body)
            case ("raise", kind):
                raise {"http": HTTPException(418, "teapot"), "value": ValueError("secret")}[kind]
        return None


async def play(form, steps, clean_up, swallows, on_disconnect, accept):
    """Run a script in one form and mode; give all that can be seen of it."""
    ends = []

    async def on_finish(outcome, partial):
        await anyio.sleep(0)
        ends.append((outcome, partial, list(script.log)))

    server = Ask(accept)
    script = Script(steps, clean_up, swallows, server)
    app = respond(form, script.run(), on_finish=on_finish, on_disconnect=on_disconnect, retry=(7, 7), max_item_bytes=64)
    await server.run(app)
    return {
        "status": server.status if server.messages else None,
        "headers": server.headers if server.messages else None,
        "body": server.body,
        "complete": server.complete,
        "raised": repr(server.raised),
        "ends": ends,
        "log": script.log,
    }


items = st.one_of(
    st.integers(-5, 5),
    st.text(max_size=5),
    st.just({"error": 1}),
    st.just(b"no JSON form"),
    st.just("x" * 80),  # over the bound
)
events = st.one_of(
    st.builds(
        ServerSentEvent,
        st.integers(0, 9),
        event=st.sampled_from([None, *EVENT_NAMES]),
        id=st.sampled_from([None, "7"]),
        retry=st.sampled_from([None, 50]),
    ),
    st.just(ServerSentEvent(comment="hello")),
    st.just(ServerSentEvent(retry=60)),
)
waits = st.sampled_from([("turn",), ("wait",)])
raising = st.tuples(st.just("raise"), st.sampled_from(["http", "value"]))
a_step = st.one_of(
    st.tuples(st.just("item"), st.integers(0, 9)),
    st.tuples(st.just("item"), items),
    st.tuples(st.just("event"), events),
    waits,
    waits,
    raising,
)


@st.composite
def scripts(draw):
    steps = draw(st.lists(a_step, max_size=8))
    on_disconnect = draw(st.sampled_from(["cancel", "finish"]))
    if draw(st.booleans()):
        steps.insert(draw(st.integers(0, len(steps))), ("leave", on_disconnect == "finish"))
    clean_up = draw(st.lists(st.one_of(waits, waits, raising), max_size=3))
    return steps, clean_up, draw(st.booleans()), on_disconnect


@given(scripts())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_form_does_the_same(script):
    async def in_every_mode(form):
        return [await play(form, *script, accept) for accept in MODES]

    seen = {form: run(form, in_every_mode) for form in FORMS}
    for mode, *of_forms in zip(MODES, *seen.values(), strict=True):
        for form, what in zip(FORMS, of_forms, strict=True):
            assert what == of_forms[0], f"{form} differs from the pump in {mode or 'a batch'}"
            assert len(what["ends"]) == 1, "on_finish runs exactly once"
            assert what["log"][-1:] == ["closed"] or ("raise", "http") in script[1] or ("raise", "value") in script[1]


# --- which form is chosen ------------------------------------------------------------------------------


async def numbers(count, *, log=None):
    try:
        for number in range(count):
            yield number
    finally:
        if log is not None:
            log.append("closed")


async def endless(log):
    try:
        while True:
            yield 1
    finally:
        log.append("closed")


@pytest.mark.parametrize("form", FORMS)
def test_the_form_follows_from_the_event_loop(form, monkeypatch):
    monkeypatch.setattr("dual_mode_streaming.pace.monotonic", lambda: 0.0)  # however slow the machine is

    async def main(form):
        call = await Ask(NDJSON).run(respond(form, numbers(50)))
        assert call.body == b"".join(b"%d\n" % number for number in range(50))
        # Only the pump sees that the source does not wait, and joins what is ready.
        assert len(call.bodies) == (1 if form == PUMP else 50)

    run(form, main)


@pytest.mark.parametrize("accept", MODES)
def test_a_batch_and_a_stream_on_trio_that_need_not_wait(accept):
    async def main(form):
        call = await Ask(accept).run(respond(form, numbers(2)))
        assert (call.status, call.complete, call.raised) == (200, True, None)

    run(TRIO, main)


@pytest.mark.parametrize("accept", MODES)
def test_head_and_204_do_not_run_the_source_on_trio(accept):
    async def main(form):
        log = []
        get = await Ask(accept).run(respond(form, numbers(1)))
        head = await Ask(accept, method="HEAD").run(respond(form, numbers(1, log=log)))
        assert (head.body, log) == (b"", [])
        assert [pair for pair in get.headers if pair[0] != b"content-length"] == [
            pair for pair in head.headers if pair[0] != b"content-length"
        ]
        if accept:
            seen = await Ask(accept, headers=[("last-event-id", "dms-done")]).run(respond(form, numbers(1, log=log)))
            assert (seen.status, seen.body, log) == (204, b"", [])

    run(TRIO, main)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("accept", STREAMS)
def test_a_source_may_decide_more_about_its_stream(form, accept):
    class Deciding(DecidingSource):
        commit_after, terminal_id, total = 0, "run-7", 9
        gate = None

        async def __anext__(self):
            if self.gate is None:
                self.gate = anyio.Event()
                await self.gate.wait()
                return 1
            raise StopAsyncIteration

    async def main(form):
        source = Deciding()
        async with asked(respond(form, source, retry=(5, 5), heartbeat=None), accept) as call:
            await call.until(lambda: call.messages)  # although nothing has come
            source.gate.set()
        end = b'event: done\nid: run-7\ndata: {"items":9}\n\n'
        assert call.complete
        assert call.body.endswith(b"data: 1\n\n" + end if accept == SSE else b"1\n")

    run(form, main)


# --- the table of behaviours, on asyncio and on trio -----------------------------------------------------

in_each_plain_form = pytest.mark.parametrize("form", PLAIN_FORMS)
in_each_mode = pytest.mark.parametrize("accept", MODES, ids=["batch", "sse", "ndjson", "json-seq"])
in_each_stream = pytest.mark.parametrize("accept", STREAMS, ids=["sse", "ndjson", "json-seq"])


class Gated:
    """A source that gives its next item when the test opens the next gate."""

    def __init__(self, *values, on_close=None):
        self.values = values
        self.gates = [anyio.Event() for _ in range(len(values) + 1)]
        self.waiting = anyio.Event()
        self.closed = False
        self._on_close = on_close

    def open(self, count=1):
        for gate in [gate for gate in self.gates if not gate.is_set()][:count]:
            gate.set()

    async def __call__(self):
        try:
            for value, gate in zip(self.values, self.gates[:-1], strict=True):
                self.waiting.set()
                await gate.wait()
                yield value
            self.waiting.set()
            await self.gates[-1].wait()
        finally:
            if self._on_close is not None:
                await self._on_close()
            self.closed = True


class Ends:
    def __init__(self):
        self.seen = []

    def __call__(self, outcome, partial):
        self.seen.append((outcome, partial))


@in_each_plain_form
def test_the_status_is_committed_when_the_window_closes_and_the_heart_beats(form):
    async def main(form):
        source = Gated(1)
        async with asked(respond(form, source, commit_after=0.01, heartbeat=0.01, retry=(5, 5)), SSE) as call:
            await call.until(lambda: call.body.count(b": \n\n") >= 2)
            assert call.messages[1]["body"] == b""
            source.open(2)
        assert call.body.replace(b": \n\n", b"") == (
            b'retry: 5\ndata: 1\n\nevent: done\nid: dms-done\ndata: {"items":1}\n\n'
        )

    run(form, main)


@in_each_plain_form
def test_the_heart_beats_behind_an_early_item_without_waiting_for_the_window(form):
    async def main(form):
        source = Gated(1, 2)
        async with asked(respond(form, source, commit_after=3600, heartbeat=0.01, retry=(5, 5)), SSE) as call:
            source.open(1)
            await call.until(lambda: call.body.count(b": \n\n") >= 2)
            assert call.body.startswith(b"retry: 5\ndata: 1\n\n: \n\n")
            source.open(2)

    run(form, main)


@in_each_plain_form
def test_an_error_within_the_window_has_its_status_and_after_it_travels_in_the_stream(form):
    async def failing(gate):
        await gate.wait()
        raise HTTPException(503, "later")
        yield

    async def main(form):
        soon, later = anyio.Event(), anyio.Event()
        async with asked(respond(form, failing(soon), commit_after=60), SSE) as call:
            await settle()
            soon.set()
        assert isinstance(call.raised, HTTPException)
        assert call.messages == []
        async with asked(respond(form, failing(later), commit_after=0), SSE) as call:
            await call.until(lambda: call.messages)
            later.set()
        assert (call.status, call.raised) == (200, None)
        assert b'event: error\ndata: {"type":"about:blank"' in call.body

    run(form, main)


@in_each_plain_form
@pytest.mark.parametrize("fails", [False, True])
def test_white_space_keeps_a_slow_batch_alive(form, fails):
    async def source(gate):
        yield 1
        await gate.wait()
        if fails:
            raise ValueError("late")

    async def main(form):
        gate = anyio.Event()
        app = respond(form, source(gate), batch_keepalive=True, commit_after=0.01, heartbeat=0.01)
        async with asked(app) as call:
            await call.until(lambda: call.body.count(b" ") >= 2)
            gate.set()
        assert call.status == 200
        if fails:
            assert isinstance(call.raised, errors.StreamAborted)
            assert not call.complete
        else:
            assert b"content-length" not in dict(call.headers)
            assert call.body.strip() == b'{"data":[1]}'

    run(form, main)


@in_each_plain_form
@in_each_mode
@pytest.mark.parametrize("option", ["deadline", "idle_timeout"])
@pytest.mark.parametrize("first", [False, True])
def test_time_runs_out(form, accept, option, first):
    async def main(form):
        source, ends = Gated(1, 2), Ends()
        if first:
            source.open()
        call = await Ask(accept).run(respond(form, source, on_finish=ends, **{option: 0.02}))
        assert source.closed
        assert b'"status":504' in call.body
        assert ends.seen == [
            ({"deadline": Outcome.DEADLINE, "idle_timeout": Outcome.IDLE}[option], {"data": [1] if first else []})
        ]
        late = first and accept is not None
        assert call.status == (200 if late else 504)
        assert isinstance(call.raised, errors.StreamAborted) == (late and accept != SSE)

    run(form, main)


@in_each_plain_form
@in_each_mode
def test_a_source_that_never_waits_is_ended_too_and_leaves_turns_to_others(form, accept):
    async def main(form):
        log, turns = [], 0

        async def other():
            nonlocal turns
            while True:
                await anyio.sleep(0)
                turns += 1

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            call = await Ask(accept).run(respond(form, endless(log), deadline=0.02, batch_max_items=None))
            group.cancel_scope.cancel()
        assert turns > 1
        assert log == ["closed"]
        assert b'"status":504' in call.body

    run(form, main)


@in_each_plain_form
@in_each_mode
def test_a_source_of_nothing_but_comments_leaves_turns_to_others(form, accept):
    async def comments():
        while True:
            yield ServerSentEvent(comment="x")

    async def main(form):
        # The fold of a batch takes two ways: with a list and without one.
        for fold in ({}, {"fold": last}):
            call = await Ask(accept).run(respond(form, comments(), deadline=0.02, batch_max_items=None, **fold))
            assert b'"status":504' in call.body

    run(form, main)


@in_each_plain_form
@in_each_mode
@pytest.mark.parametrize("first", [False, True])
def test_a_client_leaves(form, accept, first):
    async def main(form):
        source, ends = Gated(1, 2), Ends()
        async with asked(respond(form, source, on_finish=ends), accept) as call:
            await source.waiting.wait()
            if first:
                source.open()
                if accept:
                    await call.until(lambda: b"1" in call.body)
                await settle()
            call.leave()
        assert source.closed
        assert ends.seen == [(Outcome.CLIENT_GONE, {"data": [1] if first else []})]
        assert call.raised is None
        if not (first and accept):
            assert call.status == 499

    run(form, main)


@in_each_plain_form
@in_each_stream
def test_a_client_leaves_during_a_send(form, accept):
    async def main(form):
        async def clean_up():
            await anyio.sleep(0.001)

        source, ends = Gated(1, on_close=clean_up), Ends()
        async with asked(respond(form, source, on_finish=ends), accept) as call:
            call.stop_reading()
            source.open()
            await call.blocked.wait()
            call.leave()
        assert source.closed
        assert ends.seen == [(Outcome.CLIENT_GONE, {"data": [1]})]

    run(form, main)


@in_each_plain_form
@in_each_mode
def test_a_client_leaves_while_the_source_is_closing_after_an_error(form, accept):
    async def main(form):
        closing, ends = anyio.Event(), Ends()

        async def clean_up():
            closing.set()
            await anyio.sleep_forever()

        source = Gated("no number", on_close=clean_up)
        source.open()
        app = respond(form, source, on_finish=ends, close_timeout=60, validate_items=int)
        async with asked(app, accept) as call:
            await closing.wait()
            call.leave()
        assert ends.seen == [(Outcome.CLIENT_GONE, {"data": []})]

    run(form, main)


@in_each_plain_form
@in_each_mode
def test_a_client_leaves_while_an_iterator_is_closed_after_its_end(form, accept):
    async def main(form):
        closing, log, ends = anyio.Event(), [], Ends()

        class Nothing:
            def __aiter__(self):
                return self

            async def __anext__(self):
                raise StopAsyncIteration

            async def aclose(self):
                try:
                    closing.set()
                    await anyio.sleep_forever()
                finally:
                    await anyio.sleep(0.001)
                    log.append("closed")

        async with asked(respond(form, Nothing(), on_finish=ends), accept) as call:
            await closing.wait()
            await settle()
            call.leave()
        assert log[0] == "closed"
        assert ends.seen == [(Outcome.CLIENT_GONE, {"data": []})]

    run(form, main)


@in_each_plain_form
def test_a_client_that_had_left_before_does_not_change_an_answer_that_is_ready(form):
    async def failing():
        raise HTTPException(418, "teapot")
        yield

    async def main(form):
        async def gone():
            return {"type": "http.disconnect"}  # at once

        async def app(scope, receive, send):
            await respond(form, failing())(scope, gone, send)

        call = await Ask(SSE).run(app)
        assert isinstance(call.raised, HTTPException)
        assert call.messages == [], "what the application makes of the error is its own affair"

    run(form, main)


@in_each_plain_form
def test_a_blocked_client_makes_no_source_idle_and_no_deadline_ends_what_the_source_has_ended(form):
    async def main(form):
        ends = Ends()
        options = {"idle_timeout": 0.02, "deadline": 0.02}
        async with asked(respond(form, numbers(0), on_finish=ends, **options), SSE) as call:
            call.stop_reading()
            await call.blocked.wait()
            await anyio.sleep(0.05)
            call.read_on()
        assert call.complete
        assert ends.seen == [(Outcome.DONE, {"data": []})]
        source = Gated(1)
        source.open(2)
        async with asked(respond(form, source, on_finish=ends, idle_timeout=0.02), SSE) as call:
            call.stop_reading()
            await call.blocked.wait()
            await anyio.sleep(0.05)
            call.read_on()
        assert ends.seen[1:] == [(Outcome.DONE, {"data": [1]})]

    run(form, main)


@in_each_plain_form
def test_a_status_that_was_sent_is_not_committed_again(form):
    async def main(form):
        source = Gated(1)
        async with asked(respond(form, source, commit_after=0.01, heartbeat=None), SSE) as call:
            source.open()
            await call.until(lambda: call.bodies)
            await anyio.sleep(0.03)
            source.open()
        assert b"" not in [message["body"] for message in call.messages[1:]]

    run(form, main)


@in_each_plain_form
def test_a_heartbeat_that_is_under_way_is_not_cut_in_two(form):
    async def main(form):
        source, log, beat, let = Gated(), [], anyio.Event(), anyio.Event()
        call = Ask(SSE)

        async def app(scope, receive, send):
            async def slow(message):
                if message.get("body"):
                    beat.set()
                    await let.wait()
                    log.append("sent")
                await send(message)

            await respond(form, source, commit_after=0, heartbeat=0.005)(scope, receive, slow)

        async with anyio.create_task_group() as group:
            group.start_soon(call.run, app)
            await beat.wait()
            call.leave()
            await call.told.wait()
            await settle()
            assert source.closed
            assert not call.ended.is_set()
            let.set()
        assert log == ["sent"]

    run(form, main)


@in_each_plain_form
@in_each_mode
@pytest.mark.parametrize("server", ["tells of the end", "hangs"])
def test_a_disconnect_during_the_last_send(form, accept, server):
    """It may be the server's word for a response that is over, but then its send returns."""

    async def main(form):
        ends = Ends()
        call = Ask(accept)

        async def app(scope, receive, send):
            async def last_send(message):
                if message.get("more_body") is False:
                    call.leave()
                    await call.told.wait()
                    await settle()
                    if server == "hangs":
                        await anyio.sleep_forever()
                await send(message)

            within = 0.02 if server == "hangs" else 60
            await respond(form, numbers(1), on_finish=ends, close_timeout=within)(scope, receive, last_send)

        await call.run(app)
        assert call.raised is None
        assert ends.seen == [(Outcome.DONE if call.complete else Outcome.CLIENT_GONE, {"data": [0]})]
        assert call.complete == (server == "tells of the end")

    run(form, main)


@in_each_plain_form
@in_each_mode
def test_finish_lets_the_source_come_to_its_end(form, accept):
    async def main(form):
        source, ends = Gated(1, 2), Ends()
        async with asked(respond(form, source, on_finish=ends, on_disconnect="finish"), accept) as call:
            await source.waiting.wait()
            call.leave()
            await call.told.wait()
            await settle()
            assert not source.closed
            source.open(3)
        assert ends.seen == [(Outcome.DONE, {"data": [1, 2]})]
        assert call.bodies == []

    run(form, main)


@in_each_plain_form
@pytest.mark.parametrize("accept", [None, SSE])
def test_a_source_that_reads_the_request_body_is_not_robbed(form, accept):
    async def main(form):
        async def app(scope, receive, send):
            request = Request(scope, receive)

            async def source():
                async for part in request.stream():
                    if part:
                        yield len(part)

            await respond(form, source(), fold=sum)(scope, receive, send)

        async with asked(app, accept, method="POST", body=None) as call:
            for part in (b"abc", b"de", b"f"):
                await settle(3)
                call.give(part, more=True)
            call.give(b"", more=False)
        assert call.body == b"6" if accept is None else call.body.count(b"data: ") == 4

    run(form, main)


@in_each_plain_form
@in_each_mode
def test_clean_up_may_wait_after_a_stop_and_is_waited_for(form, accept):
    async def main(form):
        order = []

        async def clean_up():
            for _ in range(3):
                await anyio.sleep(0.001)
            order.append("clean")

        source = Gated(1, on_close=clean_up)
        async with asked(respond(form, source), accept) as call:
            await source.waiting.wait()
            await settle()
            call.leave()
        order.append("returned")
        assert order == ["clean", "returned"]

    run(form, main)


@in_each_plain_form
@in_each_mode
@pytest.mark.parametrize("why", ["the client has left", "an error"])
def test_clean_up_that_takes_too_long_is_cancelled_and_logged(form, accept, why, caplog):
    async def main(form):
        ends = Ends()
        source = Gated(1, "no number", on_close=anyio.sleep_forever)
        app = respond(form, source, on_finish=ends, close_timeout=0.02, validate_items=int)
        async with asked(app, accept) as call:
            await source.waiting.wait()
            await settle()
            if why == "an error":
                source.open(2)
            else:
                call.leave()
        if why == "an error":
            assert ends.seen == [(Outcome.ERROR, {"data": [1]})]
            assert b"item_invalid" in call.body
        else:
            assert ends.seen == [(Outcome.CLIENT_GONE, {"data": []})]

    run(form, main)
    assert "did not close in 0.02 s" in caplog.text


@in_each_plain_form
@in_each_mode
def test_a_source_that_swallows_its_cancellation_and_goes_on_is_closed_at_its_next_item(form, accept):
    async def main(form):
        waiting, log, ends = anyio.Event(), [], Ends()

        async def source():
            try:
                try:
                    waiting.set()
                    await anyio.sleep_forever()
                except anyio.get_cancelled_exc_class():
                    log.append("swallowed")
                yield 1
                yield 2
            finally:
                log.append(type(sys.exception()).__name__)

        async with asked(respond(form, source(), on_finish=ends), accept) as call:
            await waiting.wait()
            await settle()
            call.leave()
        assert log == ["swallowed", "GeneratorExit"]
        assert ends.seen == [(Outcome.CLIENT_GONE, {"data": []})]
        assert call.bodies == []

    run(form, main)


@in_each_plain_form
@in_each_mode
def test_a_thread_that_the_source_waits_for_ends_before_the_source_closes(form, accept):
    async def main(form):
        order, in_thread, may_end = [], anyio.Event(), threading.Event()

        def work():
            anyio.from_thread.run_sync(in_thread.set)
            assert may_end.wait(10)
            order.append("thread")

        async def source():
            try:
                await anyio.to_thread.run_sync(work)
                await anyio.sleep_forever()  # is told what came while the thread ran
                yield 1
            finally:
                order.append("finally")

        async with asked(respond(form, source()), accept) as call:
            await in_thread.wait()
            call.leave()
            await settle()
            assert order == []
            may_end.set()
        assert order == ["thread", "finally"]

    run(form, main)


@in_each_plain_form
@in_each_mode
def test_a_sync_generator_runs_in_a_thread_and_is_closed_there(form, accept):
    async def main(form):
        threads = set()

        def source():
            try:
                for number in range(3):
                    threads.add(threading.current_thread())
                    yield number
            finally:
                threads.add(threading.current_thread())

        call = await Ask(accept).run(respond(form, source()))
        assert threading.current_thread() not in threads
        assert call.complete
        expected = {None: b'{"data":[0,1,2]}', SSE: b"data: 2\n\n", NDJSON: b"0\n1\n2\n", JSON_SEQ: b"\x1e2\n"}
        assert expected[accept] in call.body

    run(form, main)


@in_each_plain_form
@in_each_mode
def test_a_timeout_of_the_source_that_is_open_at_its_yields(form, accept):
    async def main(form):
        async def source():
            with anyio.move_on_after(60):
                yield 1
                await anyio.sleep(0)
                yield 2
            with anyio.move_on_after(0.001):
                await anyio.sleep_forever()
            yield 3

        ends = Ends()
        call = await Ask(accept).run(respond(form, source(), on_finish=ends))
        assert call.complete
        assert ends.seen == [(Outcome.DONE, {"data": [1, 2, 3]})]

    run(form, main)


@in_each_plain_form
@in_each_mode
def test_a_server_that_cancels_is_obeyed_after_the_clean_up_and_the_hook(form, accept):
    async def main(form):
        order = []

        async def clean_up():
            await anyio.sleep(0.001)
            order.append("clean")

        async def on_finish(outcome, partial):
            await anyio.sleep(0.001)
            order.append((outcome, partial))

        source = Gated(1, on_close=clean_up)
        async with asked(respond(form, source, on_finish=on_finish), accept) as call:
            await source.waiting.wait()
            await settle()
            call.scope_of_call.cancel()
        assert call.cancelled
        assert order == ["clean", (Outcome.CANCELLED, {"data": []})]

    run(form, main)


@in_each_plain_form
def test_hooks_that_fail_or_hang_end_nothing(form, caplog):
    async def broken(outcome, partial):
        raise ValueError("hook")

    async def hangs(outcome, partial):
        await anyio.sleep_forever()

    async def main(form):
        for hook in (broken, lambda outcome, partial: 1 / 0, hangs):
            call = await Ask().run(respond(form, numbers(1), on_finish=hook, close_timeout=0.02))
            assert (call.status, call.raised) == (200, None)

    run(form, main)
    assert caplog.text.count("on_finish raised") == 2
    assert caplog.text.count("on_finish did not end within 0.02 s") == 1


@in_each_plain_form
@pytest.mark.parametrize("accept", [SSE, NDJSON])
@pytest.mark.parametrize("beats", [False, True])
def test_a_client_that_takes_no_byte_is_cut_off(form, accept, beats):
    async def main(form):
        log, ends = [], Ends()
        source = Gated() if beats else endless(log)
        options = {"commit_after": 0, "heartbeat": 0.005, "heartbeat_lines": True} if beats else {}
        async with asked(respond(form, source, send_timeout=0.02, on_finish=ends, **options), accept) as call:
            await call.until(lambda: call.bodies)
            call.stop_reading()
        assert isinstance(call.raised, errors.StreamAborted)
        assert ends.seen[0][0] is Outcome.SLOW_CLIENT
        assert source.closed if beats else log == ["closed"]
        assert not call.complete

    run(form, main)


@in_each_plain_form
@pytest.mark.parametrize("beats", [False, True])
@pytest.mark.parametrize("error", [ConnectionResetError("gone"), RuntimeError("broken middleware")])
def test_a_send_that_fails(form, beats, error):
    async def main(form):
        source, ends = Gated(1), Ends()
        options = {"commit_after": 0, "heartbeat": 0.005} if beats else {}
        async with asked(respond(form, source, on_finish=ends, **options), SSE) as call:
            if beats:
                await call.until(lambda: call.bodies)
            call.send_error = error
            if not beats:
                source.open()
        assert source.closed
        gone = isinstance(error, OSError)
        assert call.raised is (None if gone else error)
        assert ends.seen == [(Outcome.CLIENT_GONE if gone else Outcome.ERROR, {"data": [] if beats else [1]})]

    run(form, main)


@in_each_plain_form
def test_items_wait_for_a_heartbeat_that_is_under_way(form):
    async def main(form):
        source = Gated(1)
        async with asked(respond(form, source, commit_after=0, heartbeat=0.005), SSE) as call:
            await call.until(lambda: call.messages)
            call.stop_reading()
            await call.blocked.wait()
            source.open(2)
            await settle()
            call.read_on()
        assert call.complete
        assert b"data: 1\n\n" in call.body

    run(form, main)


@in_each_plain_form
@in_each_mode
def test_items_are_checked_and_bounded(form, accept):
    class Row(BaseModel):
        n: int

    async def rows(item, count=1):
        for _ in range(count):
            yield item

    async def main(form):
        for source, options, code in (
            (rows({"n": "no"}), {"validate_items": Row}, "item_invalid"),
            (rows("x" * 200), {"max_item_bytes": 100}, "item_too_large"),
            (rows(b"bytes"), {}, "item_not_encodable"),
        ):
            call = await Ask(accept).run(respond(form, source, **options))
            assert (call.status, json.loads(call.body)["code"]) == (500, code)
        call = await Ask().run(respond(form, rows(1, 11), batch_max_items=10))
        assert (call.status, json.loads(call.body)["code"]) == (413, "batch_too_large")

    run(form, main)


@in_each_mode
def test_background_tasks_run_after_the_answer_on_trio(accept):
    async def main(form):
        order = []

        async def task():
            order.append("background")

        app = respond(form, numbers(1), background=BackgroundTask(task), on_finish=lambda *_: order.append("finish"))
        await Ask(accept).run(app)
        assert order == ["finish", "background"]

    run(TRIO, main)


@in_each_plain_form
@in_each_mode
def test_a_registry_counts_and_drains(form, accept):
    async def main(form):
        source, ends, streams = Gated(1, 2), Ends(), Streams()
        app = respond(form, source, on_finish=ends, streams=streams)
        async with asked(app, accept) as call:
            source.open()
            await source.waiting.wait()
            await settle()
            await streams.drain(0)
        assert source.closed
        assert ends.seen == [(Outcome.DRAINED, {"data": [1]})]
        assert b'"code":"draining"' in call.body
        counts = streams.snapshot().streams if accept else streams.snapshot().batches
        assert (counts.open, counts.opened, counts.items, counts.outcomes[Outcome.DRAINED]) == (0, 1, 1, 1)

    run(form, main)
