"""What the lines of an event stream say (WHATWG HTML, section 9.2.6): one by one, or many at once.

`lines` is the algorithm of the standard, one line at a time. Two faster paths run ahead of it over blocks that are
complete, and give what it would give:

- `_bulk` cuts a text at `LF LF data: `. Each cut is a border of two blocks, so a piece without LF is an event.
- `_blocks` finds the usual blocks (a name and ids, if any, and a line of data) with one regular expression.

The rules of this file:

- `read` is given complete lines with any line ends. The faster paths see LF only.
- Whatever a faster path does not know for certain, it leaves to `lines`.
- No path looks at a byte more than a few times, whatever the bytes are.
- A block has the size of all its lines, names and ignored fields too. Each line end but the last counts as one byte,
  a complete comment as nothing. So a block is open exactly if its size is not 0, and a stream of nothing but comments
  can go on for ever.
"""

from __future__ import annotations

import re
import sys
from typing import Any, ClassVar

from .events import ServerSentEvent

__all__ = ["Interpreter"]

_COLON = ord(":")
_CR = ord("\r")
_LF = ord("\n")

# A name and an id in any order, a line of data, an id (where FastAPI writes it), all other lines of the block, and the
# blank line; or else one line of any kind. It is tried only where a line begins, and inside of complete blocks. No
# repeat in it gives back what it has read, so its time is linear. A group that is empty was not there: empty names and
# ids are left to the second half.
_BLOCK = re.compile(
    r"(?:event: ?+(.++)\n|)(?:id: ?+(.++)\n|)(?:event: ?+(.++)\n|)data: ?+(.*+)\n(?:id: ?+(.++)\n|)((?:.++\n)*+)\n"
    r"|(.*+\n)",
)

# The constructor of a frozen dataclass takes a microsecond, because every field goes through object.__setattr__: more
# than all the rest of decoding. So a decoded event is made as an instance of a subclass whose fields can be assigned,
# and then becomes a true ServerSentEvent by assigning its class: 0.15 microseconds together. Python allows that since
# the subclass adds no slots, so that both have the same layout. It needs the plain `__delattr__` as well: setting and
# deleting share one slot of the type, which is the fast one only if both are plain.
_Draft: Any = type(
    "_Draft",
    (ServerSentEvent,),
    {
        "__slots__": (),
        "__init__": object.__init__,
        "__setattr__": object.__setattr__,
        "__delattr__": object.__delattr__,
    },
)


