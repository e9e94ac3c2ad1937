"""`NATSStore` on a real server."""

import asyncio
import json
import traceback
from contextlib import AsyncExitStack

import nats
import pytest
import pytest_asyncio

from asking import asked
from dual_mode_streaming.errors import RunEnded, RunNotFound, StoreError
from dual_mode_streaming.stores import Limits, NATSStore, NewRun, Record, RunState
from dual_mode_streaming.testing import TCPProxy
from dual_mode_streaming.testing.storing import check_store

RUN = NewRun("run", "e1", owner="ann", key="k")


@pytest.fixture
def connected(nats_engine, prefix):
    """Make one more store, as another process has it."""
    return lambda **options: NATSStore(f"nats://{nats_engine.address}", prefix=prefix, **options)


@pytest_asyncio.fixture
async def store(connected):
    store = connected()
    yield store
    await store.aclose()


@pytest_asyncio.fixture
async def state(nats_engine, prefix):
    """Ask for the state of the stream."""
    client = await nats.connect(f"nats://{nats_engine.address}")

    async def ask():
        question = json.dumps({"subjects_filter": ">"}).encode()
        return json.loads((await client.request(f"$JS.API.STREAM.INFO.{prefix}", question)).data)["state"]

    yield ask
    await client.close()


def records(first, last, size=0):
    return [Record(seq, b"%d" % seq + b" " * size) for seq in range(first, last + 1)]


async def soon(waiting):
    async with asyncio.timeout(10):
        return await waiting


async def all_of(store, run_id, after=0, limit=1000):
    found = []
    while page := (await store.read(run_id, after, limit))[1]:
        found += page
        after = page[-1].seq
    return found


# --- the promises --------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_it_keeps_the_promises(connected):
    assert await check_store(connected)


@pytest.mark.asyncio
async def test_it_keeps_the_promises_in_memory(connected):
    assert await check_store(lambda: connected(in_memory=True))


@pytest.mark.asyncio
async def test_a_key_whose_run_is_gone_is_taken_by_exactly_one(store, connected, state, prefix):
    await store.claim(RUN)
    await store._drop("run")  # as when it was over its time, and the pointer was not deleted yet
    other = connected()
    runs = [NewRun(f"run{n}", f"e{n}", "ann", "k") for n in range(50)]
    heads = await asyncio.gather(*((store, other)[n % 2].claim(run) for n, run in enumerate(runs)))
    await other.aclose()
    assert len({head.run_id for head in heads}) == 1
    subjects = (await state())["subjects"]
    assert {name for name in subjects if ".log." in name} == {f"{prefix}.log.r{heads[0].run_id}"}
    assert [count for name, count in subjects.items() if ".key." in name] == [1]


@pytest.mark.asyncio
async def test_a_claim_whose_reply_was_lost_finds_its_own_run(store):
    first = await store.claim(RUN)
    assert (await store.claim(RUN)).run_id == first.run_id == "run"
    unnamed = NewRun("unnamed", "e1")
    await store.claim(unnamed)
    await store.append("unnamed", "e1", records(1, 2))
    assert (await store.claim(unnamed)).last == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("run_id", ["", "a.b", "*", ">", "\ud800", "a b\r\n", "x" * 5000])
async def test_any_text_is_an_id(run_id, store):
    with pytest.raises(RunNotFound):
        await store.read(run_id)
    async with store.watch(run_id) as watch:
        await store.claim(NewRun(run_id, "e", owner="\ud800", key="\udfff"))
        await store.append(run_id, "e", records(1, 1))
        assert await soon(watch.next()) == records(1, 1)
    assert (await store.read(run_id))[0].owner == "\ud800"


# --- messages ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_append_of_several_messages_counts_as_one(store, connected):
    other = connected()
    await store.claim(RUN)
    async with other.watch("run") as watch:
        head = await store.append("run", "e1", records(1, 50, 100_000))
        assert head.last == 50
        assert await soon(watch.next()) == []
        assert await all_of(other, "run") == records(1, 50, 100_000)
        assert await all_of(other, "run", 17, 3) == records(18, 50, 100_000)
        final = Record(51, b"{}", "done", final=True)
        assert (await store.append("run", "e1", [*records(40, 50), final])).state is RunState.ENDED
        assert await soon(watch.next()) == [final]
    await other.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize("parts", [1, 2, 5])
