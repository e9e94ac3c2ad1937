"""Those who follow a run: as a stream from any place on (`Follower`), or for its result (`ResultReader`).

Rules:

- A follower has nothing but a position. What it has not taken lies in the feed or in the store, so a slow one costs no
  memory.
- No item is given twice, and none is left out: where one is not kept any more, that is an error.
- Whoever joined a feed leaves it once, in `aclose`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.types import ASGIApp

from dual_mode_streaming.channels.sharedlog import SharedLog
from dual_mode_streaming.errors import DualModeError, EpochChanged
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.formats import Format
from dual_mode_streaming.jsonbytes import decode_json
from dual_mode_streaming.sources import FrameSource, OtherAnswer, Ready

from .feeds import Feed
from .records import event_id, items_of, read_event_id, result_of

__all__ = ["Follower", "ResultReader"]


class Follower(FrameSource):
    """The events of a run, after a position. It is a source for a response, or an async iterator for one task.

    Args:
        feed: The feed, which was joined.
    """

    __slots__ = (
        "_closed",
        "_cursor",
        "_failure",
        "_feed",
        "_format",
        "_push",
        "_resumes",
        "_waiter",
        "_waits_for_page",
    )

    def __init__(self, feed: Feed) -> None:
        self.idle = False
        self._feed = feed
        self._cursor = 1
        self._resumes = False
        self._format: Format | None = None
        self._push: Callable[[], None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._waits_for_page = False
        self._failure: DualModeError | None = None
        self._closed = False
        feed.followers.add(self)

    async def begin(self, after: str | None) -> bool:
        """Take the place after an event, and see that what comes next can be had.

        Args:
            after: The id of the event; None for the beginning.

        Returns:
            Whether there is anything after it, or may be.

        Raises:
            InvalidRequest: The id is malformed.
            EpochChanged: The id is of another run, or of an event that this one has not had.
            HistoryTrimmed: What comes next is not kept any more.
            StoreError: The store does not answer.
            RunError: The run has failed, and nothing comes before that.
        """
        feed = self._feed
        if after is not None:
            epoch, seq = read_event_id(after)
            if epoch != feed.head.epoch:
                raise EpochChanged
            if seq > feed.known:
                await feed.look()  # another process may have told the client of more than was heard of here
            if seq > feed.known:
                raise EpochChanged
            self._cursor = seq + 1
            self._resumes = seq > 0
            if feed.final is not None and seq == feed.final.seq:
                return False
        if self._cursor < feed.log.end and feed.log_with(self._cursor) is None:
            await asyncio.shield(feed.fetch(self._cursor))
        if self.over:
            feed.check_end()
        return True

    # --- what it decides as a source -------------------------------------------------------------

    @property
    def commit_after(self) -> float | None:
        """Who comes back is told at once that the stream is there; otherwise as for any source."""
        return 0.0 if self._resumes else None

    @property
    def terminal_id(self) -> str:
        """The id of the final record."""
        return event_id(self._feed.head.epoch, self._feed.known)

    @property
    def total(self) -> int | None:
        """How many items the run has had."""
        return None if self._feed.final is None else items_of(self._feed.final)

    @property
    def behind(self) -> int | None:
        """How many events of the run a client that came back had not seen."""
        return self._feed.known - self._cursor + 1 if self._resumes else None

    @property
    def over(self) -> bool:
        """Whether everything was taken and nothing more will come."""
        feed = self._feed
        if self._failure is not None or self._closed:
            return True
        return (feed.final is not None or feed.failure is not None) and self._cursor >= feed.log.end

    def check_end(self) -> None:
        """Raise what ended it, if that was not the end of a complete run."""
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        self._feed.check_end()

    # --- taking ----------------------------------------------------------------------------------

    def attach(self, format: Format, push: Callable[[], None], evict: Callable[[DualModeError], None]) -> None:  # noqa: A002, ARG002
        """Begin to give frames; see `FrameSource`. A slow reader is never evicted: it waits in the history."""
        self._format = format
        self._push = push

    def take(self) -> Ready | None:
        """Take frames that are ready; None if there are none."""
        log = self._log()
        if log is None:
            return None
        assert self._format is not None  # noqa: S101  frames are taken by whoever has attached itself
        ready = log.body(self._format, self._cursor)
        self._cursor = ready.next
        return ready

    async def __anext__(self) -> ServerSentEvent:
        """Give the next event.

        Raises:
            StopAsyncIteration: The run is complete, and everything was given.
            DualModeError: The run or the way to it has failed, and everything before that was given.
        """
        while True:
            log = self._log()
            if log is not None:
                entry = next(log.entries_from(self._cursor))
                self._cursor += 1
                return ServerSentEvent(decode_json(entry.json), event=entry.name, id=entry.event_id)
            if self.over:
                self.check_end()
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _log(self) -> SharedLog | None:
        """Give what has the next item. If that is to be fetched, begin, and have the reader woken afterwards."""
        feed = self._feed
        if self._cursor >= feed.log.end or self._failure is not None:
            return None
        log = feed.log_with(self._cursor)
        if log is None and not self._waits_for_page:
            self._waits_for_page = True
            feed.fetch(self._cursor).add_done_callback(self._fetched)
        return log

    def _fetched(self, page: asyncio.Task[SharedLog]) -> None:
        self._waits_for_page = False
        if page.cancelled() or self._closed:
            return
        error = page.exception()
        if error is not None:
            if not isinstance(error, DualModeError):
                raise error
            self._failure = error
        self.wake()

    def wake(self) -> None:
        """Let a reader that is idle look."""
        if self._push is not None:
            if self.idle:
                self._push()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def aclose(self) -> None:
        """Leave. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._feed.followers.discard(self)
            self._feed.leave()
            self.wake()


class ResultReader(AsyncIterator[Any]):
    """Gives one item: the result of a run, when it is complete.

    Args:
        feed: The feed, which was joined.
        wait: Seconds to wait for it; None for as long as it takes.
        otherwise: Makes the answer if it is not there by then.
    """

    def __init__(self, feed: Feed, wait: float | None, otherwise: Callable[[], ASGIApp]) -> None:
        self._feed = feed
        self._wait = wait
        self._otherwise = otherwise
        self._given = False
        self._closed = False

    async def __anext__(self) -> Any:
        """Give the result.

        Raises:
            OtherAnswer: It is not there in time.
            BatchTooLarge: It was not kept, because it would have broken a bound.
            DualModeError: The run or the way to it has failed.
        """
        if self._given:
            raise StopAsyncIteration
        self._given = True
        feed = self._feed
        if not feed.ended.is_set():
            try:
                async with asyncio.timeout(self._wait):
                    await feed.ended.wait()
            except TimeoutError:
                raise OtherAnswer(self._otherwise()) from None
        feed.check_end()
        assert feed.final is not None  # noqa: S101  otherwise it has failed
        return result_of(feed.final)

    async def aclose(self) -> None:
        """Leave. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._feed.leave()
