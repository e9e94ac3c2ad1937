"""The work of one run, in the process that has begun it: takes the items of the source, and writes them down.

Four tasks have a part in it:

    the driver      steps the source, and closes it
    the writer      appends what is ready, all of it in one append, and renews the lease while nothing is
    the listener    hears that somebody else has ended the run
    `Producer.run`  waits for the driver, writes the end, and calls `on_finish`

Rules:

- What is ready and not yet written is bounded. When the bound is reached, the driver waits.
- Everything that the source gave is written before the end is.
- A store that does not answer is tried again, for a bounded time. Then the source is ended: nobody would see its items.
- A producer that is refused was given up. It ends its source and writes nothing any more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from dual_mode_streaming.answers import check_size
from dual_mode_streaming.errors import (
    DualModeError,
    InvalidEvent,
    RunCancelled,
    RunEnded,
    RunNotFound,
    ServerShutdown,
    StoreError,
)
from dual_mode_streaming.events import Missed, Outcome, ServerSentEvent
from dual_mode_streaming.folds import Fold
from dual_mode_streaming.formats import checked_frame, event_value
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.lifecycle import OnFinish, logger, run_on_finish
from dual_mode_streaming.observers import ObservedRun, Observer
from dual_mode_streaming.pace import Pace
from dual_mode_streaming.sources import close_source
from dual_mode_streaming.stores.base import Limits, NewRun, Record, RunState, Store
from dual_mode_streaming.stores.pauses import pauses
from dual_mode_streaming.tasks import cancelled, gave_up

from .records import CANCELLED, done_record, error_record

__all__ = ["NEWEST", "Producer", "Terms"]

T = TypeVar("T")

NEWEST = 2**62
"""Larger than any number of a record: whoever reads after it gets the head alone."""
AHEAD_ITEMS, AHEAD_BYTES = 512, 1_048_576
"""How much the source may be ahead of the store, and the most of one append."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for all runs of one `Runs`. Times are in seconds.

    Raises:
        ValueError: A number is out of its range.
    """

    limits: Limits
    patience: float
    close_timeout: float
    max_item_bytes: int | None
    max_result_bytes: int
    batch_max_items: int | None
    debug: bool
    observers: tuple[Observer, ...] = ()

    def __post_init__(self) -> None:
        for name in ("patience", "close_timeout"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must not be negative")
        for name in ("max_item_bytes", "max_result_bytes", "batch_max_items"):
            bound = getattr(self, name)
            if bound is not None and not bound > 0:
                raise ValueError(f"{name}={bound!r} must be above zero")


class Producer:
    """Does the work of one run.

    Args:
        store: Where the records go.
        run: The run, as it was claimed.
        source: The opened source.
        fold: Makes the result.
        terms: What holds for all runs.
        on_finish: Called once, at the end.
    """

    def __init__(
        self, store: Store, run: NewRun, source: Any, fold: Fold[Any, Any], terms: Terms, on_finish: OnFinish | None
    ) -> None:
        self._store = store
        self._run = run
        self._source = source
        self._fold = fold
        self._terms = terms
        self._on_finish = on_finish
        self._state: Any = fold.start()
        self._keeps = True
        self._seq = 0
        self.items = 0
        """How many items there were so far."""
        self._pace = Pace()
        self._queue: deque[Record] = deque()
        self._bytes = 0
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._told = asyncio.Event()
        self._why: DualModeError | None = None
        self._refusal: DualModeError | None = None
        self._ending = False
        most = [bound for bound in (terms.max_item_bytes, store.max_record_bytes) if bound is not None]
        self._most_bytes = min(most, default=None)
        self._observed = ObservedRun(run.run_id, terms.observers) if terms.observers else None

    def stop(self, why: DualModeError) -> None:
        """Begin to end the work early. What is told first counts."""
        if self._why is None:
            self._why = why
            self._pace.stopped = True
            self._told.set()

    def partial(self) -> Any:
        """Give the fold of the items so far; None if there were more than a batch may have."""
        return self._fold.snapshot(self._state) if self._keeps else None

    async def run(self) -> None:
        """Do the work to its end, whatever that is."""
        loop = asyncio.get_running_loop()
        driver = loop.create_task(self._drive())
        writer = loop.create_task(self._write_all())
        listener = loop.create_task(self._listen())
        outcome = Outcome.CANCELLED
        try:
            await self._driven(driver)
            outcome, final = self._end_of(driver)
            if final is not None:
                self._ending = True
                self._put(final)
                await asyncio.wait({writer})
            why = self._refusal or self._why
            if isinstance(why, (RunEnded, RunNotFound)):
                outcome = await self._ended_by()
            elif isinstance(why, StoreError):
                outcome = Outcome.ERROR
        finally:
            driver.cancel()
            await cancelled(writer, listener)
            await self._finish(outcome)

    # --- the source ------------------------------------------------------------------------------

    async def _drive(self) -> None:
        source, pace = self._source, self._pace
        try:
            async for item in source:
                record = self._record(item)
                if record is not None:
                    self._put(record)
                    while len(self._queue) >= AHEAD_ITEMS or self._bytes >= AHEAD_BYTES:
                        self._room.clear()
                        await self._room.wait()
                if pace.overdue():
                    await pace.turn()
        finally:
            await close_source(source)

    async def _driven(self, driver: asyncio.Task[None]) -> None:
        """Wait for the driver; once the work is to end early, only for as long as a source may take to close."""
        told = asyncio.ensure_future(self._told.wait())
        try:
            await asyncio.wait({driver, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            if not driver.done():
                driver.cancel()
                await asyncio.wait({driver}, timeout=self._terms.close_timeout)
                if not driver.done():
                    logger.error("the source of a run did not close in time and was left behind")

    def _record(self, item: Any) -> Record | None:
        """Make the record of an item, and fold it; None for what is no item."""
        name = ""
        if isinstance(item, ServerSentEvent):
            if item.id is not None:
                raise InvalidEvent("id", "cannot be set in a run, which numbers its events itself")
            checked_frame(item)
            if item.data.__class__ is Missed:
                self._seq += 1
                return Record(self._seq, encode_json(item.data), "gap")
            if not item.is_item:
                return None
            name, item = item.event or "", event_value(item)
        data = encode_json(item)
        if self._most_bytes is not None:
            check_size(self.items, data, self._most_bytes)
        if self._keeps:
            self._state = self._fold.step(self._state, item)
        self.items += 1
        self._seq += 1
        bound = self._terms.batch_max_items
        if self._keeps and bound is not None and self.items > bound and self._fold.keeps_items:
            self._keeps, self._state = False, None
        return Record(self._seq, data, name)

    # --- the end ---------------------------------------------------------------------------------

    def _end_of(self, driver: asyncio.Task[None]) -> tuple[Outcome, Record | None]:
        """Say how the work ended, and give the final record if it is for us to write."""
        why, seq = self._why, self._seq + 1
        complete = driver.done() and not driver.cancelled() and driver.exception() is None
        if isinstance(why, (RunCancelled, ServerShutdown)) and not complete:
            outcome = Outcome.CANCELLED if isinstance(why, RunCancelled) else Outcome.DRAINED
            return outcome, error_record(seq, why)
        if why is not None and not isinstance(why, (RunCancelled, ServerShutdown)):
            return Outcome.ERROR, None
        error: BaseException | None = None
        if complete:
            try:
                return Outcome.DONE, self._done(seq)
            except Exception as raised:
                error = raised
        elif driver.cancelled():
            error = gave_up()
        else:
            error = driver.exception()
        assert error is not None  # noqa: S101
        if not isinstance(error, DualModeError) and getattr(error, "status_code", None) is None:
            logger.error("the work of a run failed", exc_info=error)
        return Outcome.ERROR, error_record(seq, error, debug=self._terms.debug)

    def _done(self, seq: int) -> Record:
        terms = self._terms
        if not self._keeps:
            return done_record(seq, self.items, None, ("batch_max_items", terms.batch_max_items or 0))
        result = encode_json(self._fold.result(self._state))
        most = terms.max_result_bytes
        if self._store.max_record_bytes is not None:
            most = min(most, self._store.max_record_bytes - 64)  # the number of items stands beside it
        if len(result) > most:
            return done_record(seq, self.items, None, ("max_result_bytes", most))
        return done_record(seq, self.items, result)

    async def _ended_by(self) -> Outcome:
        """Say what it means that somebody else has ended the run."""
        try:
            head, _ = await self._store.read(self._run.run_id, NEWEST, 0)
            _, records = await self._store.read(self._run.run_id, head.last - 1, 1)
        except DualModeError:
            return Outcome.ERROR
        return Outcome.CANCELLED if records and records[-1].event == CANCELLED else Outcome.ERROR

    async def _finish(self, outcome: Outcome) -> None:
        if self._observed is not None:
            self._observed.is_over(outcome, self.items)
        if self._on_finish is None:
            return
        try:
            partial = self.partial()
        except Exception:
            logger.exception("the fold of a partial result raised")
            partial = None
        await run_on_finish(self._on_finish, outcome, partial, self._terms.close_timeout)

    # --- the store -------------------------------------------------------------------------------

    def _put(self, record: Record) -> None:
        self._queue.append(record)
        self._bytes += len(record.data)
        self._work.set()

    async def _write_all(self) -> None:
        run_id, epoch = self._run.run_id, self._run.epoch
        try:
            while True:
                if not self._queue:
                    self._work.clear()
                    try:
                        async with asyncio.timeout(self._run.limits.lease / 3):
                            await self._work.wait()
                    except TimeoutError:
                        await self._patiently(partial(self._store.renew, run_id, epoch))
                        continue
                batch = self._batch()
                await self._patiently(partial(self._store.append, run_id, epoch, batch))
                for record in batch:
                    self._queue.popleft()
                    self._bytes -= len(record.data)
                self._room.set()
                if batch[-1].final:
                    return
        except DualModeError as error:
            if isinstance(error, StoreError):
                logger.error("the records of a run could not be written: %s", error)
            self._refused(error)
        except Exception:
            logger.exception("the store broke")
            self._refused(StoreError("The store broke."))

    def _refused(self, why: DualModeError) -> None:
        self._refusal = why
        self.stop(why)

    def _batch(self) -> list[Record]:
        """Give what is ready, as much as goes into one append."""
        batch: list[Record] = []
        size = 0
        for record in self._queue:
            if batch and (size + len(record.data) > AHEAD_BYTES or len(batch) == AHEAD_ITEMS):
                break
            batch.append(record)
            size += len(record.data)
        return batch

    async def _patiently(self, verb: Callable[[], Awaitable[T]]) -> T:
        """Try until the store answers, for as long as the terms say."""
        now = asyncio.get_running_loop().time
        end, pause = now() + self._terms.patience, pauses()
        while True:
            try:
                return await verb()
            except StoreError:
                if now() >= end:
                    raise
            await asyncio.sleep(pause())

    async def _listen(self) -> None:
        """Hear that somebody else has ended the run. Where no bell can be heard, the next append is refused."""
        run_id, pause = self._run.run_id, pauses()
        while not self._ending:
            try:
                async with self._store.watch(run_id) as watch:
                    while not self._ending:
                        head, _ = await self._store.read(run_id, NEWEST, 0)
                        if head.state is RunState.ENDED and not self._ending:
                            self.stop(RunEnded())
                            return
                        while (records := await watch.next()) and not records[-1].final:
                            pass
            except StoreError:
                await asyncio.sleep(pause())
            except RunNotFound as error:
                self.stop(error)
