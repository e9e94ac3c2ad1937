"""What `SQLiteStore` does inside one transaction: plain functions of a connection. They know no task and no thread.

Rules:

- A function that refuses something does so before it has changed anything: several share one transaction.
- Times are those of the machine's monotonic clock, which no step of the wall clock moves and all processes share. It
  begins anew when the machine does; `prepare` sees that by times that lie ahead.
- `ended` is 0 for a live run, 1 for one that its producer has ended, 2 for one that was closed by somebody else.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from time import monotonic
from typing import Any, NamedTuple

from dual_mode_streaming.errors import RunEnded, RunNotFound, StoreError

from .base import PAGE_BYTES, Head, NewRun, Record, RunState

__all__ = ["Row", "append", "claim", "close", "expire", "newest", "prepare", "read", "renew", "since"]

SCHEMA = 1

_TABLES = """
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    epoch TEXT NOT NULL,
    owner TEXT,
    key TEXT,
    claim TEXT UNIQUE,
    first INTEGER NOT NULL DEFAULT 1,
    last INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    ended INTEGER NOT NULL DEFAULT 0,
    touched REAL NOT NULL,
    leased_until REAL NOT NULL,
    max_items INTEGER,
    max_bytes INTEGER,
    ttl REAL NOT NULL,
    ttl_after REAL NOT NULL,
    lease REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE records (
    pos INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    event TEXT NOT NULL,
    final INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (run_id, seq)
);
"""
_COLUMNS = (
    "run_id, epoch, owner, key, first, last, bytes, ended, touched, leased_until, "
    "max_items, max_bytes, ttl, ttl_after, lease"
)
_OVER = "touched + CASE ended WHEN 0 THEN ttl ELSE ttl_after END <= ?"


class Row(NamedTuple):
    """A run as it stands in its table."""

    run_id: str
    epoch: str
    owner: str | None
    key: str | None
    first: int
    last: int
    bytes: int
    ended: int
    touched: float
    leased_until: float
    max_items: int | None
    max_bytes: int | None
    ttl: float
    ttl_after: float
    lease: float

    def head(self) -> Head:
        """Give the head of the run, as of now."""
        lease = max(0.0, self.leased_until - monotonic())
        state = RunState.LIVE if lease else RunState.LOST
        if self.ended:
            state, lease = RunState.ENDED, 0.0
        return Head(self.run_id, self.epoch, self.owner, self.key, state, self.first, self.last, lease)


def prepare(db: sqlite3.Connection) -> None:
    """Make the tables if they are not there, and take over what an earlier life of the machine has left.

    Raises:
        StoreError: Another version of the library has written the file.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        for statement in _TABLES.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {SCHEMA}")
    elif version != SCHEMA:
        raise StoreError(
            f"The file has the schema {version}; this version of the library knows {SCHEMA}. Use another file."
        )
    now = monotonic()
    db.execute("UPDATE runs SET touched = ?, leased_until = ? WHERE touched > ?", (now, now, now))


def claim(db: sqlite3.Connection, run: NewRun) -> Head:
    """Begin a run, or find the one that was begun with the same owner and key."""
    claimed = None if run.key is None else _claim(run.owner, run.key)
    now, limits = monotonic(), run.limits
    if claimed is not None:
        found = _claimed(db, claimed)
        if found is not None:
            if not _is_over(found, now):
                return found.head()
            _delete(db, found.run_id)
    row = Row(
        run.run_id,
        run.epoch,
        run.owner,
        run.key,
        1,
        0,
        0,
        0,
        now,
        now + limits.lease,
        limits.max_items,
        limits.max_bytes,
        limits.ttl,
        limits.ttl_after,
        limits.lease,
    )
    marks = ", ".join("?" * (len(row) + 1))
    db.execute(f"INSERT INTO runs ({_COLUMNS}, claim) VALUES ({marks})", (*row, claimed))  # noqa: S608
    return row.head()


def find(db: sqlite3.Connection, owner: str | None, key: str) -> Head:
    """Find the run that was begun with an owner and a key."""
    found = _claimed(db, _claim(owner, key))
    if found is None or _is_over(found, monotonic()):
        raise RunNotFound
    return found.head()


def append(db: sqlite3.Connection, run_id: str, epoch: str, records: Sequence[Record]) -> tuple[Head, Sequence[Record]]:
    """Append records; give the head, and those that are new."""
    row = _row(db, run_id)
    if row.epoch != epoch or row.ended == 2:
        raise RunEnded
    new = [record for record in records if record.seq > row.last]
    if not new:
        return (row if row.ended else _touched(db, row)).head(), new
    if row.ended:
        raise RunEnded
    if [record.seq for record in new] != list(range(row.last + 1, row.last + 1 + len(new))):
        raise ValueError(f"the record after {row.last} has the number {new[0].seq}")
    return _add(db, row, new, ended=int(new[-1].final)).head(), new


def renew(db: sqlite3.Connection, run_id: str, epoch: str) -> Head:
    """Begin the lease anew."""
    row = _row(db, run_id)
    if row.epoch != epoch or row.ended:
        raise RunEnded
    return _touched(db, row).head()


