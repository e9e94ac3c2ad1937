"""What one process knows of one run that it follows: read once, and shared by all who follow it here.

A feed watches the run, reads it, and goes live, in this order; so nothing comes between. What is new it keeps for a
moment, in the log that channels use (`sharedlog.py`), and wakes its followers. A follower that is further behind reads
pages of the history, which those who are level share too.

Rules:

- The history is the truth, the bell only says when to look. Records that are known are dropped; after a gap the history
  is read.
- A feed lives as long as somebody uses it.
- Who follows a run whose producer is lost ends it. So each follower hears of it when the lease runs out.
- Followers are served from callbacks of the event loop, and leave it to others every two milliseconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Protocol

from dual_mode_streaming.channels.sharedlog import Published, SharedLog
from dual_mode_streaming.errors import (
    DualModeError,
    EpochChanged,
    HistoryTrimmed,
    ProducerLost,
    RunExpired,
    RunNotFound,
    StoreError,
)
from dual_mode_streaming.lifecycle import logger
from dual_mode_streaming.pace import TURN_SECONDS
from dual_mode_streaming.stores.base import Head, Record, RunState, Store, Watch
from dual_mode_streaming.stores.pauses import pauses
from dual_mode_streaming.tasks import cancelled

from .records import ERROR, event_id, failure_of, problem_json

__all__ = ["Feed", "Following"]

WINDOW_ITEMS, WINDOW_BYTES = 1024, 262_144
"""How much of what is new a feed keeps for those who are a little behind."""
PAGES = 4
"""How many pages of the history a feed keeps."""
LOOK_EVERY = 8
"""How many followers are served between two looks at the clock."""


class Following(Protocol):
    """Who follows a feed."""

    def wake(self) -> None:
        """Hear that there is something new, or nothing any more. Called outside of any task."""


class Feed:
    """The records of one run, as they come.

    Args:
        store: Where they are.
        run_id: The run.
        patience: Seconds to go on trying if the store does not answer once the feed is open.
        forget: Called when nobody uses the feed any more, or it has failed: it must not be joined any more.
    """

    head: Head

    def __init__(self, store: Store, run_id: str, patience: float, forget: Callable[[Feed], None]) -> None:
        self.run_id = run_id
        self.log = SharedLog(history=0, max_items=WINDOW_ITEMS, max_bytes=WINDOW_BYTES, conflates=False)
        self.final: Record | None = None
        """The final record, once it is known."""
        self.failure: DualModeError | None = None
        """Why the feed ended before the run did."""
        self.ended = asyncio.Event()
        """Set when one of the two is there."""
        self.followers: set[Following] = set()
        self._store = store
        self._patience = patience
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._users = 0
        self._lease_ends = 0.0
        self._task: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._pages: deque[SharedLog] = deque(maxlen=PAGES)
        self._fetches: dict[int, asyncio.Task[SharedLog]] = {}
        self._round: Iterator[Following] | None = None
        self._round_again = False

    # --- users -----------------------------------------------------------------------------------

    async def join(self, after: int) -> None:
        """Use the feed from now on; the first one opens it.

        Args:
            after: From where on the records are wanted first of all.

        Raises:
            RunNotFound: There is no such run.
            StoreError: The store does not answer.
        """
        self._users += 1
        if self._task is None:
            self._task = self._loop.create_task(self._run(after))
        try:
            await asyncio.shield(self._opened)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Use the feed no more."""
        self._users -= 1
        if not self._users and self._task is not None:
            self._forget(self)
            self._task.cancel()
            for fetch in self._fetches.values():
                fetch.cancel()
            if self._opened.done() and not self._opened.cancelled():
                self._opened.exception()  # it was told

    async def aclose(self, failure: DualModeError) -> None:
        """End the feed, although it has users: they are told why."""
        self._fail(failure)
        if self._task is not None:
            await cancelled(self._task)

    @property
    def known(self) -> int:
        """The number of the newest record that is known."""
        return self.log.end - 1 if self.final is None else self.final.seq

    async def look(self) -> None:
        """Read what is new, without waiting for a bell.

        Raises:
            RunExpired: The run is not there any more.
            StoreError: The store does not answer.
        """
        try:
            await self._catch_up()
        except RunNotFound:
            raise RunExpired from None

    def check_end(self) -> None:
        """Raise what ended the run or the feed, if that was not a complete run."""
        error = self.failure if self.final is None else failure_of(self.final)
        if error is not None:
            raise error.with_traceback(None)

    # --- history ---------------------------------------------------------------------------------

    def log_with(self, seq: int) -> SharedLog | None:
        """Give the log or the page that has an item; None if it has to be fetched."""
        if self.log.first <= seq < self.log.end:
            return self.log
        return next((page for page in self._pages if page.first <= seq < page.end), None)

    def fetch(self, seq: int) -> asyncio.Task[SharedLog]:
        """Begin to read the page of the history that begins with an item. All who want it share it.

        The task raises:
            HistoryTrimmed: It is not kept any more.
            RunExpired: The whole run is not.
            StoreError: The store does not answer.
        """
        task = self._fetches.get(seq)
        if task is None:
            task = self._fetches[seq] = self._loop.create_task(self._fetch(seq))
            task.add_done_callback(lambda done: self._fetched(seq, done))
        return task

    def _fetched(self, seq: int, task: asyncio.Task[SharedLog]) -> None:
        del self._fetches[seq]
        if not task.cancelled():
            task.exception()  # whoever wants the page has asked the task too

    async def _fetch(self, seq: int) -> SharedLog:
        try:
            head, records = await self._store.read(self.run_id, seq - 1)
        except RunNotFound:
            raise RunExpired from None
        if not records or records[0].seq != seq:
            raise HistoryTrimmed(head.first, seq)
        page = SharedLog(history=0, max_items=len(records), max_bytes=2**62, conflates=False)
        page.end = page.first = seq
        for record in records:
            if not record.final:
                page.append(self._published(record), [])
        self._pages.append(page)
        return page

    def _published(self, record: Record) -> Published:
        seq = record.seq
        return Published(seq, seq, None, record.event or None, event_id(self.head.epoch, seq), record.data)

    # --- following -------------------------------------------------------------------------------

    async def _run(self, after: int) -> None:
        try:
            await self._follow(after)
            return
        except DualModeError as error:
            failure = RunExpired() if isinstance(error, RunNotFound) and self._opened.done() else error
        except Exception:
            logger.exception("following a run failed")
            failure = StoreError("The run cannot be followed.")
        self._fail(failure)

    def _fail(self, failure: DualModeError) -> None:
        self._forget(self)
        if not self._opened.done():
            self._opened.set_exception(failure)
        elif self.final is None and self.failure is None:
            self.failure = failure
            self.ended.set()
            self._ring()

    async def _follow(self, after: int) -> None:
        down_since: float | None = None
        pause = pauses()
        while self.final is None and self._users:
            try:
                async with self._store.watch(self.run_id) as watch:
                    if self._opened.done():
                        await self._catch_up()
                    else:
                        await self._open(after)
                    down_since, pause = None, pauses()
                    await self._listen(watch)
            except StoreError:
                now = self._loop.time()
                down_since = now if down_since is None else down_since
                if not self._opened.done() or now - down_since >= self._patience:
                    raise
                await asyncio.sleep(pause())

    async def _open(self, after: int) -> None:
        """Read for the first time. The window begins with what the first user wants, if that is near the end."""
        head, records = await self._store.read(self.run_id, after)
        self._note(head)
        log = self.log
        if records and records[-1].seq >= head.last:
            log.end = log.first = records[0].seq
            self._take(records)
        else:
            log.end = log.first = head.last + (head.state is not RunState.ENDED)
        if head.state is not RunState.LIVE or self.known < head.last:
            await self._catch_up()
        self._opened.set_result(None)

    async def _listen(self, watch: Watch) -> None:
        hearing: asyncio.Task[Sequence[Record]] | None = None
        try:
            # A cancellation by who leaves last may have been swallowed on the way (`tasks.cancelled`).
            while self.final is None and self._users:
                hearing = hearing or asyncio.ensure_future(_next(watch))
                await asyncio.wait({hearing}, timeout=max(0.0, self._lease_ends - self._loop.time()))
                if hearing.done():
                    heard, hearing = hearing, None
                    records = heard.result()
                    if records and self._take(records):
                        continue
                await self._catch_up()
        finally:
            if hearing is not None:
                hearing.cancel()
                await asyncio.wait({hearing})

    async def _catch_up(self) -> None:
        """Read until nothing is new. End the run if its producer is lost."""
        while self.final is None:
            head, records = await self._store.read(self.run_id, self.known)
            if head.epoch != self.head.epoch:
                raise EpochChanged
            self._note(head)
            if records and records[0].seq > self.log.end:
                # Nobody was told of what was dropped meanwhile: it is for each follower to find that out.
                self.log.release()
                self.log.end = self.log.first = records[0].seq
            self._take(records)
            if self.known < head.last:
                continue
            if head.state is not RunState.LOST:
                return
            head = await self._store.close(self.run_id, ERROR, problem_json(ProducerLost()), if_lost=True)
            if head.state is not RunState.ENDED:
                self._note(head)  # it was late, but is alive
                return

    def _note(self, head: Head) -> None:
        self.head = head
        # The clocks of two machines may count a little differently.
        self._lease_ends = self._loop.time() + head.lease + 0.01

    def _take(self, records: Sequence[Record]) -> bool:
        """Take new records in; say whether they follow on what is known."""
        log, before = self.log, self.known
        for record in records:
            if self.final is not None or record.seq < log.end:
                continue
            if record.seq > log.end:
                return False
            if record.final:
                self.final = record
                self.ended.set()
            else:
                log.append(entry := self._published(record), log.evicted_by(len(entry.json), entry.seq))
        if self.known > before:
            self._ring()
        return True

    # --- serving ---------------------------------------------------------------------------------

    def _ring(self) -> None:
        """Have a round of all followers soon."""
        if self._round is not None:
            self._round_again = True
        elif self.followers:
            self._round = iter(tuple(self.followers))
            self._loop.call_soon(self._go_round)

    def _go_round(self) -> None:
        began, left = monotonic(), LOOK_EVERY
        for follower in self._round or ():
            follower.wake()
            left -= 1
            if not left:
                left = LOOK_EVERY
                if monotonic() - began > TURN_SECONDS:
                    self._loop.call_soon(self._go_round)
                    return
        self._round = None
        if self._round_again:
            self._round_again = False
            self._ring()


async def _next(watch: Watch) -> Sequence[Record]:
    return await watch.next()
