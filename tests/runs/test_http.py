"""Runs over HTTP: both modes, `Prefer`, who may see what, odd ids, ends before and after the headers, drains."""

import asyncio
import json

import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from asgi import Call
from dual_mode_streaming import Runs, Streams, errors
from dual_mode_streaming.stores import Limits
from dual_mode_streaming.testing import check_dual_mode
from runs.work import SSE, Shaky, Steps, app_of, events, get, numbers, problem, stream, until


async def begun(runs, source, **options):
    run = await runs.start(source, **options)
    return run, f"/runs/{run.id}"


async def complete(runs, source, **options):
    run, path = await begun(runs, source, **options)
    for _, task in list(runs._producers.values()):
        await task
    return run, path


# --- Prefer ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("respond-async", "respond-async"),
        ("wait=0", "wait=0"),
        ("respond-async, wait=0", "respond-async, wait=0"),
        ("return=minimal, Respond-Async", "respond-async"),
    ],
)
async def test_a_batch_that_is_not_ready_becomes_202(prefer, applied):
    runs = Runs()
    steps = Steps()

    async def work(request):
        return runs.answer(steps.items(2))

    app = app_of(runs, work=work)
    call = await Call(app, "/work", method="POST", headers={"prefer": prefer}).run()
    assert call.status == 202
    location = call.headers["location"]
    assert call.headers["preference-applied"] == applied
    assert 1 <= int(call.headers["retry-after"]) <= 5
    assert call.headers["cache-control"] == "no-store"
    status = json.loads(call.body)
    assert status == {"id": location.rpartition("/")[2], "state": "running", "records": 0, "url": location}
    assert (await get(app, location, prefer=prefer)).status == 202
    waiting = Call(app, location, headers={"prefer": "wait=600"}).begin()
    steps.let(2)
    await waiting.end()
    assert (waiting.status, json.loads(waiting.body)) == (200, {"data": [{"n": 0}, {"n": 1}]})
    assert {"Prefer", "Accept"} == set(waiting.headers["vary"].split(", "))
    assert (await get(app, location, prefer="respond-async")).status == 200  # what is ready is given


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "prefer", ["wait=-1", "wait=x", "respond-async=1", "handling=strict", "respond-async" + "," * 17_000]
)
async def test_a_preference_that_is_none_is_not_followed(prefer):
    runs = Runs()
    steps = Steps()
    _, path = await begun(runs, steps.items(1))
    call = Call(app_of(runs), path, headers={"prefer": prefer}).begin()
    steps.let()
    await call.end()
    assert call.status == 200


@pytest.mark.asyncio
async def test_prefer_is_not_for_streams_and_not_followed_where_nobody_could_ask_later():
    runs = Runs()
    steps = Steps()
    bare_runs = Runs()
    run, _ = await begun(bare_runs, steps.items(1))
    _, path = await begun(runs, steps.items(1))
    bare = Call(run.response(), headers={"prefer": "respond-async"}).begin()
    app = app_of(runs)
    call = Call(app, path, headers={**SSE, "prefer": "respond-async"}).begin()
    steps.let(2)
    await call.end()
    await bare.end()
    assert (call.status, bare.status) == (200, 200)
    assert events(call.body)[0][:2] == (None, {"n": 0})


@pytest.mark.asyncio
async def test_the_location_has_the_root_path_of_the_application():
    runs = Runs()
    steps = Steps()
    _, path = await begun(runs, steps.items(1))
    call = await Call(app_of(runs), f"/api{path}", headers={"prefer": "wait=0"}, scope={"root_path": "/api"}).run()
    assert call.headers["location"] == f"/api{path}"
    steps.let()


@pytest.mark.asyncio
async def test_a_202_counts_as_done():
    streams, runs = Streams(), Runs()
    steps = Steps()
    run, _ = await begun(runs, steps.items(1))
    app_of(runs)
    call = await Call(run.response(streams=streams), headers={"prefer": "wait=0"}).run()
    assert call.status == 202
    assert {outcome.value: count for outcome, count in streams.batches.outcomes.items() if count} == {"done": 1}
    steps.let()


