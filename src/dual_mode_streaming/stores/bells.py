"""Bells: how a store tells the watches of its own process that something happened to a run.

Rules:

- A bell is rung from the event loop, never waits, and never fails.
- What a watch has not taken is bounded. One that is too far behind is told only that there is something: its reader
  finds it in the history.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from dual_mode_streaming.errors import StoreError

from .base import PAGE_BYTES, Record, Watch

__all__ = ["Bell", "Bells"]

MOST_RECORDS = 1000
"""How many records a watch keeps that nobody has taken."""


class Bell(Watch):
    """One watch of one run."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._bytes = 0
        self._rung = asyncio.Event()
        self._failure: StoreError | None = None

    async def next(self) -> Sequence[Record]:
        """Wait until the bell is rung, and give what it carries."""
        await self._rung.wait()
        if self._failure is not None:
            raise self._failure
        self._rung.clear()
        records, self._records, self._bytes = self._records, [], 0
        return records

    def ring(self, records: Sequence[Record]) -> None:
        """Tell of new records; of none means that they are to be read."""
        if records and (self._records or not self._rung.is_set()):
            self._records += records
            self._bytes += sum(len(record.data) for record in records)
            if len(self._records) > MOST_RECORDS or self._bytes > PAGE_BYTES:
                self._records, self._bytes = [], 0
        else:
            # A reader who is to read finds everything there, also what the bell carried before.
            self._records, self._bytes = [], 0
        self._rung.set()

    def fail(self, error: StoreError) -> None:
        """Tell that nothing will be heard any more."""
        self._failure = error
        self._rung.set()


class Bells:
    """All watches of one store in this process, by run."""

    def __init__(self) -> None:
        self._by_run: dict[str, set[Bell]] = {}

    def __len__(self) -> int:
        """How many runs are watched."""
        return len(self._by_run)

    def __contains__(self, run_id: object) -> bool:
        """Whether a run is watched."""
        return run_id in self._by_run

    @asynccontextmanager
    async def hung(self, run_id: str) -> AsyncIterator[Bell]:
        """Have a watch for a run while the block lasts."""
        bell = Bell()
        self._by_run.setdefault(run_id, set()).add(bell)
        try:
            yield bell
        finally:
            bells = self._by_run[run_id]
            bells.discard(bell)
            if not bells:
                del self._by_run[run_id]

    def ring(self, run_id: str, records: Sequence[Record] = ()) -> None:
        """Ring for a run."""
        for bell in self._by_run.get(run_id, ()):
            bell.ring(records)

    def ring_all(self) -> None:
        """Ring for every run: nobody knows what was missed."""
        for run_id in self._by_run:
            self.ring(run_id)

    def fail(self, error: StoreError) -> None:
        """End all watches."""
        for bell in _all(self._by_run.values()):
            bell.fail(error)


def _all(sets: Iterable[set[Bell]]) -> list[Bell]:
    return [bell for bells in sets for bell in bells]
