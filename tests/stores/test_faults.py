"""What becomes of runs when an engine, a connection or a producer dies, on every network engine."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from dual_mode_streaming.errors import RunEnded, RunNotFound, StoreError
from dual_mode_streaming.stores import Limits, NATSStore, NewRun, Record, RunState
from dual_mode_streaming.testing import TCPProxy
from stores.engines import VALKEY, nats, redis_like, store_on

KINDS = ["redis", "nats"]
each_kind = pytest.mark.parametrize("kind", KINDS)
TESTS = Path(__file__).parents[1]
RUN = NewRun("run", "e1", owner="ann", key="k")


def records(first, last):
    return [Record(seq, b"%d" % seq) for seq in range(first, last + 1)]


async def soon(waiting):
    async with asyncio.timeout(10):
        return await waiting


@pytest.fixture
def address(kind, request):
    """The address of the engine that all tests share."""
    return request.getfixturevalue("nats_engine" if kind == "nats" else "valkey_engine").address


@pytest.fixture
def own_engine(kind, tmp_path):
    """An engine for one test, which keeps on disk what it is told."""
    if kind == "nats":
        engine = nats(tmp_path)
    else:
        engine = redis_like(VALKEY, tmp_path, "--appendonly", "yes", "--appendfsync", "everysec")
    yield engine
    engine.stop()


@pytest_asyncio.fixture
async def connect():
    """Make stores, and close them in the end."""
    stores = []

    def make(*arguments, **options):
        stores.append(store_on(*arguments, **options))
        return stores[-1]

    yield make
    for store in stores:
        await store.aclose()


# --- a connection is cut -------------------------------------------------------------------------


VERBS = {
    "append": lambda store: store.append("run", "e1", records(2, 3)),
    "the end": lambda store: store.append("run", "e1", [*records(2, 2), Record(3, b"{}", "done", final=True)]),
    "add": lambda store: store.add("run", "e1", records(2, 3)),
    "close": lambda store: store.close("run", "cancelled", b"{}"),
}


async def stall_before_it_is_done(store, proxy):
    """Hold back the reply to the next step that changes something: NATS is asked for the last message before it."""
    if not isinstance(store, NATSStore):
        await asyncio.to_thread(proxy.stall)
        return
    publish = store._link.publish

    async def stall_and_publish(*arguments):
        store._link.publish = publish
        await asyncio.to_thread(proxy.stall)
        return await publish(*arguments)

    store._link.publish = stall_and_publish


@pytest.mark.asyncio
@each_kind
@pytest.mark.parametrize("verb", VERBS)
async def test_a_cut_after_the_server_has_done_it_and_before_its_reply_doubles_nothing(
    kind, verb, address, connect, prefix
):
    direct = connect(kind, address, prefix)
    await direct.claim(RUN)
    await direct.claim(NewRun("another", "e"))
    await direct.add("another", "e", records(1, 1))
    await direct.close("another", "cancelled", b"{}")  # so the server knows all scripts
    with TCPProxy(address) as proxy:
        store = connect(kind, proxy.url.removeprefix("http://"), prefix)
        await store.append("run", "e1", records(1, 1))
        async with direct.watch("run") as watch:
            await stall_before_it_is_done(store, proxy)
            doing = asyncio.create_task(VERBS[verb](store))
            await soon(watch.next())  # so it is done
            assert not doing.done()
            await asyncio.to_thread(proxy.cut)
            await asyncio.to_thread(proxy.resume)
            done = await soon(doing)
        head, kept = await direct.read("run")
        if verb == "add":
            assert done == 2
        else:
            assert (done.last, done.state) == (head.last, head.state)
        assert [record.seq for record in kept] == [1, 2] if verb == "close" else [1, 2, 3]
        await store.aclose()


# --- an engine dies ------------------------------------------------------------------------------


@pytest.mark.asyncio
@each_kind
async def test_an_engine_that_is_killed_and_comes_back_has_lost_nothing(kind, own_engine, connect, prefix):
    producer, follower = (connect(kind, own_engine.address, prefix) for _ in range(2))
    await producer.claim(RUN)
    await producer.append("run", "e1", records(1, 20))
    for seq in range(21, 31):
        await producer.append("run", "e1", records(seq, seq))
    async with follower.watch("run") as watch:
        own_engine.kill()
        appending = asyncio.create_task(producer.append("run", "e1", records(31, 31)))
        await asyncio.to_thread(own_engine.start)
        assert (await soon(appending)).last == 31
        known = 0
        while known < 31:
            await soon(watch.next())
            known = (await follower.read("run"))[0].last
        assert (await follower.read("run"))[1] == records(1, 31)
        await producer.append("run", "e1", records(32, 32))
        while known < 32:
            await soon(watch.next())
            known = (await follower.read("run"))[0].last
    assert (await follower.claim(NewRun("other", "e2", "ann", "k"))).run_id == "run"


@pytest.mark.asyncio
@each_kind
async def test_an_engine_that_comes_back_empty_says_that_there_is_no_such_run(kind, own_engine, connect, prefix):
    producer, follower = (connect(kind, own_engine.address, prefix) for _ in range(2))
    await producer.claim(RUN)
    await producer.append("run", "e1", records(1, 20))
    async with follower.watch("run") as watch:
        own_engine.kill()
        own_engine.wipe()
        await asyncio.to_thread(own_engine.start)
        await soon(watch.next())
        with pytest.raises(RunNotFound):
            await follower.read("run", 20)
    for verb in (
        producer.append("run", "e1", records(21, 21)),
        producer.renew("run", "e1"),
        follower.close("run", "error", b"{}"),
    ):
        with pytest.raises(RunNotFound):
            await soon(verb)
    head = await producer.claim(NewRun("again", "e2", "ann", "k"))
    assert (head.run_id, head.epoch, head.last) == ("again", "e2", 0)


@pytest.mark.asyncio
@each_kind
async def test_an_engine_that_stays_away_is_an_error_everywhere(kind, own_engine, connect, prefix):
    store = connect(kind, own_engine.address, prefix, timeout=0.4)
    await store.claim(RUN)
    async with store.watch("run") as watch:
        own_engine.kill()
        with pytest.raises(StoreError):
            await soon(watch.next())
    with pytest.raises(StoreError):
        await soon(store.append("run", "e1", records(1, 1)))
    with pytest.raises(StoreError):
        await soon(store.read("run"))
    with pytest.raises(StoreError):
        await soon(store.claim(NewRun("other", "e")))
    with pytest.raises(StoreError):
        await soon(store.watch("run").__aenter__())
    await asyncio.to_thread(own_engine.start)
    assert (await store.append("run", "e1", records(1, 1))).last == 1
    async with store.watch("run") as watch:
        await store.append("run", "e1", records(2, 2))
        assert await soon(watch.next()) == records(2, 2)


# --- a producer is gone for a while --------------------------------------------------------------


@pytest.mark.asyncio
@each_kind
async def test_a_producer_that_was_stopped_past_its_lease_is_refused_when_it_goes_on(kind, address, connect, prefix):
    store = connect(kind, address, prefix)
    await store.claim(NewRun("run", "e1", limits=Limits(lease=0.3)))
    command = [sys.executable, "-m", "stores.producer", kind, address, prefix, "run", "e1"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert await asyncio.to_thread(process.stdout.readline) == "1\n"
            process.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(10):
                while (head := (await store.read("run"))[0]).state is not RunState.LOST:
                    await asyncio.sleep(max(0.01, head.lease))
            closed = await store.close("run", "error", b"lost", if_lost=True)
            assert (closed.state, closed.last) == (RunState.ENDED, head.last + 1)
            process.send_signal(signal.SIGCONT)
            said = await asyncio.to_thread(process.stdout.read)
            assert said.splitlines()[-1] == "refused"
        finally:
            process.kill()
    after, kept = await store.read("run")
    assert (after.last, kept[-1]) == (closed.last, Record(closed.last, b"lost", "error", final=True))
    with pytest.raises(RunEnded):
        await store.renew("run", "e1")