# --- who asks ----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_run_of_somebody_else_looks_like_one_that_is_not_there():
    async def owner(request):
        return request.headers.get("x-user")

    runs = Runs()
    app = app_of(runs, owner=owner)
    run, path = await complete(runs, numbers(1), owner="ann")
    first = f"{(await runs.store.read(run.id))[0].epoch}-1"
    nothing = (await get(app, "/runs/nothing")).messages[1]["body"]
    for headers in ({}, {"x-user": "bob"}, {"x-user": ""}):
        for more in ({}, SSE, {**SSE, "last-event-id": first}, {"prefer": "respond-async"}):
            for method in ("GET", "HEAD", "DELETE"):
                call = await Call(app, path, method=method, headers={**headers, **more}).run()
                assert (call.status, call.body) == (404, nothing)
    assert (await get(app, path, x_user="ann")).status == 200
    assert (await Call(app, path, method="DELETE", headers={"x-user": "ann"}).run()).status == 204


@pytest.mark.asyncio
async def test_what_the_function_for_owners_raises_is_the_answer():
    def owner(request):
        raise HTTPException(401)

    runs = Runs()
    _, path = await complete(runs, numbers(1))
    assert (await get(app_of(runs, owner=owner), path)).status == 401


@pytest.mark.asyncio
async def test_methods():
    runs = Runs()
    _, path = await complete(runs, numbers(1))
    app = app_of(runs)
    head = await Call(app, path, method="HEAD").run()
    assert (head.status, head.body) == (200, b"")
    put = await Call(app, path, method="PUT").run()
    assert put.status == 405
    assert {"GET", "DELETE"} <= set(put.headers["allow"].split(", "))
    assert runs._feeds == {}


# --- ids ---------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_ids_that_are_not_of_this_run():
    runs = Runs(limits=Limits(max_items=4))
    app = app_of(runs)
    run, path = await complete(runs, numbers(9))
    other, _ = await complete(runs, numbers(2))
    epoch, foreign = [(await runs.store.read(one.id))[0].epoch for one in (run, other)]
    for last_id, answer in (
        (f"{foreign}-1", (410, "epoch_changed")),
        (f"{epoch}-11", (410, "epoch_changed")),
        (f"{epoch}-99999", (410, "epoch_changed")),
        (f"{epoch}-1", (410, "history_trimmed")),
        (f"{epoch}-0", (410, "history_trimmed")),
        (f"{epoch}", (400, "invalid_request")),
        ("<script>", (400, "invalid_request")),
        ("ünïcode-1", (400, "invalid_request")),
    ):
        assert problem(await stream(app, path, last_id)) == answer
    assert problem(await stream(app, path)) == (410, "history_trimmed")
    assert [data for _, data, _ in events((await stream(app, path, f"{epoch}-6")).body)][:1] == [{"n": 6}]
    assert (await get(app, path, last_event_id="nonsense")).status == 200  # a batch has no place to go on from
    assert runs._feeds == {}


@pytest.mark.asyncio
async def test_an_id_that_only_another_process_has_heard_of_is_looked_up():
    runs = Runs()
    steps = Steps()
    run, path = await begun(runs, steps.items(3))
    steps.let()
    await until(lambda: runs.store._runs[run.id].last == 1)
    app = app_of(runs)
    following = Call(app, path, headers=SSE).begin()
    await following.until_body_has(b'"n":0')
    feed = runs._feeds[run.id]
    feed._take = lambda records: True  # this process has not heard of it yet
    steps.let()
    await until(lambda: runs.store._runs[run.id].last == 2)
    assert feed.known == 1
    del feed._take
    epoch = feed.head.epoch
    resumed = Call(app, path, headers={**SSE, "last-event-id": f"{epoch}-2"}).begin()
    await resumed.until(lambda: resumed.started)
    assert resumed.status == 200
    steps.let()
    await resumed.end()
    await following.end()
    assert [data for _, data, _ in events(resumed.body)] == [{"n": 2}, {"items": 3}]
    assert [data for _, data, _ in events(following.body)] == [{"n": 0}, {"n": 1}, {"n": 2}, {"items": 3}]


# --- ends --------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_run_that_fails_before_its_first_item_has_the_status_of_its_error_in_every_mode():
    async def fails():
        raise HTTPException(409, "taken")
        yield

    runs = Runs()
    app = app_of(runs)
    steps = Steps()

    async def later():
        await steps.gate.acquire()
        raise HTTPException(409, "taken")
        yield

    for source in (fails(), later()):
        _, path = await begun(runs, source)
        calls = [
            Call(app, path, headers={"accept": kind}).begin() for kind in ("*/*", *SSE.values(), "application/jsonl")
        ]
        await asyncio.sleep(0)
        steps.let()
        for call in calls:
            await call.end()
            assert problem(call) == (409, "http_error")


