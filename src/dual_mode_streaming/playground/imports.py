"""Reads a CSV file into an SQLite database and tells how far it is.

Rules of this file:

- Everything that blocks runs in a thread, one step after the other and never two at once. A step ends after
  `STEP_ROWS` rows or `STEP_SECONDS`, whichever is first; then there is news for the client, and a client that left
  is noticed.
- A task that is cancelled does not stop a thread. So the end of an import, whatever its reason, first tells the step
  that is running to stop, waits for it, and only then closes the database.
- Rows go from the file to the database one by one. No list of them is ever made.
- The database lives as long as the import. It is SQLite's own kind of temporary database: a file without a name,
  which is gone when the connection is closed or the process dies.
- Values are kept as they are written. The types in the summary are what they could be read as.
- What is wrong with the file as a whole is told before the first item, as status 422. What is wrong with a row is
  told in the summary, and the other rows are kept.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import BinaryIO, Literal

import anyio
import anyio.to_thread
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from .records import BadRow, NotCsv, Records

__all__ = ["MAX_BAD_ROWS", "STEP_ROWS", "STEP_SECONDS", "Column", "Progress", "Summary", "import_csv"]

MAX_BAD_ROWS = 100
"""How many bad rows the summary describes. The others are counted."""

STEP_ROWS = 10_000
STEP_SECONDS = 0.1

ColumnType = Literal["integer", "real", "text", "empty"]

_INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,17})", re.ASCII)
_REAL = re.compile(r"[+-]?((0|[1-9]\d*)?\.\d+|0|[1-9]\d{0,17})([eE][+-]?\d+)?", re.ASCII)


class Progress(BaseModel):
    """How far the import is."""

    type: Literal["progress"] = "progress"
    rows: int = Field(description="Rows imported so far.")
    rejected: int = Field(description="Rows left out so far.")
    bytes_read: int
    bytes_total: int
    percent: float


class Column(BaseModel):
    """A column of the table."""

    name: str
    type: ColumnType = Field(
        description="The narrowest type that fits all values. Numbers with leading zeros, as in postcodes, are text."
    )
    empty: int = Field(description="How many rows have no value here. In the database they have NULL.")


class Summary(BaseModel):
    """What became of the file."""

    type: Literal["summary"] = "summary"
    rows: int = Field(description="Rows imported.")
    rejected: int = Field(description="Rows left out.")
    delimiter: str
    columns: list[Column]
    bad_rows: list[BadRow] = Field(description=f"The first {MAX_BAD_ROWS} of the rows that were left out.")
    seconds: float
    rows_per_second: float


async def import_csv(
    file: BinaryIO, size: int, *, clock: Callable[[], float] = time.perf_counter
) -> AsyncIterator[Progress | Summary]:
    """Import a file, telling the progress, and the summary as the last item.

    Args:
        file: The file, open at its beginning. The caller closes it.
        size: Its size in bytes.
        clock: What tells the time, in seconds.

    Raises:
        HTTPException: 422, the file as a whole is no usable CSV. 507, the disk is full.
    """
    start = clock()
    try:
        records = await anyio.to_thread.run_sync(Records, file)
    except NotCsv as error:
        raise HTTPException(422, str(error)) from None
    table = _Table(records, clock)
    try:
        while not table.is_complete:
            try:
                await anyio.to_thread.run_sync(table.step)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                    raise HTTPException(507, "The disk of the server is full.") from error
                raise
            read = min(records.offset, size)
            yield Progress(
                rows=table.rows,
                rejected=table.rejected,
                bytes_read=read,
                bytes_total=size,
                percent=round(100 * read / size, 1),
            )
        seconds = clock() - start
        yield Summary(
            rows=table.rows,
            rejected=table.rejected,
            delimiter=records.delimiter,
            columns=table.columns(),
            bad_rows=table.bad_rows,
            seconds=round(seconds, 3),
            rows_per_second=round(table.rows / seconds, 1) if seconds > 0 else 0.0,
        )
    finally:
        table.stop()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(table.close)


class _Table:
    """The table that the records go into. It is used by one thread at a time, but not always the same."""

    def __init__(self, records: Records, clock: Callable[[], float]) -> None:
        self._records = records
        self._clock = clock
        self._guesses = [_Guess() for _ in records.columns]
        self.rows = 0
        self.rejected = 0
        self.bad_rows: list[BadRow] = []
        self.is_complete = False
        self._is_stopped = False
        self._in_use = threading.Lock()
        # The name "" asks for a database of its own in a temporary file (sqlite.org/inmemorydb.html). Without a
        # journal, because nobody will ever want a half of it back.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in records.columns)
        marks = ", ".join("?" * len(records.columns))
        self._insert = f"INSERT INTO data VALUES ({marks})"  # noqa: S608  question marks only
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute(f"CREATE TABLE data ({names})")
        self._connection.execute("BEGIN")

    def step(self) -> None:
        """Read some records into the table."""
        with self._in_use:
            if not self._is_stopped:
                self._connection.executemany(self._insert, self._some_rows())

    def columns(self) -> list[Column]:
        return [
            Column(name=name, type=guess.type, empty=guess.empty)
            for name, guess in zip(self._records.columns, self._guesses, strict=True)
        ]

    def stop(self) -> None:
        """Let a step that is running end with the record that it is at."""
        self._is_stopped = True

    def close(self) -> None:
        """Close the database. A step that is running comes first: SQLite crashes if it loses its ground."""
        with self._in_use:
            self._connection.close()

    def _some_rows(self) -> Iterator[list[str | None]]:
        until = self._clock() + STEP_SECONDS
        for _ in range(STEP_ROWS):
            record = next(self._records, None)
            if record is None:
                self.is_complete = True
                return
            if isinstance(record, BadRow):
                self.rejected += 1
                if len(self.bad_rows) < MAX_BAD_ROWS:
                    self.bad_rows.append(record)
            else:
                self.rows += 1
                yield [guess.take(value) for guess, value in zip(self._guesses, record, strict=True)]
            if self._is_stopped or self._clock() >= until:
                return


class _Guess:
    """Finds the narrowest type that fits all values of a column."""

    __slots__ = ("empty", "type")

    def __init__(self) -> None:
        self.type: ColumnType = "empty"
        self.empty = 0

    def take(self, value: str) -> str | None:
        """Consider a value, and give it as the database shall have it."""
        if not value:
            self.empty += 1
            return None
        if self.type == "text":
            return value
        if self.type != "real" and _INTEGER.fullmatch(value):
            self.type = "integer"
        else:
            self.type = "real" if _REAL.fullmatch(value) else "text"
        return value
