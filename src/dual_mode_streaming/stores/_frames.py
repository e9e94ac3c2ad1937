"""Records as bytes, for engines that keep and carry bytes.

A frame is one record without its number: four bytes of length (of all that follows), two bytes that hold whether it
is final (the top bit) and how long the name of the event is, then the name, then the data. Frames of successive records
are put together without anything between them; who reads them knows the number of the first. The scripts of Redis know
this layout too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from struct import Struct

from .base import Record

__all__ = ["check_numbers", "pack", "text", "unpack", "utf8"]

_HEAD = Struct(">IH")
_LENGTH = 4
_FINAL = 0x8000


def pack(record: Record) -> bytes:
    """Make the frame of a record.

    Raises:
        ValueError: The name of the event has more than 32767 bytes.
    """
    event = utf8(record.event)
    if len(event) >= _FINAL:
        raise ValueError(f"the name of an event has {len(event)} bytes; {_FINAL - 1} are the most")
    flags = len(event) | (_FINAL if record.final else 0)
    return _HEAD.pack(_HEAD.size - _LENGTH + len(event) + len(record.data), flags) + event + record.data


def unpack(frames: bytes, first: int) -> list[Record]:
    """Read frames of successive records, the first of which has this number."""
    records: list[Record] = []
    at, end, seq = 0, len(frames), first
    read = _HEAD.unpack_from
    while at < end:
        length, flags = read(frames, at)
        start = at + _HEAD.size
        at += _LENGTH + length
        if flags:
            middle = start + (flags & ~_FINAL)
            records.append(Record(seq, frames[middle:at], text(frames[start:middle]), flags >= _FINAL))
        else:
            records.append(Record(seq, frames[start:at]))
        seq += 1
    return records


def check_numbers(records: Sequence[Record]) -> None:
    """See that records which are appended together are one after the other, and that only the last may be final.

    Raises:
        ValueError: They are not.
    """
    for before, record in pairwise(records):
        if record.seq != before.seq + 1:
            raise ValueError(f"the record after {before.seq} has the number {record.seq}")
        if before.final:
            raise ValueError(f"record {before.seq} is final, and {record.seq} comes after it")
    if records and records[0].seq < 1:
        raise ValueError(f"a record has the number {records[0].seq}; the first is 1")


def utf8(value: str) -> bytes:
    """Give the bytes of a text, whatever is in it: ids come from clients."""
    return value.encode("utf-8", "surrogatepass")


def text(value: bytes) -> str:
    """Give the text back."""
    return value.decode("utf-8", "surrogatepass")
