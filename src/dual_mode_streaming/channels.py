"""`Channel`: one producer, many subscribers, each of them bounded.

Publishing appends to a log that all subscribers share (`sharedlog.py`), and schedules one round for everything that is
published before it begins. A round goes over all subscribers, and whoever has nothing else to do is given what is new:
a response sends it at once, a reader in the same process is woken (`subscriptions.py`). One that is busy takes it by
itself when it is done.

Rules:

- A round never waits for a subscriber. It leaves the event loop to others every two milliseconds.
- Who is behind after a round is slow, and the policy is for the slow alone. A subscriber that takes whatever it is given
  loses nothing, however fast the publisher is: `publish` waits for the round before it would push something out.
- What cannot be published is refused before anybody gets anything.
- A channel is used in one event loop at a time. When that has ended, another one may take the channel over.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Hashable
from time import monotonic
from typing import Any, Literal, get_args
from weakref import WeakSet

from .errors import ChannelClosed, ItemTooLarge, SlowClient, WrongLoop
from .events import ServerSentEvent
from .flow import TURN_SECONDS
from .formats import RESERVED_NAMES, reserved
from .jsonbytes import encode_json
from .sharedlog import Published, SharedLog, gap
from .sources import Asked
from .sse import check_event
from .subscriptions import Subscription

__all__ = ["Channel", "Policy"]

Policy = Literal["block", "drop_oldest", "drop_newest", "latest", "disconnect"]

LOOK_EVERY = 8
"""How many subscribers a round serves, and how many items `publish` takes, between two looks at the clock."""


class Channel:
    """Gives every published item to every subscriber.

    Give it to `DualModeResponse`, or return it from an endpoint under `@dual_mode`: each client that asks for a stream
    becomes a subscriber, and each that asks for a batch gets the fold of the history. Or read it in the same process:
    `async for event in channel.subscribe()`.

    Events have ids, `<epoch>-<number>`: the epoch is random and of this channel alone, the numbers are 1, 2, 3 and so on.
    A client that reconnects with `Last-Event-ID` gets what came after it, from the history, and then what is new.

    Args:
        history: How many of the newest items to keep for those who come back, and for batches. They are bounded by this
            number alone. Under `latest` they are the newest item of each key.
        max_items: How many items may wait for one subscriber. History that is sent to one who comes back is not counted.
        max_bytes: How many bytes of them, as JSON. No single item may be larger.
        policy: What happens to a subscriber for whom more would have to wait: `"disconnect"` ends it with `SlowClient`,
            `"drop_oldest"` and `"drop_newest"` leave items out, `"latest"` leaves out what a newer item with the same
            key replaces (always, not only when it is full; keys beyond the bounds are dropped, oldest first), and
            `"block"` lets `publish` wait. A subscriber that items were dropped for gets a `gap` event in their place.
        key: Gives what an item is conflated by, for `latest`: anything that can be a key of a dict.

    Raises:
        ValueError: A bound is out of its range, the policy is unknown, or `key` and `policy` do not go together.
    """

    def __init__(
        self,
        *,
        history: int = 0,
        max_items: int = 256,
        max_bytes: int = 1_048_576,
        policy: Policy = "disconnect",
        key: Callable[[Any], Hashable] | None = None,
    ) -> None:
        _check(history, max_items, max_bytes, policy, key)
        self.epoch = secrets.token_hex(8)
        """The first part of all ids."""
        self.closed = False
        """Whether nothing can be published any more."""
        self.failure: BaseException | None = None
        """What the channel was closed with; None if that was a good end, or has not come yet."""
        self.max_items = max_items
        self.max_bytes = max_bytes
        self.policy: Policy = policy
        self.log = SharedLog(history=history, max_items=max_items, max_bytes=max_bytes, conflates=key is not None)
        self._key = key
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self._slow: WeakSet[Subscription] = WeakSet()
        self._holding: WeakSet[Subscription] = WeakSet()
        self._forget()

    # --- publishing ------------------------------------------------------------------------------

    async def publish(self, item: Any, *, event: str | None = None) -> str:
        """Give an item to all subscribers.

        Without slow subscribers this does not wait, but for a turn of the event loop now and then. Under `block` it
        waits until every subscriber has room. If it is cancelled while it waits, nothing was published.

        Args:
            item: Anything with a JSON form. It must not be changed afterwards.
            event: The name of its event.

        Returns:
            The id of its event.

        Raises:
            ItemNotEncodable: The item has no JSON form.
            ItemTooLarge: Its JSON is larger than `max_bytes`.
            InvalidEvent: The name would forge a line, or is the library's own.
            TypeError: The item is a `ServerSentEvent`; or the key that `key` gave cannot be a key of a dict.
            ChannelClosed: The channel is closed, or was closed while this waited.
            WrongLoop: The subscribers are in another event loop.
        """
        loop = self._bound()
        json, key = self._checked(item, event)
        while True:
            if self.closed:
                raise ChannelClosed
            evicted = self.log.evicted_by(len(json), self.log.end if self._key is None else key)
            if evicted and evicted[-1].seq >= self._served:
                await self._round_over(loop)
            elif evicted and self.policy == "block" and any(s.cursor <= evicted[-1].seq for s in self._slow):
                await self._waits_for_room(loop)
            elif self._is_scheduled and not self.log.end % LOOK_EVERY and monotonic() - self._since > TURN_SECONDS:
                await self._round_over(loop)
            else:
                break
        seq = self.log.end
        entry = Published(seq, seq if self._key is None else key, item, event, f"{self.epoch}-{seq}", json)
        if evicted:
            self._leave_behind(evicted)
        self.log.append(entry, evicted)
        for subscription in list(self._holding) if self._holding else ():
            if not subscription.offer(entry):
                self._holding.discard(subscription)
        self._schedule(loop)
        return entry.event_id

    def close(self, error: BaseException | None = None) -> None:
        """End the channel. Subscribers get everything that was published, and then their end.

        Args:
            error: End them with this error instead of a clean end: readers in the same process raise it, and clients are
                told as of any error of a source.

        Raises:
            WrongLoop: The subscribers are in another event loop.
        """
        if self.closed:
            return
        self._check_loop()
        self.closed = True
        self.failure = error
        self._open_room()
        if self._loop is not None and not self._loop.is_closed():
            self._schedule(self._loop)

    def snapshot(self) -> list[Any]:
        """Give the items of the history, oldest first."""
        return [entry.item for entry in self.log.history.values()]

    # --- subscribing -----------------------------------------------------------------------------

    def subscribe(self, *, last_event_id: str | None = None) -> Subscription:
        """Give the events of this channel to one more reader, from now on.

        What is published after this call reaches the reader, even if it begins to read later. Between `snapshot()` and
        `subscribe()` nothing is lost if there is no `await`.

        Args:
            last_event_id: Begin with what came after the event with this id. If the history does not reach back to it,
                or the id is not one of this channel, the reader gets a `gap` event, and then the whole history.

        Raises:
            WrongLoop: This is not called from a coroutine, or the subscribers are in another event loop.
        """
        self._bound()
        replay = [] if last_event_id is None else self._after(last_event_id)
        subscription = Subscription(self, replay, asked_for=last_event_id is not None)
        self._subscriptions.add(subscription)
        return subscription

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """The subscriptions that are open now, in no particular order. `stats` tells of each how it fares."""
        return tuple(self._subscriptions)

    def __dual_mode_open__(self, asked: Asked) -> Any:
        """Give the source for one request: a subscription for a stream, the history for a batch."""
        return self.subscribe(last_event_id=asked.last_event_id) if asked.streams else self.snapshot()

    def _after(self, last_event_id: str) -> list[Published | ServerSentEvent]:
        """Give what is to be replayed after an event: its successors in the history, after a gap if some are missing."""
        log = self.log
        epoch, _, number = last_event_id.rpartition("-")
        known = epoch == self.epoch and number.isascii() and number.isdecimal() and len(number) < 20
        seq = int(number) if known else log.end
        if seq >= log.end:
            missed, entries = None, list(log.history.values())
        else:
            missed = log.lost - seq
            entries = [entry for entry in log.history.values() if entry.seq > seq]
            if missed <= 0:
                return [*entries]
            if log.conflates:
                missed = None  # some of them may have been replaced
        upto = entries[0].seq - 1 if entries else log.end - 1
        return [gap(self.epoch, missed, upto), *entries]

    # --- subscriptions tell ------------------------------------------------------------------------

    def moved(self, subscription: Subscription) -> None:
        """Take note that a subscription has taken something."""
        if subscription.slow:
            if not subscription.is_behind:
                subscription.slow = False
                self._slow.discard(subscription)
            self._tidy()

    def left(self, subscription: Subscription) -> None:
        """Take note that a subscription takes nothing any more."""
        self._subscriptions.discard(subscription)
        self._holding.discard(subscription)
        self._slow.discard(subscription)
        if subscription.slow and self._loop is not None and not self._loop.is_closed():
            # A subscription may be given up by the garbage collector, in any thread.
            self._loop.call_soon_threadsafe(self._tidy)

    def _tidy(self) -> None:
        """A slow subscriber has moved or left: let go of what nobody needs any more, and let publishers look."""
        if not self._slow and not self._is_scheduled:
            self.log.release()
        self._open_room()

    # --- rounds ------------------------------------------------------------------------------------

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._since = monotonic()
            loop.call_soon(self._go_round)

    def _go_round(self) -> None:
        """Serve all subscribers, or go on with it."""
        began, log, rest = monotonic(), self.log, self._rest
        if not rest:
            self._upto = log.end
            rest.extend(self._subscriptions)
        assert self._loop is not None  # noqa: S101  it has called us
        left = LOOK_EVERY
        while rest:
            subscription = rest.pop()
            if subscription.idle:
                subscription.wake()
            if subscription.is_behind and not subscription.slow and not subscription.ended:
                subscription.slow = True
                self._slow.add(subscription)
                self._slowest = min(self._slowest, subscription.cursor)
            left -= 1
            if not left:
                left = LOOK_EVERY
                if monotonic() - began > TURN_SECONDS:
                    self._since = monotonic()
                    self._loop.call_soon(self._go_round)
                    return
        self._served = self._upto
        if log.end > self._upto:
            self._loop.call_soon(self._go_round)
        else:
            self._is_scheduled = False
            if not self._slow:
                log.release()
        self._since = monotonic()
        if self._over is not None:
            over, self._over = self._over, None
            over.set_result(None)

    async def _round_over(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until everybody who wants it has got what was published so far, or most of it."""
        if self._over is None:
            self._over = loop.create_future()
        await asyncio.shield(self._over)

    # --- who is slow -------------------------------------------------------------------------------

    def _leave_behind(self, evicted: list[Published]) -> None:
        """Do what the policy says with those who have not got what falls out of the window now."""
        upto = evicted[-1].seq
        if self.policy == "drop_oldest" or upto < self._slowest:
            return  # who has missed something sees it by the numbers
        for subscription in list(self._slow):
            if subscription.cursor > upto:
                continue
            if self.policy == "latest":
                subscription.lose(sum(entry.seq >= subscription.cursor for entry in evicted))
            elif self.policy == "drop_newest":
                subscription.hold()
                self._holding.add(subscription)
            else:
                full = self.log.end - subscription.cursor >= self.max_items
                bound = ("max_items", self.max_items) if full else ("max_bytes", self.max_bytes)
                subscription.evict(SlowClient(*bound))
        self._slowest = min((subscription.cursor for subscription in self._slow), default=self.log.end)

    async def _waits_for_room(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._room is None:
            self._room = loop.create_future()
        await asyncio.shield(self._room)

    def _open_room(self) -> None:
        if self._room is not None:
            room, self._room = self._room, None
            room.set_result(None)

    # --- checks ------------------------------------------------------------------------------------

    def _checked(self, item: Any, event: str | None) -> tuple[bytes, Hashable]:
        """Give the JSON and the key of an item, having refused what cannot be published."""
        if isinstance(item, ServerSentEvent):
            raise TypeError("a channel makes the events itself: publish the data, with the name as event=")
        if event is not None:
            if event in RESERVED_NAMES:
                raise reserved(event)
            check_event(ServerSentEvent(event=event))
        json = encode_json(item)
        if len(json) > self.max_bytes:
            raise ItemTooLarge(self.log.end - 1, len(json), self.max_bytes, bound="max_bytes")
        key = None if self._key is None else self._key(item)
        hash(key)
        return json, key

    def _bound(self) -> asyncio.AbstractEventLoop:
        """Give the event loop of this channel, which is the running one."""
        self._check_loop()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise WrongLoop(
                "A channel is used from coroutines. An endpoint that is a plain function runs in a thread: make it "
                "`async def`, or give the channel itself to the response."
            ) from None
        if loop is not self._loop:
            self._loop = loop
            self._forget()
        return loop

    def _check_loop(self) -> None:
        if self._loop is None or not self._loop.is_running():
            return
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is not self._loop:
            raise WrongLoop(
                "This channel is used in another event loop, most likely in another thread. Publish there: "
                "asyncio.run_coroutine_threadsafe(channel.publish(item), loop)."
            )

    def _forget(self) -> None:
        """Begin in an event loop: whoever subscribed in another one is gone with it."""
        self._subscriptions.clear()
        self._slow.clear()
        self._holding.clear()
        self.log.release()
        self._is_scheduled = False
        self._since = 0.0
        self._rest: list[Subscription] = []
        self._upto = self._served = self._slowest = self.log.end
        self._over: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None


def _check(history: int, max_items: int, max_bytes: int, policy: str, key: object) -> None:
    for name, value, least in (("history", history, 0), ("max_items", max_items, 1), ("max_bytes", max_bytes, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}={value!r} must be a whole number, at least {least}")
    known = get_args(Policy)
    if policy not in known:
        raise ValueError(f"policy={policy!r} is unknown; the policies are {', '.join(known)}")
    if policy == "latest" and key is None:
        raise ValueError("policy='latest' needs key=, a function that says which items replace each other")
    if policy != "latest" and key is not None:
        raise ValueError(f"key= is for policy='latest', not for policy={policy!r}")
