"""`RedisStore` on real servers: Valkey, Redis, and a cluster of one node, which refuses whatever touches two slots."""

import asyncio
import traceback
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from asking import asked
from dual_mode_streaming.errors import RunNotFound, StoreError
from dual_mode_streaming.stores import Limits, NewRun, Record, RedisStore, RunState, _redis_bell
from dual_mode_streaming.testing import TCPProxy
from dual_mode_streaming.testing.storing import check_store

RUN = NewRun("run", "e1", owner="ann", key="k")


@pytest_asyncio.fixture
async def raw(valkey_engine):
    async with Redis(port=valkey_engine.port) as client:
        yield client


@pytest_asyncio.fixture
async def store(valkey_engine, prefix):
    store = RedisStore(f"redis://{valkey_engine.address}", prefix=prefix)
    yield store
    await store.aclose()


def records(first, last):
    return [Record(seq, b"%d" % seq) for seq in range(first, last + 1)]


async def soon(waiting):
    async with asyncio.timeout(10):
        return await waiting


# --- the promises --------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("engine", ["valkey_engine", "redis_engine", "cluster_engine"])
async def test_it_keeps_the_promises(engine, request, prefix):
    address = request.getfixturevalue(engine).address
    assert await check_store(lambda: RedisStore(f"redis://{address}", prefix=prefix))


@pytest.mark.asyncio
async def test_it_keeps_the_promises_with_a_client_for_clusters(cluster_engine, prefix):
    async with AsyncExitStack() as stack:

        async def connect():
            client = await stack.enter_async_context(RedisCluster(host="127.0.0.1", port=cluster_engine.port))
            return RedisStore(client, prefix=prefix)

        assert await check_store(connect)


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_key_whose_run_is_gone_is_taken_by_exactly_one(store, raw, valkey_engine, prefix):
    await store.claim(RUN)
    await raw.delete(*store._keys(RUN.run_id))  # as when it expires: the pointer lives longer
    other = RedisStore(f"redis://{valkey_engine.address}", prefix=prefix)
    runs = [NewRun(f"run{n}", f"e{n}", "ann", "k") for n in range(50)]
    heads = await asyncio.gather(*((store, other)[n % 2].claim(run) for n, run in enumerate(runs)))
    await other.aclose()
    assert len({head.run_id for head in heads}) == 1
    heads_kept = [key async for key in raw.scan_iter(f"{prefix}:*:head")]
    assert heads_kept == [store._keys(heads[0].run_id)[0]], "those who lost have left a run behind"


@pytest.mark.asyncio
async def test_a_claim_whose_reply_was_lost_finds_its_own_run(store):
    first = await store.claim(RUN)
    assert (await store.claim(RUN)).run_id == first.run_id == "run"
    unnamed = NewRun("unnamed", "e1")
    await store.claim(unnamed)
    await store.append("unnamed", "e1", records(1, 2))
    assert (await store.claim(unnamed)).last == 2


@pytest.mark.asyncio
async def test_the_server_expires_a_run_and_the_pointer_after_it(store, raw):
    await store.claim(NewRun("run", "e1", "ann", "k", Limits(ttl=100, ttl_after=10)))
    head, log = store._keys("run")
    pointer = store._pointer("ann", "k")
    await store.append("run", "e1", records(1, 1))
    ttls = [await raw.pttl(key) for key in (head, log, pointer)]
    assert 112_000 < ttls[0] <= 112_500 < ttls[1] <= 113_500 < 200_000 < ttls[2] <= 210_000
    await raw.hset(head, "due", 0)  # as after half the time to live
    await raw.pexpire(pointer, 1000)
    await store.renew("run", "e1")
    assert await raw.pttl(pointer) > 200_000
    await store.close("run", "cancelled", b"{}")
    ttls = [await raw.pttl(key) for key in (head, log)]
    assert 9_000 < ttls[0] <= 10_000 < ttls[1] <= 11_000
    assert await store.expire() == 0


@pytest.mark.asyncio
async def test_a_log_that_was_thrown_away_is_no_hole(store, raw):
    await store.claim(RUN)
    await store.append("run", "e1", records(1, 5))
    await raw.delete(store._keys("run")[1])
    with pytest.raises(RunNotFound):
        await store.read("run")
    await store.append("run", "e1", records(6, 6))
    with pytest.raises(RunNotFound):
        await store.read("run")
    assert (await store.read("run", 5))[1] == records(6, 6)


@pytest.mark.asyncio
async def test_a_server_that_has_forgotten_the_scripts(store, raw):
    await store.claim(RUN)
    await raw.script_flush()
    assert (await store.append("run", "e1", records(1, 1))).last == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("run_id", ["", "}", "a}b{c", "\ud800", "a\x00 b\r\n", "x" * 5000])
async def test_any_text_is_an_id(run_id, cluster_engine, prefix):
    store = RedisStore(f"redis://{cluster_engine.address}", prefix=prefix)
    with pytest.raises(RunNotFound):
        await store.read(run_id)
    async with store.watch(run_id) as watch:
        await store.claim(NewRun(run_id, "e", owner="\ud800", key="\udfff"))
        await store.append(run_id, "e", records(1, 1))
        assert await soon(watch.next()) == records(1, 1)
    assert (await store.read(run_id))[0].owner == "\ud800"
    await store.aclose()


