"""Server-sent events to bytes and back (WHATWG HTML, section 9.2), without any input or output.

The rules of this file:

- What is written has LF as its only line end, one space after each colon, and a blank line at the end of every block.
- Nothing that is written can forge a line: what would is refused, never repaired in silence.
- The decoder looks for line ends only. Of a chunk, all lines that it completes are read now, also one whose CR may be
  the first half of a CRLF; the beginning of the next line is kept as bytes, so that no character is cut.
- What the lines mean is known to `_sse_paths.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ._sse_paths import Interpreter
from .errors import EventTooLarge, InvalidEvent
from .events import ServerSentEvent
from .jsonbytes import encode_json

__all__ = ["SSEDecoder", "check_event", "encode_event"]

_BOM = b"\xef\xbb\xbf"
_LF = ord("\n")
_CR = ord("\r")


# --- encoding ----------------------------------------------------------------------------------


def encode_event(event: ServerSentEvent) -> bytes:
    """Encode one event as its block of lines, with the blank line that ends it (WHATWG HTML, section 9.2.5).

    Comments come first, then the name, the id and the reconnection time, then the data: `raw` as it is, in as many
    lines as it has, or else `data` as JSON. An event without data (`ServerSentEvent.has_data`) has no line of it,
    so clients dispatch nothing; one that says nothing at all becomes an empty comment.

    A CR or CRLF in `raw` comes back as LF, because the format has no way to carry it.

    Raises:
        InvalidEvent: A field cannot be written, as `check_event` says.
        ItemNotEncodable: The data has no JSON form.
    """
    raw = event.raw
    try:
        head = "" if event.event is event.id is event.retry is event.comment is None else _head(event)  # type: ignore[comparison-overlap]
        if raw is not None:
            return f"{head}data: {_continued(raw, 'data: ')}\n\n".encode()
        start = head.encode()
    except (AttributeError, TypeError, UnicodeEncodeError):
        check_event(event)
        raise  # pragma: no cover  the check finds what was wrong
    if not event.has_data:
        return start + b"\n" if start else b": \n\n"
    return b"%bdata: %b\n\n" % (start, encode_json(event.data))


def check_event(event: ServerSentEvent) -> None:
    """Refuse an event that cannot be written as a block of lines. Its data is not looked at.

    `encode_event` checks by itself. This is for formats that could carry such an event, so that all refuse the same.

    Raises:
        InvalidEvent: A line break in `event` or `id`, a NUL in `id`, a `retry` that is no count of milliseconds, or
            text that UTF-8 cannot carry.
    """
    for field in ("event", "id", "comment", "raw"):
        text = getattr(event, field)
        if text is None:
            continue
        if not isinstance(text, str):
            raise InvalidEvent(field, f"is no text, but of type {type(text).__name__}")
        if field in ("event", "id") and ("\n" in text or "\r" in text):
            raise InvalidEvent(field, "holds a line break")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidEvent(field, "holds a lone surrogate, which UTF-8 cannot carry") from None
    if event.id is not None and "\0" in event.id:
        raise InvalidEvent("id", "holds a NUL, for which clients ignore it")
    retry: object = event.retry
    if retry is not None and (not isinstance(retry, int) or isinstance(retry, bool) or retry < 0):
        raise InvalidEvent("retry", f"is {retry!r}, not a number of milliseconds")


def _head(event: ServerSentEvent) -> str:
    """Write all lines of a block but those of its data."""
    name, new_id, retry = event.event, event.id, event.retry
    lines = "" if event.comment is None else f": {_continued(event.comment, ': ')}\n"
    if name is not None:
        if "\n" in name or "\r" in name:
            check_event(event)
        lines += f"event: {name}\n"
    if new_id is not None:
        if "\n" in new_id or "\r" in new_id or "\0" in new_id:
            check_event(event)
        lines += f"id: {new_id}\n"
    if retry is not None:
        if retry.__class__ is not int or retry < 0:
            check_event(event)
        lines += f"retry: {retry:d}\n"
    return lines


def _continued(text: str, prefix: str) -> str:
    """Begin every line but the first with the prefix, and end them all with LF."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.replace("\n", "\n" + prefix) if "\n" in text else text


# --- decoding ----------------------------------------------------------------------------------


