"""`Channel(store=...)`: one channel in several processes, here as several stores on one engine."""

import asyncio
import json

import pytest
import pytest_asyncio

from asgi import Call
from dual_mode_streaming import Channel, DualModeResponse, Runs, errors, tasks
from dual_mode_streaming.channels import link as links
from dual_mode_streaming.errors import (
    ChannelClosed,
    ChannelFailed,
    Draining,
    ItemTooLarge,
    RunNotFound,
    SlowClient,
    StoreError,
)
from dual_mode_streaming.sse import SSEDecoder
from dual_mode_streaming.stores import MemoryStore, SQLiteStore
from runs.work import Shaky, until

SSE = {"accept": "text/event-stream"}


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def channel(request, tmp_path):
    """Make channels of one name, each as another process has it."""
    made, memory = [], MemoryStore()

    def make(**options):
        store = options.pop("store", None)
        if store is None:
            store = memory if request.param == "memory" else SQLiteStore(tmp_path / "channels.db")
        made.append((Channel(store=store, name="prices", **options), store))
        return made[-1][0]

    yield make
    for one, store in made:
        await one.aclose()
        await store.aclose()


async def take(subscription, count):
    async with asyncio.timeout(10):
        return [await anext(subscription) for _ in range(count)]


async def rest_of(subscription):
    async with asyncio.timeout(10):
        return [event async for event in subscription]


def numbers(events):
    return [event.data["n"] for event in events]


async def publish(channel, *numbers):
    return [await channel.publish({"n": number}) for number in numbers]


# --- one channel in several processes -----------------------------------------------------------------------


@pytest.mark.asyncio
async def test_what_one_process_publishes_reaches_the_subscribers_of_all(channel):
    one, other = channel(), channel()
    first, second = one.subscribe(), other.subscribe()
    await asyncio.gather(one.open(), other.open())
    assert one.epoch == other.epoch
    assert await one.publish({"n": 1}, event="tick") == f"{one.epoch}-1"
    assert await other.publish({"n": 2}) == f"{one.epoch}-2"
    got = await take(first, 2)
    assert await take(second, 2) == got
    assert [(event.id, event.event, event.data) for event in got] == [
        (f"{one.epoch}-1", "tick", {"n": 1}),
        (f"{one.epoch}-2", None, {"n": 2}),
    ]


@pytest.mark.asyncio
async def test_many_publishers_have_one_order_and_each_its_own(channel):
    channels = [channel() for _ in range(3)]
    readers = [one.subscribe() for one in channels]
    await asyncio.gather(*(one.open() for one in channels))

    async def publish_all(one, name):
        return [await one.publish({"from": name, "n": number}) for number in range(20)]

    ids = await asyncio.gather(*(publish_all(channels[name % 3], name) for name in range(6)))
    seqs = sorted(int(one.rpartition("-")[2]) for some in ids for one in some)
    assert seqs == list(range(1, 121))
    got = [await take(reader, 120) for reader in readers]
    assert got[0] == got[1] == got[2]
    for name in range(6):
        assert [event.data["n"] for event in got[0] if event.data["from"] == name] == list(range(20))


@pytest.mark.asyncio
async def test_whoever_subscribes_before_publishing_gets_it_although_the_store_was_not_asked_yet(channel):
    one = channel()
    subscription = one.subscribe()
    await publish(one, 1)
    assert numbers(await take(subscription, 1)) == [1]


@pytest.mark.asyncio
async def test_channels_of_other_names_are_others(channel):
    one = channel()
    other = Channel(store=one._store, name="scores", history=5)
    subscription = other.subscribe()
    await other.open()
    await publish(one, 1)
    await publish(other, 2)
    assert numbers(await take(subscription, 1)) == [2]
    assert other.epoch != one.epoch
    await other.aclose()


@pytest.mark.asyncio
async def test_a_publisher_that_nobody_follows_here_needs_no_watch(channel):
    one, other = channel(history=2), channel(history=2)
    await publish(one, 1, 2, 3)
    assert one._shared[1]._task is None
    await other.open()
    assert other.snapshot() == [{"n": 2}, {"n": 3}]


@pytest.mark.asyncio
async def test_all_subscribers_of_a_process_share_one_watch_and_one_frame():
    class Counted(MemoryStore):
        watches = 0

        def watch(self, run_id):
            self.watches += 1
            return super().watch(run_id)

    store = Counted()
    one = Channel(store=store, name="prices")
    calls = [await_stream(one) for _ in range(20)]
    await until(lambda: all(call.messages for call in calls))
    await publish(one, 1)
    await until(lambda: all(b'"n":1' in call.body for call in calls))
    assert store.watches == 1
    await one.close()
    for call in calls:
        await call.task
        assert [event.event for event in SSEDecoder().feed(call.body)] == [None, "done"]
    await one.aclose()


