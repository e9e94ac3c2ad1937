"""The body of an answer to events, for each media type that a client can read. Without any input or output.

Rules of this file:

- A reader gives events whose `raw` is the text of the item and whose `data` is that text decoded as JSON, or the text
  itself if it is no JSON or is not to be decoded. `id` is the last id of this body so far, `""` if there was none.
- It gives what the server says of the stream as events too: the error line of a body of lines is an event `error`. A
  record that cannot be read comes in its place, as a `ProtocolError`.
- What a body means for the whole stream (the end, an error, a duplicate) is known to `reconnecting`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import orjson

from dual_mode_streaming.errors import ProtocolError
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.jsonbytes import decode_json, encode_json, has_long_digits
from dual_mode_streaming.jsonlines import ErrorLine, JSONSeqDecoder, NDJSONDecoder, open_line
from dual_mode_streaming.modes import JSON, JSON_LINES, JSON_SEQ, NDJSON, SSE, ResponseMode
from dual_mode_streaming.sse import SSEDecoder

from .options import StreamOptions

__all__ = ["CONTROL", "DocumentReader", "Reader", "accept_header", "reader_for"]

CONTROL = frozenset({"done", "error", "gap"})
"""The events in which a server speaks of the stream."""

# Other names under which lines of JSON are sent.
_LINES = frozenset(
    {
        NDJSON,
        JSON_LINES,
        "application/ndjson",
        "application/x-jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
    }
)
_PREFERENCE = (SSE, NDJSON, JSON_LINES, JSON_SEQ)

# Decoded events are frozen. They are filled in here, before anybody else has seen them.
_set = object.__setattr__


class Reader(ABC):
    """Reads one body.

    Attributes:
        mode: Whether the body is a stream, or a batch that is read as one.
        last_event_id: The last id of the body, `""` if it had none.
        retry: The reconnection time that the body asked for, in milliseconds; None if it did not.
        ends_cleanly: Whether a body that comes to its end is complete by that alone.
        only_events: Whether it gives events and never an error.
        alike: Whether the events of the last `feed` are known to have no names and the same id.
    """

    mode = ResponseMode.STREAM
    last_event_id = ""
    retry: int | None = None
    ends_cleanly = True
    only_events = False
    alike = False

    @abstractmethod
    def feed(self, chunk: bytes) -> list[ServerSentEvent | ProtocolError]:
        """Take the next bytes; give the events that they complete.

        Raises:
            EventTooLarge: An event is over the bound.
        """

    def end(self) -> list[ServerSentEvent | ProtocolError]:
        """Say that the body has come to its end; give what its last bytes are worth.

        Raises:
            EventTooLarge: An event is over the bound.
        """
        return []


class _SSEReader(Reader):
    # The format has a frame for it.
    ends_cleanly = False
    only_events = True

    def __init__(self, limit: int | None, decode: bool) -> None:
        self._decoder = SSEDecoder(limit)
        self._decode = decode

    def feed(self, chunk: bytes) -> list[ServerSentEvent | ProtocolError]:
        decoder = self._decoder
        events: list[Any] = decoder.feed(chunk)
        self.last_event_id = decoder.last_event_id
        self.retry = decoder.retry
        self.alike = decoder.alike
        if self.alike and not self._decode:
            return events
        if not self._decode:
            # What the server says of the stream is read all the same.
            for event in events:
                if event.event is not None and event.event in CONTROL:
                    _set(event, "data", _json_or_text(event.raw))
        elif events:
            # The text of the first event may have begun in the chunk before. For all others it is enough to look for
            # long numbers once.
            _set(events[0], "data", _json_or_text(events[0].raw))
            decode = _json_or_text if has_long_digits(chunk) else orjson.loads
            for event in events[1:]:
                try:
                    _set(event, "data", decode(event.raw))
                except ValueError:
                    continue
        return events

    def end(self) -> list[ServerSentEvent | ProtocolError]:
        self._decoder.flush()
        return []


class _LinesReader(Reader):
    def __init__(self, decoder: NDJSONDecoder | JSONSeqDecoder, decode: bool) -> None:
        self._decoder = decoder
        self._decode = decode

    def feed(self, chunk: bytes) -> list[ServerSentEvent | ProtocolError]:
        return [self._event(value) for value in self._decoder.feed(chunk)]

    def end(self) -> list[ServerSentEvent | ProtocolError]:
        return [self._event(value) for value in self._decoder.flush()]

    def _event(self, value: Any) -> ServerSentEvent | ProtocolError:
        if isinstance(value, ProtocolError):
            return value
        opened = open_line(value)
        if isinstance(opened, ErrorLine):
            return ServerSentEvent(opened.problem, event="error", id=self.last_event_id, raw=_text(opened.problem))
        own_id: Any = opened.id
        name: Any = opened.event
        if isinstance(own_id, int) and not isinstance(own_id, bool):
            own_id = str(own_id)
        if not isinstance(own_id, (str, type(None))) or not isinstance(name, (str, type(None))):
            # Only an item of somebody else looks like that.
            return self._item(value, None)
        if own_id is not None:
            self.last_event_id = own_id
        return self._item(opened.data, name)

    def _item(self, value: Any, name: str | None) -> ServerSentEvent:
        text = _text(value)
        data = value if self._decode or name in CONTROL else text
        return ServerSentEvent(data, event=name, id=self.last_event_id, raw=text)


class DocumentReader(Reader):
    """Reads a batch as a stream: the items of `{"data": [...]}` or of a bare array, else the document as one item.

    Attributes:
        document: The JSON text of the body, once it is complete.
        is_array: Whether the document is a bare array.
        is_whole: Whether the document is one item.
    """

    mode = ResponseMode.BATCH

    def __init__(self, decode: bool = True) -> None:
        self.document = b""
        self._decode = decode
        self.is_array = False
        self.is_whole = False
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> list[ServerSentEvent | ProtocolError]:
        """Keep the bytes: a document cannot be read in part."""
        self._parts.append(chunk)
        return []

    def end(self) -> list[ServerSentEvent | ProtocolError]:
        """Give the items."""
        self.document = b"".join(self._parts)
        self._parts.clear()
        try:
            value = decode_json(self.document)
        except ValueError as error:
            return [ProtocolError(f"The answer is not JSON: {error}.")]
        self.is_array = isinstance(value, list)
        items = value["data"] if isinstance(value, dict) and value.keys() == {"data"} else value
        self.is_whole = not isinstance(items, list)
        texts = [(item, _text(item)) for item in ([value] if self.is_whole else items)]
        return [ServerSentEvent(item if self._decode else text, id="", raw=text) for item, text in texts]


def reader_for(media_type: str, options: StreamOptions) -> Reader | None:
    """Give a reader for a body.

    Args:
        media_type: The media type, in lower case and without parameters.
        options: How it is read. A document has no bound.

    Returns:
        The reader; None for a media type that is neither JSON nor a stream.
    """
    if media_type == SSE:
        return _SSEReader(options.max_event_size, options.decode)
    if media_type in _LINES:
        return _LinesReader(NDJSONDecoder(options.max_event_size), options.decode)
    if media_type == JSON_SEQ or media_type.endswith("+json-seq"):
        return _LinesReader(JSONSeqDecoder(options.max_event_size), options.decode)
    if media_type == JSON or media_type.endswith("+json"):
        return DocumentReader(options.decode)
    return None


def accept_header(first: str | None = None) -> str:
    """Give the `Accept` of a request for a stream: this media type first, then the others, then a batch.

    Asked for a batch first, it asks for nothing else.
    """
    if first == JSON:
        return JSON
    types = list(dict.fromkeys((first or SSE, *_PREFERENCE)))
    weighted = [types[0], *(f"{name};q={0.9 - 0.1 * at:.1f}" for at, name in enumerate(types[1:]))]
    return ", ".join([*weighted, f"{JSON};q=0.1"])


def _json_or_text(text: str) -> Any:
    try:
        return decode_json(text)
    except ValueError:
        return text


def _text(value: Any) -> str:
    return encode_json(value).decode()