@pytest.mark.asyncio
async def test_a_run_that_fails_later_says_so_in_the_stream():
    async def fails():
        yield 1
        raise errors.SourceIdle(3)

    runs = Runs()
    app = app_of(runs)
    _, path = await complete(runs, fails())
    call = await stream(app, path)
    assert call.status == 200
    (_, item, first), (name, document, _) = events(call.body)
    assert (item, name, document["code"], document["status"]) == (1, "error", "idle_timeout", 504)
    assert problem(await stream(app, path, first)) == (504, "idle_timeout")
    assert problem(await get(app, path)) == (504, "idle_timeout")
    with pytest.raises(errors.StreamAborted):
        await get(app, path, accept="application/x-ndjson")


@pytest.mark.asyncio
async def test_a_cancelled_run_over_http():
    runs = Runs()
    app = app_of(runs)
    steps = Steps()
    _, path = await begun(runs, steps.items(5))
    following = Call(app, path, headers=SSE).begin()
    waiting = Call(app, path).begin()
    steps.let()
    await following.until_body_has(b'"n":0')
    for _ in range(2):
        assert (await Call(app, path, method="DELETE").run()).status == 204
    await following.end()
    assert events(following.body)[-1][1]["code"] == "run_cancelled"
    await waiting.end()
    assert problem(waiting) == (410, "run_cancelled")
    assert steps.closed.is_set()


@pytest.mark.asyncio
async def test_a_client_that_leaves_ends_nothing():
    runs = Runs()
    app = app_of(runs)
    steps = Steps()
    _, path = await begun(runs, steps.items(3))
    steps.let()
    calls = [Call(app, path, headers=headers).begin() for headers in (SSE, {})]
    await calls[0].until_body_has(b'"n":0')
    for call in calls:
        call.leave()
        await call.end()
    assert not steps.closed.is_set()
    assert runs._feeds == {}
    steps.let(2)
    assert json.loads((await get(app, path)).body) == {"data": [{"n": 0}, {"n": 1}, {"n": 2}]}


@pytest.mark.asyncio
async def test_a_result_that_was_not_kept_is_413_and_the_stream_has_the_items():
    runs = Runs(max_result_bytes=10)
    app = app_of(runs)
    _, path = await complete(runs, numbers(3))
    assert problem(await get(app, path)) == (413, "batch_too_large")
    assert len(events((await stream(app, path)).body)) == 4


@pytest.mark.asyncio
async def test_headers_wait_for_the_first_item_and_are_sent_without_one_in_time():
    runs = Runs()
    steps = Steps()
    run, _ = await begun(runs, steps.items(1))
    call = Call(run.response(commit_after=0.01, heartbeat=None), headers=SSE).begin()
    await call.until(lambda: call.started)
    assert call.status == 200
    steps.let()
    await call.end()
    assert [data for _, data, _ in events(call.body)] == [{"n": 0}, {"items": 1}]


# --- in an application -------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_endpoint_with_a_key_attaches_a_second_caller():
    runs = Runs()
    steps = Steps()

    async def work(request):
        return runs.answer(steps.items(2), key=request.headers.get("idempotency-key"))

    app = app_of(runs, work=work)
    calls = [Call(app, "/work", method="POST", headers={"idempotency-key": "k"}).begin() for _ in range(3)]
    watching = Call(app, "/work", method="POST", headers={"idempotency-key": "k", **SSE}).begin()
    steps.let(2)
    for call in calls:
        await call.end()
        assert json.loads(call.body) == {"data": [{"n": 0}, {"n": 1}]}
    await watching.end()
    assert len(events(watching.body)) == 3
    assert steps.begun == 1


@pytest.mark.asyncio
async def test_a_store_that_is_away_is_503_with_a_time_to_wait_in_every_mode():
    store = Shaky()
    runs = Runs(store)
    _, path = await complete(runs, numbers(1))
    closed = []

    async def work(request):
        steps = Steps()
        closed.append(steps)
        return runs.answer(steps.items(2))

    app = app_of(runs, work=work)
    store.down = True
    for target in (path, "/work"):
        for headers in ({}, SSE):
            call = await Call(app, target, headers=headers).run()
            assert problem(call) == (503, "store_unavailable")
            assert int(call.headers["retry-after"]) > 0
    assert problem(await Call(app, path, method="DELETE").run()) == (503, "store_unavailable")


