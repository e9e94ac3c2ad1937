"""`Channel`: one producer, many subscribers, each of them bounded.

What is published is kept once, in a log that all subscribers share (`sharedlog.py`). Each of them has a position in it
(`subscriptions.py`), and all are served together (`crowd.py`).

Rules:

- What cannot be published is refused before anybody gets anything.
- A channel is used in one event loop at a time. When that has ended, another one may take the channel over.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Hashable
from typing import Any, get_args

from dual_mode_streaming.errors import ChannelClosed, ItemTooLarge, WrongLoop
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.formats import RESERVED_NAMES, reserved
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.sources import Asked
from dual_mode_streaming.sse import check_event

from .crowd import Crowd, Policy
from .sharedlog import Published, SharedLog, gap
from .subscriptions import Subscription
from .tally import Tally

__all__ = ["Channel", "Policy"]


class Channel:
    """Gives every published item to every subscriber.

    Give it to `DualModeResponse`, or return it from an endpoint under `@dual_mode`: each client that asks for a stream
    becomes a subscriber, and each that asks for a batch gets the fold of the history. Or read it in the same process:
    `async for event in channel.subscribe()`.

    Events have ids, `<epoch>-<number>`: the epoch is random and of this channel alone, the numbers are 1, 2, 3 and so
    on. A client that reconnects with `Last-Event-ID` gets what came after it, from the history, and then what is new.

    Args:
        history: How many of the newest items to keep for those who come back, and for batches. They are bounded by
            this number alone. Under `latest` they are the newest item of each key.
        max_items: How many items may wait for one subscriber. History for one who comes back is not counted.
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
        self.tally = Tally()
        """What was published, and what became of it for the subscribers that have left; see `Subscription.tally`."""
        self._key = key
        self._crowd: Crowd | None = None

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
        crowd, log = self._here(), self.log
        json, key = self._checked(item, event)
        while True:
            if self.closed:
                raise ChannelClosed
            evicted = log.evicted_by(len(json), log.end if self._key is None else key)
            waits_for = crowd.before(evicted)
            if waits_for is None:
                break
            await asyncio.shield(waits_for)
        seq = log.end
        entry = Published(seq, seq if self._key is None else key, item, event, f"{self.epoch}-{seq}", json)
        crowd.leave_behind(evicted)
        log.append(entry, evicted)
        self.tally.published += 1
        crowd.published(entry)
        return entry.event_id

    def close(self, error: BaseException | None = None) -> None:
        """End the channel. Subscribers get everything that was published, and then their end.

        Args:
            error: End them with this error instead of a clean end: readers in the same process raise it, and clients
                are told as of any error of a source.

        Raises:
            WrongLoop: The subscribers are in another event loop.
        """
        if self.closed:
            return
        self._check_loop()
        self.closed = True
        self.failure = error
        if self._crowd is not None and not self._crowd.loop.is_closed():
            self._crowd.tidy()
            self._crowd.schedule()

    def snapshot(self) -> list[Any]:
        """Give the items of the history, oldest first."""
        return [entry.item for entry in self.log.history.values()]

    # --- subscribing -----------------------------------------------------------------------------

    def subscribe(self, *, last_event_id: str | None = None) -> Subscription:
        """Give the events of this channel to one more reader, from now on.

        What is published after this call reaches the reader, even if it begins to read later. Between `snapshot()`
        and `subscribe()` nothing is lost if there is no `await`.

        Args:
            last_event_id: Begin with what came after the event with this id. If the history does not reach back to it,
                or the id is not one of this channel, the reader gets a `gap` event, and then the whole history.

        Raises:
            WrongLoop: This is not called from a coroutine, or the subscribers are in another event loop.
        """
        crowd = self._here()
        replay = [] if last_event_id is None else self._after(last_event_id)
        subscription = Subscription(self, replay, asked_for=last_event_id is not None)
        crowd.subscriptions.add(subscription)
        return subscription

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """The subscriptions that are open now, in no particular order. `stats` tells of each how it fares."""
        return () if self._crowd is None else tuple(self._crowd.subscriptions)

    def __dual_mode_open__(self, asked: Asked) -> Any:
        """Give the source for one request: a subscription for a stream, the history for a batch."""
        return self.subscribe(last_event_id=asked.last_event_id) if asked.streams else self.snapshot()

    def _after(self, last_event_id: str) -> list[Published | ServerSentEvent]:
        """Give what is to be replayed after an event: what the history has, and before it a gap if some are missing."""
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
        """Take note that a slow subscription has taken something."""
        if self._crowd is not None:
            self._crowd.moved(subscription)

    def left(self, subscription: Subscription) -> None:
        """Take note that a subscription takes nothing any more."""
        if self._crowd is not None:
            self._crowd.left(subscription)

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

    def _here(self) -> Crowd:
        """Give the subscribers in the running event loop."""
        self._check_loop()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise WrongLoop(
                "A channel is used from coroutines, on asyncio or uvloop. An endpoint that is a plain function runs in "
                "a thread: make it `async def`, or give the channel itself to the response."
            ) from None
        if self._crowd is None or self._crowd.loop is not loop:
            # Whoever subscribed in another event loop is gone with it.
            self.log.release()
            self._crowd = Crowd(self.log, self.policy, self.max_items, self.max_bytes, loop)
        return self._crowd

    def _check_loop(self) -> None:
        if self._crowd is None or not self._crowd.loop.is_running():
            return
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is not self._crowd.loop:
            raise WrongLoop(
                "This channel is used in another event loop, most likely in another thread. Publish there: "
                "asyncio.run_coroutine_threadsafe(channel.publish(item), loop)."
            )


def _check(history: object, max_items: object, max_bytes: object, policy: object, key: object) -> None:
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
