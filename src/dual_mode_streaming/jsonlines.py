"""NDJSON (also called JSON Lines) and JSON text sequences (RFC 7464): JSON values one after the other.

Rules of this file:

- A decoder does not depend on how the bytes are cut into chunks, and gives a value as soon as its last byte is there.
- A bad record comes back in its place, as a `ProtocolError`; its neighbours are not lost.
- Memory is bounded: a record over the bound is given up as soon as that is certain, and its rest dropped as it comes.
- Lines end at LF and nowhere else. CR before it is white space of JSON; U+2028 and U+0085 are text.
- NDJSON: blank lines are skipped, they may be a heartbeat. A byte order mark does not belong there and is dropped.
- Sequences: a record is complete at the first LF behind a complete JSON text. Several RS in a row are one. A number or
  one of true, false and null without white space behind it may have been cut short (RFC 7464, section 2.4).

An item that has a name or an id travels in an envelope, an object with the fields that are set of `event` and `id`, and
`data`; an error as an object with nothing but `error`. A plain item that could be mistaken for one of them is sealed:
put into an envelope of its own.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from .errors import EventTooLarge, ProtocolError
from .events import ServerSentEvent
from .jsonbytes import decode_json, encode_json

__all__ = [
    "ENVELOPE_KEYS",
    "ErrorLine",
    "JSONSeqDecoder",
    "NDJSONDecoder",
    "encode_line",
    "encode_record",
    "envelope",
    "open_line",
    "seal",
]

_BOM = b"\xef\xbb\xbf"
_WHITE = b" \t\r\n"
_ENVELOPE = frozenset({"data", "event", "id"})
ENVELOPE_KEYS = len(_ENVELOPE)
"""The most keys that an envelope has."""
_OTHER_START = frozenset(b'{"%c' % letter for letter in range(256) if letter not in b"dei\\")
_OTHER_KEY = re.compile(
    rb'\{"(?:(?!(?:data|error|event|id)")[^"\\]*+"'
    rb'|(?:id|event)":(?:"[^"\\]*+"|\w++),"(?!(?:data|event|id)")[^"\\]*+")'
)


def encode_line(value: Any) -> bytes:
    """Encode one value as a line of NDJSON: its JSON and LF.

    Raises:
        ItemNotEncodable: The value has no JSON form.
    """
    return encode_json(value) + b"\n"


def encode_record(value: Any) -> bytes:
    """Encode one value as a record of a JSON text sequence (RFC 7464, section 2.2): RS, its JSON, LF.

    Raises:
        ItemNotEncodable: The value has no JSON form.
    """
    return b"\x1e" + encode_json(value) + b"\n"


class _Decoder(ABC):
    """What both decoders share: records cut out of a stream of bytes, within a bound, and counted."""

    _separator: bytes

    def __init__(self, limit: int | None) -> None:
        if limit is not None and limit <= 0:
            raise ValueError(f"the largest size must be above zero, or None for no bound, not {limit!r}")
        self._limit = limit
        self._held = bytearray()
        self._dropping = False
        self._given = 0

    def feed(self, data: bytes) -> list[Any]:
        """Take the next bytes; give the values that are complete now, and a `ProtocolError` for each bad record."""
        found: list[Any] = []
        *records, rest = data.split(self._separator)
        for record in records:
            self._hold(record, found)
            self._close(found)
        self._hold(rest, found)
        self._peek(found)
        return found

    def flush(self) -> list[Any]:
        """End the stream; give what its last bytes are worth."""
        found: list[Any] = []
        self._close(found)
        return found

    def _hold(self, part: bytes, found: list[Any]) -> None:
        """Keep a part of the record that is coming, or give the record up."""
        if not part or self._dropping:
            return
        self._held += part
        if self._limit is not None and len(self._held) > self._limit:
            self._too_large(bytes(self._held), found)

    def _too_large(self, record: bytes, found: list[Any]) -> None:  # noqa: ARG002  sequences look into it
        """Give up a record over the bound."""
        self._give(found, EventTooLarge(self._limit or 0, index=self._given))
        self._dropping = True
        self._held.clear()

    def _close(self, found: list[Any]) -> None:
        """The record that was coming is complete."""
        record = bytes(self._held)
        dropped, self._dropping = self._dropping, False
        self._held.clear()
        if not dropped:
            self._read(record, found)

    @abstractmethod
    def _read(self, record: bytes, found: list[Any]) -> None:
        """Give what a complete record is worth."""

    def _peek(self, found: list[Any]) -> None:  # noqa: B027  a hook, of use to sequences only
        """Look at the record that is coming, whether it can be given already."""

    def _give(self, found: list[Any], value: Any) -> None:
        self._given += 1
        found.append(value)

    def _bad(self, found: list[Any], why: str, value: Any = None) -> None:
        self._give(found, ProtocolError(f"Record {self._given} {why}.", index=self._given, value=value))


class NDJSONDecoder(_Decoder):
    """Decodes NDJSON, bytes in and values out. It reads nothing itself: feed it.

    Args:
        max_line_size: The most bytes of one line; None for no bound. A longer line comes back as `EventTooLarge`.
    """

    _separator = b"\n"

    def __init__(self, max_line_size: int | None = 1_048_576) -> None:
        super().__init__(max_line_size)

    def _read(self, record: bytes, found: list[Any]) -> None:
        line = record.removeprefix(_BOM)
        if not line.strip(_WHITE):
            return
        try:
            self._give(found, decode_json(line))
        except ValueError as error:
            self._bad(found, f"is not JSON ({error})")


class JSONSeqDecoder(_Decoder):
    """Decodes JSON text sequences (RFC 7464), bytes in and values out. It reads nothing itself: feed it.

    Args:
        max_record_size: The most bytes of one record; None for no bound. A longer one comes back as `EventTooLarge`.
    """

    _separator = b"\x1e"

    def __init__(self, max_record_size: int | None = 1_048_576) -> None:
        super().__init__(max_record_size)
        self._begun = False
        self._early = False
        self._trailing = False
        self._tried = 0

    def _hold(self, part: bytes, found: list[Any]) -> None:
        if self._early:
            self._trailing = self._trailing or bool(part.strip(_WHITE))
            return
        super()._hold(part, found)

    def _too_large(self, record: bytes, found: list[Any]) -> None:
        if not self._begun or not self._give_first(record, found, len(record) if self._limit is None else self._limit):
            super()._too_large(record, found)

    def _close(self, found: list[Any]) -> None:
        self._tried = 0
        super()._close(found)
        self._begun = True
        self._early = self._trailing = False

    def _read(self, record: bytes, found: list[Any]) -> None:
        if self._early:
            # The value of this record was given at its LF. White space may follow, and nothing else.
            if self._trailing:
                self._bad(found, "has something behind its value")
            return
        text = record.strip(_WHITE)
        if not self._begun:
            if text:
                self._bad(found, "does not begin with RS")
            return
        if not record:
            return
        try:
            value = decode_json(record)
        except ValueError as error:
            if self._give_first(record, found, len(record)):
                self._read(b"", found)
            else:
                self._bad(found, f"is not JSON ({error})")
            return
        if text[-1:] not in b'}]"' and record[-1:] not in (b" ", b"\t", b"\r", b"\n"):
            self._bad(found, "may have been cut short", value)
            return
        self._give(found, value)

    def _peek(self, found: list[Any]) -> None:
        """Give the value of a record that is complete, instead of waiting for the RS of the next one."""
        if not self._begun or self._early or not self._held.endswith(b"\n"):
            return
        # A record that comes in many pieces is not read anew with each: the effort stays in proportion to its size.
        if self._tried > 8 * len(self._held) + 65_536:
            return
        self._tried += len(self._held)
        try:
            value = decode_json(bytes(self._held))
        except ValueError:
            return
        self._give(found, value)
        self._early = True
        self._held.clear()

    def _give_first(self, record: bytes, found: list[Any], within: int) -> bool:
        """Give the value on the first lines of a bad record, as it is given if these lines come alone."""
        try:
            text = record.decode("utf-8", "surrogateescape")
            _, end = json.JSONDecoder().raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
            head = text[:end].encode("utf-8", "surrogateescape")
            rest = record[len(head) :]
            blank = rest[: len(rest) - len(rest.lstrip(_WHITE))]
            if not 0 < len(head) + blank.find(b"\n") + 1 <= within or b"\n" not in blank:
                return False
            value = decode_json(head)
        except (ValueError, RecursionError):
            return False
        self._give(found, value)
        self._early = True
        self._trailing = bool(rest.strip(_WHITE))
        self._held.clear()
        return True


# --- items that need more than their value -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """The last line of a stream that failed.

    Attributes:
        problem: The members of the problem document (RFC 9457).
    """

    problem: dict[str, Any]


def seal(item_json: bytes) -> bytes:
    """Put the JSON of a plain item into an envelope if it could be mistaken for an envelope or an error."""
    # Only an object whose first key is one of the four can be meant, and our own encoder writes no white space. Any
    # other first byte behind the brace is the white space or the escape of a JSON text that the author has written.
    if item_json[:3] in _OTHER_START:
        return item_json
    if item_json[:1] == b"{" and (item_json[1:3] in (b'"d', b'"e', b'"i') or item_json[1:2] not in b'"}'):
        # Items that begin with an id are common, and their next key tells that they are no envelope. So does a first
        # key that only begins like one of the four.
        return item_json if _OTHER_KEY.match(item_json) else _sealed(item_json)
    if item_json[:3] == b'{"\\' or item_json[:1] in (b" ", b"\t", b"\n", b"\r"):
        return _sealed(item_json)
    return item_json


def _sealed(item_json: bytes) -> bytes:
    value = decode_json(item_json)
    if isinstance(value, dict):
        keys = value.keys()
        if keys == {"error"} or ("data" in keys and keys <= _ENVELOPE):
            return b'{"data":' + item_json + b"}"
    return item_json


def envelope(event: ServerSentEvent, data_json: bytes) -> bytes:
    """Put the JSON of an item into an envelope with the name and the id of its event."""
    fields = {"event": event.event, "id": event.id}
    named = encode_json({name: value for name, value in fields.items() if value is not None})
    return named[:-1] + (b"," if len(named) > 2 else b"") + b'"data":' + data_json + b"}"


def open_line(value: Any) -> ServerSentEvent | ErrorLine:
    """Read one decoded value of a stream: the event that it stands for, or the error that ends the stream.

    The event has the item as its `data`, and its name and id if it came with them.
    """
    if isinstance(value, dict):
        keys = value.keys()
        if keys == {"error"}:
            problem = value["error"]
            return ErrorLine(problem if isinstance(problem, dict) else {"detail": problem})
        if "data" in keys and keys <= _ENVELOPE:
            return ServerSentEvent(value["data"], event=value.get("event"), id=value.get("id"))
    return ServerSentEvent(value)