@pytest.mark.parametrize("then", ["again", "close"])
async def test_an_append_of_which_only_some_messages_came_counts_for_nothing(parts, then, store, connected):
    other = connected()
    await store.claim(RUN)
    await store.append("run", "e1", records(1, 3))
    publish, left = store._link.publish, parts

    async def publish_some(*arguments):
        nonlocal left
        if not left:
            raise ConnectionResetError
        left -= 1
        return await publish(*arguments)

    store._link.publish = publish_some
    with pytest.raises(StoreError):
        await store.append("run", "e1", records(4, 60, 100_000))
    store._link.publish = publish
    assert (await other.read("run", 0, 0))[0].last == 3
    assert await all_of(other, "run") == records(1, 3)
    if then == "again":
        await store.append("run", "e1", records(4, 60, 100_000))
        assert await all_of(other, "run") == records(1, 3) + records(4, 60, 100_000)
    else:
        head = await other.close("run", "cancelled", b"{}")
        assert (head.state, head.last) == (RunState.ENDED, 4)
        assert await all_of(other, "run") == [*records(1, 3), Record(4, b"{}", "cancelled", final=True)]
        with pytest.raises(RunEnded):
            await store.append("run", "e1", records(4, 60, 100_000))
    await other.aclose()


@pytest.mark.asyncio
async def test_a_record_that_is_too_large_is_refused(store):
    await store.claim(RUN)
    with pytest.raises(StoreError, match="too large"):
        await store.append("run", "e1", [Record(1, b"x" * 1_100_000)])
    assert (await store.append("run", "e1", [Record(1, b"x" * store.max_record_bytes)])).last == 1


@pytest.mark.asyncio
async def test_any_record_is_found_among_those_of_many_runs(store, connected):
    for run in range(3):
        await store.claim(NewRun(f"run{run}", "e"))
    for seq in range(1, 201):
        for run in range(3):
            await store.append(f"run{run}", "e", records(seq, seq))
    fresh = connected()
    for after in (0, 1, 57, 100, 148, 198, 199, 200):
        got = (await fresh.read("run1", after, 10))[1]
        assert got == records(after + 1, min(200, after + 10))
        fresh._history._places.clear()
    await fresh.aclose()


@pytest.mark.asyncio
async def test_signs_of_life_and_dropped_records_do_not_pile_up(store, state, prefix):
    await store.claim(NewRun("run", "e1", limits=Limits(max_items=5)))
    for _ in range(10):
        await store.renew("run", "e1")
    assert (await state())["subjects"] == {f"{prefix}.log.rrun": 1}
    for seq in range(1, 31):
        await store.append("run", "e1", records(seq, seq))
    assert (await state())["subjects"] == {f"{prefix}.log.rrun": 5}
    assert await all_of(store, "run") == records(26, 30)
    await store.append("run", "e1", records(31, 50))
    assert (await state())["subjects"] == {f"{prefix}.log.rrun": 1}
    assert await all_of(store, "run") == records(46, 50)


@pytest.mark.asyncio
async def test_a_process_that_knows_nothing_drops_by_the_size_of_what_is_there(store, connected):
    await store.claim(NewRun("run", "e1", limits=Limits(max_bytes=1000)))
    await store.append("run", "e1", [Record(1, b"x" * 300), Record(2, b"x" * 500), Record(3, b"x" * 200)])
    fresh = connected()
    head = await fresh.close("run", "error", b"x" * 250)
    assert (head.first, head.last) == (2, 4)
    assert [record.seq for record in await all_of(fresh, "run")] == [2, 3, 4]
    await fresh.aclose()


@pytest.mark.asyncio
async def test_runs_over_their_time_are_deleted_and_others_stay(store, state, prefix):
    short = Limits(ttl=0.05, lease=0.01)
    for n in range(3):
        await store.claim(NewRun(f"short{n}", "e", "ann", f"k{n}", short))
    await store.claim(RUN)
    count = 0
    async with asyncio.timeout(10):
        while count < 3:
            count += await store.expire()
    assert await store.expire() == 0
    subjects = (await state())["subjects"]
    assert set(subjects) == {f"{prefix}.log.rrun", store._pointer("ann", "k")}
    with pytest.raises(RunNotFound):
        await store.renew("short1", "e")


