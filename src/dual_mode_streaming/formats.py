"""How a stream looks on the wire in each media type (the table of docs/protocol.md, column by column).

A format turns items into frames and knows its last words. It holds no item back and knows nothing of time or sending.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from .errors import InvalidEvent, Problem
from .events import Missed, ServerSentEvent
from .jsonbytes import decode_json, encode_at_once, encode_json
from .jsonlines import ENVELOPE_KEYS, encode_line, encode_record, envelope, seal
from .modes import JSON_LINES, JSON_SEQ, NDJSON, SSE
from .sse import encode_event

__all__ = ["RESERVED_NAMES", "TERMINAL_ID", "Format", "checked_frame", "event_value", "format_for", "reserved"]

TERMINAL_ID = "dms-done"
"""The id of the `done` event of a stream that cannot be resumed. A request that sends it back has seen all."""

RESERVED_NAMES = frozenset({"done", "error", "gap"})


class Format(ABC):
    """The frames of one media type.

    Attributes:
        content_type: The value of the Content-Type header.
        aborts: Whether a late error has to cut the connection, because a clean end would look like success.
        opens_without_items: Whether the opening means something by itself, and need not wait for the first item.
    """

    content_type: str
    aborts: bool = False
    opens_without_items: bool = False

    @abstractmethod
    def item(self, item: Any) -> bytes:
        """Give the frame of a plain item.

        Raises:
            ItemNotEncodable: The item has no JSON form.
        """

    @abstractmethod
    def event(self, event: ServerSentEvent) -> bytes:
        """Give the frame of an event with a name, an id or other fields; empty where the format cannot say it.

        Raises:
            InvalidEvent: A field would forge a line, or the name is the library's own.
        """

    @abstractmethod
    def encoded(self, json: bytes, name: str | None, event_id: str) -> bytes:
        """Give the frame of an event whose data is JSON already, and whose name and id need no check any more."""

    def control(self, event: ServerSentEvent) -> tuple[bytes, bytes]:
        """Give the frames of an event that is no item: what opens the next frame with data, and what goes at once.

        A block without data is an empty event to many readers, so a retry time does not travel alone.
        """
        return b"", self.event(event) if event.data.__class__ is Missed else b""

    def opening(self, retry: tuple[int, int] | None) -> bytes:  # noqa: ARG002  only SSE has a use for it
        """Give what stands in front of the first frame with data."""
        return b""

    def done(self, items: int, terminal_id: str = TERMINAL_ID) -> bytes:  # noqa: ARG002  only SSE says it on the wire
        """Give the last frame of a stream that is complete."""
        return b""

    @abstractmethod
    def error(self, problem: Problem) -> bytes:
        """Give the last frame of a stream that failed."""

    def heartbeat(self, lines: bool) -> bytes:  # noqa: ARG002  only NDJSON makes a difference
        """Give the frame that says nothing; empty where there is none."""
        return b""


class _SSE(Format):
    content_type = f"{SSE}; charset=utf-8"

    def item(self, item: Any) -> bytes:
        encoded = encode_at_once(item)
        return b"data: " + (encode_json(item) if encoded is None else encoded) + b"\n\n"

    def event(self, event: ServerSentEvent) -> bytes:
        return checked_frame(event)

    def encoded(self, json: bytes, name: str | None, event_id: str) -> bytes:
        if name is None:
            return b"id: %b\ndata: %b\n\n" % (event_id.encode(), json)
        return b"event: %b\nid: %b\ndata: %b\n\n" % (name.encode(), event_id.encode(), json)

    def control(self, event: ServerSentEvent) -> tuple[bytes, bytes]:
        if event.data.__class__ is Missed:
            return super().control(event)
        frame = b"" if event.comment is None else encode_event(ServerSentEvent(comment=event.comment))
        return b"" if event.retry is None else _retry(event.retry), frame

    def opening(self, retry: tuple[int, int] | None) -> bytes:
        # Drawn anew for each client, so that clients do not come back all at once.
        return b"" if retry is None else _retry(random.randint(*retry))  # noqa: S311  no secret

    def done(self, items: int, terminal_id: str = TERMINAL_ID) -> bytes:
        return b'event: done\nid: %s\ndata: {"items":%d}\n\n' % (terminal_id.encode(), items)

    def error(self, problem: Problem) -> bytes:
        return encode_event(ServerSentEvent(problem.as_dict(), event="error"))

    def heartbeat(self, lines: bool) -> bytes:  # noqa: ARG002
        return b": \n\n"


class _Lines(Format):
    aborts = True

    def __init__(self, content_type: str, encode: Callable[[Any], bytes], before: bytes, blank: bytes) -> None:
        self.content_type = content_type
        self._encode = encode
        self._before = before
        self._blank = blank

    def item(self, item: Any) -> bytes:
        encoded = encode_at_once(item)
        if encoded is None:
            encoded = seal(encode_json(item))
        elif item.__class__ is not dict or len(item) <= ENVELOPE_KEYS:
            # A larger one is no envelope: its keys are plain texts, so it has as many in JSON.
            encoded = seal(encoded)
        return self._before + encoded + b"\n"

    def event(self, event: ServerSentEvent) -> bytes:
        checked_frame(event)  # what one format refuses, all refuse
        data = encode_json(event_value(event))
        if event.event is None and event.id is None:
            return self._before + seal(data) + b"\n"
        return self._before + envelope(event, data) + b"\n"

    def encoded(self, json: bytes, name: str | None, event_id: str) -> bytes:
        return self._before + envelope(ServerSentEvent(event=name, id=event_id), json) + b"\n"

    def error(self, problem: Problem) -> bytes:
        return self._encode({"error": problem.as_dict()})

    def heartbeat(self, lines: bool) -> bytes:
        return self._blank if lines else b""


def format_for(media_type: str) -> Format:
    """Give the format of a stream's media type.

    Raises:
        ValueError: No stream has this media type.
    """
    if media_type == SSE:
        return _SSE()
    if media_type in (NDJSON, JSON_LINES):
        return _Lines(media_type, encode_line, b"", b"\n")
    if media_type == JSON_SEQ:
        return _Lines(media_type, encode_record, b"\x1e", b"")
    raise ValueError(f"{media_type!r} is not the media type of a stream")


def event_value(event: ServerSentEvent) -> Any:
    """Give what an event counts as in a fold: its data; for raw text what a reader of the stream makes of it."""
    if event.raw is None:
        return event.data
    try:
        return decode_json(event.raw)
    except ValueError:
        return event.raw


def checked_frame(event: ServerSentEvent) -> bytes:
    """Give the SSE frame of a source's event, having refused what no source may send, in whatever mode.

    Raises:
        InvalidEvent: A field would forge a line, or a name or id is the library's own.
    """
    if event.event in RESERVED_NAMES and event.data.__class__ is not Missed:
        raise reserved(event.event)
    if event.id == TERMINAL_ID:
        raise InvalidEvent("id", f"is {event.id!r}; this id is the library's own")
    return encode_event(event)


def reserved(name: str | None) -> InvalidEvent:
    """Give the error of an author's event that has a name of ours."""
    return InvalidEvent("event", f"is {name!r}; this name is the library's own")


def _retry(milliseconds: int) -> bytes:
    return encode_event(ServerSentEvent(retry=milliseconds))[:-1]