def close(
    db: sqlite3.Connection, run_id: str, event: str, data: bytes, *, if_lost: bool
) -> tuple[Head, Sequence[Record]]:
    """End a run in the place of its producer; give the head, and the record if it is new."""
    row = _row(db, run_id)
    if row.ended or (if_lost and row.leased_until > monotonic()):
        return row.head(), []
    record = Record(row.last + 1, data, event, final=True)
    return _add(db, row, [record], ended=2).head(), [record]


def read(db: sqlite3.Connection, run_id: str, after: int, limit: int) -> tuple[Head, Sequence[Record]]:
    """Give the head and a page of records."""
    row = _row(db, run_id)
    page: list[Record] = []
    if limit <= 0 or after >= row.last:
        return row.head(), page
    size = 0
    found = db.execute(
        "SELECT seq, data, event, final FROM records WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?",
        (run_id, after, limit),
    )
    for seq, data, event, final in found:
        page.append(Record(seq, data, event, bool(final)))
        size += len(data)
        if size >= PAGE_BYTES:
            break
    found.close()
    return row.head(), page


def expire(db: sqlite3.Connection) -> Sequence[str]:
    """Delete the runs that are over their time; give their ids."""
    found = db.execute(f"SELECT run_id FROM runs WHERE {_OVER}", (monotonic(),)).fetchall()  # noqa: S608
    for (run_id,) in found:
        _delete(db, run_id)
    return [run_id for (run_id,) in found]


def newest(db: sqlite3.Connection) -> int:
    """Give the position of the newest record of all runs, that was ever there."""
    found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
    return int(found[0]) if found else 0


def since(db: sqlite3.Connection, pos: int, limit: int) -> list[tuple[int, str, Record]]:
    """Give the records of all runs after a position, oldest first: each with its position and its run."""
    found = db.execute(
        "SELECT pos, run_id, seq, data, event, final FROM records WHERE pos > ? ORDER BY pos LIMIT ?", (pos, limit)
    )
    return [(at, run_id, Record(seq, data, event, bool(final))) for at, run_id, seq, data, event, final in found]


def _row(db: sqlite3.Connection, run_id: str) -> Row:
    found = db.execute(f"SELECT {_COLUMNS} FROM runs WHERE run_id = ?", (run_id,)).fetchone()  # noqa: S608
    if found is None or _is_over(Row(*found), monotonic()):
        raise RunNotFound
    return Row(*found)


def _claim(owner: str | None, key: str) -> str:
    """Give what tells the keys of all owners apart."""
    return json.dumps([owner, key])


def _claimed(db: sqlite3.Connection, claim: str) -> Row | None:
    found = db.execute(f"SELECT {_COLUMNS} FROM runs WHERE claim = ?", (claim,)).fetchone()  # noqa: S608
    return None if found is None else Row(*found)


def _is_over(row: Row, now: float) -> bool:
    return row.touched + (row.ttl_after if row.ended else row.ttl) <= now


def _touched(db: sqlite3.Connection, row: Row) -> Row:
    now = monotonic()
    row = row._replace(touched=now, leased_until=now + row.lease)
    values = (row.touched, row.leased_until, row.run_id)
    db.execute("UPDATE runs SET touched = ?, leased_until = ? WHERE run_id = ?", values)
    return row


def _add(db: sqlite3.Connection, row: Row, records: Sequence[Record], *, ended: int) -> Row:
    db.executemany(
        "INSERT INTO records (run_id, seq, event, final, data) VALUES (?, ?, ?, ?, ?)",
        [(row.run_id, record.seq, record.event, record.final, record.data) for record in records],
    )
    now = monotonic()
    size = row.bytes + sum(len(record.data) for record in records)
    row = row._replace(last=records[-1].seq, bytes=size, ended=ended, touched=now, leased_until=now + row.lease)
    row = _trimmed(db, row)
    db.execute(
        "UPDATE runs SET first = ?, last = ?, bytes = ?, ended = ?, touched = ?, leased_until = ? WHERE run_id = ?",
        (row.first, row.last, row.bytes, row.ended, row.touched, row.leased_until, row.run_id),
    )
    return row


def _trimmed(db: sqlite3.Connection, row: Row) -> Row:
    """Drop the oldest records of a run that is over its bounds, never the newest one."""
    most_items: Any = float("inf") if row.max_items is None else row.max_items
    most_bytes: Any = float("inf") if row.max_bytes is None else row.max_bytes
    first, size = row.first, row.bytes
    if row.last - first + 1 <= most_items and size <= most_bytes:
        return row
    sizes = db.execute("SELECT length(data) FROM records WHERE run_id = ? ORDER BY seq", (row.run_id,))
    for (length,) in sizes:
        if first == row.last or (row.last - first + 1 <= most_items and size <= most_bytes):
            break
        first, size = first + 1, size - length
    sizes.close()
    db.execute("DELETE FROM records WHERE run_id = ? AND seq < ?", (row.run_id, first))
    return row._replace(first=first, bytes=size)


def _delete(db: sqlite3.Connection, run_id: str) -> None:
    db.execute("DELETE FROM records WHERE run_id = ?", (run_id,))
    db.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