@pytest.mark.asyncio
async def test_a_stream_whose_store_stays_away_ends_with_an_error():
    store = Shaky()
    runs = Runs(store, patience=0.02)
    steps = Steps()
    _, path = await begun(runs, steps.items(5))
    call = Call(app_of(runs), path, headers=SSE).begin()
    steps.let()
    await call.until_body_has(b'"n":0')
    store.cut()
    await call.end()
    assert events(call.body)[-1][1]["code"] == "store_unavailable"
    steps.let()
    await until(lambda: not runs._producers)


@pytest.mark.asyncio
async def test_a_handler_of_the_application_answers_our_errors():
    runs = Runs()
    app = app_of(runs)
    app.add_exception_handler(errors.RunNotFound, lambda request, error: PlainTextResponse("gone", 404))
    assert (await get(app, "/runs/nothing")).body == b"gone"


@pytest.mark.asyncio
async def test_a_drain_ends_followers_that_can_come_back_with_their_id():
    runs, streams = Runs(), Streams()
    steps = Steps()
    _, path = await begun(runs, steps.items(2))
    app = app_of(runs)
    app.state.streams = streams
    call = Call(app, path, headers=SSE).begin()
    steps.let()
    await call.until_body_has(b'"n":0')
    await streams.drain(0)
    await call.end()
    (_, _, first), (name, document, _) = events(call.body)
    assert (name, document["code"]) == ("error", "draining")
    assert problem(await stream(app, path, first)) == (503, "draining")
    streams.draining = False
    resumed = Call(app, path, headers={**SSE, "last-event-id": first}).begin()
    steps.let()
    await resumed.end()
    assert [data for _, data, _ in events(resumed.body)] == [{"n": 1}, {"items": 2}]
    assert runs._feeds == {}


@pytest.mark.asyncio
async def test_too_many_streams_leave_no_feed_behind():
    runs, streams = Runs(), Streams(max_streams=1)
    steps = Steps()
    _, path = await begun(runs, steps.items(1))
    app = app_of(runs)
    app.state.streams = streams
    first = Call(app, path, headers=SSE).begin()
    await until(lambda: streams.open == 1)
    assert problem(await stream(app, path)) == (503, "too_many_streams")
    steps.let()
    await first.end()
    assert runs._feeds == {}


@pytest.mark.asyncio
async def test_a_slow_client_holds_nobody_up_and_gets_everything():
    runs = Runs()
    steps = Steps()
    _, path = await begun(runs, steps.items(3000))
    app = app_of(runs)
    slow, fast = (Call(app, path, headers=SSE).begin() for _ in range(2))
    steps.let()
    await slow.until_body_has(b'"n":0')
    slow.stop_reading()
    steps.let(2999)
    await fast.end()
    assert len(events(fast.body)) == 3001
    slow.read_on()
    await slow.end()
    assert events(slow.body) == events(fast.body)


@pytest.mark.asyncio
async def test_runs_in_fastapi():
    runs = Runs()
    app = FastAPI(lifespan=runs.lifespan)
    app.router.routes.append(runs.router("/jobs"))

    @app.post("/work")
    async def work(count: int):
        return runs.answer(numbers(count))

    call = await Call(app, "/work", method="POST", query="count=2", headers={"prefer": "respond-async"}).run()
    assert call.status == 202
    assert call.headers["location"].startswith("/jobs/")
    assert json.loads((await get(app, call.headers["location"])).body) == {"data": [{"n": 0}, {"n": 1}]}


def test_the_laws_of_every_endpoint_hold_for_runs():
    runs = Runs()
    _, path = asyncio.run(complete(runs, numbers(20)))
    check_dual_mode(app_of(runs), "GET", path)


@pytest.mark.asyncio
async def test_head_begins_no_run():
    runs = Runs()
    steps = Steps()

    async def work(request):
        return runs.answer(steps.items(1))

    call = await Call(app_of(runs, work=work), "/work", method="HEAD").run()
    assert (call.status, call.body) == (200, b"")
    assert (runs.store._runs, steps.begun) == ({}, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("option", ["fold", "max_item_bytes", "on_finish", "validate_items"])
async def test_an_option_about_the_work_is_not_for_the_answer(option):
    runs = Runs()
    with pytest.raises(TypeError, match=f"{option}= is not for the answer"):
        runs.response("x", **{option: None})
