"""Looks at a stream as it arrives, and notes when what came.

Rules of this file:

- `Frames` reads the bytes and knows no clock; `observe` has the clock and the network.
- It decides nothing. What the notes mean is known to `findings.py`.
- It ends in time, with a bound on what it keeps: a source may be endless and fast.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable
from typing import Any

import httpx2

from dual_mode_streaming.errors import EventTooLarge, ProtocolError
from dual_mode_streaming.jsonbytes import decode_json
from dual_mode_streaming.jsonlines import ErrorLine, JSONSeqDecoder, NDJSONDecoder, open_line
from dual_mode_streaming.sse import SSEDecoder

from .findings import HALVES
from .observation import End, Observation
from .request import Request

__all__ = ["STREAM", "Frames", "observe"]

STREAM = "text/event-stream, application/x-ndjson;q=0.9, application/jsonl;q=0.9, application/json-seq;q=0.8"
"""What `Accept` asks for where a stream is wanted, in whatever format."""

MOST = 20_000
"""So many items are enough to judge a stream. Then the look ends, as if its time were over."""

# How a stream says that it is complete: this library, OpenAI's and Anthropic's interfaces, and common habits.
TERMINAL_EVENTS = frozenset(
    {"done", "end", "complete", "completed", "close", "finish", "message_stop", "response.completed"}
)
TERMINAL_DATA = frozenset({"[DONE]"})


class Frames:
    """Counts what the body of a stream holds, of whichever format.

    Args:
        media_type: One of the formats of streams. Of anything else only the encoding is looked at.
    """

    def __init__(self, media_type: str) -> None:
        self._sse = SSEDecoder() if media_type == "text/event-stream" else None
        lines: dict[str, Callable[[], Any]] = {
            "application/x-ndjson": NDJSONDecoder,
            "application/jsonl": NDJSONDecoder,
            "application/json-seq": JSONSeqDecoder,
        }
        self._lines = lines[media_type]() if media_type in lines else None
        self._text = codecs.getincrementaldecoder("utf-8")("strict")
        self._line = b""
        self._has_fields = False
        self.items = 0
        self.bad = 0
        self.terminal: str | None = None
        self.problem: str | None = None
        self.too_large: int | None = None
        self.is_utf8 = True

    @property
    def is_between(self) -> bool:
        """Whether the last byte was the end of a frame."""
        return not self._line and not self._has_fields

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body, without their compression."""
        self._check_text(chunk, final=False)
        try:
            if self._sse is not None:
                self._follow(chunk)
                for event in self._sse.feed(chunk):
                    self._event(event.event, str(event.data))
            elif self._lines is not None:
                self._line = (self._line + chunk.strip(b" \r"))[-1:].strip(b"\n\x1e")
                self._values(self._lines.feed(chunk))
        except EventTooLarge as error:
            self.too_large = error.limit

    def end(self) -> None:
        """Say that the body is complete."""
        self._check_text(b"", final=True)
        if self._lines is not None:
            self._values(self._lines.flush())

    def _check_text(self, chunk: bytes, *, final: bool) -> None:
        try:
            self._text.decode(chunk, final)
        except UnicodeDecodeError:
            self.is_utf8 = False
            self._text.reset()

    def _follow(self, chunk: bytes) -> None:
        """Keep track of whether a block is open. A block of comments only is a heartbeat with a line end missing."""
        lines = (self._line + chunk).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines[:-1]:
            self._has_fields = bool(line) and (self._has_fields or not line.startswith(b":"))
        self._line = lines[-1][:2]

    def _event(self, name: str | None, data: str) -> None:
        if name == "error":
            self.problem = _said(data)
        elif name in TERMINAL_EVENTS or data in TERMINAL_DATA:
            self.terminal = name or data
        else:
            self.items += 1

    def _values(self, values: list[Any]) -> None:
        for value in values:
            if isinstance(value, EventTooLarge):
                self.too_large = value.limit
            elif isinstance(value, ProtocolError):
                self.bad += 1
            elif isinstance(line := open_line(value), ErrorLine):
                self.problem = _said_by(line.problem)
            else:
                self.items += 1


async def observe(
    client: httpx2.AsyncClient, request: Request, seconds: float, progress: Callable[[int], None] | None = None
) -> Observation:
    """Send the request, and watch its answer for so many seconds at most.

    Args:
        client: What sends it.
        request: What is sent; it asks for a stream, and for compression, as browsers do.
        seconds: How long to watch.
        progress: Called with the number of items whenever there are more.

    Raises:
        httpx2.HTTPError: There was no answer; a body that is cut is none of these.
        TimeoutError: There was no answer within these seconds.
    """
    clock = asyncio.get_running_loop().time
    began = clock()

    async def note_sending(name: str, _: object) -> None:
        nonlocal began
        if name.endswith("send_request_headers.started"):
            began = clock()  # to connect, and to follow a redirect, does not count

    seen: dict[str, Any] = {}
    chunks: list[float] = []
    items: list[float] = []
    heartbeats: list[float] = []
    halves: list[float] = []
    frames = Frames("")
    end = End.OPEN
    try:
        async with (
            asyncio.timeout(seconds),
            client.stream(
                **request.arguments(accept=STREAM, accept_encoding="gzip, deflate"), extensions={"trace": note_sending}
            ) as response,
        ):
            seen = {
                "headers_at": clock() - began,
                "status": response.status_code,
                "http_version": response.http_version,
                "headers": dict(response.headers),
            }
            frames = Frames(Observation(headers=seen["headers"]).media_type)
            async for chunk in response.aiter_bytes():
                now = clock() - began
                if not frames.is_between and chunks and now - chunks[-1] >= HALVES:
                    halves.append(now - chunks[-1])
                before = frames.items
                frames.feed(chunk)
                chunks.append(now)
                items += [now] * (frames.items - before)
                if progress is not None and frames.items > before:
                    progress(frames.items)
                if frames.items == before and frames.is_between and frames.problem is frames.terminal is None:
                    heartbeats.append(now)
                if len(chunks) >= MOST or frames.too_large is not None:
                    break
            else:
                end = End.CLEAN
                before = frames.items
                frames.end()
                items += [clock() - began] * (frames.items - before)
    except TimeoutError:
        if not seen:
            raise
    except (httpx2.RemoteProtocolError, httpx2.NetworkError):
        if not seen:
            raise
        end = End.CUT
    return Observation(
        **seen,
        chunks=tuple(chunks),
        items=tuple(items),
        heartbeats=tuple(heartbeats),
        halves=tuple(halves),
        terminal=frames.terminal,
        problem=frames.problem,
        bad=frames.bad,
        too_large=frames.too_large,
        is_utf8=frames.is_utf8,
        end=end,
        ended_at=clock() - began,
    )


def _said(data: str) -> str:
    """Say what an error event says."""
    try:
        value = decode_json(data.encode())
    except ValueError:
        value = data
    return _said_by(value)


def _said_by(value: Any) -> str:
    if isinstance(value, dict):
        inner = value.get("error")
        if isinstance(inner, dict):
            value = inner
        said = [str(value[key]) for key in ("status", "title", "code", "detail", "message") if value.get(key)]
        if said:
            return " ".join(" · ".join(said).split())
    return " ".join(str(value).split())[:200]
