"""A channel behind `DualModeResponse`: on the wire, and under everything that may end a response."""

import asyncio
import contextvars
import gc
import weakref

import anyio
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.routing import Route

from asgi import Call, Clock
from dual_mode_streaming import (
    Channel,
    DualModeResponse,
    Outcome,
    ServerSentEvent,
    Streams,
    dual_mode,
    errors,
    last,
    to_list,
)
from dual_mode_streaming.sse import SSEDecoder

SSE = {"accept": "text/event-stream"}
NDJSON = {"accept": "application/x-ndjson"}
JSON_SEQ = {"accept": "application/json-seq"}
STREAMS = pytest.mark.parametrize("accept", [SSE, NDJSON, JSON_SEQ], ids=["sse", "ndjson", "json-seq"])


def respond(source, **options):
    options.setdefault("retry", None)

    async def app(scope, receive, send):
        await DualModeResponse(source, **options)(scope, receive, send)

    return app


def events_of(body):
    decoder = SSEDecoder()
    return decoder.feed(body) + decoder.flush()


def texts(call):
    return [event.data for event in events_of(call.body)]


async def settle(turns=20):
    for _ in range(turns):
        await asyncio.sleep(0)


async def begun(channel, headers=SSE, **options):
    """A response that is idle."""
    call = Call(respond(channel, **options), headers=headers).begin()
    await call.until(lambda: len(call.messages) > 1)
    await settle()
    return call


class Ends:
    """Takes note of how responses end."""

    def __init__(self):
        self.seen = []

    def __call__(self, outcome, partial):
        self.seen.append((outcome, partial))


# --- on the wire -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("accept", "frames"),
    [
        (
            SSE,
            (
                'retry: 7\nid: E-1\ndata: {"n":1}\n\nevent: note\nid: E-2\ndata: "x"\n\n'
                'event: done\nid: dms-done\ndata: {"items":2}\n\n'
            ),
        ),
        (NDJSON, '{"id":"E-1","data":{"n":1}}\n{"event":"note","id":"E-2","data":"x"}\n'),
        (JSON_SEQ, '\x1e{"id":"E-1","data":{"n":1}}\n\x1e{"event":"note","id":"E-2","data":"x"}\n'),
    ],
    ids=["sse", "ndjson", "json-seq"],
)
async def test_the_frames_of_each_format(accept, frames):
    channel = Channel()
    call = await begun(channel, accept, retry=(7, 7))
    assert (call.status, call.body) == (200, b"")
    await channel.publish({"n": 1})
    await channel.publish("x", event="note")
    await call.until_body_has(b"-2")
    assert len(call.bodies) == 1  # what is ready together travels together
    channel.close()
    await call.end()
    assert call.body.decode().replace(channel.epoch, "E") == frames
    assert call.complete


@pytest.mark.asyncio
async def test_headers_do_not_wait_for_the_first_item():
    call = await begun(Channel(), commit_after=1000)
    assert call.headers["content-type"] == "text/event-stream; charset=utf-8"
    call.leave()
    await call.end()


@pytest.mark.asyncio
async def test_subscribers_that_are_level_share_the_bytes():
    channel = Channel()
    calls = [await begun(channel) for _ in range(3)]
    await channel.publish("x" * 1000)
    await settle()
    assert len({id(call.messages[-1]["body"]) for call in calls}) == 1
    channel.close()
    for call in calls:
        await call.end()


@pytest.mark.asyncio
async def test_a_batch_is_the_fold_of_the_history():
    channel = Channel(history=2)
    for number in range(3):
        await channel.publish(number)
    assert (await Call(respond(channel)).run()).body == b'{"data":[1,2]}'
    assert (await Call(respond(channel, fold=last)).run()).body == b"2"
    assert (await Call(respond(channel.subscribe(), fold=to_list)).run()).body == b"[1,2]"
    assert channel.subscriptions == ()


@pytest.mark.asyncio
async def test_head_and_the_terminal_id_subscribe_nobody():
    channel = Channel()
    head = await Call(respond(channel), headers=SSE, method="HEAD").run()
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")
    seen = await Call(respond(channel.subscribe()), headers={**SSE, "last-event-id": "dms-done"}).run()
    assert (seen.status, seen.body) == (204, b"")
    assert channel.subscriptions == ()


