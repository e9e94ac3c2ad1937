"""One subscriber of a channel: its position in the log, what it was told, and what it has missed.

What a subscriber still has to get is, in this order:

1. what lies in its own queue: the history that it came back for, and under `drop_newest` what it holds on to
2. what the log's window has from its position on

Rules:

- Every number of the log is delivered, dropped, conflated or still buffered, for each subscriber exactly one of them.
- What is dropped is told by a `gap` event in the place where it is missing, before anything that comes after it.
- A subscription belongs to whoever reads it. The channel does not keep it alive.
- One that still waits for its place, because a store has to be asked for it, reads an empty log until then. Its
  response waits with the headers: a client that has them misses nothing from then on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from dual_mode_streaming.answers import BURST_BYTES
from dual_mode_streaming.errors import DualModeError
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.formats import Format
from dual_mode_streaming.sources import Asked, FrameSource, Ready

from .broadcast import Broadcast
from .sharedlog import Published, SharedLog, gap
from .tally import SubscriptionStats, Tally

__all__ = ["Subscription"]

_NOWHERE = SharedLog(history=0, max_items=1, max_bytes=1, conflates=False)
"""Is always empty."""


class Subscription(FrameSource):
    """The events of a channel for one reader, from the moment of `Channel.subscribe` on.

    It is an async iterator of `ServerSentEvent`, and a source for `DualModeResponse`. One task at a time can read it.
    Leave an `async for` over it as you like: what nobody holds any more is given up. `aclose()` gives it up at once.
    """

    __slots__ = (
        "__weakref__",
        "_asked_for",
        "_bodies",
        "_channel",
        "_commits",
        "_conflated",
        "_delivered",
        "_dropped",
        "_evict",
        "_failure",
        "_format",
        "_free",
        "_held",
        "_held_bytes",
        "_log",
        "_lost",
        "_push",
        "_queue",
        "_waiter",
        "cursor",
        "ended",
        "slow",
        "slow_since",
    )

    def __init__(
        self, channel: Broadcast, replay: list[Published | ServerSentEvent] | None, *, asked_for: bool
    ) -> None:
        self.idle = False
        self.ended = False
        """Whether it takes nothing any more."""
        self.slow = False
        """Whether it was behind after a round, and is still. The crowd's note."""
        self.slow_since = 0.0
        """Since when, by the clock of the event loop."""
        self._channel = channel
        self._log = _NOWHERE if replay is None else channel.log
        self.cursor = self._log.end
        """From which number on the log has something for it."""
        self._commits = False
        """Whether the response is to send its headers, although there is nothing to give."""
        self._asked_for = asked_for
        self._queue: deque[Published | ServerSentEvent] | None = deque(replay) if replay else None
        self._free = len(replay or ())
        """How much of the queue is history, which counts for no bound."""
        self._held = self._held_bytes = 0
        self._lost = 0
        self._delivered = self._dropped = self._conflated = 0
        self._format: Format | None = None
        self._push: Callable[[], None] | None = None
        self._evict: Callable[[DualModeError], None] | None = None
        self._failure: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __del__(self) -> None:
        if not self.ended:
            # Whoever waits for room must not wait for a reader that is no more.
            self._channel.tally.add(self.tally)
            self._channel.left(self)

    # --- reading in the same process -------------------------------------------------------------

    async def __anext__(self) -> ServerSentEvent:
        """Give the next event.

        Raises:
            StopAsyncIteration: The channel was closed, and everything before that was given.
            SlowClient: The channel's policy is `disconnect`, and this reader was too slow.
            RuntimeError: Another task is reading.
            Exception: What the channel was closed with.
        """
        while True:
            event = self._next()
            if event is not None:
                return event
            if self.over:
                self.check_end()
                raise StopAsyncIteration
            if self.idle:
                raise RuntimeError("another task reads this subscription; make one subscription for each")
            self._waiter = asyncio.get_running_loop().create_future()
            self.idle = True
            try:
                await self._waiter
            finally:
                self.idle = False
                self._waiter = None

    async def aclose(self) -> None:
        """Give the subscription up: nothing is buffered for it any more. Does nothing if that was done before."""
        if not self.ended:
            self._give_up()
            if self.idle:
                self.wake()

    @property
    def stats(self) -> SubscriptionStats:
        """What happened to its items so far."""
        if self.ended:
            return SubscriptionStats(self._delivered, self._dropped, self._conflated, 0, 0)
        log, missed = self._log, self._missed
        queued = [len(part.json) for part in self._queue or () if isinstance(part, Published)]
        behind = [len(entry.json) for entry in log.entries_from(max(self.cursor, log.first))]
        return SubscriptionStats(
            self._delivered,
            self._dropped + missed,
            self._conflated + log.end - self.cursor - len(behind) - missed,
            len(queued) + len(behind),
            sum(queued) + sum(behind),
        )

    @property
    def tally(self) -> Tally:
        """The same in numbers that can be had at once, however much waits for it."""
        log, queued = self._log, len(self._queue or ())
        waiting = 0 if self.ended else log.end - max(self.cursor, log.first) + queued
        return Tally(0, self._delivered, self._dropped + self._missed, self._conflated, 0, waiting)

    def _give_up(self, *, slow: bool = False) -> None:
        if self.ended:
            return
        log, tally = self._log, self.tally
        if slow:
            tally.evicted, tally.dropped = 1, tally.dropped + tally.waiting
        self._channel.tally.add(tally)
        if self.is_behind:
            stats = self.stats
            self._dropped = stats.dropped + stats.buffered_items
            self._conflated = stats.conflated
        self.ended = True
        self.cursor = log.end
        self._queue = None
        self._channel.left(self)

    # --- reading as a source ---------------------------------------------------------------------

    def __dual_mode_open__(self, asked: Asked) -> Any:
        """Give itself for a stream, the history for a batch."""
        if asked.streams and (self._asked_for or asked.last_event_id is None):
            return self
        self._give_up()
        return self._channel.__dual_mode_open__(asked)

    @property
    def commit_after(self) -> float | None:
        """Nobody knows when the first item will come, and nothing can fail before it, once it has its place."""
        return None if self._log is _NOWHERE else 0.0

    @property
    def total(self) -> int:
        """How many items were published."""
        return self._log.end - 1

    @property
    def behind(self) -> int | None:
        """How many events its reader, who came back, had missed at the beginning."""
        if not self._asked_for:
            return None
        return sum(1 if isinstance(part, Published) else part.data["missed"] or 0 for part in self._queue or ())

    @property
    def over(self) -> bool:
        """Whether everything was taken and nothing more will come."""
        return self.ended or (self._channel.closed and not self.is_behind)

    def check_end(self) -> None:
        """Raise what the subscription ended with, if that was no good end."""
        failure = self._failure if self.ended else self._channel.failure
        if failure is not None:
            # All subscribers raise the same error: it must not pile up where each of them did.
            raise failure.with_traceback(None)

    def attach(self, format: Format, push: Callable[[], None], evict: Callable[[DualModeError], None]) -> None:  # noqa: A002
        """Begin to give frames; see `FrameSource`."""
        self._format = format
        self._bodies = self._channel.log.bodies(format)
        self._push = push
        self._evict = evict

    def take(self) -> Ready | None:
        """Take frames that are ready; None if there are none."""
        log, cursor = self._log, self.cursor
        if self._queue:
            return self._take_queue()
        if cursor == log.end or self.ended:
            commits, self._commits = self._commits, False
            return Ready(b"", (), cursor) if commits and not self.ended else None
        if cursor < log.first or self._lost:
            return self._take_after_gap()
        ready = self._bodies.get(cursor)
        if ready is None:
            ready = log.body(self._attached, cursor)
        count = len(ready.items)
        self._delivered += count
        self._conflated += ready.next - cursor - count
        self.cursor = ready.next
        if self.slow:
            self._channel.moved(self)
        return ready

    def _take_after_gap(self) -> Ready:
        log, missed, format_ = self._log, self._missed, self._attached
        ready = log.body(format_, max(self.cursor, log.first))
        if missed:
            told = gap(self._channel.epoch, missed, ready.items[0].seq - 1)
            ready = ready._replace(frames=format_.event(told) + ready.frames)
        self._advance(ready.next, len(ready.items), missed)
        return ready

    @property
    def _attached(self) -> Format:
        assert self._format is not None  # noqa: S101  frames are taken by whoever has attached itself
        return self._format

    def _take_queue(self) -> Ready:
        format_ = self._attached
        frames = bytearray()
        items: list[Published] = []
        while self._queue and len(frames) < BURST_BYTES:
            part = self._pop(self._queue)
            if isinstance(part, Published):
                frames += part.frame(format_)
                items.append(part)
            else:
                frames += format_.event(part)
        if self.slow:
            self._channel.moved(self)
        return Ready(bytes(frames), items, self.cursor)

    def _next(self) -> ServerSentEvent | None:
        log = self._log
        if self._queue:
            part = self._pop(self._queue)
            if self.slow:
                self._channel.moved(self)
            return part.event() if isinstance(part, Published) else part
        if self.cursor == log.end or self.ended:
            return None
        entry = next(log.entries_from(max(self.cursor, log.first)))
        missed = self._missed
        if missed:
            self._advance(entry.seq, 0, missed)
            return gap(self._channel.epoch, missed, entry.seq - 1)
        self._advance(entry.seq + 1, 1, 0)
        return entry.event()

    def _pop(self, queue: deque[Published | ServerSentEvent]) -> Published | ServerSentEvent:
        part = queue.popleft()
        if self._free:
            self._free -= 1
        elif isinstance(part, Published):
            self._held -= 1
            self._held_bytes -= len(part.json)
        if isinstance(part, Published):
            self._delivered += 1
        if not queue:
            self._queue = None
        return part

    def _advance(self, cursor: int, delivered: int, missed: int) -> None:
        self._delivered += delivered
        self._dropped += missed
        self._conflated += cursor - self.cursor - delivered - missed
        self._lost = 0
        self.cursor = cursor
        if self.slow:
            self._channel.moved(self)

    # --- the channel's side ----------------------------------------------------------------------

    def place(self, replay: list[Published | ServerSentEvent]) -> None:
        """Give it the place that it has waited for, and what comes before that."""
        self._commits = self._log is _NOWHERE and not replay
        self._log = self._channel.log
        self.cursor = self._log.end
        self._queue = deque(replay) if replay else None
        self._free = len(replay)
        self._wake_soon()

    def fail(self, error: DualModeError) -> None:
        """End it: its channel cannot be followed here any more."""
        if not self.ended:
            self._failure = error
            self._give_up()
            self._wake_soon()

    @property
    def is_behind(self) -> bool:
        """Whether something waits for it."""
        return (self.cursor != self._log.end or self._queue is not None) and not self.ended

    @property
    def _missed(self) -> int:
        """How many items have fallen out of the window that it had not got, and was not told of yet."""
        log = self._log
        return self._lost if log.conflates else max(0, log.first - self.cursor)

    def lose(self, count: int) -> None:
        """Take note of items that fall out of a conflated window. Otherwise the numbers tell."""
        self._lost += count

    def _wake_soon(self) -> None:
        """Wake from a callback: a push makes itself the task of the response, which no other task may do."""
        if self.idle:
            asyncio.get_running_loop().call_soon(lambda: self.wake() if self.idle else None)

    def wake(self) -> None:
        """Let a reader that is idle look: there is something for it, or nothing any more."""
        if self._push is not None:
            self._push()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def evict(self, error: DualModeError) -> None:
        """End it at once: its reader is too slow."""
        self._failure = error
        self._give_up(slow=True)
        if self._evict is not None:
            self._evict(error)
        elif self.idle:
            self.wake()

    def hold(self) -> None:
        """Keep what the window has for it, before something falls out."""
        entries = list(self._log.entries_from(self.cursor))
        self._queue = self._queue or deque()
        self._queue.extend(entries)
        self._held += len(entries)
        self._held_bytes += sum(len(entry.json) for entry in entries)
        self.cursor = self._log.end

    def offer(self, entry: Published) -> bool:
        """Take a new entry if there is room beside what it holds; otherwise miss it. False if it holds nothing."""
        queue = self._queue
        if not queue:
            return False
        channel = self._channel
        self.cursor = entry.seq + 1
        if self._held < channel.max_items and self._held_bytes + len(entry.json) <= channel.max_bytes:
            queue.append(entry)
            self._held += 1
            self._held_bytes += len(entry.json)
            return True
        self._dropped += 1
        missed = 1
        last = queue[-1]
        if isinstance(last, ServerSentEvent) and len(queue) > self._free:
            queue.pop()
            missed += last.data["missed"]
        queue.append(gap(channel.epoch, missed, entry.seq))
        return True
