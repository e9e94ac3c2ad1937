"""What a channel is in one process: its log, and its subscribers in one event loop.

Where there is no store, publishing puts items into the log. Where there is one, the link to it does (`link.py`).
"""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any

from dual_mode_streaming.errors import ChannelClosed, DualModeError, WrongLoop
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.jsonbytes import decode_json
from dual_mode_streaming.sources import Asked
from dual_mode_streaming.stores.base import Record

from .crowd import Crowd, Policy
from .sharedlog import NOT_DECODED, Published, SharedLog, gap
from .subscriptions import Subscription
from .tally import Tally

__all__ = ["Hub"]


class Hub(ABC):
    """The log and the subscribers of a channel.

    Args:
        history: How many items to keep for those who come back.
        max_items: How many items may wait for one subscriber.
        max_bytes: How many bytes of them.
        policy: What becomes of the slow.
        key: What an item is conflated by.
        reach: Of how many of the newest items some are kept at all; None for no such bound.
    """

    def __init__(
        self,
        *,
        history: int,
        max_items: int,
        max_bytes: int,
        policy: Policy,
        key: Callable[[Any], Hashable] | None,
        reach: int | None,
    ) -> None:
        self.epoch = secrets.token_hex(8)
        """The first part of all ids. With a store it is that of the store, once the channel is open."""
        self.closed = False
        """Whether nothing can be published any more."""
        self.failure: BaseException | None = None
        """What the channel was closed with; None if that was a good end, or has not come yet."""
        self.max_items = max_items
        self.max_bytes = max_bytes
        self.policy: Policy = policy
        self.log = SharedLog(
            history=history, max_items=max_items, max_bytes=max_bytes, conflates=key is not None, reach=reach
        )
        self.tally = Tally()
        """What this process has published, and what became of it for the subscribers that have left; see
        `Subscription.tally`."""
        self._key = key
        self._crowd: Crowd | None = None

    @abstractmethod
    def __dual_mode_open__(self, asked: Asked) -> Any:
        """Give the source for one request."""

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """The subscriptions that are open now, in no particular order. `stats` tells of each how it fares."""
        return () if self._crowd is None else tuple(self._crowd.subscriptions)

    # --- what enters the log -----------------------------------------------------------------------

    async def append(self, json: bytes, key: Hashable, item: Any, event: str | None) -> str:
        """Give an item to all subscribers; give its id."""
        evicted = await self._make_room(len(json), key)
        seq = self.log.end
        entry = Published(seq, seq if self._key is None else key, item, event, f"{self.epoch}-{seq}", json)
        self._enter(entry, evicted)
        return entry.event_id

    def remember(self, record: Record) -> None:
        """Take a record of the past from the store into the history."""
        entry = self._entry(record)
        if record.seq > self.log.end:
            self.log.begin_at(record.seq)
        self.log.append(entry, [])

    async def take_in(self, record: Record) -> None:
        """Give a record from the store to all subscribers, as `append` does with an item."""
        entry = self._entry(record)
        evicted = await self._make_room(len(entry.json), entry.key)
        log = self.log
        if record.seq > log.end and self._crowd is not None:
            self._crowd.jump(record.seq)
            evicted = []
        self._enter(entry, evicted)

    # --- subscriptions -----------------------------------------------------------------------------

    def place(self, subscription: Subscription, last_event_id: str | None) -> None:
        """Let a subscription begin."""
        if self._crowd is not None:
            subscription.place([] if last_event_id is None else self._after(last_event_id))
            self._crowd.subscriptions.add(subscription)

    def finish(self, failure: BaseException | None) -> None:
        """End the channel in this process: nothing more will come."""
        self.closed = True
        self.failure = failure
        if self._crowd is not None and not self._crowd.loop.is_closed():
            self._crowd.tidy()
            self._crowd.schedule()

    def fail(self, error: DualModeError) -> None:
        """End all subscriptions of this process."""
        for subscription in self.subscriptions:
            subscription.fail(error)

    def moved(self, subscription: Subscription) -> None:
        """Take note that a slow subscription has taken something."""
        if self._crowd is not None:
            self._crowd.moved(subscription)

    def left(self, subscription: Subscription) -> None:
        """Take note that a subscription takes nothing any more."""
        if self._crowd is not None:
            self._crowd.left(subscription)

    def _seq_of(self, event_id: str | None) -> int:
        """Give the number of an event of this channel; -1 if the id is none of them."""
        epoch, _, number = (event_id or "").rpartition("-")
        known = epoch == self.epoch and number.isascii() and number.isdecimal() and len(number) < 20
        return int(number) if known else -1

    def _after(self, last_event_id: str) -> list[Published | ServerSentEvent]:
        """Give what is to be replayed after an event: what the history has, and before it a gap if some are missing."""
        log = self.log
        seq = self._seq_of(last_event_id)
        if not 0 <= seq < log.end:
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

    # --- inside ------------------------------------------------------------------------------------

    async def _make_room(self, size: int, key: Hashable) -> list[Published]:
        """Wait until an item may enter; give what falls out of the window then."""
        crowd, log = self._here(), self.log
        while True:
            if self.closed:
                raise ChannelClosed
            evicted = log.evicted_by(size, log.end if self._key is None else key)
            waits_for = crowd.before(evicted)
            if waits_for is None:
                return evicted
            await asyncio.shield(waits_for)

    def _enter(self, entry: Published, evicted: list[Published]) -> None:
        crowd = self._here()
        crowd.leave_behind(evicted)
        self.log.append(entry, evicted)
        crowd.published(entry)

    def _entry(self, record: Record) -> Published:
        key: Hashable = record.seq
        if self._key is not None:
            key = self._key(item := decode_json(record.data))
        else:
            item = NOT_DECODED
        return Published(record.seq, key, item, record.event or None, f"{self.epoch}-{record.seq}", record.data)

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