@pytest.mark.asyncio
@STREAMS
async def test_a_client_that_comes_back_gets_what_it_has_missed_and_then_what_is_new(accept):
    channel = Channel(history=10)
    for number in range(1, 4):
        await channel.publish({"n": number})
    call = Call(respond(channel), headers={**accept, "last-event-id": f"{channel.epoch}-1"}).begin()
    await call.until_body_has(b'"n":3')
    await channel.publish({"n": 4})
    channel.close()
    await call.end()
    assert [call.body.count(b'"n":%d' % number) for number in range(1, 5)] == [0, 1, 1, 1]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("accept", "gap"),
    [
        (SSE, 'event: gap\nid: E-3\ndata: {"missed":null}\n\n'),
        (NDJSON, '{"event":"gap","id":"E-3","data":{"missed":null}}\n'),
        (JSON_SEQ, '\x1e{"event":"gap","id":"E-3","data":{"missed":null}}\n'),
    ],
    ids=["sse", "ndjson", "json-seq"],
)
async def test_a_client_with_an_id_of_another_channel_is_told_of_the_gap(accept, gap):
    channel = Channel(history=1)
    for number in range(4):
        await channel.publish(number)
    channel.close()
    call = await Call(respond(channel), headers={**accept, "last-event-id": f"{Channel().epoch}-2"}).run()
    assert call.body.decode().replace(channel.epoch, "E").startswith(gap)


@pytest.mark.asyncio
async def test_the_id_that_an_endpoint_gives_wins_over_that_of_the_request():
    channel = Channel(history=10)
    for number in range(4):
        await channel.publish(number)
    channel.close()
    headers = {**SSE, "last-event-id": f"{channel.epoch}-3"}
    subscription = channel.subscribe(last_event_id=f"{channel.epoch}-1")
    assert texts(await Call(respond(subscription), headers=headers).run())[:-1] == ["1", "2", "3"]
    assert texts(await Call(respond(channel.subscribe()), headers=headers).run())[:-1] == ["3"]


@pytest.mark.asyncio
async def test_endpoints_may_return_a_channel():
    channel = Channel(history=5)
    await channel.publish({"n": 1})
    app = FastAPI()

    @app.get("/channel")
    @dual_mode(fold=to_list)
    async def whole() -> Channel:
        return channel

    @app.get("/subscription")
    @dual_mode(mode="stream")
    def part(request: Request):
        return channel

    channel.close()
    assert (await Call(app, "/channel").run()).body == b'[{"n":1}]'
    headers = {"last-event-id": f"{channel.epoch}-0"}
    assert texts(await Call(app, "/subscription", headers=headers).run())[:-1] == ['{"n":1}']


@pytest.mark.asyncio
async def test_an_author_may_relay_a_subscription_and_its_gaps_but_not_make_gaps():
    channel = Channel(policy="drop_oldest", max_items=1)
    subscription = channel.subscribe()
    for number in range(3):
        await channel.publish(number)
    channel.close()

    async def relay():
        async for event in subscription:
            yield event

    call = await Call(respond(relay()), headers=SSE).run()
    assert [event.event for event in events_of(call.body)] == ["gap", None, "done"]
    assert texts(call) == ['{"missed":2}', "2", '{"items":1}']

    async def forge():
        yield ServerSentEvent({"missed": 1}, event="gap")

    assert (await Call(respond(forge()), headers=SSE).run()).status == 500


@pytest.mark.asyncio
async def test_items_are_checked_like_those_of_any_source():
    channel = Channel(history=5)
    await channel.publish(1)
    await channel.publish("text")
    channel.close()
    headers = {**SSE, "last-event-id": f"{channel.epoch}-0"}
    for options, code in (({"validate_items": int}, "item_invalid"), ({"max_item_bytes": 4}, "item_too_large")):
        ends = Ends()
        call = await Call(respond(channel, on_finish=ends, **options), headers=headers).run()
        assert code in (call.body.decode())
        assert [outcome for outcome, _ in ends.seen] == [Outcome.ERROR]


