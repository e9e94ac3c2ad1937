"""`Runs` in process: work that outlives its clients, its key, its end, its bounds, and a store that fails."""

import asyncio
import logging

import pytest

from asking import asked
from dual_mode_streaming import Channel, Outcome, Runs, ServerSentEvent, concat, errors, last
from dual_mode_streaming.runs.producing import NEWEST
from dual_mode_streaming.stores import Limits, MemoryStore, NewRun, Record, RunState, SQLiteStore
from dual_mode_streaming.workers import several_workers
from runs.work import Shaky, Steps, followed, numbers, until


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")


async def final_of(runs, run):
    """The final record, when it is there."""

    async def last():
        head, _ = await runs.store.read(run.id, NEWEST, 0)
        return head.last if head.state is RunState.ENDED else 0

    _, (final,) = await runs.store.read(run.id, await asked(last) - 1)
    return final


# --- the life of a run -------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_run_is_followed_from_its_beginning_by_whoever_comes_when(store):
    runs = Runs(store)
    async with runs.lifespan():
        steps = Steps()
        run = await runs.start(steps.items(4))
        early = asyncio.create_task(followed(runs, run.id))
        steps.let(2)
        async for event in runs.follow(run.id):
            if event.data == {"n": 1}:
                break
        middle = asyncio.create_task(followed(runs, run.id, after=event.id))
        steps.let(2)
        whole = await early
        assert [event.data for event in whole] == [{"n": n} for n in range(4)]
        epoch = whole[0].id.partition("-")[0]
        assert [event.id for event in whole] == [f"{epoch}-{n}" for n in range(1, 5)]
        assert await middle == whole[2:]
        assert await followed(runs, run.id) == whole
        assert await followed(runs, run.id, after=f"{epoch}-5") == []
        assert steps.closed.is_set()
    assert runs._feeds == {}
    assert runs._producers == {}


@pytest.mark.asyncio
async def test_what_a_source_has_ready_travels_in_one_append(monkeypatch):
    monkeypatch.setattr("dual_mode_streaming.pace.monotonic", lambda: 0.0)  # however slow the machine is
    store = MemoryStore()
    appends = []

    async def append(run_id, epoch, records):
        appends.append([record.seq for record in records])
        return await MemoryStore.append(store, run_id, epoch, records)

    monkeypatch.setattr(store, "append", append)
    runs = Runs(store)
    run = await runs.start(numbers(50))
    await followed(runs, run.id)
    assert appends == [list(range(1, 51)), [51]]


@pytest.mark.asyncio
async def test_a_source_is_never_far_ahead_of_the_store():
    store = Shaky()
    runs = Runs(store)
    taken = 0

    async def endless():
        nonlocal taken
        while True:
            taken += 1
            yield "x"

    gate = asyncio.Event()
    real = store.append

    async def slow(*args):
        await gate.wait()
        return await real(*args)

    store.append = slow
    run = await runs.start(endless())
    await until(lambda: taken >= 512)
    for _ in range(50):
        await asyncio.sleep(0)
    assert taken == 512
    await runs.cancel(run.id)
    gate.set()
    await until(lambda: not runs._producers)


@pytest.mark.asyncio
async def test_the_result_is_the_fold_and_every_process_can_read_it(store):
    runs, other = Runs(store), Runs(store)
    run = await runs.start(({"text": c} for c in "abc"), fold=concat("text"))
    assert (await final_of(runs, run)).data == b'{"items":3,"result":"abc"}'
    assert await run.partial() == "abc"
    again = await other.start(numbers(9), key=None)
    assert again.is_new
    await until_done(runs, other)
    await store.aclose()


async def until_done(*all_runs):
    for runs in all_runs:
        for _, task in list(runs._producers.values()):
            await task


@pytest.mark.asyncio
async def test_a_partial_fold_can_be_had_at_any_time_in_any_process(store):
    runs, other = Runs(store), Runs(store)
    steps = Steps()
    run = await runs.start(steps.items(3), key="k", fold=last)
    attached = await other.start(numbers(1), key="k", fold=last)
    assert (attached.id, attached.is_new, run.is_new) == (run.id, False, True)
    assert await attached.partial() is None
    steps.let(2)
    async for event in runs.follow(run.id):
        if event.data == {"n": 1}:
            break
    assert await run.partial() == await attached.partial() == {"n": 1}
    steps.let()
    await until_done(runs)
    assert await run.partial() == await attached.partial() == {"n": 2}
    await store.aclose()


