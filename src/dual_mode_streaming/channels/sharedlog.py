"""The log of a channel: what was published, kept once for all subscribers.

Each subscriber has a position in the log, and what lies behind it is what the subscriber still has to get. So
publishing costs the same for one subscriber and for thousands, an item is held once, and its frames are made once for
each format.

Rules:

- `window` is what subscribers may still have to get, within the bounds in items and in bytes. `history` is what the
  author wants to be kept for those who come back. Most entries are in both, but in memory once.
- If the log conflates, a new entry takes the place of the one with the same key. Otherwise each entry has a key of its
  own, its number.
- Bytes are those of the JSON of the items. The frames around it are not counted.
- The log knows no subscriber. What becomes of one whose entries fall out of the window is decided elsewhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Any

from dual_mode_streaming.answers import BURST_BYTES
from dual_mode_streaming.events import Missed, ServerSentEvent
from dual_mode_streaming.formats import Format
from dual_mode_streaming.jsonbytes import decode_json
from dual_mode_streaming.sources import Ready

__all__ = ["NOT_DECODED", "Published", "SharedLog", "gap"]

REMEMBERED_BODIES = 16
"""Subscribers that are level share a body. A few may be at other places; more than that are not remembered."""


NOT_DECODED = object()
"""Stands for an item of which only the JSON is there yet."""


class Published:
    """One published item.

    Attributes:
        seq: Its number in the channel: 1, 2, 3 and so on.
        key: What it is conflated by; its number if it is not.
        item: The item, as the author gave it; what its JSON says if it came from a store.
        name: The name of its event; None if it has none.
        json: The item as JSON.
    """

    __slots__ = ("_frames", "_item", "event_id", "json", "key", "name", "seq")

    def __init__(self, seq: int, key: Hashable, item: Any, name: str | None, event_id: str, json: bytes) -> None:
        self.seq = seq
        self.key = key
        self._item = item
        self.name = name
        self.event_id = event_id
        self.json = json
        self._frames: dict[str, bytes] = {}

    @property
    def item(self) -> Any:
        """The item. Most of those that come from a store are sent on as they are, and never decoded."""
        if self._item is NOT_DECODED:
            self._item = decode_json(self.json)
        return self._item

    def frame(self, format: Format) -> bytes:  # noqa: A002  the field's word
        """Give its frame, made when it is wanted for the first time."""
        frame = self._frames.get(format.content_type)
        if frame is None:
            frame = self._frames[format.content_type] = format.encoded(self.json, self.name, self.event_id)
        return frame

    def event(self) -> ServerSentEvent:
        """Give it as an event, for a reader in the same process."""
        return ServerSentEvent(self.item, event=self.name, id=self.event_id)


def gap(epoch: str, missed: int | None, upto: int) -> ServerSentEvent:
    """Give the event which tells a client that it does not get some items. Its id is that of the last of them."""
    return ServerSentEvent(Missed(missed=missed), event="gap", id=f"{epoch}-{upto}")


class SharedLog:
    """Keeps the entries of a channel.

    Args:
        history: How many entries to keep for those who come back.
        max_items: The most entries of the window.
        max_bytes: The most bytes of the window.
        conflates: Whether entries have keys other than their numbers.
        reach: Of how many of the newest numbers entries are kept in the history; None for no such bound.
    """

    def __init__(
        self, *, history: int, max_items: int, max_bytes: int, conflates: bool, reach: int | None = None
    ) -> None:
        self._reach = reach
        self.conflates = conflates
        self.end = 1
        """The number that the next entry will have."""
        self.first = 1
        """The number of the oldest entry of the window; `end` if it is empty."""
        self.lost = 0
        """The number of the newest entry that the history had to let go; 0 if it holds all."""
        self.history: OrderedDict[Hashable, Published] = OrderedDict()
        self._window: OrderedDict[Hashable, Published] = OrderedDict()
        self._bytes = 0
        self._keeps = history
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._bodies: dict[str, dict[int, Ready]] = {}

    def evicted_by(self, size: int, key: Hashable) -> list[Published]:
        """Give the entries that would fall out of the window if one of this size were appended now, oldest first."""
        items, total = len(self._window) + 1, self._bytes + size
        old = self._window.get(key)
        if old is not None:
            items, total = items - 1, total - len(old.json)
        evicted: list[Published] = []
        if items <= self._max_items and total <= self._max_bytes:
            return evicted
        for entry in self._window.values():
            if items <= self._max_items and total <= self._max_bytes:
                break
            if entry is not old:
                items, total = items - 1, total - len(entry.json)
                evicted.append(entry)
        return evicted

    def append(self, entry: Published, evicted: list[Published]) -> None:
        """Append an entry. Those that it evicts fall out of the window."""
        window = self._window
        for other in evicted:
            del window[other.key]
            self._bytes -= len(other.json)
        old = window.pop(entry.key, None)
        if old is not None:
            self._bytes -= len(old.json)
        window[entry.key] = entry
        self._bytes += len(entry.json)
        self.end = entry.seq + 1
        self.first = next(iter(window.values())).seq
        self._forget_bodies()
        if self._keeps:
            self.history.pop(entry.key, None)
            self.history[entry.key] = entry
            if len(self.history) > self._keeps:
                self.lost = self.history.popitem(last=False)[1].seq
            if self._reach is not None:
                self._forget_before(self.end - self._reach)
        else:
            self.lost = entry.seq

    def release(self) -> None:
        """Let go of the window: nobody is behind any more."""
        self._window.clear()
        self._bytes = 0
        self.first = self.end
        self._forget_bodies()

    def begin_at(self, seq: int) -> None:
        """Forget everything: what comes next has this number, and nobody knows what was before it."""
        self.history.clear()
        self.end, self.lost = seq, seq - 1
        self.release()

    def entries_from(self, seq: int) -> Iterator[Published]:
        """Give the entries of the window from a number on, oldest first."""
        window = self._window
        if not self.conflates:
            for number in range(seq, self.end):
                yield window[number]
            return
        found: list[Published] = []
        for entry in reversed(window.values()):
            if entry.seq < seq:
                break
            found.append(entry)
        yield from reversed(found)

    def bodies(self, format: Format) -> dict[int, Ready]:  # noqa: A002
        """Give the bodies of a format that are remembered, by the number from which on they are. Only for reading."""
        return self._bodies.setdefault(format.content_type, {})

    def body(self, format: Format, seq: int) -> Ready:  # noqa: A002
        """Give the frames from a number on, as many as go into one send. All who are level get the same bytes."""
        bodies = self.bodies(format)
        ready = bodies.get(seq)
        if ready is None:
            entries: list[Published] = []
            size = 0
            for entry in self.entries_from(seq):
                entries.append(entry)
                size += len(entry.frame(format))
                if size >= BURST_BYTES:
                    break
            frames = b"".join([entry.frame(format) for entry in entries])
            ready = Ready(frames, entries, entries[-1].seq + 1)
            if len(bodies) >= REMEMBERED_BODIES:
                bodies.clear()
            bodies[seq] = ready
        return ready

    def _forget_bodies(self) -> None:
        for bodies in self._bodies.values():
            bodies.clear()

    def _forget_before(self, seq: int) -> None:
        """Let go of the history before a number."""
        history = self.history
        while history and (entry := next(iter(history.values()))).seq < seq:
            del history[entry.key]
            self.lost = entry.seq