# --- ends ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_client_that_leaves():
    channel, ends = Channel(), Ends()
    call = await begun(channel, on_finish=ends, fold=to_list)
    await channel.publish(1)
    await settle()
    call.leave()
    await call.end()
    assert ends.seen == [(Outcome.CLIENT_GONE, [1])]
    assert channel.subscriptions == ()


@pytest.mark.asyncio
async def test_a_client_that_leaves_a_source_which_finishes():
    channel, ends = Channel(), Ends()
    call = await begun(channel, on_finish=ends, fold=to_list, on_disconnect="finish")
    call.leave()
    await settle()
    await channel.publish(1)
    channel.close()
    await call.end()
    assert ends.seen == [(Outcome.DONE, [1])]
    assert call.body == b""


@pytest.mark.asyncio
async def test_the_end_of_the_channel():
    channel, ends = Channel(), Ends()
    call = await begun(channel, on_finish=ends, fold=to_list)
    await channel.publish(1)
    channel.close()
    await call.end()
    assert ends.seen == [(Outcome.DONE, [1])]
    assert texts(call) == ["1", '{"items":1}']


@pytest.mark.asyncio
async def test_a_channel_that_is_closed_with_an_error():
    channel, ends = Channel(), Ends()
    sse, ndjson = await begun(channel, on_finish=ends), await begun(channel, NDJSON)
    await channel.publish(1)
    channel.close(errors.SourceIdle(3))
    await sse.end()
    *_, error = events_of(sse.body)
    assert error.event == "error"
    assert '"code":"idle_timeout"' in error.data
    assert ends.seen[0][0] is Outcome.ERROR
    with pytest.raises(errors.StreamAborted):
        await ndjson.end()
    assert ndjson.body.splitlines()[0] == b'{"id":"%b-1","data":1}' % channel.epoch.encode()
    assert ndjson.body.splitlines()[1].startswith(b'{"error":{')


@pytest.mark.asyncio
async def test_a_client_that_is_too_far_behind_is_told_so():
    channel, ends = Channel(max_items=2), Ends()
    call = await begun(channel, on_finish=ends, fold=to_list)
    call.stop_reading()
    await channel.publish(1)
    await call.until_blocked()
    for number in (2, 3, 4):
        await channel.publish(number)
        await settle()
    call.read_on()
    await call.end()
    *_, error = events_of(call.body)
    assert error.event == "error"
    assert '"code":"slow_client"' in error.data
    assert '"bound":"max_items","limit":2' in error.data.replace(
        '"limit":2,"bound":"max_items"', '"bound":"max_items","limit":2'
    )
    assert [outcome for outcome, _ in ends.seen] == [Outcome.SLOW_CLIENT]


@pytest.mark.asyncio
async def test_a_client_that_takes_no_byte_for_too_long():
    channel, ends = Channel(), Ends()
    call = await begun(channel, on_finish=ends, send_timeout=0.01)
    call.stop_reading()
    await channel.publish(1)
    with pytest.raises(errors.StreamAborted):
        await call.end()
    assert [outcome for outcome, _ in ends.seen] == [Outcome.SLOW_CLIENT]
    assert channel.subscriptions == ()


@pytest.mark.asyncio
async def test_a_deadline():
    channel, ends = Channel(), Ends()
    call = await begun(channel, on_finish=ends, deadline=0.01)
    await call.end()
    assert '"code":"deadline_exceeded"' in events_of(call.body)[-1].data
    assert ends.seen[0][0] is Outcome.DEADLINE


@pytest.mark.asyncio
async def test_a_channel_that_is_silent_for_too_long():
    clock, channel, ends = Clock(), Channel(), Ends()
    call = await begun(channel, on_finish=ends, idle_timeout=1000)
    clock.forward(600)
    await channel.publish(1)  # a push is a sign of life
    await call.until_body_has(b"data: 1")
    clock.forward(600)
    await settle()
    assert ends.seen == []
    clock.forward(600)
    await call.end()
    assert '"code":"idle_timeout"' in events_of(call.body)[-1].data
    assert ends.seen[0][0] is Outcome.IDLE