def await_stream(channel, last_id=None):
    headers = {**SSE, **({} if last_id is None else {"last-event-id": last_id})}
    call = Call(DualModeResponse(channel, heartbeat=None), headers=headers)
    call.task = asyncio.ensure_future(call.run())
    return call


# --- coming back --------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_who_comes_back_to_any_process_goes_on_after_every_event(channel):
    one = channel(history=20)
    ids = await publish(one, *range(12))
    for after in range(12):
        other = channel(history=20)
        subscription = other.subscribe(last_event_id=ids[after])
        await publish(one, 100 + after)
        ids_now = 12 + after + 1
        got = await take(subscription, ids_now - after - 1)
        assert [event.id for event in got] == [f"{one.epoch}-{seq}" for seq in range(after + 2, ids_now + 1)]


@pytest.mark.asyncio
async def test_what_the_history_has_let_go_is_told_as_a_gap(channel):
    one, other = channel(history=3), channel(history=3)
    ids = await publish(one, *range(8))
    gap, *rest = await take(other.subscribe(last_event_id=ids[1]), 4)
    assert (gap.event, gap.data, gap.id) == ("gap", {"missed": 3}, ids[4])
    assert numbers(rest) == [5, 6, 7]
    assert numbers(await take(other.subscribe(last_event_id=gap.id), 3)) == [5, 6, 7]


@pytest.mark.asyncio
@pytest.mark.parametrize("last_id", ["", "nonsense", "0123456789abcdef-2", "{epoch}-x", "{epoch}-99", "{epoch}--1"])
async def test_an_id_that_is_none_of_this_channel_is_told_as_a_gap(channel, last_id):
    one = channel(history=3)
    await publish(one, 0, 1)
    await one.open()
    gap, *rest = await take(one.subscribe(last_event_id=last_id.format(epoch=one.epoch)), 3)
    assert (gap.event, gap.data) == ("gap", {"missed": None})
    assert numbers(rest) == [0, 1]


@pytest.mark.asyncio
async def test_an_id_that_only_another_process_has_heard_of_is_looked_up(monkeypatch):
    """A bell may be late. Whoever knows more than this process must not be told that the id is of the future."""

    class Deaf(MemoryStore):
        def watch(self, run_id):
            return super().watch(run_id + "x")

    store = Deaf()
    one = Channel(store=store, name="prices", history=9)
    await one.open()
    ids = await publish(one, 1, 2, 3)
    assert one.log.end == 1
    subscription = one.subscribe(last_event_id=ids[1])
    assert numbers(await take(subscription, 1)) == [3]
    assert numbers(await take(one.subscribe(last_event_id=ids[0]), 2)) == [2, 3]
    await one.aclose()


@pytest.mark.asyncio
async def test_a_process_that_has_fallen_behind_the_store_tells_its_subscribers_of_the_gap(monkeypatch):
    monkeypatch.setattr("dual_mode_streaming.channels.history.BEHIND", 4)

    class Late(MemoryStore):
        def watch(self, run_id):
            return super().watch(run_id + "x")

    for policy, key in (("drop_oldest", None), ("latest", lambda item: item["n"] % 2)):
        store = Late()
        one = Channel(store=store, name="prices", policy=policy, key=key)
        subscription = one.subscribe()
        await one.open()
        await publish(one, 0)
        await one._shared[1].look()
        assert numbers(await take(subscription, 1)) == [0]
        ids = await publish(one, *range(1, 11))
        await one._shared[1].look()
        gap, *rest = await take(subscription, 3 if key else 5)
        assert (gap.event, gap.data, gap.id) == ("gap", {"missed": 6}, ids[7] if key else ids[5])
        assert numbers(rest) == ([9, 10] if key else [7, 8, 9, 10])
        assert subscription.stats.dropped == 6
        await one.aclose()


@pytest.mark.asyncio
async def test_the_newest_of_each_key_is_the_same_in_every_process(channel, monkeypatch):
    monkeypatch.setattr("dual_mode_streaming.channels.history.BEHIND", 3)
    options = {"policy": "latest", "key": lambda item: item["n"] % 3, "history": 2}
    one, other = channel(**options), channel(**options)
    await one.open()
    await publish(one, *range(7))
    await publish(one, *[6] * 23)
    await one._shared[1].look()
    await other.open()
    # The store keeps 23 items. The newest with the rest 1 or 2 are older than that.
    assert one.snapshot() == other.snapshot() == [{"n": 6}]


