"""`SQLiteStore`: runs in one SQLite file, for all processes of one machine. It needs nothing but the standard library.

How it works:

- Two connections, each with a thread of its own: one writes, one reads. With the write-ahead log readers never wait.
- Writes that come while another one is being committed share the next transaction (`BEGIN IMMEDIATE`).
- One tailer per process looks whether another connection has committed something (`PRAGMA data_version`, some
  microseconds), reads what is new in all runs, and rings. It looks every 2 ms while there is something, more and more
  seldom up to every 25 ms while there is nothing, and not at all while nobody watches.
- What this process has written itself is rung at once.

Rules:

- No error of sqlite3 leaves this module: all are a `StoreError`.
- A file on a network drive is not supported: the write-ahead log needs memory that all processes share.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from os import PathLike
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

from dual_mode_streaming.errors import DualModeError, StoreError

from . import _sqlite_tables as tables
from .base import Head, NewRun, Record, Store, Watch, check_additions
from .bells import Bells

__all__ = ["SQLiteStore"]

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

FASTEST_LOOK, SLOWEST_LOOK, SLOWER = 0.002, 0.025, 1.3
"""Seconds between two looks of the tailer, and how they grow while nothing happens."""
LOOK_PAGE = 500
"""How many records the tailer reads at once."""


class SQLiteStore(Store):
    """Keeps runs in one SQLite file.

    Make it in the process that uses it, not before a fork. It is used in one event loop.

    Args:
        path: The file. It is made if it is not there; its folder has to be.
        busy_timeout: Seconds to wait while another process writes. Then it is a `StoreError`.
        durable: Wait for the disk with every commit. Without it a crash of the machine may lose the last moments, a
            crash of a process nothing.

    Raises:
        ValueError: The path is not that of a file.
    """

    def __init__(self, path: str | PathLike[str], *, busy_timeout: float = 5.0, durable: bool = False) -> None:
        if str(path) in ("", ":memory:"):
            raise ValueError("SQLiteStore needs a file, which other processes can open; in memory use MemoryStore")
        self._path = Path(path)
        self._busy_timeout = busy_timeout
        self._durable = durable
        self._writer = _Thread("writer")
        self._reader = _Thread("reader")
        self._pending: list[tuple[Work, asyncio.Future[Any]]] = []
        self._committing: asyncio.Future[list[Any]] | None = None
        self._opening: asyncio.Lock = asyncio.Lock()
        self._bells = Bells()
        self._tailer: asyncio.Task[None] | None = None
        self._tail: sqlite3.Connection | None = None
        self._look = asyncio.Event()

    # --- verbs -----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the file, and make its tables.

        Raises:
            StoreError: The file cannot be opened, is no database, is locked for too long, or is of another version.
        """
        async with self._opening:
            if self._reader.db is None:
                await self._writer.start(self._connect, prepare=True)
                await self._reader.start(self._connect)

    async def claim(self, run: NewRun) -> Head:
        """Begin a run, or find the one that was begun with the same owner and key."""
        return await self._write(lambda db: tables.claim(db, run))

    async def find(self, owner: str | None, key: str) -> Head:
        """Find the run that was begun with an owner and a key."""
        await self.open()
        return await self._reader.run(lambda db: tables.find(db, owner, key))

    async def append(self, run_id: str, epoch: str, records: Sequence[Record]) -> Head:
        """Append records, and renew the lease."""
        head, new = await self._write(lambda db: tables.append(db, run_id, epoch, records))
        if new:
            self._bells.ring(run_id, new)
        return head

    async def add(self, run_id: str, epoch: str, records: Sequence[Record]) -> int:
        """Append records behind whatever is there."""
        check_additions(records)
        new = await self._write(lambda db: tables.add(db, run_id, epoch, records))
        self._bells.ring(run_id, new)
        return new[0].seq

    async def renew(self, run_id: str, epoch: str) -> Head:
        """Begin the lease anew."""
        return await self._write(lambda db: tables.renew(db, run_id, epoch))

    async def read(self, run_id: str, after: int = 0, limit: int = 1000) -> tuple[Head, Sequence[Record]]:
        """Give the head and a page of records."""
        if self._reader.db is None:
            await self.open()
        return await self._reader.run(lambda db: _in_one_view(db, lambda: tables.read(db, run_id, after, limit)))

    @asynccontextmanager
    async def watch(self, run_id: str) -> AsyncIterator[Watch]:
        """Hear of new records; the bell carries them."""
        await self.open()
        async with self._bells.hung(run_id) as bell:
            async with self._opening:
                if self._tailer is None:
                    tail, pos = await self._reader.run(self._connect_tail)
                    self._tail = tail
                    self._tailer = asyncio.get_running_loop().create_task(self._go_after(tail, pos))
            self._look.set()
            yield bell

    async def close(self, run_id: str, event: str, data: bytes, *, if_lost: bool = False) -> Head:
        """End a run in the place of its producer."""
        head, new = await self._write(lambda db: tables.close(db, run_id, event, data, if_lost=if_lost))
        if new:
            self._bells.ring(run_id, new)
        return head

    async def expire(self) -> int:
        """Delete the runs that are over their time."""
        deleted = await self._write(tables.expire)
        for run_id in deleted:
            self._bells.ring(run_id)
        return len(deleted)

    async def aclose(self) -> None:
        """Close the file. Watches end with `StoreError`."""
        if self._tailer is not None:
            self._tailer.cancel()
            with suppress(asyncio.CancelledError):
                await self._tailer
            self._tailer = None
        self._bells.fail(StoreError("The store was closed."))
        while self._committing is not None:
            await asyncio.wait([self._committing])
        async with self._opening:
            if self._tail is not None:
                await self._reader.call(self._tail.close)
                self._tail = None
            await self._reader.stop()
            await self._writer.stop()

    # --- writing ---------------------------------------------------------------------------------

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._reader.db is None:
            await self.open()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._pending.append((work, future))
        if self._committing is None:
            self._commit()
        return await future

    def _commit(self) -> None:
        """Begin to commit what is pending, in one transaction. What comes meanwhile is the next one."""
        group, self._pending = self._pending, []
        committing = self._committing = self._writer.submit(partial(_transact, [work for work, _ in group]))
        committing.add_done_callback(lambda done: self._committed(group, done))

    def _committed(self, group: list[tuple[Work, asyncio.Future[Any]]], done: asyncio.Future[list[Any]]) -> None:
        self._committing = None
        try:
            results = done.result()
        except sqlite3.Error as error:
            results = [_mapped(error)] * len(group)
        except (Exception, asyncio.CancelledError) as error:
            results = [error if isinstance(error, Exception) else StoreError("The store was closed.")] * len(group)
        for (_, future), result in zip(group, results, strict=True):
            if future.done():
                continue  # whoever wrote was cancelled
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if self._pending:
            self._commit()

    def _connect(self, *, prepare: bool = False) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            _use_wal(db, self._busy_timeout)
            db.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
            if prepare:
                (result,) = _transact([tables.prepare], db)
                if result is not None:
                    raise result
        except BaseException:
            db.close()
            raise
        return db

    def _connect_tail(self, _: sqlite3.Connection) -> tuple[sqlite3.Connection, int]:
        db = self._connect()
        return db, tables.newest(db)

    # --- watching --------------------------------------------------------------------------------

    async def _go_after(self, tail: sqlite3.Connection, pos: int) -> None:
        """Ring for what other connections have written."""
        version, pause = None, FASTEST_LOOK
        while True:
            if not self._bells:
                self._look.clear()
                await self._look.wait()
                pause = FASTEST_LOOK
            try:
                # It costs less than to hand it to a thread, and waits for nobody.
                found = tail.execute("PRAGMA data_version").fetchone()
                if found != version:
                    version, pause = found, FASTEST_LOOK
                    pos = await self._ring_since(tail, pos)
                    continue
            except sqlite3.Error as error:
                self._bells.fail(_mapped(error))
                await asyncio.sleep(SLOWEST_LOOK)
            await asyncio.sleep(pause)
            pause = min(pause * SLOWER, SLOWEST_LOOK)

    async def _ring_since(self, tail: sqlite3.Connection, pos: int) -> int:
        while True:
            page = await self._reader.call(tables.since, tail, pos, LOOK_PAGE)
            fresh: dict[str, list[Record]] = {}
            for pos, run_id, record in page:  # noqa: B007  the last position is what counts
                if run_id in self._bells:
                    fresh.setdefault(run_id, []).append(record)
            for run_id, records in fresh.items():
                self._bells.ring(run_id, records)
            if len(page) < LOOK_PAGE:
                return pos