@pytest.mark.asyncio
async def test_a_drain():
    channel, ends, streams = Channel(), Ends(), Streams()
    call = await begun(channel, on_finish=ends, streams=streams)
    await channel.publish(1)
    await settle()
    await streams.drain(0.1)
    await call.end()
    assert '"code":"draining"' in events_of(call.body)[-1].data
    assert ends.seen[0][0] is Outcome.DRAINED
    assert channel.subscriptions == ()


@pytest.mark.asyncio
async def test_a_cancellation_by_the_server():
    channel, ends = Channel(), Ends()
    call = await begun(channel, on_finish=ends)
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.end()
    assert ends.seen[0][0] is Outcome.CANCELLED
    assert channel.subscriptions == ()


# --- pushes ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_push_that_has_to_wait_is_finished_by_the_task_which_then_catches_up():
    channel = Channel()
    call, other = await begun(channel), await begun(channel)
    call.stop_reading()
    for number in range(3):
        await channel.publish(number)
        await settle()
    assert texts(other) == ["0", "1", "2"]
    call.read_on()
    await call.until_body_has(b"data: 2")
    await channel.publish(3)
    channel.close()
    await call.end()
    await other.end()
    assert texts(call) == texts(other) == ["0", "1", "2", "3", '{"items":4}']


@pytest.mark.asyncio
async def test_one_that_catches_up_gets_all_that_is_ready_in_one_send():
    channel = Channel()
    call, other = await begun(channel), await begun(channel)
    call.stop_reading()
    await channel.publish(0)
    await call.until_blocked()
    for number in (1, 2, 3):
        await channel.publish(number)
        await settle()
    call.read_on()
    await call.until_body_has(b"data: 3")
    assert [body.count(b"data") for body in call.bodies] == [1, 3]
    channel.close()
    await call.end()
    await other.end()


@pytest.mark.asyncio
async def test_a_subscription_that_is_given_up_ends_its_response():
    channel = Channel()
    call = await begun(channel)
    await channel.publish(1)
    await settle()
    await channel.subscriptions[0].aclose()
    await channel.publish(2)
    await call.end()
    assert texts(call) == ["1", '{"items":2}']


@pytest.mark.asyncio
@pytest.mark.parametrize(("grace", "outcome"), [(60.0, Outcome.DONE), (0.0, Outcome.SLOW_CLIENT)])
async def test_a_send_that_needs_some_turns_is_given_a_moment(grace, outcome, monkeypatch):
    monkeypatch.setattr("dual_mode_streaming.channels.crowd.GRACE", grace)
    channel, ends = Channel(max_items=2), Ends()

    async def slowly(send, message):
        for _ in range(5):
            await asyncio.sleep(0)
        await send(message)

    call = Call(pure(slowly)(respond(channel, on_finish=ends)), headers=SSE).begin()
    await call.until(lambda: len(call.messages) > 1)
    await settle()
    for number in range(20):
        await channel.publish(number)
    channel.close()
    await call.end()
    assert ends.seen[0][0] is outcome


@pytest.mark.asyncio
async def test_sends_of_two_subscribers_may_wait_for_one_future():
    channel = Channel()
    gate = asyncio.get_running_loop().create_future()

    async def waits(send, message):
        if message.get("body"):
            await gate
        await send(message)

    calls = [Call(pure(waits)(respond(channel)), headers=SSE).begin() for _ in range(3)]
    for call in calls:
        await call.until(lambda call=call: len(call.messages) > 1)
    await settle()
    await channel.publish(1)
    await settle()
    gate.set_result(None)
    channel.close()
    for call in calls:
        await call.end()
        assert texts(call) == ["1", '{"items":1}']


@pytest.mark.asyncio
async def test_a_client_that_is_dropped_for_is_told_where():
    channel = Channel(policy="drop_oldest", max_items=2)
    call = await begun(channel)
    call.stop_reading()
    for number in range(6):
        await channel.publish(number)
        await settle()
    assert [one.stats.dropped for one in channel.subscriptions] == [3]
    call.read_on()
    await call.until_body_has(b"data: 5")
    channel.close()
    await call.end()
    assert texts(call) == ["0", '{"missed":3}', "4", "5", '{"items":6}']


