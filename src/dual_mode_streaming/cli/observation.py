"""What was seen of a stream from outside: the notes that `observing.py` takes and `findings.py` judges."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["FEW", "STREAM_TYPES", "End", "Observation"]

STREAM_TYPES = ("text/event-stream", "application/x-ndjson", "application/jsonl", "application/json-seq")

LATE = 1.0
"""Seconds without a byte after which it matters that everything came at once."""
FEW = 3
"""So many items are needed for a judgement on how they are spaced."""


class End(Enum):
    """How the look at a stream ended."""

    CLEAN = "clean"
    CUT = "cut"
    """The connection was closed in the middle of the body."""
    OPEN = "open"
    """Nothing: it was still running when the time was over."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one answer. Times are seconds since the request was sent.

    Attributes:
        status: The status code.
        http_version: As in `HTTP/1.1`.
        headers: By their names in lower case; several lines of one name are joined by a comma.
        headers_at: When the headers came.
        chunks: When bytes of the body came.
        items: When each item was complete, in their order.
        heartbeats: When something complete came that is no item.
        halves: For each frame that arrived in two parts, how many seconds lay between them.
        terminal: What said that the stream is complete; None if nothing did.
        problem: What the error says that ended the stream; None if none did.
        bad: Records that are not JSON.
        too_large: Bytes of the bound that one event or line has broken; None if none did.
        is_utf8: Whether all of the body is UTF-8.
        end: How it ended.
        ended_at: When it ended.
    """

    status: int = 200
    http_version: str = "HTTP/1.1"
    headers: Mapping[str, str] = field(default_factory=dict)
    headers_at: float = 0.0
    chunks: tuple[float, ...] = ()
    items: tuple[float, ...] = ()
    heartbeats: tuple[float, ...] = ()
    halves: tuple[float, ...] = ()
    terminal: str | None = None
    problem: str | None = None
    bad: int = 0
    too_large: int | None = None
    is_utf8: bool = True
    end: End = End.CLEAN
    ended_at: float = 0.0

    @property
    def media_type(self) -> str:
        """The media type without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_stream(self) -> bool:
        """Whether the answer is one of the formats that come item by item."""
        return self.media_type in STREAM_TYPES

    @property
    def longest_silence(self) -> float:
        """The most seconds in which no byte came, be it before the headers or before the end."""
        marks = [0.0, self.headers_at, *self.chunks, self.ended_at]
        return max((late - early for early, late in itertools.pairwise(marks)), default=0.0)

    @property
    def came_at_once(self) -> bool:
        """Whether a long wait was followed by all items together."""
        if len(self.items) < FEW or self.items[0] < LATE or self.chunks[:1] < (self.items[0] * 0.9,):
            return False
        return self.items[-1] - self.items[0] <= self.items[0] / 10

    def says(self, header: str, *words: str) -> bool:
        """Whether a header that is a list has one of these words."""
        listed = {word.strip().lower() for word in self.headers.get(header, "").split(",")}
        return not listed.isdisjoint(words)
