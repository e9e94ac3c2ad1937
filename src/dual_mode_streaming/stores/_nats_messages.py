"""What `NATSStore` keeps in one message of a stream: some records of a run, and all that is known of it.

Rules:

- The last message of a run tells the whole head. So a head is read in one step, and older messages may be deleted.
- An append is one message, and so atomic. One that is too large for that is several: all but the last say that there is
  `more`, and count for nothing until the last has come. If it never comes, the next message begins with a number that
  does not go on from them, and they are dropped.
- A message without records is a sign of life, or the beginning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from struct import Struct
from typing import Any

from ._frames import unpack
from .base import Head, Limits, NewRun, Record, RunState

__all__ = ["Told", "records_of", "seconds"]

_START = Struct(">IQB")
_MORE, _COMPLETES = 1, 2


@dataclass(frozen=True, slots=True)
class Told:
    """One message, read.

    Attributes:
        run: What the run was begun with.
        first: The number of the oldest record that is kept.
        last: The number of the newest record, counted without those of an append that is not complete.
        size: How many bytes of data are kept.
        ended: `""` while the run is live, `"done"` by its producer, `"closed"` by somebody else.
        begins: The number of the first record in this message, or of the next one if there is none.
        frames: The records in this message.
        more: Whether the append goes on in the next message.
        completes: Whether it completes an append of several messages.
        seq: The number of the message in its stream; 0 before it is there.
        at: When the server took it, in seconds of its own clock.
        token: By what the one who has added it knows it again; `""` if it was appended.
    """

    run: NewRun
    first: int = 1
    last: int = 0
    size: int = 0
    ended: str = ""
    begins: int = 1
    frames: bytes = b""
    more: bool = False
    completes: bool = False
    seq: int = 0
    at: float = 0.0
    token: str = ""

    def encode(self) -> bytes:
        """Give the message as bytes."""
        head = self._head()
        flags = _MORE * self.more + _COMPLETES * self.completes
        return _START.pack(len(head), self.begins, flags) + head + self.frames

    @classmethod
    def decode(cls, data: bytes, seq: int, at: float) -> Told:
        """Read a message that the stream has at this number since this time."""
        length, begins, flags = _START.unpack_from(data)
        end = _START.size + length
        known = json.loads(data[_START.size : end])
        run_id, epoch, owner, key = known.pop("run")
        run = NewRun(run_id, epoch, owner, key, Limits(*known.pop("limits")))
        more, completes = bool(flags & _MORE), bool(flags & _COMPLETES)
        return cls(run, **known, begins=begins, frames=data[end:], more=more, completes=completes, seq=seq, at=at)

    @property
    def overhead(self) -> int:
        """How many bytes the message has besides its records, at the most."""
        return _START.size + len(self._head()) + 64

    @property
    def over_at(self) -> float:
        """When the run is over its time."""
        limits = self.run.limits
        return self.at + (limits.ttl_after if self.ended else limits.ttl)

    def head(self, now: float) -> Head:
        """Give the head of the run at a time."""
        run = self.run
        # The clock that is asked for now and then may be a little behind the one that stamps messages.
        lease = 0.0 if self.ended else min(run.limits.lease, max(0.0, self.at + run.limits.lease - now))
        state = RunState.ENDED if self.ended else RunState.LIVE if lease else RunState.LOST
        return Head(run.run_id, run.epoch, run.owner, run.key, state, self.first, self.last, lease)

    def alive(self) -> Told:
        """Give the message that says only that the producer is there."""
        return replace(self, begins=self.last + 1, frames=b"", more=False, completes=False, token="")

    def _head(self) -> bytes:
        run, limits = self.run, self.run.limits
        known: dict[str, Any] = {
            "run": [run.run_id, run.epoch, run.owner, run.key],
            "limits": [limits.max_items, limits.max_bytes, limits.ttl, limits.ttl_after, limits.lease],
            "first": self.first,
            "last": self.last,
            "size": self.size,
            "ended": self.ended,
        }
        if self.token:
            known["token"] = self.token
        return json.dumps(known, separators=(",", ":")).encode()


def records_of(data: bytes) -> tuple[int, list[Record], bool, bool]:
    """Read of a message its records alone: their first number, they, whether more follow, whether it completes some."""
    length, begins, flags = _START.unpack_from(data)
    return begins, unpack(data[_START.size + length :], begins), bool(flags & _MORE), bool(flags & _COMPLETES)


class Joining:
    """Puts the records of successive messages together, and leaves out what was never completed."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Record]] = []

    def feed(self, data: bytes, seq: int) -> Iterator[tuple[int, Record]]:
        """Take a message and its number in the stream; give the records that count now, with the number of theirs."""
        begins, records, more, _ = records_of(data)
        if self._waiting and self._waiting[-1][1].seq + 1 != begins:
            self._waiting.clear()
        self._waiting += [(seq, record) for record in records]
        if not more:
            waiting, self._waiting = self._waiting, []
            yield from waiting


def seconds(time: str) -> float:
    """Read a time as NATS writes it."""
    return datetime.fromisoformat(time).timestamp()