@pytest.mark.asyncio
async def test_a_heartbeat_and_a_push_never_send_at_the_same_time():
    channel = Channel()
    sending = 0
    most = 0
    gate = asyncio.Event()
    beating = asyncio.Event()

    def one_at_a_time(app):
        async def wrapped(scope, receive, send):
            async def counted(message):
                nonlocal sending, most
                sending += 1
                most = max(most, sending)
                if message.get("body") == b": \n\n":
                    beating.set()
                    await gate.wait()
                await send(message)
                sending -= 1

            await app(scope, receive, counted)

        return wrapped

    call = Call(one_at_a_time(respond(channel, heartbeat=0.005)), headers=SSE).begin()
    async with asyncio.timeout(10):
        await beating.wait()
    await channel.publish(1)
    await settle()
    assert b"data: 1" not in call.body
    gate.set()
    await call.until_body_has(b"data: 1")
    channel.close()
    await call.end()
    assert most == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("when", ["at once", "later"])
async def test_one_whose_send_is_broken_does_not_stop_the_others(when):
    channel, ends = Channel(), Ends()

    def broken(app):
        async def wrapped(scope, receive, send):
            async def fails(message):
                if message.get("body"):
                    if when == "later":
                        await asyncio.sleep(0)
                    raise LookupError("middleware")
                await send(message)

            await app(scope, receive, fails)

        return wrapped

    first = await begun(channel)
    bad = Call(broken(respond(channel, on_finish=ends)), headers=SSE).begin()
    await bad.until(lambda: len(bad.messages) > 1)
    second = await begun(channel)
    await settle()
    await channel.publish(1)
    with pytest.raises(LookupError, match="middleware"):
        await bad.end()
    assert ends.seen[0][0] is Outcome.ERROR
    await channel.publish(2)
    channel.close()
    await first.end()
    await second.end()
    assert texts(first) == texts(second) == ["1", "2", '{"items":2}']


@pytest.mark.asyncio
async def test_a_send_that_cancels_itself_does_not_stop_the_others():
    channel = Channel()

    async def gives_up(send, message):
        if message.get("body"):
            raise asyncio.CancelledError
        await send(message)

    bad = Call(pure(gives_up)(respond(channel)), headers=SSE).begin()
    await bad.until(lambda: len(bad.messages) > 1)
    good = await begun(channel)
    await channel.publish(1)
    with pytest.raises(RuntimeError, match="nobody had cancelled it"):
        await bad.end()
    await channel.publish(2)
    channel.close()
    await good.end()
    assert texts(good) == ["1", "2", '{"items":2}']


@pytest.mark.asyncio
async def test_a_client_whose_connection_breaks_in_a_push():
    channel, ends = Channel(), Ends()
    call = await begun(channel, on_finish=ends)
    call.send_error = ConnectionResetError()
    await channel.publish(1)
    await call.end()
    assert ends.seen[0][0] is Outcome.CLIENT_GONE


variable = contextvars.ContextVar("variable", default="none")


def pure(wrap):
    """A middleware that wraps `send`."""

    def middleware(app):
        async def wrapped(scope, receive, send):
            variable.set("of the request")
            task = asyncio.current_task()

            async def around(message):
                assert asyncio.current_task() is task
                assert variable.get() == "of the request"
                await wrap(send, message)

            await app(scope, receive, around)

        return wrapped

    return middleware


async def with_timeout(send, message):
    async with asyncio.timeout(5):
        await asyncio.sleep(0)
        await send(message)


async def with_scope(send, message):
    with anyio.fail_after(5):
        await anyio.lowlevel.checkpoint()
        await send(message)


async def with_task_group(send, message):
    async with anyio.create_task_group() as group:
        group.start_soon(send, message)


async def with_variable(send, message):
    token = variable.set("of the send")
    await asyncio.sleep(0)
    await send(message)
    variable.reset(token)


async def at_once(send, message):
    await send(message)