# --- keys --------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_of_fifty_callers_with_one_key_one_does_the_work(store):
    runs = Runs(store)
    sources = [Steps() for _ in range(50)]
    for steps in sources:
        steps.let(2)
    started = await asyncio.gather(*(runs.start(steps.items(2), key="k", owner="ann") for steps in sources))
    assert len({run.id for run in started}) == 1
    assert sum(run.is_new for run in started) == 1
    await until_done(runs)
    assert sum(steps.begun for steps in sources) == 1
    assert len((await runs.start(numbers(1), key="k", owner="bob")).id) > 20
    await until_done(runs)
    await store.aclose()


@pytest.mark.asyncio
async def test_a_key_names_one_piece_of_work_even_if_that_failed():
    async def fails():
        yield 1
        raise errors.DeadlineExceeded(3)

    runs = Runs()
    run = await runs.start(fails(), key="k")
    await final_of(runs, run)
    again = await runs.start(numbers(1), key="k")
    assert (again.id, again.is_new) == (run.id, False)
    with pytest.raises(errors.RunFailed) as caught:
        await followed(runs, again.id)
    assert (caught.value.status, caught.value.code) == (504, "deadline_exceeded")


# --- ends --------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_cancelled_run_ends_at_once_in_whichever_process_it_is(store):
    runs, other = Runs(store), Runs(store)
    finished = asyncio.Queue()
    steps = Steps()
    run = await runs.start(steps.items(9), owner="ann", on_finish=lambda *args: finished.put_nowait(args))
    steps.let(2)
    async for event in runs.follow(run.id, owner="ann"):
        if event.data == {"n": 1}:
            break
    for stranger in ("bob", None, ""):
        with pytest.raises(errors.RunNotFound):
            await other.cancel(run.id, owner=stranger)
    await other.cancel(run.id, owner="ann")
    async with asyncio.timeout(5):
        assert await finished.get() == (Outcome.CANCELLED, {"data": [{"n": 0}, {"n": 1}]})
        await steps.closed.wait()
    await other.cancel(run.id, owner="ann")  # a second time changes nothing
    with pytest.raises(errors.RunCancelled):
        await followed(other, run.id, owner="ann")
    assert finished.empty()
    await until_done(runs)
    await store.aclose()


@pytest.mark.asyncio
async def test_to_cancel_a_run_that_is_complete_changes_nothing():
    runs = Runs()
    run = await runs.start(numbers(2))
    await final_of(runs, run)
    await runs.cancel(run.id)
    assert len(await followed(runs, run.id)) == 2
    with pytest.raises(errors.RunNotFound):
        await runs.cancel("nothing")


@pytest.mark.asyncio
async def test_a_source_that_ignores_its_end_is_left_behind_and_writes_nothing_more(caplog):
    runs = Runs(close_timeout=0.01)
    release = asyncio.Event()

    async def stubborn():
        yield 1
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        yield 2

    finished = asyncio.Queue()
    run = await runs.start(stubborn(), on_finish=lambda *args: finished.put_nowait(args))
    async for _ in runs.follow(run.id):
        break
    await runs.cancel(run.id)
    assert await finished.get() == (Outcome.CANCELLED, {"data": [1]})
    assert "left behind" in caplog.text
    release.set()
    await until_done(runs)
    assert (await final_of(runs, run)).event == "cancelled"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(ValueError("secret"), 500, "internal_error"), (errors.DeadlineExceeded(1), 504, "deadline_exceeded")],
)
async def test_an_error_of_the_work_is_kept_for_all_who_follow(error, status, code, store, caplog):
    async def fails():
        yield "one"
        raise error

    finished = asyncio.Queue()
    runs = Runs(store)
    run = await runs.start(fails(), on_finish=lambda *args: finished.put_nowait(args))
    for _ in range(2):
        with pytest.raises(errors.RunFailed) as caught:
            await followed(runs, run.id)
        assert (caught.value.problem.status, caught.value.problem.code) == (status, code)
        assert "secret" not in str(caught.value.problem.as_dict())
    assert await finished.get() == (Outcome.ERROR, {"data": ["one"]})
    assert ("the work of a run failed" in caplog.text) == (code == "internal_error")
    await until_done(runs)
    await store.aclose()


@pytest.mark.asyncio
async def test_a_source_that_cancels_itself_has_failed():
    async def odd():
        yield 1
        raise asyncio.CancelledError

    runs = Runs()
    run = await runs.start(odd())
    with pytest.raises(errors.RunFailed):
        await followed(runs, run.id)