class Interpreter:
    """The state of one stream between two of its lines.

    Args:
        limit: The largest size of a block in bytes; None for no bound.

    Attributes:
        last_event_id: The last event id string of the standard: it changes where a block ends.
        retry: The reconnection time in milliseconds, or None if the server gave none.
        size: The size of the block that is not finished yet.
        limit: The bound. Where there is none, a number that no size reaches.
        too_large: Whether a block was over the bound. Nothing can be read after that.
        alike: Whether everything that was read lately was blocks of one line of data, and nothing else.
    """

    __slots__ = (
        "_data",
        "_event",
        "_id",
        "_plain",
        "_retry_line",
        "alike",
        "last_event_id",
        "limit",
        "retry",
        "size",
        "too_large",
    )

    # Fewer bytes than this are read line by line. The tests set it, to send every stream along every path.
    MANY: ClassVar[int] = 512
    BLOCK: ClassVar[re.Pattern[str]] = _BLOCK

    def __init__(self, limit: int | None) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self.limit = sys.maxsize if limit is None else limit
        self.size = 0
        self.too_large = False
        self.alike = False
        # The unfinished block. Between two blocks the id is `last_event_id` and the others are empty.
        self._data: list[bytes] = []
        self._event = ""
        self._id = ""
        # Whether the stream looks as if it had lines of `data: ` only, so that `_bulk` is worth its time.
        self._plain = True
        # The line that `retry` was read from, if it was read by `_set_retry`.
        self._retry_line = ""

    def read(self, text: bytes, events: list[ServerSentEvent]) -> None:
        """Read complete lines, at least one, and add the events that they complete."""
        if len(text) < self.MANY or self.size + len(text) > self.limit:
            # For bytes, unlike for str, these are the only line ends that Python knows: CR, LF and CRLF.
            self.lines(text.splitlines(), events, self.limit)
            return
        if _CR in text:
            text = b"\n".join(text.splitlines()) + b"\n"
        start = 0
        if self.size:
            # The open block ends at a blank line: at the first line, or at the first LF LF, or not yet.
            start = 1 if text[0] == _LF else (text.find(b"\n\n") + 2 if b"\n\n" in text else len(text))
            self.lines(text[:start].splitlines(), events, self.limit)
        blank = text.rfind(b"\n\n", start)
        if blank >= 0:
            # An LF is never part of a longer UTF-8 sequence, so many lines can be decoded together.
            blocks = text[start : blank + 2].decode("utf-8", "replace")
            start = blank + 2
            if self._plain:
                self._bulk(blocks, events)
            else:
                self._blocks(blocks, events)
        if start < len(text):
            self.lines(text[start:].splitlines(), events, self.limit)

    def lines(self, lines: list[bytes], events: list[ServerSentEvent], limit: int) -> None:
        """Read complete lines, without their ends, as the standard does."""
        self.alike = False
        size = self.size
        data = self._data
        for line in lines:
            if not line:
                self.last_event_id = self._id
                if data:
                    text = data[0] if len(data) == 1 else b"\n".join(data)
                    data.clear()
                    draft = _Draft()
                    draft.data = draft.raw = text.decode("utf-8", "replace")
                    name = self._event
                    draft.event = name if name and name != "message" else None
                    draft.id = self._id
                    draft.retry = draft.comment = None
                    draft.__class__ = ServerSentEvent
                    events.append(draft)
                self._event = ""
                size = 0
                continue
            length = len(line)
            if size + length > limit:
                self.too_large = True
                break
            head = line[:6]
            if head == b"data: ":
                data.append(line[6:])
            elif head == b"event:":
                self._event = line[6:].removeprefix(b" ").decode("utf-8", "replace")
            elif line[0] == _COLON:
                continue
            else:
                self._field(line)
            size += length + 1
        self.size = size

    def drop(self) -> None:
        """Forget the unfinished block, at the end of the stream."""
        self.size = 0
        self._data.clear()
        self._event = ""
        self._id = self.last_event_id

    def _field(self, line: bytes) -> None:
        """Read one line that is neither blank nor a comment."""
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"data":
            self._data.append(value)
        elif name == b"retry" and value.isdigit():
            self._retry_line = ""
            # Python may refuse to read a number of more than 640 digits.
            digits = value if len(value) <= 640 else value.lstrip(b"0")
            if len(digits) <= 640:
                self.retry = int(digits or b"0")

    def _bulk(self, text: str, events: list[ServerSentEvent]) -> None:
        """Read complete blocks, most of which are one line of data each."""
        pieces = text[:-2].split("\n\ndata: ")
        first = pieces[0]
        if first.startswith("data: "):
            pieces[0] = first[6:]
        else:
            self._blocks(first + "\n\n", events)
            del pieces[0]
        odd = 0
        add = events.append
        last_id = self.last_event_id
        # Looking into all pieces together costs less than half of looking into each.
        all_plain = "\n" not in "".join(pieces)
        for piece in pieces:
            if not all_plain and "\n" in piece:
                odd += 1
                self._blocks(f"data: {piece}\n\n", events)
                last_id = self.last_event_id
                continue
            draft = _Draft()
            draft.data = draft.raw = piece
            draft.id = last_id
            draft.event = draft.retry = draft.comment = None
            draft.__class__ = ServerSentEvent
            add(draft)
        self._plain = odd * 4 < len(pieces)

    def _blocks(self, text: str, events: list[ServerSentEvent]) -> None:
        """Read complete blocks of any kind."""
        self.alike = False
        add = events.append
        for name, new_id, late_name, data, late_id, rest, line in self.BLOCK.findall(text):
            if line:
                # A blank line or a comment between two blocks is nothing.
                if self.size or line[0] not in "\n:":
                    self._odd(line, events)
                continue
            last_name = late_name or name
            last_id = late_id or new_id
            if rest or self.size or (last_id and "\0" in last_id):
                self._long(last_name, new_id, data, late_id, rest, events)
                continue
            if last_id:
                self._id = self.last_event_id = last_id
            draft = _Draft()
            draft.data = draft.raw = data
            draft.event = last_name if last_name and last_name != "message" else None
            draft.id = self._id
            draft.retry = draft.comment = None
            draft.__class__ = ServerSentEvent
            add(draft)

    def _odd(self, line: str, events: list[ServerSentEvent]) -> None:
        """Read a line that does not begin one of the usual blocks."""
        if line.startswith("retry:"):
            self._set_retry(line[:-1])
        else:
            self.lines([line[:-1].encode()], events, sys.maxsize)

    def _long(self, name: str, new_id: str, data: str, late_id: str, rest: str, events: list[ServerSentEvent]) -> None:
        """Read a block that goes on after what `_BLOCK` knows, or that was begun before it."""
        last_id = late_id or new_id
        if not self.size and "\0" not in last_id:
            texts = [data]
            for line in rest.split("\n")[:-1]:
                if line.startswith("data: "):
                    texts.append(line[6:])
                elif line.startswith("retry:"):
                    self._set_retry(line)
                else:
                    break
            else:
                if last_id:
                    self._id = self.last_event_id = last_id
                events.append(_event("\n".join(texts), name, self._id))
                return
        lines = [f"data: {data}", *rest.split("\n")]
        if late_id:
            lines.insert(0, f"id: {late_id}")
        if new_id:
            lines.insert(0, f"id: {new_id}")
        if name:
            lines.insert(0, f"event: {name}")
        self.lines([line.encode() for line in lines], events, sys.maxsize)

    def _set_retry(self, line: str) -> None:
        """Read a line of the field `retry`. Servers that send it once often send the same with each event."""
        if line != self._retry_line:
            self._field(line.encode())
            self._retry_line = line


def _event(text: str, name: str, last_id: str) -> ServerSentEvent:
    draft = _Draft()
    draft.data = draft.raw = text
    draft.event = name if name and name != "message" else None
    draft.id = last_id
    draft.retry = draft.comment = None
    draft.__class__ = ServerSentEvent
    return draft  # type: ignore[no-any-return]
