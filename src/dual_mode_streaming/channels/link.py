"""How one process follows a channel that others share: one watch, for all its subscribers.

The link watches the history in the store, reads it, and goes live, in this order; so nothing comes between. What comes
it puts into the log of the channel, as publishing does where there is no store.

Rules:

- The history is the truth, the bell only says when to look. Records that are known are dropped; after a gap the history
  is read. What is not kept any more by then is told to subscribers as a gap.
- The link begins with the first subscriber, or with `Channel.open`, and lasts until `Channel.aclose`.
- A subscriber that comes before the link is open waits for its place. So does one that knows more than this process has
  heard of.
- A store that does not answer is tried again, for a bounded time. Then all subscribers of this process are told, and
  the next one begins a new link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from dual_mode_streaming.errors import ChannelFailed, DualModeError, Problem, RunNotFound, StoreError
from dual_mode_streaming.jsonbytes import decode_json
from dual_mode_streaming.lifecycle import logger
from dual_mode_streaming.stores.base import Head, Record, RunState, Watch
from dual_mode_streaming.stores.pauses import pauses
from dual_mode_streaming.tasks import cancelled

from .history import ERROR, KEPT_SECONDS, StoredHistory
from .sharedlog import SharedLog
from .subscriptions import Subscription

__all__ = ["Link", "Linked"]

PATIENCE = 10.0
"""Seconds to go on trying when the store does not answer."""
RENEW_SECONDS = KEPT_SECONDS / 4
"""After so long without an item the store is told that the history is in use."""
NEWEST = 2**62
"""Larger than any number of a record: whoever reads after it gets the head alone."""


class Linked(Protocol):
    """What a link needs of its channel."""

    log: SharedLog
    epoch: str
    closed: bool

    def remember(self, record: Record) -> None:
        """Take a record of the past into the history."""

    async def take_in(self, record: Record) -> None:
        """Give a new record to all subscribers."""

    def place(self, subscription: Subscription, last_event_id: str | None) -> None:
        """Let a subscription begin that has waited for its place."""

    def finish(self, failure: BaseException | None) -> None:
        """End the channel in this process: nothing more will come."""

    def fail(self, error: DualModeError) -> None:
        """End all subscriptions of this process."""


class Link:
    """Follows the history of a channel.

    Args:
        channel: The channel.
        history: Its history.
        replay: How many of the newest items to take over; None for all that are kept.
    """

    def __init__(self, channel: Linked, history: StoredHistory, replay: int | None) -> None:
        self.loop = asyncio.get_running_loop()
        self._channel = channel
        self._history = history
        self._store = history.store
        self._replay = replay
        self._opened: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._taking = asyncio.Lock()
        """Held by whoever puts records into the log."""
        self._waiting: list[tuple[Subscription, str | None]] = []
        self._placing: asyncio.Task[None] | None = None
        self._head: Head | None = None
        self._down_since: float | None = None
        history.on_loss = self._lost

    @property
    def is_open(self) -> bool:
        """Whether the log has what the store had when this was opened, and what came since."""
        opened = self._opened
        return opened is not None and opened.done() and not opened.cancelled() and opened.exception() is None

    def begin(self) -> asyncio.Future[None]:
        """Begin to follow, unless that has begun; give what is done when the link is open."""
        if self._opened is None:
            self._opened = self.loop.create_future()
            self._task = self.loop.create_task(self._run(self._opened))
        return self._opened

    async def open(self) -> None:
        """Be open.

        Raises:
            StoreError: The store does not answer.
        """
        await asyncio.shield(self.begin())

    @property
    def is_opening(self) -> bool:
        """Whether the link has begun, and is not open yet."""
        return self._opened is not None and not self._opened.done()

    async def look(self) -> None:
        """Take in what is in the store now, without waiting for a bell.

        Raises:
            StoreError: The store does not answer.
        """
        async with self._taking:
            try:
                await self._catch_up()
            except RunNotFound:
                if self._head is not None:
                    self._history.lost(self._head)
                raise _lost() from None

    def admit(self, subscription: Subscription, last_event_id: str | None) -> None:
        """Place a subscription when that is possible."""
        self._waiting.append((subscription, last_event_id))
        self.begin()
        if self.is_open and self._placing is None:
            self._placing = self.loop.create_task(self._look_and_place())

    async def aclose(self, error: DualModeError) -> None:
        """Follow no more; subscribers are told why."""
        running = [task for task in (self._task, self._placing) if task is not None]
        self._reset(error)
        await cancelled(*running)

    # --- following -------------------------------------------------------------------------------

    async def _run(self, opened: asyncio.Future[None]) -> None:
        try:
            await self._follow(opened)
            return
        except DualModeError as error:
            failure = error
        except Exception:
            logger.exception("following a channel failed")
            failure = StoreError("The channel cannot be followed.")
        if self._opened is opened:
            self._reset(failure)

    def _reset(self, failure: DualModeError) -> None:
        """Go back to the beginning, and end all who have waited or followed."""
        opened, task, self._opened, self._task = self._opened, self._task, None, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        if opened is not None and not opened.done():
            opened.set_exception(failure)
            opened.exception()  # whoever waits for it is told; it may be nobody
        waiting, self._waiting = self._waiting, []
        for subscription, _ in waiting:
            subscription.fail(failure)
        if not self._channel.closed:
            self._channel.fail(failure)

    def _lost(self) -> None:
        if self.is_open:
            self._reset(_lost())

    async def _follow(self, opened: asyncio.Future[None]) -> None:
        """Follow, with one watch after the other where the store was away for a moment."""
        pause = pauses()
        while self._opened is opened and not self._channel.closed:
            try:
                self._head = await self._history.found()
                await self._follow_one(self._head, opened)
            except RunNotFound:
                if self._head is not None:
                    self._history.lost(self._head)
                if opened.done():
                    raise _lost() from None
                await asyncio.sleep(pause())
            except StoreError:
                now = self.loop.time()
                if self._down_since is None:
                    self._down_since, pause = now, pauses()
                if not opened.done() or now - self._down_since >= PATIENCE:
                    raise
                await asyncio.sleep(pause())

    async def _follow_one(self, head: Head, opened: asyncio.Future[None]) -> None:
        async with self._store.watch(head.run_id) as watch:
            async with self._taking:
                await (self._catch_up() if opened.done() else self._mirror(head))
            self._down_since = None
            if not opened.done():
                opened.set_result(None)
                self._place_all()
            await self._listen(watch, head, opened)

    async def _listen(self, watch: Watch, head: Head, opened: asyncio.Future[None]) -> None:
        hearing: asyncio.Task[Sequence[Record]] | None = None
        try:
            # A cancellation may have been swallowed on the way (`tasks.cancelled`).
            while self._opened is opened and not self._channel.closed:
                hearing = hearing or asyncio.ensure_future(_next(watch))
                await asyncio.wait({hearing}, timeout=RENEW_SECONDS)
                if not hearing.done():
                    await self._store.renew(head.run_id, head.epoch)
                    continue
                heard, hearing = hearing, None
                records = heard.result()
                async with self._taking:
                    if not records or not await self._take(records):
                        await self._catch_up()
        finally:
            if hearing is not None:
                hearing.cancel()
                await asyncio.wait({hearing})

    async def _mirror(self, head: Head) -> None:
        """Take over the newest items, for those who come back."""
        channel = self._channel
        head, _ = await self._store.read(head.run_id, NEWEST, 0)
        channel.epoch = head.epoch
        last = head.last - (head.state is RunState.ENDED)
        most = last if self._replay is None else self._replay
        channel.log.begin_at(max(head.first, last - most + 1))
        while not channel.closed:
            _, records = await self._store.read(head.run_id, channel.log.end - 1)
            if not records:
                break
            for record in records:
                if record.final:
                    self._finish(record)
                else:
                    channel.remember(record)
        channel.log.release()

    async def _catch_up(self) -> None:
        """Read until nothing is new."""
        head = self._head
        while head is not None and not self._channel.closed:
            _, records = await self._store.read(head.run_id, self._channel.log.end - 1)
            if not records:
                return
            await self._take(records, jumps=True)

    async def _take(self, records: Sequence[Record], *, jumps: bool = False) -> bool:
        """Take new records in, as far as they follow on what is known; say whether all did."""
        channel = self._channel
        for record in records:
            if record.seq < channel.log.end or channel.closed:
                continue
            if record.seq > channel.log.end and not jumps:
                return False
            if record.final:
                self._finish(record)
            else:
                await channel.take_in(record)
        return True

    def _finish(self, final: Record) -> None:
        failed = final.event == ERROR
        self._channel.finish(ChannelFailed(Problem.from_dict(decode_json(final.data))) if failed else None)

    # --- placing ---------------------------------------------------------------------------------

    async def _look_and_place(self) -> None:
        try:
            await self.look()
        except DualModeError as error:
            waiting, self._waiting = self._waiting, []
            for subscription, _ in waiting:
                subscription.fail(error)
        finally:
            self._placing = None
        self._place_all()

    def _place_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for subscription, last_event_id in waiting:
            if not subscription.ended:
                self._channel.place(subscription, last_event_id)


def _lost() -> StoreError:
    return StoreError("The store has lost the history of this channel. Come back for the new one.")


async def _next(watch: Watch) -> Sequence[Record]:
    return await watch.next()