@pytest.mark.asyncio
async def test_appends_that_make_no_sense(store):
    await store.claim(RUN)
    for wrong in ([*records(1, 1), *records(3, 3)], records(0, 1), [Record(1, b"", "", True), Record(2, b"")]):
        with pytest.raises(ValueError):
            await store.append("run", "e1", wrong)
    with pytest.raises(ValueError, match="the record after 0 has the number 2"):
        await store.append("run", "e1", records(2, 2))
    with pytest.raises(ValueError, match="32767 are the most"):
        await store.append("run", "e1", [Record(1, b"", "x" * 40_000)])
    assert (await store.append("run", "e1", [])).last == 0


# --- the bell ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_all_watches_share_one_connection_which_forgets_what_nobody_watches(
    valkey_engine, prefix, raw, monkeypatch
):
    monkeypatch.setattr(_redis_bell, "SILENCE", 0.05)
    before = len(await raw.client_list("pubsub"))
    store = RedisStore(f"redis://{valkey_engine.address}", prefix=prefix)
    async with AsyncExitStack() as stack:
        for n in range(60):
            await stack.enter_async_context(store.watch(f"run{n % 30}"))
        assert len(await raw.client_list("pubsub")) == before + 1
        assert len(await raw.pubsub_channels(f"{prefix}:*")) == 30

    async def is_silent():
        return not await raw.pubsub_channels(f"{prefix}:*")

    await asked(is_silent)
    async with store.watch("run1") as watch:
        await store.claim(NewRun("run1", "e"))
        await store.append("run1", "e", records(1, 1))
        assert await soon(watch.next()) == records(1, 1)
    await store.aclose()
    assert len(await raw.client_list("pubsub")) == before


@pytest.mark.asyncio
async def test_what_was_missed_while_the_bell_was_cut_off_is_rung_for(store, raw):
    await store.claim(RUN)
    async with store.watch("run") as watch, store.watch("other") as other:
        for _ in range(3):
            await raw.client_kill_filter(_type="pubsub")
            assert await soon(watch.next()) == []
            assert await soon(other.next()) == []
        await store.append("run", "e1", records(1, 1))
        assert await soon(watch.next()) == records(1, 1)


@pytest.mark.asyncio
async def test_a_watch_on_a_silent_connection_finds_out(valkey_engine, prefix, monkeypatch):
    monkeypatch.setattr(_redis_bell, "SILENCE", 0.1)
    with TCPProxy(valkey_engine.address) as proxy:
        store = RedisStore(proxy.url.replace("http", "redis"), prefix=prefix, timeout=0.5)
        async with store.watch("run") as watch:
            await asyncio.to_thread(proxy.stall)  # no byte, and no end either
            with pytest.raises(StoreError):
                await soon(watch.next())
            with pytest.raises(StoreError):
                await soon(watch.next())
        await asyncio.to_thread(proxy.cut)
        await asyncio.to_thread(proxy.resume)
        async with store.watch("run"):
            pass
        await store.aclose()


@pytest.mark.asyncio
async def test_large_records_are_not_carried(store):
    await store.claim(RUN)
    async with store.watch("run") as watch:
        await store.append("run", "e1", [Record(1, b"x" * 100_000)])
        assert await soon(watch.next()) == []
    assert len((await store.read("run"))[1][0].data) == 100_000


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
        url = proxy.url.replace("http://", "redis://user:s3cret@")
        store = RedisStore(url, prefix=prefix, timeout=0.3)
        watch = store.watch("run")
        for verb in (store.open(), store.claim(RUN), store.read("run"), watch.__aenter__()):
            with pytest.raises(StoreError) as caught:
                await soon(verb)
            assert "127.0.0.1" not in str(caught.value)
            assert "s3cret" not in "".join(traceback.format_exception(caught.value))
        await store.aclose()


@pytest.mark.asyncio
async def test_a_refusal_of_the_server_is_a_store_error(valkey_engine, prefix, raw):
    url = f"redis://nobody:s3cret@{valkey_engine.address}"
    store = RedisStore(url, prefix=prefix)
    with pytest.raises(StoreError, match=r"AuthenticationError") as caught:
        await store.open()
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    await store.aclose()
    store = RedisStore(f"redis://{valkey_engine.address}", prefix=prefix)
    await store.claim(RUN)
    await raw.delete(store._keys("run")[1])
    await raw.set(store._keys("run")[1], "not a stream")
    with pytest.raises(StoreError, match="ResponseError"):
        await store.append("run", "e1", records(1, 1))
    await store.aclose()


@pytest.mark.parametrize("url", ["redis://:a/s3cret@host:6379", "http://:s3cret@host", "", "redis://h?db=s3cret"])
def test_a_url_that_cannot_be_used(url):
    with pytest.raises(ValueError) as caught:
        RedisStore(url)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": -1}, {"max_connections": 0}, {"prefix": "a{b"}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RedisStore("redis://127.0.0.1", **options)


@pytest.mark.asyncio
async def test_a_client_that_decodes_is_refused_and_one_of_the_user_is_left_open(valkey_engine, prefix):
    async with Redis(port=valkey_engine.port, decode_responses=True) as client:
        with pytest.raises(ValueError, match="decode_responses=False"):
            RedisStore(client)
    async with Redis(port=valkey_engine.port, protocol=3) as client:
        store = RedisStore(client, prefix=prefix)
        async with store.watch("run") as watch:
            await store.claim(RUN)
            head = await store.append("run", "e1", records(1, 1))
            assert head.state is RunState.LIVE
            assert await soon(watch.next()) == records(1, 1)
        await store.aclose()
        assert await client.ping()
