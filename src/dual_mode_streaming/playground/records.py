"""Reads a CSV file record by record (RFC 4180) and goes on after a bad one.

Python's `csv` does the parsing, in its strict form: text after a closing quote is an error and not glued on. What
this module adds is the way from one record to the next, whatever the file holds.

Rules of this file:

- Memory is bounded. A line over `MAX_RECORD` is skipped in pieces and never held; a record over it, which is most
  likely a quote that nobody closed, is given up.
- A bad record costs itself and nothing else. If a quote swallowed the lines after it, they are read again as records
  of their own. That could take time that grows with the square of the file, so it is done `MAX_REWINDS` times at most.
- Line numbers count the lines of the file from 1, as an editor does, and a record has the number of its first line.
- Lines end with LF or CRLF. Empty lines are no records.
- It blocks on the disk and knows no clock, no asyncio and no HTTP.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, Protocol

from pydantic import BaseModel

__all__ = ["MAX_COLUMNS", "MAX_RECORD", "MAX_REWINDS", "BadRow", "NotCsv", "Records"]

MAX_RECORD = 1024 * 1024
"""The largest record, in bytes. Beside it `csv` bounds a field to 131072 characters."""

MAX_REWINDS = 100
"""How often lines that were swallowed by a quote are read again."""

MAX_COLUMNS = 2000
"""The most columns. It is the bound of SQLite, as it is usually built."""

_DELIMITERS = ",;\t|"
_SAMPLE = 64 * 1024
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?", re.ASCII)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class BadRow(BaseModel):
    """A record that was left out."""

    line: int
    reason: str


class NotCsv(ValueError):
    """The file as a whole cannot be read. The text is for the user."""


class _BadRecord(Exception):
    """Raised through the parser, to make it forget the record that it is in."""


class Records(Iterator["list[str] | BadRow"]):
    """The records of a file after its header row, good and bad ones in their order.

    Attributes:
        columns: The names in the header row. A column without one is called `column_N`.
        delimiter: What separates the fields: a comma, a semicolon, a tab or a bar, whichever fits the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Read the header row.

        Raises:
            NotCsv: There is none, or it cannot be used.
        """
        start = file.read(_SAMPLE)
        if start.startswith(_UTF_16):
            raise NotCsv("The file is in UTF-16. Save it as UTF-8 and send it again.")
        if b"\r" in start and b"\n" not in start:
            raise NotCsv("The lines end in a lone CR. Save the file with LF or CRLF line ends and send it again.")
        first_byte = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
        file.seek(first_byte)
        self.delimiter = _guess_delimiter(start[first_byte:])
        self._lines = _Lines(file, first_byte)
        self._parser = csv.reader(self._lines, delimiter=self.delimiter, strict=True)
        self._rewinds = 0
        self.columns: list[str] = []
        header = next(self, None)
        if header is None:
            raise NotCsv("The file holds only empty lines; its first row must name the columns.")
        if isinstance(header, BadRow):
            raise NotCsv(f"The header row (line {header.line}) cannot be read: it {header.reason}.")
        self.columns = _name_columns(header)

    @property
    def offset(self) -> int:
        """How many bytes of the file have been read. A rewind does not take back what a user was told."""
        return self._lines.farthest

    def __next__(self) -> list[str] | BadRow:
        """Give the next record: its fields, or what is wrong with it."""
        fields: list[str] = []
        while not fields:
            self._lines.begin_record()
            try:
                fields = next(self._parser)
            except _BadRecord as error:
                return self._reject(str(error))
            except csv.Error as error:
                hint = ", perhaps because a quote is not closed" if self._lines.number > self._lines.first else ""
                return self._reject(f"is not valid CSV ({error}){hint}")
        if self._lines.flaw:
            return BadRow(line=self._lines.first, reason=self._lines.flaw)
        if self.columns and len(fields) != len(self.columns):
            reason = f"has {len(fields)} field{'s' * (len(fields) != 1)} where the header has {len(self.columns)}"
            return BadRow(line=self._lines.first, reason=reason)
        return fields

    def _reject(self, reason: str) -> BadRow:
        first, last = self._lines.first, self._lines.number
        if last > first:
            if self._rewinds < MAX_REWINDS:
                self._rewinds += 1
                self._lines.rewind()
            else:
                reason += f"; lines {first} to {last} are left out"
        return BadRow(line=first, reason=reason)


class _Readable(Protocol):
    def readline(self, limit: int, /) -> bytes: ...
    def seek(self, offset: int, /) -> int: ...


class _Lines(Iterator[str]):
    """The lines of a file for the parser, which asks for one after the other until its record is complete.

    Attributes:
        number: How many lines have been read.
        first: The line with which the record began.
        flaw: What is wrong with a line of the record. It does not keep the parser from finding the record's end.
        farthest: How many bytes have been read, rewinds not taken off.
    """

    def __init__(self, file: _Readable, offset: int) -> None:
        self._file = file
        self._offset = offset
        self._second = offset
        self._size = 0
        self.number = 0
        self.first = 0
        self.flaw = ""
        self.farthest = offset

    def begin_record(self) -> None:
        self._size = 0
        self.flaw = ""

    def rewind(self) -> None:
        """Go back to the second line of the record."""
        self._file.seek(self._second)
        self._offset = self._second
        self.number = self.first

    def __next__(self) -> str:
        raw = self._file.readline(MAX_RECORD + 1)
        is_first = self._size == 0
        if not raw:
            if is_first:
                raise StopIteration
            raise _BadRecord("opens a quote that is never closed")
        size = len(raw) if len(raw) <= MAX_RECORD else self._skip(raw)
        self._size += size
        self._offset += size
        self.farthest = max(self.farthest, self._offset)
        self.number += 1
        if is_first:
            self.first = self.number
            self._second = self._offset
        if self._size > MAX_RECORD:
            raise _BadRecord(
                f"is longer than {MAX_RECORD} bytes" if is_first else f"opens a quote not closed for {MAX_RECORD} bytes"
            )
        if b"\0" in raw:
            self.flaw = "holds a NUL byte"
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self.flaw = f"is not UTF-8 (byte 0x{raw[error.start]:02x})"
            return raw.decode(errors="replace")

    def _skip(self, raw: bytes) -> int:
        """Read to the end of a huge line and give its size."""
        size = len(raw)
        while raw and not raw.endswith(b"\n"):
            raw = self._file.readline(MAX_RECORD)
            size += len(raw)
        return size


def _guess_delimiter(sample: bytes) -> str:
    """Choose the delimiter that splits most of the first records as it splits the header, and into most fields."""
    lines = list(io.StringIO(sample.decode(errors="replace")))

    def fitness(delimiter: str) -> tuple[float, int]:
        widths: list[int] = []
        with suppress(csv.Error):  # what came before the error counts
            widths.extend(len(fields) for fields in csv.reader(lines, delimiter=delimiter) if fields)
        if not widths or widths[0] == 1:
            return 0.0, 0
        return widths.count(widths[0]) / len(widths), widths[0]

    return max(_DELIMITERS, key=fitness)


def _name_columns(header: list[str]) -> list[str]:
    if len(header) > MAX_COLUMNS:
        raise NotCsv(f"The header row has {len(header)} columns; {MAX_COLUMNS} are the most.")
    names = [name.strip() for name in header]
    if all(_NUMBER.fullmatch(name) or not name for name in names):
        raise NotCsv("There is no header row: the first row holds nothing but numbers. It must name the columns.")
    names = [name or f"column_{index}" for index, name in enumerate(names, 1)]
    seen: dict[str, int] = {}
    for index, name in enumerate(names, 1):
        # SQLite and most tools that read the data later do not tell upper case from lower.
        before = seen.setdefault(name.casefold(), index)
        if before != index:
            raise NotCsv(f"Columns {before} and {index} have the same name, {name[:80]!r}. Each needs its own.")
    return names