@pytest.mark.asyncio
async def test_shutdown_ends_the_runs_of_this_process_and_refuses_new_ones(store, tmp_path):
    runs = Runs(store)
    finished = []
    async with runs.lifespan():
        steps = Steps()
        run = await runs.start(steps.items(2), on_finish=lambda *args: finished.append(args))
        steps.let()
        async for _ in runs.follow(run.id):
            break
    assert finished == [(Outcome.DRAINED, {"data": [{"n": 0}]})]
    assert steps.closed.is_set()
    with pytest.raises(errors.Draining):
        await runs.start(numbers(1))
    if isinstance(store, MemoryStore):
        with pytest.raises(errors.RunFailed, match="went down") as caught:
            await followed(runs, run.id)
        assert (caught.value.status, caught.value.code) == (503, "server_shutdown")


@pytest.mark.asyncio
async def test_shutdown_lets_runs_finish_within_the_grace():
    runs = Runs(grace=5)
    async with runs.lifespan():
        run = await runs.start(numbers(3))
    assert len(await followed(runs, run.id)) == 3


@pytest.mark.asyncio
async def test_followers_of_other_processes_are_told_when_this_one_goes_down():
    store = MemoryStore()
    other, runs = Runs(store), Runs(store)
    steps = Steps()
    run = await other.start(steps.items(1))
    async with runs.lifespan():
        following = asyncio.create_task(followed(runs, run.id))
        await until(lambda: runs._feeds and next(iter(runs._feeds.values()))._opened.done())
    with pytest.raises(errors.Draining):
        await following
    steps.let()
    await until_done(other)


@pytest.mark.asyncio
async def test_a_run_that_is_cancelled_in_the_moment_of_its_end_was_cancelled():
    store = MemoryStore()
    runs = Runs(store)
    finished = asyncio.Queue()
    real = store.append

    async def cancelled_first(run_id, epoch, records):
        if records[-1].final:
            await runs.cancel(run_id)
        return await real(run_id, epoch, records)

    store.append = cancelled_first
    run = await runs.start(numbers(2), on_finish=lambda *args: finished.put_nowait(args))
    assert (await finished.get())[0] is Outcome.CANCELLED
    assert (await final_of(runs, run)).event == "cancelled"


# --- a producer that is lost -------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_followers_of_a_lost_producer_hear_of_it_when_its_lease_is_over(store):
    runs = Runs(store, limits=Limits(lease=0.1))
    run = NewRun("a", "e0", limits=runs.limits)
    await store.claim(run)
    await store.append("a", "e0", [Record(1, b"1")])
    followers = [asyncio.create_task(followed(runs, "a")) for _ in range(3)]
    for follower in followers:
        with pytest.raises(errors.RunFailed) as caught:
            await follower
        assert caught.value.code == "producer_lost"
    with pytest.raises(errors.RunEnded):  # and the zombie is refused
        await store.append("a", "e0", [Record(2, b"2")])
    await store.aclose()


@pytest.mark.asyncio
async def test_a_silent_producer_that_lives_is_not_lost(store):
    runs = Runs(store, limits=Limits(lease=0.15))
    steps = Steps()
    run = await runs.start(steps.items(1))
    following = asyncio.create_task(followed(runs, run.id))
    await asyncio.wait([following], timeout=0.5)
    assert not following.done()
    steps.let()
    assert len(await following) == 1
    await until_done(runs)
    await store.aclose()


@pytest.mark.asyncio
async def test_a_zombie_ends_its_source(store):
    finished = asyncio.Queue()
    runs = Runs(store, limits=Limits(lease=60))
    steps = Steps()
    run = await runs.start(steps.items(5), on_finish=lambda *args: finished.put_nowait(args))
    await store.close(run.id, "error", b'{"status":502,"code":"producer_lost"}')
    assert (await finished.get())[0] is Outcome.ERROR
    assert steps.closed.is_set()
    await until_done(runs)
    await store.aclose()


# --- a store that fails ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_store_that_is_away_for_a_moment_costs_nothing():
    store = Shaky()
    runs = Runs(store)
    steps = Steps()
    run = await runs.start(steps.items(20))
    following = asyncio.create_task(followed(runs, run.id))
    steps.let(5)
    await until(lambda: store._runs[run.id].last == 5)
    store.cut()
    steps.let(5)
    await until(lambda: store.refused > 2)
    store.down = False
    steps.let(10)
    assert [event.data["n"] for event in await following] == list(range(20))