lock = {}


async def with_lock(send, message):
    async with lock.setdefault(asyncio.get_running_loop(), anyio.Lock()):
        await send(message)


class Base(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        return await call_next(request)


MIDDLEWARE = {
    **{
        wrap.__name__: pure(wrap)
        for wrap in (at_once, with_timeout, with_scope, with_task_group, with_variable, with_lock)
    },
    "BaseHTTPMiddleware": Base,
    "twice BaseHTTPMiddleware": lambda app: Base(Base(app)),
    "timeout in BaseHTTPMiddleware": lambda app: pure(with_timeout)(Base(app)),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("middleware", MIDDLEWARE.values(), ids=MIDDLEWARE)
@pytest.mark.parametrize("accept", [SSE, NDJSON], ids=["sse", "ndjson"])
async def test_pushes_behind_middleware(middleware, accept):
    channel = Channel()

    async def endpoint(request):
        return DualModeResponse(channel, retry=None)

    app = middleware(Starlette(routes=[Route("/", endpoint)]))
    calls = [Call(app, headers=accept).begin() for _ in range(3)]
    for call in calls:
        await call.until(lambda call=call: len(channel.subscriptions) == 3 and call.started)
    for number in range(50):
        await channel.publish({"n": number})
        if number % 7 == 0:
            await settle(3)
    channel.close()
    for call in calls:
        await call.end()
        assert [call.body.count(b'"n":%d}' % number) for number in range(50)] == [1] * 50
        assert call.complete
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.asyncio
async def test_a_timeout_of_the_send_belongs_to_the_send():
    """It fires while the send waits in a step that a push has made; the response learns of nothing else."""
    channel, ends = Channel(), Ends()
    stuck = asyncio.Event()

    async def impatient(send, message):
        if message.get("body") == b"id: %b-1\ndata: 1\n\n" % channel.epoch.encode():
            try:
                async with asyncio.timeout(0):
                    await stuck.wait()
            except TimeoutError:
                pass
        await send(message)

    call = Call(pure(impatient)(respond(channel, on_finish=ends)), headers=SSE).begin()
    await call.until(lambda: len(call.messages) > 1)
    await settle()
    await channel.publish(1)
    await call.until_body_has(b"data: 1")
    await channel.publish(2)
    channel.close()
    await call.end()
    assert texts(call) == ["1", "2", '{"items":2}']
    assert ends.seen[0][0] is Outcome.DONE


@pytest.mark.asyncio
async def test_a_client_that_leaves_while_a_push_waits():
    channel, ends = Channel(), Ends()
    call = await begun(channel, on_finish=ends)
    call.stop_reading()
    await channel.publish(1)
    await call.until_blocked()
    call.leave()
    await call.end()
    assert ends.seen[0][0] is Outcome.CLIENT_GONE
    assert channel.subscriptions == ()


@pytest.mark.asyncio
async def test_a_push_outside_of_its_task_leaves_no_task_behind():
    channel = Channel()
    call = await begun(channel)
    seen = []
    await channel.publish(1)
    asyncio.get_running_loop().call_soon(lambda: seen.append(asyncio.current_task()))
    await settle()
    assert seen == [None]
    channel.close()
    await call.end()


@pytest.mark.asyncio
async def test_thousands_of_clients_that_leave_at_once_leave_nothing():
    channel = Channel(policy="drop_oldest", max_items=5)
    calls = [Call(respond(channel), headers=SSE).begin() for _ in range(1000)]
    for call in calls:
        await call.until(lambda call=call: call.started)
    for call in calls[:300]:
        call.stop_reading()
    for number in range(20):
        await channel.publish("x" * number)
        await settle(2)
    traces = [weakref.ref(subscription) for subscription in channel.subscriptions]
    assert len(traces) == 1000
    for call in calls:
        call.leave()
    for call in calls:
        await call.end()
    del call, calls
    await settle()
    gc.collect()
    assert channel.subscriptions == ()
    assert [trace for trace in traces if trace() is not None] == []
    assert len(asyncio.all_tasks()) == 1
    await channel.publish(1)
    await settle()
    assert not channel.log._window
