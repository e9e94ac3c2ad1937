"""`Channel` in process: what each subscriber gets, what it misses and is told of, and what becomes of the slow."""

import asyncio
import gc
import json
import threading
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dual_mode_streaming import Channel, ServerSentEvent, errors

POLICIES = ["block", "drop_oldest", "drop_newest", "latest", "disconnect"]


def channel_of(policy, **options):
    return Channel(policy=policy, key=(lambda item: item["key"]) if policy == "latest" else None, **options)


async def settle(turns=20):
    """Give the event loop some turns, for what must NOT happen in them."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def rest_of(subscription):
    """What is left, of a channel that is closed."""
    async with asyncio.timeout(10):
        return [event async for event in subscription]


def data(events):
    return [event.data for event in events]


# --- publishing and reading ------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_every_subscriber_gets_every_item_as_an_event():
    channel = Channel()
    first, second = channel.subscribe(), channel.subscribe()
    assert await channel.publish({"n": 1}) == f"{channel.epoch}-1"
    await channel.publish("text", event="note")
    channel.close()
    expected = [
        ServerSentEvent({"n": 1}, id=f"{channel.epoch}-1"),
        ServerSentEvent("text", event="note", id=f"{channel.epoch}-2"),
    ]
    assert await rest_of(first) == await rest_of(second) == expected


@pytest.mark.asyncio
async def test_a_reader_that_waits_is_woken_by_what_is_published():
    channel = Channel()
    got = []

    async def read():
        async for event in channel.subscribe():
            got.append(event.data)

    reader = asyncio.create_task(read())
    await settle()
    for number in range(3):
        await channel.publish(number)
        await settle()
        assert got[-1] == number
    channel.close()
    await reader


@pytest.mark.asyncio
@pytest.mark.parametrize("policy", POLICIES)
async def test_a_reader_that_takes_all_it_is_given_loses_nothing_however_fast_the_publisher_is(policy):
    channel = channel_of(policy, max_items=3)
    got = []

    async def read(subscription):
        async for event in subscription:
            got.append(event.data["n"])

    subscription = channel.subscribe()
    reader = asyncio.create_task(read(subscription))
    await settle()
    for number in range(1000):
        await channel.publish({"n": number, "key": number})
    channel.close()
    await reader
    assert got == list(range(1000))
    assert (subscription.stats.delivered, subscription.stats.dropped, subscription.stats.conflated) == (1000, 0, 0)


@pytest.mark.asyncio
async def test_a_publisher_that_never_waits_leaves_the_loop_to_others(monkeypatch):
    channel = Channel(max_items=10**6)
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticker = asyncio.create_task(other())
    # However fast the machine is: the clock goes on by a millisecond with every look.
    clock = iter(range(10**6))
    monkeypatch.setattr("dual_mode_streaming.channels.crowd.monotonic", lambda: next(clock) / 1000)
    for number in range(200):
        await channel.publish(number)
    ticker.cancel()
    assert turns >= 5


@pytest.mark.asyncio
async def test_what_is_published_between_subscribing_and_reading_is_there():
    channel = Channel()
    await channel.publish("before")
    subscription = channel.subscribe()
    await channel.publish("between")
    await settle()
    assert (await anext(subscription)).data == "between"


@pytest.mark.asyncio
async def test_two_tasks_cannot_read_one_subscription():
    subscription = Channel().subscribe()
    first = asyncio.create_task(anext(subscription))
    await settle()
    with pytest.raises(RuntimeError, match="one subscription for each"):
        await anext(subscription)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.asyncio
async def test_a_reader_may_be_cancelled_and_go_on():
    channel = Channel()
    subscription = channel.subscribe()
    waits = asyncio.create_task(anext(subscription))
    await settle()
    waits.cancel()
    await settle()
    await channel.publish(1)
    assert (await anext(subscription)).data == 1


@pytest.mark.asyncio
async def test_an_error_of_the_publisher_is_no_affair_of_the_channel():
    channel = Channel()
    subscription = channel.subscribe()

    async def source():
        yield 1
        raise LookupError

    async def produce():
        async for item in source():
            await channel.publish(item)

    with pytest.raises(LookupError):
        await produce()
    await channel.publish(2)
    channel.close()
    assert data(await rest_of(subscription)) == [1, 2]


# --- the end -----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_after_close_subscribers_get_what_is_buffered_and_then_the_end():
    channel = Channel(history=1)
    late, waiting = channel.subscribe(), channel.subscribe()
    end = asyncio.create_task(anext(waiting))
    await settle()
    await channel.publish(1)
    channel.close()
    channel.close()
    assert (await end).data == 1
    assert await rest_of(waiting) == []
    assert data(await rest_of(late)) == [1]
    assert data(await rest_of(channel.subscribe(last_event_id=f"{channel.epoch}-0"))) == [1]
    assert channel.snapshot() == [1]


@pytest.mark.asyncio
async def test_publishing_after_close_is_an_error():
    channel = Channel()
    channel.close()
    with pytest.raises(errors.ChannelClosed, match="make a new one"):
        await channel.publish(1)
    assert channel.closed


@pytest.mark.asyncio
async def test_closing_with_an_error_ends_every_subscriber_with_it_after_what_is_buffered():
    channel = Channel()
    subscriptions = [channel.subscribe() for _ in range(3)]
    waiting = channel.subscribe()
    await channel.publish(1)
    assert (await anext(waiting)).data == 1
    end = asyncio.create_task(anext(waiting))
    await settle()
    channel.close(LookupError("the producer is gone"))
    for subscription in subscriptions:
        assert (await anext(subscription)).data == 1
        with pytest.raises(LookupError, match="producer"):
            await anext(subscription)
    with pytest.raises(LookupError):
        await end


@pytest.mark.asyncio
async def test_a_publisher_that_waits_for_room_is_told_of_the_close():
    channel = Channel(policy="block", max_items=1)
    subscription = channel.subscribe()
    await channel.publish(1)
    waits = asyncio.create_task(channel.publish(2))
    await settle()
    channel.close()
    with pytest.raises(errors.ChannelClosed):
        await waits
    assert data(await rest_of(subscription)) == [1]


@pytest.mark.asyncio
async def test_a_subscription_that_is_given_up_ends_its_reader():
    channel = Channel()
    subscription = channel.subscribe()
    reader = asyncio.create_task(rest_of(subscription))
    await settle()
    await subscription.aclose()
    await subscription.aclose()
    assert await reader == []
    await channel.publish(1)
    assert channel.subscriptions == ()


# --- policies ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_drop_oldest_keeps_the_newest_and_tells_of_the_others():
    channel = Channel(policy="drop_oldest", max_items=3)
    subscription = channel.subscribe()
    for number in range(1, 11):
        await channel.publish(number)
    assert subscription.stats.dropped == 7
    assert (subscription.stats.buffered_items, subscription.stats.buffered_bytes) == (3, 4)
    channel.close()
    gap, *events = await rest_of(subscription)
    assert gap == ServerSentEvent({"missed": 7}, event="gap", id=f"{channel.epoch}-7")
    assert data(events) == [8, 9, 10]
    assert (subscription.stats.delivered, subscription.stats.dropped) == (3, 7)


@pytest.mark.asyncio
async def test_drop_newest_keeps_the_oldest_and_tells_of_the_others_in_their_place():
    channel = Channel(policy="drop_newest", max_items=2)
    subscription = channel.subscribe()
    for number in range(1, 5):
        await channel.publish(number)
    assert (await anext(subscription)).data == 1
    await channel.publish(5)
    await channel.publish(6)
    channel.close()
    events = await rest_of(subscription)
    assert data(events) == [2, {"missed": 2}, 5, {"missed": 1}]
    assert [event.id for event in events] == [f"{channel.epoch}-{number}" for number in (2, 4, 5, 6)]
    assert (subscription.stats.delivered, subscription.stats.dropped) == (3, 3)


@pytest.mark.asyncio
async def test_latest_gives_the_newest_of_each_key():
    channel = channel_of("latest", max_items=2, history=2)
    subscription = channel.subscribe()
    for key, value in [("a", 1), ("b", 1), ("a", 2), ("a", 3)]:
        await channel.publish({"key": key, "value": value})
    stats = subscription.stats
    assert (stats.conflated, stats.dropped, stats.buffered_items) == (2, 0, 2)
    assert channel.snapshot() == [{"key": "b", "value": 1}, {"key": "a", "value": 3}]
    await channel.publish({"key": "c", "value": 1})  # one key too many: the oldest goes
    channel.close()
    events = await rest_of(subscription)
    assert data(events) == [{"missed": 1}, {"key": "a", "value": 3}, {"key": "c", "value": 1}]
    assert (subscription.stats.delivered, subscription.stats.dropped, subscription.stats.conflated) == (2, 1, 2)


@pytest.mark.asyncio
async def test_keys_that_look_like_numbers_of_events_are_keys():
    channel = channel_of("latest", max_items=10)
    subscription = channel.subscribe()
    for key in (3, 1, 2, 1):
        await channel.publish({"key": key})
    channel.close()
    assert data(await rest_of(subscription)) == [{"key": 3}, {"key": 2}, {"key": 1}]


@pytest.mark.asyncio
@pytest.mark.parametrize(("options", "bound"), [({"max_items": 2}, "max_items"), ({"max_bytes": 2}, "max_bytes")])
async def test_disconnect_ends_the_one_that_is_too_far_behind(options, bound):
    channel = Channel(**options)
    slow, fast = channel.subscribe(), channel.subscribe()
    for number in range(3):
        await channel.publish(number)
        assert (await anext(fast)).data == number
    with pytest.raises(errors.SlowClient) as caught:
        await anext(slow)
    assert (caught.value.bound, caught.value.limit, caught.value.problem.code) == (bound, 2, "slow_client")
    assert caught.value.problem.extensions == {"bound": bound, "limit": 2}
    assert slow.stats.dropped == 2
    assert channel.subscriptions == (fast,)


@pytest.mark.asyncio
async def test_block_lets_the_publisher_wait_for_the_slowest():
    channel = Channel(policy="block", max_items=2)
    slow, fast = channel.subscribe(), channel.subscribe()
    await channel.publish(1)
    await channel.publish(2)
    assert [(await anext(fast)).data for _ in range(2)] == [1, 2]
    waits = asyncio.create_task(channel.publish(3))
    await settle()
    assert not waits.done()
    assert (await anext(slow)).data == 1
    await waits
    assert (await anext(fast)).data == 3


@pytest.mark.asyncio
@pytest.mark.parametrize("leaves", ["closed", "forgotten"])
async def test_block_does_not_wait_for_one_that_has_left(leaves):
    channel = Channel(policy="block", max_items=1)
    subscription = channel.subscribe()
    await channel.publish(1)
    waits = asyncio.create_task(channel.publish(2))
    await settle()
    assert not waits.done()
    if leaves == "closed":
        await subscription.aclose()
    del subscription
    async with asyncio.timeout(10):
        await waits


@pytest.mark.asyncio
async def test_a_publish_that_is_cancelled_while_it_waits_has_published_nothing():
    channel = Channel(policy="block", max_items=1)
    subscription = channel.subscribe()
    await channel.publish(1)
    waits = asyncio.create_task(channel.publish(2))
    await settle()
    waits.cancel()
    await settle()
    channel.close()
    assert data(await rest_of(subscription)) == [1]


@pytest.mark.asyncio
async def test_bytes_bound_what_waits_as_well_as_items():
    channel = Channel(policy="drop_oldest", max_bytes=10)
    subscription = channel.subscribe()
    for text in ("aa", "bb", "cccc"):  # with their quotes 4, 4 and 6 bytes
        await channel.publish(text)
    channel.close()
    assert data(await rest_of(subscription)) == [{"missed": 1}, "bb", "cccc"]


@pytest.mark.asyncio
async def test_the_slowest_is_not_forgotten_for_one_that_is_less_slow():
    channel = Channel(policy="drop_newest", max_items=2)
    slowest = channel.subscribe()
    await channel.publish(1)
    await settle()
    slow = channel.subscribe()
    await channel.publish(2)
    await settle()
    await channel.publish(3)
    channel.close()
    assert data(await rest_of(slowest)) == [1, 2, {"missed": 1}]
    assert data(await rest_of(slow)) == [2, 3]


@pytest.mark.asyncio
async def test_what_nobody_needs_any_more_is_let_go():
    channel = Channel(policy="drop_oldest")
    slow, fast = channel.subscribe(), channel.subscribe()
    for number in range(5):
        await channel.publish(number)
    await settle()
    for subscription in (fast, slow):
        assert len(channel.log._window) == 5
        for number in range(5):
            assert (await anext(subscription)).data == number
    assert not channel.log._window


# --- coming back ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("{epoch}-5", []),
        ("{epoch}-4", [5]),
        ("{epoch}-2", [3, 4, 5]),
        ("{epoch}-1", [{"missed": 1}, 3, 4, 5]),
        ("{epoch}-0", [{"missed": 2}, 3, 4, 5]),
        ("{epoch}-6", [{"missed": None}, 3, 4, 5]),
        ("{epoch}-99999999999999999999999999", [{"missed": None}, 3, 4, 5]),
        ("0123456789abcdef-4", [{"missed": None}, 3, 4, 5]),
        ("{epoch}--1", [{"missed": None}, 3, 4, 5]),
        ("{epoch}-+4", [{"missed": None}, 3, 4, 5]),
        ("{epoch}-٤", [{"missed": None}, 3, 4, 5]),
        ("{epoch}", [{"missed": None}, 3, 4, 5]),
        ("4", [{"missed": None}, 3, 4, 5]),
        ("", [{"missed": None}, 3, 4, 5]),
    ],
)
async def test_who_comes_back_gets_what_came_after_or_is_told_of_the_gap(last, expected):
    channel = Channel(history=3)
    for number in range(1, 6):
        await channel.publish(number)
    back = channel.subscribe(last_event_id=last.format(epoch=channel.epoch))
    await channel.publish(6)
    channel.close()
    events = await rest_of(back)
    assert data(events) == [*expected, 6]
    if len(expected) > 3:
        assert (events[0].event, events[0].id) == ("gap", f"{channel.epoch}-2")


@pytest.mark.asyncio
async def test_without_a_history_there_is_nothing_but_the_gap_to_come_back_to():
    channel = Channel()
    await channel.publish(1)
    await channel.publish(2)
    seen_all = channel.subscribe(last_event_id=f"{channel.epoch}-2")
    seen_one = channel.subscribe(last_event_id=f"{channel.epoch}-1")
    channel.close()
    assert await rest_of(seen_all) == []
    assert await rest_of(seen_one) == [ServerSentEvent({"missed": 1}, event="gap", id=f"{channel.epoch}-2")]


@pytest.mark.asyncio
async def test_a_gap_is_told_once():
    """Its id is that of the last item that is missing, so who comes back with it is told of nothing twice."""
    channel = Channel(history=2)
    for number in range(1, 6):
        await channel.publish(number)
    gap = await anext(channel.subscribe(last_event_id=f"{channel.epoch}-1"))
    channel.close()
    assert data(await rest_of(channel.subscribe(last_event_id=gap.id))) == [4, 5]


@pytest.mark.asyncio
async def test_who_comes_back_to_the_newest_of_each_key_gets_those_that_have_changed():
    channel = channel_of("latest", history=2)
    for key in ("a", "b", "a"):
        await channel.publish({"key": key})
    assert await anext(channel.subscribe(last_event_id=f"{channel.epoch}-2")) == ServerSentEvent(
        {"key": "a"}, id=f"{channel.epoch}-3"
    )
    await channel.publish({"key": "c"})  # b is lost
    back = channel.subscribe(last_event_id=f"{channel.epoch}-1")
    channel.close()
    assert data(await rest_of(back)) == [{"missed": None}, {"key": "a"}, {"key": "c"}]


@pytest.mark.asyncio
@pytest.mark.parametrize("policy", POLICIES)
async def test_history_that_is_replayed_is_not_what_a_slow_subscriber_is_judged_by(policy):
    channel = channel_of(policy, history=10, max_items=2)
    for number in range(10):
        await channel.publish({"key": number})
    back = channel.subscribe(last_event_id=f"{channel.epoch}-0")
    assert back.stats.buffered_items == 10
    for number in (10, 11):
        await channel.publish({"key": number})
        await settle()
    channel.close()
    assert [event.data["key"] for event in await rest_of(back)] == list(range(12))


def test_epochs_are_not_to_be_guessed():
    epochs = {Channel().epoch for _ in range(50)}
    assert len(epochs) == 50
    assert all(len(epoch) == 16 for epoch in epochs)


# --- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"history": -1}, "history=-1 must be a whole number, at least 0"),
        ({"max_items": 0}, "max_items=0 must be a whole number, at least 1"),
        ({"max_items": -1}, "max_items=-1 must be"),
        ({"max_items": 1.5}, "max_items=1.5 must be"),
        ({"max_items": None}, "max_items=None must be"),
        ({"max_items": True}, "max_items=True must be"),
        ({"max_bytes": 0}, "max_bytes=0 must be"),
        ({"policy": "drop"}, "the policies are block, drop_oldest, drop_newest, latest, disconnect"),
        ({"policy": "latest"}, "needs key="),
        ({"key": len}, "key= is for policy='latest', not for policy='disconnect'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Channel(**options)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("item", "options", "error", "message"),
    [
        ({"x": b"bytes"}, {}, errors.ItemNotEncodable, r"\$\.x \(bytes\)"),
        ("x" * 19, {}, errors.ItemTooLarge, "Item 1 has 21 bytes as JSON; max_bytes=20"),
        (1, {"event": "gap"}, errors.InvalidEvent, "'gap'; this name is the library's own"),
        (1, {"event": "done"}, errors.InvalidEvent, "the library's own"),
        (1, {"event": "a\nb"}, errors.InvalidEvent, "line break"),
        (1, {"event": 5}, errors.InvalidEvent, "is no text"),
        (ServerSentEvent(1), {}, TypeError, "publish the data, with the name as event="),
    ],
)
async def test_what_cannot_be_published_is_refused_and_reaches_nobody(item, options, error, message):
    channel = Channel(max_bytes=20)
    subscription = channel.subscribe()
    await channel.publish(1)
    with pytest.raises(error, match=message):
        await channel.publish(item, **options)
    await channel.publish(2)
    channel.close()
    assert [(event.data, event.id[-2:]) for event in await rest_of(subscription)] == [(1, "-1"), (2, "-2")]


@pytest.mark.asyncio
async def test_a_key_that_cannot_be_had_is_an_error_of_the_publisher():
    channel = channel_of("latest")
    subscription = channel.subscribe()
    with pytest.raises(KeyError):
        await channel.publish({})
    with pytest.raises(TypeError, match="unhashable"):
        await channel.publish({"key": []})
    channel.close()
    assert await rest_of(subscription) == []


@pytest.mark.asyncio
async def test_a_channel_is_used_in_one_event_loop():
    channel = Channel()
    await channel.publish(1)
    caught = []

    def elsewhere():
        for use in (lambda: asyncio.run(channel.publish(2)), channel.subscribe, channel.close):
            try:
                use()
            except Exception as error:
                caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert [type(error) for error in caught] == [errors.WrongLoop] * 3
    assert "run_coroutine_threadsafe" in str(caught[0])
    await channel.publish(2)


def test_subscribing_needs_an_event_loop():
    with pytest.raises(errors.WrongLoop, match="give the channel itself"):
        Channel().subscribe()


def test_one_event_loop_after_another_can_use_a_channel():
    channel = Channel(history=2)
    left_behind = []

    async def use(number):
        left_behind.append(channel.subscribe())
        subscription = channel.subscribe()
        reader = asyncio.create_task(anext(subscription))
        await settle()
        await channel.publish(number)
        assert (await reader).data == number
        assert len(channel.subscriptions) == 2

    for number in range(3):
        asyncio.run(use(number))
    assert channel.snapshot() == [1, 2]
    channel.close()


# --- nothing is left behind ------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("policy", POLICIES)
async def test_thousands_that_leave_at_once_leave_nothing(policy):
    channel = channel_of(policy, max_items=5)
    subscriptions = [channel.subscribe() for _ in range(2000)]
    readers = [asyncio.create_task(rest_of(subscription)) for subscription in subscriptions[:1000]]
    await settle(2)
    for number in range(4):
        await channel.publish({"key": number, "text": "x" * 100})
    if policy != "block":
        for number in range(4):
            await channel.publish({"key": number, "text": "x" * 100})
    traces = [weakref.ref(subscription) for subscription in subscriptions]
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    del reader, readers, subscriptions
    await settle()
    gc.collect()
    assert [trace for trace in traces if trace() is not None] == []
    assert channel.subscriptions == ()
    assert len(asyncio.all_tasks()) == 1
    crowd = channel._crowd
    assert not crowd._slow
    assert not crowd._holding
    assert not crowd._rest
    await channel.publish({"key": 1})
    await settle()
    assert not channel.log._window
    assert not any(channel.log._bodies.values())


# --- against a model -----------------------------------------------------------------------------------------


class Model:
    """What a channel does, written as simply as it can be: a list for each subscriber."""

    def __init__(self, policy, history, max_items, max_bytes):
        self.policy, self.history, self.max_items, self.max_bytes = policy, history, max_items, max_bytes
        self.published = []
        self.readers = {}

    def kept(self):
        entries = self.published
        if self.policy == "latest":
            newest = {item["key"]: (seq, item) for seq, item in entries}
            entries = sorted(newest.values(), key=lambda entry: entry[0])
        return entries[-self.history :] if self.history else []

    def subscribe(self, name, after=None):
        replay = []
        if after is not None:
            replay = [entry for entry in self.kept() if entry[0] > after]
            if self.policy == "latest":
                # What was lost is that of which neither the entry nor a newer one of its key is in the history.
                lost = max([0, *self.lost_seqs()])
                if after < lost:
                    replay.insert(0, ("gap", None, (replay[0][0] if replay else len(self.published) + 1) - 1))
            else:
                first = replay[0][0] if replay else len(self.published) + 1
                if first > after + 1:
                    replay.insert(0, ("gap", first - after - 1, first - 1))
        self.readers[name] = {"replay": replay, "buffer": [], "missed": 0, "evicted": False}

    def lost_seqs(self):
        """The numbers of the entries which the history had to let go, in the order in which it was written."""
        lost, kept = [], {}
        for seq, item in self.published:
            kept.pop(item["key"], None)
            kept[item["key"]] = seq
            while len(kept) > self.history:
                lost.append(kept.pop(next(iter(kept))))
        return lost

    def fits(self, buffer, item):
        entries = [entry for entry in buffer if entry[0] != "gap"]
        size = sum(size_of(entry[1]) for entry in entries) + size_of(item)
        return len(entries) + 1 <= self.max_items and size <= self.max_bytes

    def must_wait(self, item):
        return self.policy == "block" and not all(self.fits(one["buffer"], item) for one in self.readers.values())

    def publish(self, item):
        seq = len(self.published) + 1
        self.published.append((seq, item))
        for reader in self.readers.values():
            buffer = reader["buffer"]
            if reader["evicted"]:
                continue
            if self.policy == "latest":
                buffer[:] = [entry for entry in buffer if entry[1]["key"] != item["key"]]
            if self.policy in ("latest", "drop_oldest"):
                while not self.fits(buffer, item):
                    buffer.pop(0)
                    reader["missed"] += 1
            if self.fits(buffer, item):
                buffer.append((seq, item))
            elif self.policy == "drop_newest":
                missed = buffer.pop()[1] if buffer[-1][0] == "gap" else 0
                buffer.append(("gap", missed + 1, seq))
            else:
                reader["evicted"] = True
                reader["replay"] = reader["buffer"] = []

    def read(self, name):
        """The next event as (data, number), None if there is none, or the error."""
        reader = self.readers[name]
        if reader["evicted"]:
            return errors.SlowClient
        source = reader["replay"] or reader["buffer"]
        if not source:
            return None
        if not reader["replay"] and reader["missed"]:
            missed, reader["missed"] = reader["missed"], 0
            return ({"missed": missed}, source[0][0] - 1)
        entry = source.pop(0)
        return ({"missed": entry[1]}, entry[2]) if entry[0] == "gap" else (entry[1], entry[0])


def size_of(item):
    return len(json.dumps(item, separators=(",", ":")))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 4), st.integers(0, 30)),
        st.tuples(st.just("read"), st.integers(0, 3), st.integers(1, 4)),
        st.tuples(st.just("subscribe"), st.integers(0, 3), st.none() | st.integers(0, 12)),
        st.tuples(st.just("leave"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("settle"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=100, deadline=None)
@given(steps=STEPS, history=st.integers(0, 4), max_items=st.integers(1, 4), max_bytes=st.sampled_from([50, 100, 1000]))
def test_a_channel_does_what_the_model_does(policy, steps, history, max_items, max_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dual_mode_streaming.channels.crowd.GRACE", 0.0)
        asyncio.run(play(policy, steps, history, max_items, max_bytes))


async def play(policy, steps, history, max_items, max_bytes):  # noqa: C901  a branch for each verb
    channel = channel_of(policy, history=history, max_items=max_items, max_bytes=max_bytes)
    model = Model(policy, history, max_items, max_bytes)
    subscriptions = {}
    counted = {}

    async def read(name):
        expected = model.read(name)
        if expected is None:
            assert subscriptions[name].stats.buffered_items == 0
            return False
        async with asyncio.timeout(10):
            if expected is errors.SlowClient:
                with pytest.raises(errors.SlowClient):
                    await anext(subscriptions[name])
                return False
            event = await anext(subscriptions[name])
        assert (event.data, event.id) == (expected[0], f"{channel.epoch}-{expected[1]}")
        return True

    for verb, first, second in steps:
        if verb == "publish":
            item = {"key": first, "text": "x" * second}
            while model.must_wait(item):
                waits = asyncio.create_task(channel.publish(item))
                await settle(8)
                assert not waits.done()
                waits.cancel()
                for name in list(subscriptions):
                    while not model.fits(model.readers[name]["buffer"], item):
                        assert await read(name)
            model.publish(item)
            async with asyncio.timeout(10):
                await channel.publish(item)
        elif verb == "settle":
            await settle(3)
        elif verb == "subscribe" and first not in subscriptions:
            after = None if second is None else min(second, len(model.published))
            model.subscribe(first, after)
            last = None if after is None else f"{channel.epoch}-{after}"
            subscriptions[first] = channel.subscribe(last_event_id=last)
            replay = [entry for entry in model.readers[first]["replay"] if entry[0] != "gap"]
            counted[first] = len(model.published) - len(replay)
        elif verb == "read" and first in subscriptions:
            for _ in range(second):
                if not await read(first):
                    break
        elif verb == "leave" and first in subscriptions:
            if second:
                await subscriptions[first].aclose()
            del subscriptions[first], model.readers[first]
        for name in subscriptions:
            if not model.readers[name]["evicted"]:
                stats = subscriptions[name].stats
                total = stats.delivered + stats.dropped + stats.conflated + stats.buffered_items
                assert total == len(model.published) - counted[name]
        assert channel.snapshot() == [item for _, item in model.kept()]
    channel.close()
    for name in list(subscriptions):
        while await read(name):
            pass
        if not model.readers[name]["evicted"]:
            assert await rest_of(subscriptions[name]) == []