class _Thread:
    """One connection, used by one thread only."""

    def __init__(self, name: str) -> None:
        self._name = f"dual-mode-sqlite-{name}"
        self._executor: ThreadPoolExecutor | None = None
        self.db: sqlite3.Connection | None = None

    async def start(self, connect: Callable[..., sqlite3.Connection], **options: Any) -> None:
        """Open the connection, if it is not open."""
        if self.db is None:
            try:
                self.db = await self.call(connect, **options)
            except sqlite3.Error as error:
                raise _mapped(error) from error

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the connection."""
        if self.db is None:
            raise StoreError("The store was closed.")
        try:
            return await self.call(work, self.db)
        except sqlite3.Error as error:
            raise _mapped(error) from error

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Begin to do something with the connection."""
        loop = asyncio.get_running_loop()
        if self.db is None:
            closed: asyncio.Future[T] = loop.create_future()
            closed.set_exception(StoreError("The store was closed."))
            return closed
        return loop.run_in_executor(self._executor, work, self.db)

    async def call(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """Call a function in the thread. What was begun goes on if the caller is cancelled."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, self._name)
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*args, **options))

    async def stop(self) -> None:
        """Close the connection, and end the thread."""
        if self._executor is None:
            return
        if self.db is not None:
            db, self.db = self.db, None
            await self.call(db.close)
        executor, self._executor = self._executor, None
        executor.shutdown(wait=False)


def _transact(works: Sequence[Work], db: sqlite3.Connection) -> list[Any]:
    """Do all of them in one transaction; give of each what it gave, or the error with which it refused."""
    results: list[Any] = []
    db.execute("BEGIN IMMEDIATE")
    try:
        for work in works:
            try:
                results.append(work(db))
            except (DualModeError, ValueError) as refused:
                results.append(refused)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite has rolled some back by itself
            db.execute("ROLLBACK")
        raise
    return results


def _in_one_view(db: sqlite3.Connection, work: Callable[[], T]) -> T:
    """Do several reads of one state of the file."""
    db.execute("BEGIN")
    try:
        return work()
    finally:
        if db.in_transaction:
            db.execute("COMMIT")


def _use_wal(db: sqlite3.Connection, patience: float) -> None:
    """Switch to the write-ahead log. Where several processes do so at once, SQLite refuses instead of waiting."""
    end = monotonic() + patience
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if monotonic() > end:
                raise
            sleep(0.01)
        else:
            return


def _mapped(error: sqlite3.Error) -> StoreError:
    """Say what is wrong, in our words where they help more than SQLite's."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return StoreError("The SQLite file is locked: another process writes to it for too long.")
    if "full" in text:
        return StoreError("The SQLite file cannot grow: the disk, or its bound, is full.", retry_after=30)
    return StoreError(f"The SQLite file cannot be used: {text}.")