@pytest.mark.asyncio
async def test_a_store_that_stays_away_ends_source_and_followers(caplog):
    store = Shaky()
    runs = Runs(store, patience=0.05)
    finished = asyncio.Queue()
    steps = Steps()
    run = await runs.start(steps.items(20), on_finish=lambda *args: finished.put_nowait(args))
    following = asyncio.create_task(followed(runs, run.id))
    steps.let()
    await until(lambda: store._runs[run.id].last == 1)
    store.cut()
    steps.let()
    with pytest.raises(errors.StoreError):
        await following
    assert (await finished.get())[0] is Outcome.ERROR
    assert steps.closed.is_set()
    assert "could not be written" in caplog.text
    with pytest.raises(errors.StoreError):
        await followed(runs, run.id)
    with pytest.raises(errors.StoreError):
        await runs.cancel(run.id)
    steps = Steps()
    source = steps.items(1)
    with pytest.raises(errors.StoreError):
        await runs.start(source)
    with pytest.raises(StopAsyncIteration):  # it was closed
        await anext(source)


@pytest.mark.asyncio
async def test_a_run_that_expires_while_it_is_followed():
    store = MemoryStore()
    runs = Runs(store)
    await store.claim(NewRun("a", "e0"))
    following = asyncio.create_task(followed(runs, "a"))
    await until(lambda: runs._feeds and runs._feeds["a"]._opened.done())
    store._delete("a")
    with pytest.raises(errors.RunExpired):
        await following


# --- bounds and odd items ----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_item_over_the_bound_is_an_error_of_the_work():
    runs = Runs(max_item_bytes=10)
    run = await runs.start(["x" * 8, "x" * 9])
    with pytest.raises(errors.RunFailed) as caught:
        await followed(runs, run.id)
    assert caught.value.code == "item_too_large"
    assert caught.value.problem.extensions == {"index": 1, "size": 11, "limit": 10}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "bound"), [({"max_result_bytes": 20}, "max_result_bytes"), ({"batch_max_items": 2}, "batch_max_items")]
)
async def test_a_result_over_its_bound_is_not_kept_but_the_items_are(options, bound):
    runs = Runs(**options)
    run = await runs.start(numbers(3))
    assert bound.encode() in (await final_of(runs, run)).data
    assert len(await followed(runs, run.id)) == 3


@pytest.mark.asyncio
async def test_a_trimmed_history_is_an_error_that_says_what_is_left():
    runs = Runs(limits=Limits(max_items=3))
    run = await runs.start(numbers(10))
    epoch = (await runs.store.read(run.id))[0].epoch
    await final_of(runs, run)
    with pytest.raises(errors.HistoryTrimmed) as caught:
        await followed(runs, run.id)
    assert (caught.value.first, caught.value.asked) == (9, 1)
    assert [event.data["n"] for event in await followed(runs, run.id, after=f"{epoch}-8")] == [8, 9]


@pytest.mark.asyncio
async def test_a_slow_follower_is_told_that_the_history_has_left_it_behind():
    runs = Runs(limits=Limits(max_items=5, max_bytes=None))
    steps = Steps()
    run = await runs.start(steps.items(3000))
    events = runs.follow(run.id)
    steps.let()
    assert (await anext(events)).data == {"n": 0}
    steps.let(2999)
    await final_of(runs, run)
    with pytest.raises(errors.HistoryTrimmed):
        async for _ in events:
            pass


@pytest.mark.asyncio
async def test_names_texts_and_signals():
    async def source():
        yield ServerSentEvent({"a": 1}, event="tick")
        yield ServerSentEvent(comment="nothing")
        yield ServerSentEvent(raw="plain")
        yield ServerSentEvent(raw='{"b":2}')
        yield float("nan")

    runs = Runs()
    run = await runs.start(source())
    events = await followed(runs, run.id)
    assert [(event.event, event.data) for event in events] == [
        ("tick", {"a": 1}),
        (None, "plain"),
        (None, {"b": 2}),
        (None, None),
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("event", [ServerSentEvent(1, id="x"), ServerSentEvent(1, event="done"), b"bytes"])
async def test_what_no_run_can_carry(event):
    runs = Runs()
    run = await runs.start([1, event])
    with pytest.raises(errors.RunFailed) as caught:
        await followed(runs, run.id)
    assert caught.value.code in ("invalid_event", "item_not_encodable")


@pytest.mark.asyncio
async def test_a_gap_of_a_channel_is_told(monkeypatch):
    monkeypatch.setattr("dual_mode_streaming.channels.crowd.GRACE", 0.0)  # who is behind is slow, at once
    channel = Channel(max_items=1, policy="drop_oldest")
    subscription = channel.subscribe()
    for number in range(3):
        await channel.publish(number)
    channel.close()
    runs = Runs()
    run = await runs.start(ServerSentEvent(event.data, event=event.event) async for event in subscription)
    assert [(event.event, event.data) for event in await followed(runs, run.id)] == [("gap", {"missed": 2}), (None, 2)]
    assert b'"items":1' in (await final_of(runs, run)).data


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "after", ["x", "", "-1", "e-", "e-1 ", "e-01", "e--1", "e-1x", "é-1", "e-1\n", "e-" + "9" * 30]
)
async def test_a_malformed_id(after):
    runs = Runs()
    run = await runs.start(numbers(1))
    with pytest.raises(errors.InvalidRequest):
        await followed(runs, run.id, after=after)
    assert runs._feeds == {}
    await until_done(runs)