@pytest.mark.asyncio
async def test_a_clock_that_went_wrong_closes_no_run(store):
    await store.claim(RUN)
    store._link._offset += 100  # as after a suspend, until the server is asked again
    assert (await store.read("run"))[0].state is RunState.LOST
    assert (await store.close("run", "error", b"{}", if_lost=True)).state is RunState.LIVE
    assert (await store.read("run"))[0].state is RunState.LIVE


# --- the bell ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_watches_make_no_consumers_and_leave_nothing_behind(store, state):
    async with AsyncExitStack() as stack:
        for n in range(60):
            await stack.enter_async_context(store.watch(f"run{n % 30}"))
        assert len(store._bell._hearing) == 30
        assert (await state())["consumer_count"] == 0
    client = await store._link.client()
    await asked(lambda: len(client._subs) <= 2)  # the answers to requests, and to questions for many messages
    assert not store._bell._hearing


@pytest.mark.asyncio
async def test_a_refused_append_is_not_heard(store, connected):
    zombie = connected()
    await store.claim(RUN)
    await zombie.append("run", "e1", records(1, 1))
    await store.close("run", "error", b"lost")
    async with store.watch("run") as watch, store.watch("other") as other:
        with pytest.raises(RunEnded):
            await zombie.append("run", "e1", records(2, 2))
        await store.claim(NewRun("other", "e"))
        await store.append("other", "e", records(1, 1))
        assert await soon(other.next()) == records(1, 1)
        assert not watch._rung.is_set()
    await zombie.aclose()


@pytest.mark.asyncio
async def test_a_watch_is_rung_when_the_connection_is_back(nats_engine, prefix, store):
    await store.claim(RUN)
    with TCPProxy(nats_engine.address) as proxy:
        far = NATSStore(proxy.url.replace("http", "nats"), prefix=prefix)
        async with far.watch("run") as watch:
            await asyncio.to_thread(proxy.stall)
            await store.append("run", "e1", records(1, 1))
            await asyncio.to_thread(proxy.cut)
            await asyncio.to_thread(proxy.resume)
            assert await soon(watch.next()) == []
            assert (await far.read("run"))[1] == records(1, 1)
            await store.append("run", "e1", records(2, 2))
            assert await soon(watch.next()) == records(2, 2)
        await far.aclose()


@pytest.mark.asyncio
async def test_closing_the_store_ends_its_watches(store):
    async with store.watch("run") as watch:
        await store.aclose()
        with pytest.raises(StoreError):
            await soon(watch.next())


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_server_that_is_not_there_is_a_store_error_that_keeps_the_secret(prefix):
    with TCPProxy("127.0.0.1:1") as proxy:
        proxy.refuse()
        store = NATSStore(proxy.url.replace("http://", "nats://user:s3cret@"), prefix=prefix, timeout=0.3)
        for verb in (store.open(), store.claim(RUN), store.read("run"), store.watch("run").__aenter__()):
            with pytest.raises(StoreError) as caught:
                await soon(verb)
            assert "127.0.0.1" not in str(caught.value)
            assert "s3cret" not in "".join(traceback.format_exception(caught.value))
        await store.aclose()


@pytest.mark.asyncio
async def test_a_stream_that_somebody_else_made_is_not_touched(nats_engine, prefix, store):
    client = await nats.connect(f"nats://{nats_engine.address}")
    await client.jetstream().add_stream(name=prefix, subjects=[f"{prefix}.*"])
    with pytest.raises(StoreError, match="choose another prefix"):
        await store.open()
    await client.close()


@pytest.mark.asyncio
async def test_the_options_of_a_stream_that_is_there_are_left_alone(connected):
    first, second = connected(), connected(in_memory=True)
    await first.open()
    await second.open()
    await second.claim(RUN)
    assert (await first.read("run"))[0].epoch == "e1"
    await first.aclose()
    await second.aclose()


@pytest.mark.parametrize("urls", ["nats://a:b@host:s3cret", "", [], ["nats://h", "//"]])
def test_urls_that_cannot_be_used(urls):
    with pytest.raises(ValueError, match="cannot be used") as caught:
        NATSStore(urls)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"replicas": 0}, {"prefix": "a.b"}, {"prefix": ""}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        NATSStore("nats://127.0.0.1", **options)
