"""Names of runs on every store; and what runs say: a head, a cancel, the headers of an error, the lifespan."""

import asyncio

import pytest

from dual_mode_streaming import Outcome, Runs, errors
from dual_mode_streaming.errors import ModelError
from dual_mode_streaming.runs.names import Names
from dual_mode_streaming.stores import Limits, MemoryStore, NewRun, Record, RunState, SQLiteStore
from stores.conftest import nats_engine, prefix, valkey_engine  # noqa: F401  fixtures
from stores.engines import store_on

from .work import Shaky, Steps, app_of, followed, numbers, stream, until


@pytest.fixture(params=["memory", "sqlite", "redis", "nats"])
def pair(request, tmp_path):
    """Two stores on one engine, as two processes have them."""
    kind = request.param
    if kind == "memory":
        store = MemoryStore()
        return store, store
    if kind == "sqlite":
        return SQLiteStore(tmp_path / "runs.db"), SQLiteStore(tmp_path / "runs.db")
    engine = request.getfixturevalue({"redis": "valkey_engine", "nats": "nats_engine"}[kind])
    start = request.getfixturevalue("prefix")
    return store_on(kind, engine.address, start), store_on(kind, engine.address, start)


@pytest.mark.asyncio
async def test_a_name_stands_for_the_run_that_got_it_last(pair):
    one, other = Names(pair[0]), Names(pair[1])
    try:
        assert await one.find("chat", owner="ann") is None
        assert await one.give("chat", "run-1", owner="ann") is None
        assert await other.find("chat", owner="ann") == "run-1"
        assert await other.give("chat", "run-2", owner="ann") == "run-1"
        assert await one.find("chat", owner="ann") == "run-2"
        assert await one.give("chat", "run-3") is None
        for owner, name, found in (("bob", "chat", None), ("ann", "cha", None), (None, "chat", "run-3")):
            assert await other.find(name, owner=owner) == found
    finally:
        for store in set(pair):
            await store.aclose()


@pytest.mark.asyncio
async def test_of_many_who_give_one_name_each_but_the_first_hears_of_the_one_before(pair):
    names = [Names(store) for store in pair]
    try:
        given = [f"run-{number}" for number in range(12)]
        before = await asyncio.gather(*(names[n % 2].give("chat", run_id) for n, run_id in enumerate(given)))
        last = await names[0].find("chat")
        # Each had it once, and each but the last was told to whoever came next.
        assert sorted([*filter(None, before), last]) == sorted(given)
        assert before.count(None) == 1
    finally:
        for store in set(pair):
            await store.aclose()


@pytest.mark.asyncio
async def test_a_name_is_forgotten_and_can_be_given_again():
    store = MemoryStore()
    names = Names(store, keep_for=5)
    await names.give("chat", "run-1")
    (kept,) = store._runs.values()
    kept.touched -= 6
    assert await names.find("chat") is None
    assert await names.give("chat", "run-2") is None
    assert await names.find("chat") == "run-2"


@pytest.mark.asyncio
async def test_a_name_can_neither_be_followed_nor_cancelled_by_an_id():
    runs = Runs()
    await Names(runs.store).give("chat", "run-1")
    (run_id,) = runs.store._runs
    for owner in (None, "ann"):
        with pytest.raises(errors.RunNotFound):
            await runs.cancel(run_id, owner=owner)
        with pytest.raises(errors.RunNotFound):
            await followed(runs, run_id, owner=owner)


# --- runs ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_head_of_a_run_says_what_has_become_of_it():
    runs = Runs(limits=Limits(lease=0.05))
    steps = Steps()
    run = await runs.start(steps.items(1), owner="ann")
    assert (await runs.head(run.id, owner="ann")).state is RunState.LIVE
    with pytest.raises(errors.RunNotFound):
        await runs.head(run.id, owner="bob")
    steps.let()
    await until(lambda: not runs._producers)
    assert (await runs.head(run.id, owner="ann")).state is RunState.ENDED

    await runs.store.claim(NewRun("lost", "e", limits=runs.limits))
    runs.store._runs["lost"].leased_until = 0
    assert (await runs.head("lost")).state is RunState.ENDED
    with pytest.raises(errors.RunFailed, match="has died"):
        await followed(runs, "lost")


@pytest.mark.asyncio
async def test_a_cancel_where_the_work_is_keeps_what_was_given_and_waits_for_the_source():
    store, ends = MemoryStore(), []
    written = asyncio.Event()
    real = store.append

    async def late(run_id, epoch, records):
        if not written.is_set() and records:
            written.set()
            for _ in range(20):
                await asyncio.sleep(0)
        return await real(run_id, epoch, records)

    store.append = late
    runs, steps = Runs(store), Steps()
    run = await runs.start(steps.items(9), on_finish=lambda *told: ends.append(told))
    steps.let(3)
    await written.wait()
    await runs.cancel(run.id)
    assert steps.closed.is_set()
    assert ends == [(Outcome.CANCELLED, {"data": [{"n": 0}, {"n": 1}, {"n": 2}]})]
    _, records = await store.read(run.id)
    assert [(record.event, record.final) for record in records] == [("", False)] * 3 + [("cancelled", True)]


@pytest.mark.asyncio
async def test_a_cancel_does_not_wait_for_a_store_that_hangs_and_tells_of_one_that_is_down():
    store = Shaky()
    runs, steps = Runs(store, patience=0), Steps()
    run = await runs.start(steps.items(9))
    store.cut()
    with pytest.raises(errors.StoreError):
        await runs.cancel(run.id)


@pytest.mark.asyncio
async def test_the_headers_of_an_error_reach_those_who_follow_and_are_in_no_body():
    async def busy():
        raise ModelError("Try again.", status=429, code="busy", headers={"retry-after": "7"})
        yield

    runs = Runs()
    run = await runs.start(busy())
    call = await stream(app_of(runs), f"/runs/{run.id}")
    assert (call.status, call.headers["retry-after"]) == (429, "7")
    assert b"headers" not in call.body
    with pytest.raises(errors.RunFailed) as told:
        await followed(runs, run.id)
    assert (told.value.headers, told.value.problem.extensions) == ({"retry-after": "7"}, {})


@pytest.mark.asyncio
async def test_the_lifespan_lasts_until_all_parts_of_an_application_have_left_it():
    runs = Runs()
    async with runs.lifespan():
        async with runs.lifespan():
            pass
        run = await runs.start(numbers(2))
        assert len(await followed(runs, run.id)) == 2
    with pytest.raises(errors.Draining):
        await runs.start(numbers(1))


@pytest.mark.asyncio
async def test_a_store_finds_the_run_of_a_key_and_begins_none(pair):
    one, other = pair
    try:
        with pytest.raises(errors.RunNotFound):
            await one.find("ann", "key")
        head = await one.claim(NewRun("a-run", "epoch", "ann", "key"))
        await one.append("a-run", "epoch", [Record(1, b"1")])
        found = await other.find("ann", "key")
        assert (found.run_id, found.epoch, found.last) == (head.run_id, "epoch", 1)
        with pytest.raises(errors.RunNotFound):
            await other.find(None, "key")
    finally:
        for store in {one, other}:
            await store.aclose()