# --- the end ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_close_ends_the_channel_everywhere_after_what_was_published(channel):
    one, other = channel(history=9), channel(history=9)
    subscription, early = other.subscribe(), one.subscribe()
    await other.open()
    waiting = [asyncio.create_task(one.publish({"n": number})) for number in range(3)]
    await asyncio.sleep(0)
    await one.close()
    assert numbers(await rest_of(subscription)) == numbers(await rest_of(early)) == [0, 1, 2]
    ids = await asyncio.gather(*waiting)
    for closed in (one, other, channel()):
        with pytest.raises(ChannelClosed):
            await closed.publish({"n": 4})
    late = channel(history=9)
    assert numbers(await rest_of(late.subscribe(last_event_id=ids[0]))) == [1, 2]
    assert late.closed
    assert late.snapshot() == [{"n": 0}, {"n": 1}, {"n": 2}]
    await one.close()


@pytest.mark.asyncio
async def test_a_close_with_an_error_is_told_everywhere(channel):
    one, other = channel(), channel()
    mine, theirs = one.subscribe(), other.subscribe()
    await other.open()
    await publish(one, 1)
    await one.close(errors.SourceIdle(3))
    assert numbers(await take(theirs, 1)) == numbers(await take(mine, 1)) == [1]
    with pytest.raises(ChannelFailed) as caught:
        await rest_of(theirs)
    assert (caught.value.status, caught.value.code) == (504, "idle_timeout")
    with pytest.raises(errors.SourceIdle):
        await rest_of(mine)


@pytest.mark.asyncio
async def test_a_text_of_an_unexpected_error_stays_in_its_process(channel):
    one, other = channel(), channel()
    theirs = other.subscribe()
    await other.open()
    await one.close(RuntimeError("a secret"))
    with pytest.raises(ChannelFailed) as caught:
        await rest_of(theirs)
    assert (caught.value.code, "secret" in str(caught.value)) == ("internal_error", False)


@pytest.mark.asyncio
async def test_a_process_that_leaves_sends_its_subscribers_elsewhere_and_may_come_back(channel):
    one, other = channel(history=9), channel(history=9)
    here, there = one.subscribe(), other.subscribe()
    await asyncio.gather(one.open(), other.open())
    ids = await publish(other, 1)
    assert await take(here, 1) == await take(there, 1)
    reading = asyncio.create_task(rest_of(here))
    await asyncio.sleep(0)
    await one.aclose()
    with pytest.raises(Draining):
        await reading
    await publish(other, 2)
    assert numbers(await take(there, 1)) == [2]
    assert numbers(await take(one.subscribe(last_event_id=ids[0]), 1)) == [2]


@pytest.mark.asyncio
async def test_the_lifespan_opens_and_leaves_nothing_behind(tmp_path):
    store = SQLiteStore(tmp_path / "channels.db")
    one = Channel(store=store, name="prices", history=3)
    async with one.lifespan():
        assert one.snapshot() == []
        await publish(one, 1)
    assert len(asyncio.all_tasks()) == 1
    assert store._writer.db is None
    nowhere = Channel(store=SQLiteStore(tmp_path / "missing" / "x.db"), name="prices")
    with pytest.raises(StoreError):
        async with nowhere.lifespan():
            pass


