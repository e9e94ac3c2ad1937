"""What the checks of a store share: two connections, runs of their own, and ways to look at them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

from dual_mode_streaming.errors import RunNotFound
from dual_mode_streaming.stores.base import Head, Limits, NewRun, Record, Store

from .expecting import expect

__all__ = ["PATIENCE", "SHORT", "StoreChecks", "records_of"]

PATIENCE = 10.0
"""Seconds after which something that should happen counts as not happening."""
SHORT = 0.3
"""Seconds of a lease or of a life that a check waits for."""


def records_of(first: int, last: int, *, size: int = 0) -> list[Record]:
    """Give records with these numbers, of which every other has a name."""
    return [Record(seq, b"%d" % seq + b" " * size, "tick" if seq % 2 else "") for seq in range(first, last + 1)]


class StoreChecks:
    """Checks of a store are methods of its subclasses.

    Args:
        one: A connection.
        other: A connection of another process.
        record_bytes: The size of the largest record that is tried.
    """

    def __init__(self, one: Store, other: Store, *, record_bytes: int) -> None:
        self.one = one
        self.other = other
        self.record_bytes = min(record_bytes, one.max_record_bytes or record_bytes)

    async def begun(self, *, owner: str | None = None, key: str | None = None, limits: Limits | None = None) -> NewRun:
        """Begin a run."""
        run = NewRun(secrets.token_urlsafe(16), secrets.token_hex(8), owner, key, limits or Limits())
        expect("the head of a run that was just begun names it", (await self.one.claim(run)).run_id, run.run_id)
        return run

    async def all(self, run_id: str, after: int = 0, limit: int = 1000) -> list[Record]:
        """Read page by page, as another process."""
        records: list[Record] = []
        while True:
            head, page = await self.other.read(run_id, after, limit)
            if not page:
                expect("a page is only empty at the end of the run", after, head.last)
                return records
            if len(page) > limit:
                raise AssertionError(f"a page of at most {limit} records has {len(page)}")
            if page[0].seq <= after:
                raise AssertionError(f"a page of what comes after {after} begins with {page[0].seq}")
            records += page
            after = page[-1].seq

    async def until(self, what: str, true: Callable[[Head], bool], run_id: str) -> Head:
        """Wait until something is true of the head."""
        end = monotonic() + PATIENCE
        while True:
            head, _ = await self.other.read(run_id, 0, 0)
            if true(head):
                return head
            if monotonic() > end:
                raise AssertionError(f"{what}: not after {PATIENCE:g} s; the head is {head}")
            await asyncio.sleep(0.02)

    async def heard(
        self, listen: Callable[[], Awaitable[Sequence[Record]]], reader: Store, run_id: str, after: int, last: int
    ) -> None:
        """Listen until the record `last` is known; check that what the bell carries is what the history has."""
        end = monotonic() + PATIENCE
        known = after
        while known < last:
            try:
                async with asyncio.timeout(max(0.0, end - monotonic())):
                    carried = await listen()
            except TimeoutError:
                raise AssertionError(f"a watch was not rung for record {known + 1} within {PATIENCE:g} s") from None
            _, history = await reader.read(run_id, after)
            by_seq = {record.seq: record for record in history}
            for record in carried:
                if record.seq > after:
                    expect("a record that a bell carries", record, by_seq.get(record.seq))
            known = max([known, *by_seq])

    async def gone(self, run_id: str) -> None:
        """Wait until a run is not there any more."""
        end = monotonic() + PATIENCE
        while monotonic() < end:
            try:
                await self.other.read(run_id, 0, 0)
            except RunNotFound:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"a run whose time of {SHORT:g} s is over is still there after {PATIENCE:g} s")
