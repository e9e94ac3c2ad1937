"""What `SQLiteStore` does inside one transaction: plain functions of a connection. They know no task and no thread.

Rules:

- A function that refuses something does so before it has changed anything: several share one transaction.
- Times are those of the machine's monotonic clock, which no step of the wall clock moves and all processes share. It
  begins anew when the machine does; `prepare` sees that by times that lie ahead.
- `pos` counts the records of all runs, and no number comes twice: by it other processes find what is new. SQLite gives
  one more than the largest that is there, so the largest stays: a run that has it leaves an empty record of no run.
- `mark` is what few records have: whether it is final, as 0 or 1, and the name of its event. NULL is neither.
- `ended` is 0 for a live run, 1 for one that its producer has ended, 2 for one that was closed by somebody else.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from time import monotonic
from typing import Any, NamedTuple

from dual_mode_streaming.errors import RunEnded, RunNotFound, StoreError

from .base import PAGE_BYTES, Head, NewRun, Record, RunState, numbered

__all__ = ["Row", "add", "append", "claim", "close", "expire", "newest", "prepare", "read", "renew", "since"]

SCHEMA = 2

_TABLES = """
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
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
);
CREATE TABLE records (
    pos INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    data BLOB NOT NULL,
    mark TEXT,
    UNIQUE (run, seq)
);
"""
_COLUMNS = (
    "number, run_id, epoch, owner, key, first, last, bytes, ended, touched, leased_until, "
    "max_items, max_bytes, ttl, ttl_after, lease"
)
_SELECT = f"SELECT {_COLUMNS} FROM runs WHERE run_id = ?"  # noqa: S608
_OVER = "touched + CASE ended WHEN 0 THEN ttl ELSE ttl_after END <= ?"


class Row(NamedTuple):
    """A run as it stands in its table."""

    number: int | None
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
        None,
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
    new = records
    if new and new[0].seq <= row.last:
        new = [record for record in records if record.seq > row.last]
    if not new:
        return (row if row.ended else _touched(db, row)).head(), new
    if row.ended:
        raise RunEnded
    if [seq for seq, _, _, _ in new] != list(range(row.last + 1, row.last + 1 + len(new))):
        raise ValueError(f"the record after {row.last} has the number {new[0].seq}")
    return _add(db, row, new, ended=int(new[-1].final)).head(), new


def add(db: sqlite3.Connection, run_id: str, epoch: str, records: Sequence[Record]) -> Sequence[Record]:
    """Append records behind whatever is there; give them with their numbers."""
    row = _row(db, run_id)
    if row.epoch != epoch or row.ended:
        raise RunEnded
    new = numbered(records, row.last + 1)
    _add(db, row, new, ended=0)
    return new


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
        "SELECT seq, data, mark FROM records WHERE run = ? AND seq > ? ORDER BY seq LIMIT ?",
        (row.number, after, limit),
    )
    for seq, data, mark in found:
        page.append(_plain(Record, (seq, data, "", False)) if mark is None else _marked(seq, data, mark))
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
    (pos,) = db.execute("SELECT max(pos) FROM records").fetchone()
    return int(pos or 0)


def since(db: sqlite3.Connection, pos: int, limit: int) -> list[tuple[int, str, Record]]:
    """Give the records of all runs after a position, oldest first: each with its position and its run."""
    found = db.execute(
        "SELECT pos, run_id, seq, data, mark FROM records CROSS JOIN runs ON number = run "
        "WHERE pos > ? ORDER BY pos LIMIT ?",
        (pos, limit),
    )
    return [
        (at, run_id, Record(seq, data) if mark is None else _marked(seq, data, mark))
        for at, run_id, seq, data, mark in found
    ]


_plain = tuple.__new__
"""Makes a record of a tuple without a call of a function in Python: a replay makes thousands."""


def _marked(seq: int, data: bytes, mark: str) -> Record:
    return Record(seq, data, mark[1:], mark[0] == "1")


def _row(db: sqlite3.Connection, run_id: str) -> Row:
    found = db.execute(_SELECT, (run_id,)).fetchone()
    if found is None or _is_over(row := Row._make(found), monotonic()):
        raise RunNotFound
    return row


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
    number = row.number
    db.executemany(
        "INSERT INTO records (run, seq, data, mark) VALUES (?, ?, ?, ?)",
        [(number, seq, data, f"{final:d}{event}" if event or final else None) for seq, data, event, final in records],
    )
    now = monotonic()
    size = row.bytes + sum([len(data) for _, data, _, _ in records])
    row = row._replace(last=records[-1].seq, bytes=size, ended=ended, touched=now, leased_until=now + row.lease)
    row = _trimmed(db, row)
    db.execute(
        "UPDATE runs SET first = ?, last = ?, bytes = ?, ended = ?, touched = ?, leased_until = ? WHERE number = ?",
        (row.first, row.last, row.bytes, row.ended, row.touched, row.leased_until, number),
    )
    return row


def _trimmed(db: sqlite3.Connection, row: Row) -> Row:
    """Drop the oldest records of a run that is over its bounds, never the newest one."""
    most_items: Any = float("inf") if row.max_items is None else row.max_items
    most_bytes: Any = float("inf") if row.max_bytes is None else row.max_bytes
    first, size = row.first, row.bytes
    if row.last - first + 1 <= most_items and size <= most_bytes:
        return row
    sizes = db.execute("SELECT length(data) FROM records WHERE run = ? ORDER BY seq", (row.number,))
    for (length,) in sizes:
        if first == row.last or (row.last - first + 1 <= most_items and size <= most_bytes):
            break
        first, size = first + 1, size - length
    sizes.close()
    db.execute("DELETE FROM records WHERE run = ? AND seq < ?", (row.number, first))
    return row._replace(first=first, bytes=size)


def _delete(db: sqlite3.Connection, run_id: str) -> None:
    (number,) = db.execute("SELECT number FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    pos = newest(db)
    if db.execute("SELECT 1 FROM records WHERE pos = ? AND run = ?", (pos, number)).fetchone():
        db.execute("DELETE FROM records WHERE run = 0")
        db.execute("INSERT INTO records (pos, run, seq, data) VALUES (?, 0, 0, x'')", (pos + 1,))
    db.execute("DELETE FROM records WHERE run = ?", (number,))
    db.execute("DELETE FROM runs WHERE number = ?", (number,))
