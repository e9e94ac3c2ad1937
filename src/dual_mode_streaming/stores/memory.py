"""`MemoryStore`: runs in the memory of one process. They are gone when it ends, and no other process sees them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic

from dual_mode_streaming.errors import RunEnded, RunNotFound, StoreError

from .base import PAGE_BYTES, Head, NewRun, Record, RunState, Store, Watch, check_additions, numbered
from .bells import Bells

__all__ = ["MemoryStore"]

SWEEP_EVERY = 10.0
"""Seconds after which a new run lets those go that are over their time, if nobody calls `expire`."""


@dataclass(slots=True)
class _Kept:
    """A run as it is kept."""

    run: NewRun
    touched: float
    leased_until: float
    records: deque[Record] = field(default_factory=deque)
    bytes: int = 0
    last: int = 0
    closed: bool = False
    """Whether somebody has ended it in the place of its producer."""

    @property
    def ended(self) -> bool:
        return bool(self.records) and self.records[-1].final

    @property
    def over_at(self) -> float:
        limits = self.run.limits
        return self.touched + (limits.ttl_after if self.ended else limits.ttl)

    def head(self) -> Head:
        run, lease = self.run, max(0.0, self.leased_until - monotonic())
        first = self.records[0].seq if self.records else 1
        state = RunState.LIVE if lease else RunState.LOST
        if self.ended:
            state, lease = RunState.ENDED, 0.0
        return Head(run.run_id, run.epoch, run.owner, run.key, state, first, self.last, lease)

    def touch(self) -> None:
        self.touched = monotonic()
        self.leased_until = self.touched + self.run.limits.lease

    def add(self, record: Record) -> None:
        limits = self.run.limits
        self.records.append(record)
        self.last = record.seq
        self.bytes += len(record.data)
        most_items = float("inf") if limits.max_items is None else limits.max_items
        most_bytes = float("inf") if limits.max_bytes is None else limits.max_bytes
        while len(self.records) > 1 and (len(self.records) > most_items or self.bytes > most_bytes):
            self.bytes -= len(self.records.popleft().data)


class MemoryStore(Store):
    """Keeps runs in memory, for one process, in one event loop at a time.

    Args:
        max_runs: How many runs to keep. One more is refused with `StoreError` until others are over their time.

    Raises:
        ValueError: `max_runs` is not above zero.
    """

    def __init__(self, *, max_runs: int = 10_000) -> None:
        if not max_runs > 0:
            raise ValueError(f"max_runs={max_runs!r} must be above zero")
        self._max_runs = max_runs
        self._runs: dict[str, _Kept] = {}
        self._by_key: dict[tuple[str | None, str], str] = {}
        self._bells = Bells()
        self._swept = monotonic()

    async def claim(self, run: NewRun) -> Head:
        """Begin a run, or find the one that was begun with the same owner and key."""
        if run.key is not None and (found := self._keyed(run.owner, run.key)) is not None:
            return found.head()
        if len(self._runs) >= self._max_runs or monotonic() - self._swept > SWEEP_EVERY:
            self._sweep()
            if len(self._runs) >= self._max_runs:
                raise StoreError(f"The store has max_runs={self._max_runs} runs and takes no more.")
        now = monotonic()
        kept = self._runs[run.run_id] = _Kept(run, now, now + run.limits.lease)
        if run.key is not None:
            self._by_key[run.owner, run.key] = run.run_id
        return kept.head()

    async def find(self, owner: str | None, key: str) -> Head:
        """Find the run that was begun with an owner and a key."""
        kept = self._keyed(owner, key)
        if kept is None:
            raise RunNotFound
        return kept.head()

    async def append(self, run_id: str, epoch: str, records: Sequence[Record]) -> Head:
        """Append records, and renew the lease."""
        kept = self._get(run_id)
        if kept.run.epoch != epoch or kept.closed:
            raise RunEnded
        new = [record for record in records if record.seq > kept.last]
        if new and kept.ended:
            raise RunEnded
        if [record.seq for record in new] != list(range(kept.last + 1, kept.last + 1 + len(new))):
            raise ValueError(f"the record after {kept.last} has the number {new[0].seq}")
        for record in new:
            kept.add(record)
        if new or not kept.ended:
            kept.touch()
        if new:
            self._bells.ring(run_id, new)
        return kept.head()

    async def add(self, run_id: str, epoch: str, records: Sequence[Record]) -> int:
        """Append records behind whatever is there."""
        check_additions(records)
        kept = self._get(run_id)
        if kept.run.epoch != epoch or kept.ended:
            raise RunEnded
        first = kept.last + 1
        new = numbered(records, first)
        for record in new:
            kept.add(record)
        kept.touch()
        self._bells.ring(run_id, new)
        return first

    async def renew(self, run_id: str, epoch: str) -> Head:
        """Begin the lease anew."""
        kept = self._get(run_id)
        if kept.run.epoch != epoch or kept.ended:
            raise RunEnded
        kept.touch()
        return kept.head()

    async def read(self, run_id: str, after: int = 0, limit: int = 1000) -> tuple[Head, Sequence[Record]]:
        """Give the head and a page of records."""
        kept = self._get(run_id)
        page: list[Record] = []
        size = 0
        if limit > 0 and after < kept.last:
            start = max(0, after + 1 - kept.records[0].seq)
            for record in islice(kept.records, start, start + limit):
                page.append(record)
                size += len(record.data)
                if size >= PAGE_BYTES:
                    break
        return kept.head(), page

    def watch(self, run_id: str) -> AbstractAsyncContextManager[Watch]:
        """Hear of new records; the bell carries them."""
        return self._bells.hung(run_id)

    async def close(self, run_id: str, event: str, data: bytes, *, if_lost: bool = False) -> Head:
        """End a run in the place of its producer."""
        kept = self._get(run_id)
        head = kept.head()
        if head.state is RunState.ENDED or (if_lost and head.state is not RunState.LOST):
            return head
        record = Record(kept.last + 1, data, event, final=True)
        kept.add(record)
        kept.closed = True
        kept.touch()
        self._bells.ring(run_id, [record])
        return kept.head()

    async def expire(self) -> int:
        """Delete the runs that are over their time."""
        return self._sweep()

    async def aclose(self) -> None:
        """Do nothing: there is nothing to let go of but the runs."""

    def _sweep(self) -> int:
        now = self._swept = monotonic()
        over = [run_id for run_id, kept in self._runs.items() if kept.over_at <= now]
        for run_id in over:
            self._delete(run_id)
        return len(over)

    def _keyed(self, owner: str | None, key: str) -> _Kept | None:
        known = self._by_key.get((owner, key))
        return None if known is None else self._found(known)

    def _found(self, run_id: str) -> _Kept | None:
        kept = self._runs.get(run_id)
        if kept is not None and kept.over_at <= monotonic():
            self._delete(run_id)
            return None
        return kept

    def _get(self, run_id: str) -> _Kept:
        kept = self._found(run_id)
        if kept is None:
            raise RunNotFound
        return kept

    def _delete(self, run_id: str) -> None:
        run = self._runs.pop(run_id).run
        if run.key is not None:
            del self._by_key[run.owner, run.key]
        self._bells.ring(run_id)  # who follows it finds that it is not there any more