class SSEDecoder:
    """Decodes the bytes of an event stream, cut anywhere, into events (WHATWG HTML, section 9.2.6).

    A decoded event has its text as `data` and as `raw`, `event` is None for the name `message`, and `id` is the last
    event id of the stream so far (`""` if there was none); `retry` and `comment` are None.

    The size of an event is that of all lines of its block, names and ignored fields too. Each line end but the last
    counts as one byte, a complete comment as nothing. It does not depend on how the bytes were cut.

    Args:
        max_event_size: The largest event in bytes; None for no bound. Of a stream the decoder holds no more than that.

    Raises:
        ValueError: The bound is not above zero.
    """

    __slots__ = ("_after_cr", "_begin", "_fresh", "_held", "_special", "_stream", "_window")

    def __init__(self, max_event_size: int | None = 1_048_576) -> None:
        if max_event_size is not None and max_event_size <= 0:
            raise ValueError(f"the largest size must be above zero, or None for no bound, not {max_event_size!r}")
        self._stream = Interpreter(max_event_size)
        # A chunk is read in windows: the lists stay short, and the bytes in the processor's cache. They are smaller
        # than the bound, because blocks that may be over it are read line by line.
        self._window = max(1, min(65_536, self._stream.limit // 2))
        # The unfinished line.
        self._held = bytearray()
        # Whether the next chunk needs a look at its first bytes, and why: the beginning of the stream may be a byte
        # order mark, or the beginning of one; after a CR an LF has to be dropped; after a failure everything.
        self._special = True
        self._fresh = True
        self._begin = b""
        self._after_cr = False

    @property
    def last_event_id(self) -> str:
        """The last event id of the stream, which a client sends as `Last-Event-ID`; `""` if there is none."""
        return self._stream.last_event_id

    @property
    def retry(self) -> int | None:
        """The reconnection time that the server asked for, in milliseconds; None if it did not."""
        return self._stream.retry

    @property
    def alike(self) -> bool:
        """Whether the events of the last `feed` are known to have no names and one id; False says nothing."""
        return self._stream.alike

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes of the stream and give the events that they complete.

        Raises:
            EventTooLarge: An event is larger than `max_event_size`. Events that were complete before it are given
                out first, and the next call raises. So does every call after that.
        """
        events: list[ServerSentEvent] = []
        stream = self._stream
        stream.alike = True
        held = self._held
        for part in (chunk,) if len(chunk) <= self._window else self._windows(chunk):
            rest = self._trimmed(part) if self._special else part
            # To look for a number in bytes is ten times faster than to look for bytes of length 1.
            if _LF in rest or _CR in rest:
                end = len(rest) if rest[-1] == _LF else rest.rfind(b"\n") + 1
                lines = rest[:end]
                rest = rest[end:]
                if _CR in rest:
                    end = rest.rfind(b"\r") + 1
                    lines += rest[:end]
                    rest = rest[end:]
                    # A CR at the end of the chunk ends its line now. If an LF follows it is dropped.
                    self._after_cr = self._special = not rest
                if held:
                    held += lines
                    lines = bytes(held)
                    held.clear()
                stream.read(lines, events)
            if rest:
                held += rest
                if stream.size + len(held) > stream.limit:
                    stream.too_large = True
        if stream.too_large:
            self._fail(events)
        return events

    def flush(self) -> list[ServerSentEvent]:
        """Say that the stream has ended. An event without its blank line is dropped, so the list is empty.

        The decoder can be fed another stream then, as after a reconnect: it keeps `last_event_id` and `retry`.

        Raises:
            EventTooLarge: An event was larger than `max_event_size`.
        """
        if self._stream.too_large:
            self._fail([])
        self._stream.drop()
        self._held.clear()
        self._special = True
        self._fresh = True
        self._begin = b""
        self._after_cr = False
        return []

    def _windows(self, chunk: bytes) -> Iterator[bytes]:
        for start in range(0, len(chunk), self._window):
            if self._stream.too_large:
                break
            yield chunk[start : start + self._window]

    def _trimmed(self, chunk: bytes) -> bytes:
        """Drop what belongs to no line: a byte order mark, or the LF of a CRLF that was cut in two."""
        if self._stream.too_large:
            return b""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if self._fresh:
            chunk = self._begin + chunk
            self._fresh = len(chunk) < len(_BOM) and _BOM.startswith(chunk)
            self._begin = chunk if self._fresh else b""
            chunk = b"" if self._fresh else chunk.removeprefix(_BOM)
        self._special = self._fresh or self._after_cr
        return chunk

    def _fail(self, events: list[ServerSentEvent]) -> None:
        """Raise the error, if not now then at the next call."""
        self._special = True
        self._held.clear()
        if not events:
            raise EventTooLarge(self._stream.limit)