@pytest.mark.asyncio
async def test_what_is_no_source_and_what_is_out_of_range():
    runs = Runs()
    for source in ("text", 5, {"a": 1}):
        with pytest.raises(TypeError):
            await runs.start(source)
    with pytest.raises(TypeError):
        await runs.start(source := numbers(1), fold=5)
    with pytest.raises(StopAsyncIteration):
        await anext(source)
    assert runs._producers == {}
    for option in ("grace", "patience", "close_timeout"):
        with pytest.raises(ValueError, match=option):
            Runs(**{option: -1})
    for option in ("max_item_bytes", "max_result_bytes", "batch_max_items"):
        with pytest.raises(ValueError, match=option):
            Runs(**{option: 0})
    for prefix in ("runs", "/runs/", "/", ""):
        with pytest.raises(ValueError, match="prefix"):
            runs.router(prefix)


# --- several workers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environment", "sign"),
    [
        ([], {}, None),
        (["uvicorn", "app:app"], {"WEB_CONCURRENCY": "1"}, None),
        (["uvicorn", "app:app", "--workers", "1"], {}, None),
        (["uvicorn", "app:app", "--workers"], {}, None),
        (["uvicorn", "app:app", "--workers", "4"], {}, "--workers 4"),
        (["granian", "--workers=2", "app:app"], {}, "--workers 2"),
        (["gunicorn", "-w", "3"], {}, "-w 3"),
        (["gunicorn", "-w3"], {}, "-w 3"),
        (["hypercorn", "-w", "many"], {}, None),
        ([], {"WEB_CONCURRENCY": "8"}, "WEB_CONCURRENCY is 8"),
        ([], {"UVICORN_WORKERS": "2"}, "UVICORN_WORKERS is 2"),
        ([], {"GRANIAN_WORKERS": "²"}, None),
    ],
)
def test_signs_of_several_workers(arguments, environment, sign):
    found = several_workers(arguments, environment)
    assert found is None if sign is None else found is not None and sign in found


@pytest.mark.asyncio
async def test_memory_with_several_workers_warns_at_the_start(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    for store, warned in ((SQLiteStore(tmp_path / "a.db"), False), (None, True)):
        async with Runs(store).lifespan():
            assert ("WEB_CONCURRENCY is 4" in caplog.text) is warned
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.asyncio
async def test_the_lifespan_deletes_old_runs(monkeypatch):
    now = 100.0
    monkeypatch.setattr("dual_mode_streaming.stores.memory.monotonic", lambda: now)
    runs = Runs(limits=Limits(ttl_after=5))
    await runs.store.claim(NewRun("a", "e", limits=Limits(ttl=10)))
    now += 11
    async with runs.lifespan():
        await until(lambda: not runs.store._runs)


@pytest.mark.asyncio
async def test_a_producer_that_is_late_but_alive_is_not_ended():
    class Late(MemoryStore):
        async def close(self, run_id, event, data, *, if_lost=False):
            if if_lost and run_id not in self.woken:
                self.woken.add(run_id)
                await self.renew(run_id, "e0")  # just before
            return await super().close(run_id, event, data, if_lost=if_lost)

    store = Late()
    store.woken = set()
    runs = Runs(store, limits=Limits(lease=0.05))
    await store.claim(NewRun("a", "e0", limits=runs.limits))
    following = asyncio.create_task(followed(runs, "a"))
    await until(lambda: store.woken)
    await store.append("a", "e0", [Record(1, b"1"), Record(2, b'{"items":1,"result":[1]}', "done", final=True)])
    assert [event.data for event in await following] == [1]
