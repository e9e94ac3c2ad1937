"""A store whose verbs are timed, for observers."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from typing import TypeVar

from dual_mode_streaming.observers import Observer, tell

from .base import Head, NewRun, Record, Store, Watch

__all__ = ["ObservedStore"]

T = TypeVar("T")


class ObservedStore(Store):
    """Does what another store does, and tells how long it took.

    Args:
        store: The other one.
        observers: Who is told.
    """

    def __init__(self, store: Store, observers: Sequence[Observer]) -> None:
        self._store = store
        self._observers = observers
        self._name = type(store).__name__
        self.max_record_bytes = store.max_record_bytes

    async def _timed(self, verb: str, call: Awaitable[T]) -> T:
        began, error = perf_counter(), None
        try:
            return await call
        except Exception as raised:
            error = raised
            raise
        finally:
            tell(self._observers, "store_answered", self._name, verb, perf_counter() - began, error)

    async def claim(self, run: NewRun) -> Head:
        """Begin a run, or find it."""
        return await self._timed("claim", self._store.claim(run))

    async def find(self, owner: str | None, key: str) -> Head:
        """Find the run of a key."""
        return await self._timed("find", self._store.find(owner, key))

    async def append(self, run_id: str, epoch: str, records: Sequence[Record]) -> Head:
        """Append records."""
        return await self._timed("append", self._store.append(run_id, epoch, records))

    async def add(self, run_id: str, epoch: str, records: Sequence[Record]) -> int:
        """Append records behind whatever is there."""
        return await self._timed("add", self._store.add(run_id, epoch, records))

    async def renew(self, run_id: str, epoch: str) -> Head:
        """Renew the lease."""
        return await self._timed("renew", self._store.renew(run_id, epoch))

    async def read(self, run_id: str, after: int = 0, limit: int = 1000) -> tuple[Head, Sequence[Record]]:
        """Give the head and records."""
        return await self._timed("read", self._store.read(run_id, after, limit))

    def watch(self, run_id: str) -> AbstractAsyncContextManager[Watch]:
        """Hear of new records. To wait is what it is for, so nothing is timed."""
        return self._store.watch(run_id)

    async def close(self, run_id: str, event: str, data: bytes, *, if_lost: bool = False) -> Head:
        """End a run."""
        return await self._timed("close", self._store.close(run_id, event, data, if_lost=if_lost))

    async def expire(self) -> int:
        """Delete old runs."""
        return await self._timed("expire", self._store.expire())

    async def open(self) -> None:
        """Connect."""
        await self._timed("open", self._store.open())

    async def aclose(self) -> None:
        """Let go of everything."""
        await self._store.aclose()