@pytest.mark.asyncio
async def test_memory_with_several_workers_warns_at_the_start(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    for store, warns in ((MemoryStore(), True), (SQLiteStore(tmp_path / "x.db"), False), (None, False)):
        caplog.clear()
        one = Channel(store=store, name="prices" if store else None)
        async with one.lifespan():
            assert ("WEB_CONCURRENCY is 4" in caplog.text) == warns


# --- policies, bounds, and what makes no sense ---------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_slow_are_judged_in_each_process(channel):
    one = channel(max_items=3)
    slow, fast = one.subscribe(), one.subscribe()
    reading = asyncio.create_task(take(fast, 20))
    await publish(one, *range(20))
    assert numbers(await reading) == list(range(20))
    with pytest.raises(SlowClient):
        await take(slow, 20)


@pytest.mark.asyncio
async def test_items_are_what_their_json_says_also_for_the_key(channel):
    seen = []

    def key(item):
        seen.append(item)
        return item["at"]

    one = channel(policy="latest", key=key, history=1)
    subscription = one.subscribe()
    await one.publish({"at": (1, 2)[0], "pair": (1, 2)})
    assert (await take(subscription, 1))[0].data == {"at": 1, "pair": [1, 2]}
    assert seen[0] == {"at": 1, "pair": [1, 2]}
    with pytest.raises(KeyError):
        await one.publish({"no": "key"})


@pytest.mark.asyncio
async def test_an_item_that_the_store_cannot_hold_is_refused():
    class Small(MemoryStore):
        max_record_bytes = 50

    one = Channel(store=Small(), name="prices")
    with pytest.raises(ItemTooLarge, match="max_record_bytes"):
        await one.publish("x" * 60)
    with pytest.raises(ItemTooLarge, match="max_bytes"):
        await Channel(store=Small(), name="prices", max_bytes=10).publish("x" * 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": MemoryStore()}, "store= and name= go together"),
        ({"name": "x"}, "store= and name= go together"),
        ({"store": MemoryStore(), "name": ""}, "name=''"),
        ({"store": MemoryStore(), "name": 3}, "name=3"),
        ({"store": MemoryStore(), "name": "x", "policy": "block"}, "nobody waits"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Channel(**options)


def test_one_event_loop_after_another_can_use_it():
    one = Channel(store=MemoryStore(), name="prices", history=9)

    async def once(number):
        subscription = one.subscribe()
        await publish(one, number)
        got = numbers(await take(subscription, 1))
        await one.aclose()
        return got, one.snapshot() if one._shared[1].is_open else None

    assert asyncio.run(once(1)) == ([1], None)
    assert asyncio.run(once(2)) == ([2], None)


# --- over HTTP ----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_headers_wait_until_nothing_can_be_missed_and_a_batch_has_what_was_published(channel):
    one, other = channel(history=9), channel(history=9)
    stream = await_stream(one)
    await until(lambda: stream.messages)
    await publish(other, 1)
    batch = Call(DualModeResponse(one), headers={})
    await batch.run()
    assert json.loads(batch.body) == {"data": [{"n": 1}]}
    await other.close()
    await stream.task
    item, done = SSEDecoder().feed(stream.body)
    assert (item.data, item.id, done.event, json.loads(done.data)) == (
        '{"n":1}',
        f"{one.epoch}-1",
        "done",
        {"items": 1},
    )
    resumed = await_stream(one, last_id=item.id)
    await resumed.task
    assert [event.event for event in SSEDecoder().feed(resumed.body)] == ["done"]


@pytest.mark.asyncio
async def test_a_store_that_takes_longer_than_the_headers_wait_is_no_harm():
    class Slow(MemoryStore):
        def __init__(self):
            super().__init__()
            self.gate = asyncio.Event()

        async def claim(self, run):
            await self.gate.wait()
            return await super().claim(run)

    store = Slow()
    one, other = (Channel(store=store, name="prices", history=3) for _ in range(2))
    stream = Call(DualModeResponse(one, heartbeat=None, commit_after=0.01), headers=SSE)
    task = asyncio.ensure_future(stream.run())
    await until(lambda: stream.messages)
    store.gate.set()
    resumed = Call(DualModeResponse(one, heartbeat=None, commit_after=0.01), headers={**SSE, "last-event-id": "x-1"})
    resuming = asyncio.ensure_future(resumed.run())
    await one.open()
    await publish(other, 1)
    await other.close()
    await asyncio.gather(task, resuming)
    assert [event.event for event in SSEDecoder().feed(stream.body)] == [None, "done"]
    assert [event.event for event in SSEDecoder().feed(resumed.body)] == ["gap", None, "done"]
    await one.aclose()


@pytest.mark.asyncio
async def test_a_store_that_is_away_at_the_start_is_503_for_all():
    store = Shaky()
    store.down = True
    one = Channel(store=store, name="prices")
    with pytest.raises(StoreError):
        await one.publish({"n": 1})
    for headers in (SSE, {}):
        call = Call(DualModeResponse(one), headers=headers)
        await call.run()
        assert (call.status, json.loads(call.body)["code"]) == (503, "store_unavailable")
        assert int(call.headers["retry-after"]) > 0
    with pytest.raises(StoreError):
        await one.open()
    with pytest.raises(StoreError, match="open"):
        one.snapshot()
    store.down = False
    subscription = one.subscribe()
    await publish(one, 1)
    assert numbers(await take(subscription, 1)) == [1]
    await one.aclose()


@pytest.mark.asyncio
async def test_a_store_that_is_away_for_a_moment_costs_subscribers_nothing():
    store = Shaky()
    one = Channel(store=store, name="prices")
    subscription = one.subscribe()
    await one.open()
    store.cut()
    with pytest.raises(StoreError):
        await publish(one, 1)
    await until(lambda: store.refused > 1)
    store.down = False
    await publish(one, 2)
    assert numbers(await take(subscription, 1)) == [2]
    await one.aclose()


@pytest.mark.asyncio
async def test_a_store_that_stays_away_is_an_error_event_and_the_client_comes_back(monkeypatch):
    monkeypatch.setattr(links, "PATIENCE", 0.05)
    store = Shaky()
    one = Channel(store=store, name="prices", history=5)
    stream = await_stream(one)
    await until(lambda: stream.messages)
    ids = await publish(one, 1)
    await until(lambda: b'"n":1' in stream.body)
    store.cut()
    async with asyncio.timeout(10):
        await stream.task
    item, error = SSEDecoder().feed(stream.body)
    assert (item.id, error.event, json.loads(error.data)["code"]) == (ids[0], "error", "store_unavailable")
    store.down = False
    await publish(one, 2)
    assert numbers(await take(one.subscribe(last_event_id=ids[0]), 1)) == [2]
    await one.aclose()


@pytest.mark.asyncio
async def test_a_history_that_the_store_has_lost_ends_subscribers_and_ids_of_it_are_a_gap():
    store = MemoryStore()
    one, other = (Channel(store=store, name="prices", history=5) for _ in range(2))
    here, there = one.subscribe(), other.subscribe()
    await asyncio.gather(one.open(), other.open())
    ids = await publish(one, 1)
    await take(here, 1)
    await take(there, 1)
    reading = asyncio.create_task(rest_of(there))
    await asyncio.sleep(0)
    store._delete(next(iter(store._runs)))
    new = await publish(one, 2)
    assert new[0].endswith("-1")
    assert new[0] != ids[0]
    for lost in (reading, asyncio.create_task(rest_of(here))):
        with pytest.raises(StoreError, match="lost the history"):
            await lost
    gap, item = await take(other.subscribe(last_event_id=ids[0]), 2)
    assert (gap.event, item.data, item.id) == ("gap", {"n": 2}, new[0])
    await one.aclose()
    await other.aclose()


@pytest.mark.asyncio
async def test_a_batch_finds_out_that_the_history_is_lost():
    store = MemoryStore()
    one = Channel(store=store, name="prices", history=5)
    await one.open()
    await publish(one, 1)
    del store._runs[next(iter(store._runs))]
    statuses = []
    for _ in range(2):
        call = Call(DualModeResponse(one), headers={})
        await call.run()
        statuses.append(call.status)
    assert statuses == [503, 200]
    await one.aclose()


@pytest.mark.asyncio
async def test_a_history_in_use_is_kept(monkeypatch):
    monkeypatch.setattr(links, "RENEW_SECONDS", 0.01)
    store = MemoryStore()
    one = Channel(store=store, name="prices")
    await one.open()
    kept = next(iter(store._runs.values()))
    kept.touched -= 1000
    before = kept.touched
    await until(lambda: kept.touched > before)
    await one.aclose()


@pytest.mark.asyncio
async def test_who_left_while_waiting_for_a_place_gets_none():
    store = Shaky()
    one = Channel(store=store, name="prices")
    gone = one.subscribe()
    await gone.aclose()
    assert gone.stats.buffered_items == 0
    kept = one.subscribe()
    await one.open()
    assert one.subscriptions == (kept,)
    assert await rest_of(gone) == []
    await one.aclose()


@pytest.mark.asyncio
async def test_a_publish_that_is_cancelled_harms_no_other(channel):
    one = channel(history=9)
    await one.open()
    tasks = [asyncio.create_task(one.publish({"n": number})) for number in range(5)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    ids = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, str) for one in ids] == [True, True, False, True, True]
    assert len({one for one in ids if isinstance(one, str)}) == 4


@pytest.mark.asyncio
async def test_a_task_that_swallows_a_cancellation_is_told_again(monkeypatch):
    monkeypatch.setattr(tasks, "TOLD_AGAIN", 0.01)
    told = 0

    async def stubborn():
        nonlocal told
        while told < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told += 1

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await tasks.cancelled(task)
    assert (told, task.done()) == (2, True)
    await tasks.cancelled(task)


@pytest.mark.asyncio
async def test_a_channel_cannot_be_read_or_ended_as_a_run():
    store = MemoryStore()
    one = Channel(store=store, name="prices")
    await publish(one, "a secret")
    runs = Runs(store)
    run_id = next(iter(store._runs))
    for owner in (None, "ann", "channels", ""):
        with pytest.raises(RunNotFound):
            await runs.cancel(run_id, owner=owner)
        with pytest.raises(RunNotFound):
            await anext(runs.follow(run_id, owner=owner))
        run = await runs.start([{"n": 1}], key="prices", owner=owner)
        assert run.is_new
        assert run.id != run_id
    await publish(one, "another one")
    for _, task in list(runs._producers.values()):
        await task
