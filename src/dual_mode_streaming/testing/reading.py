"""Reads the events of a raw response, in every stream format, as far as a test wants."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Self

import httpx2

from dual_mode_streaming.errors import ProtocolError
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.jsonbytes import decode_json
from dual_mode_streaming.jsonlines import ErrorLine, JSONSeqDecoder, NDJSONDecoder, open_line
from dual_mode_streaming.modes import JSON_LINES, JSON_SEQ, NDJSON, SSE
from dual_mode_streaming.sse import SSEDecoder

__all__ = ["EventReader", "StreamDecoder", "essence"]


def essence(content_type: str | None) -> str:
    """Give a media type without its parameters, in lower case."""
    return (content_type or "").partition(";")[0].strip().lower()


class StreamDecoder:
    """Makes the events of a stream of its bytes, alike for every format.

    An event has the value of its JSON as `data` (its text if it is no JSON) and the text as `raw`. The error line of a
    JSON format is an event named `error`.

    Raises:
        ValueError: The media type is not that of a stream.
    """

    def __init__(self, media_type: str) -> None:
        self._lines: NDJSONDecoder | JSONSeqDecoder | None = None
        if media_type in (NDJSON, JSON_LINES):
            self._lines = NDJSONDecoder(None)
        elif media_type == JSON_SEQ:
            self._lines = JSONSeqDecoder(None)
        elif media_type != SSE:
            raise ValueError(f"the content type {media_type!r} is not that of a stream")
        self._events = SSEDecoder(None)

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Take the next bytes and give the events that they complete.

        Raises:
            ProtocolError: The bytes break the format.
        """
        if self._lines is None:
            return [_with_value(event) for event in self._events.feed(data)]
        return [_of_line(value) for value in self._lines.feed(data)]

    def flush(self) -> list[ServerSentEvent]:
        """End the stream; give what its last bytes are worth.

        Raises:
            ProtocolError: The bytes break the format.
        """
        if self._lines is None:
            return self._events.flush()
        return [_of_line(value) for value in self._lines.flush()]


def _with_value(event: ServerSentEvent) -> ServerSentEvent:
    try:
        value = decode_json(event.raw or "")
    except ValueError:
        value = event.raw
    return ServerSentEvent(value, event=event.event, id=event.id, raw=event.raw)


def _of_line(value: Any) -> ServerSentEvent:
    if isinstance(value, ProtocolError):
        raise value
    opened = open_line(value)
    return ServerSentEvent(opened.problem, event="error") if isinstance(opened, ErrorLine) else opened


class EventReader:
    """Reads the events of a response: all of them with `async for`, or so many with `take`.

    It is an async context manager, which closes the response:
    `async with client.stream(...) as response, EventReader(response) as events:`. Leaving it early is a disconnect.

    Args:
        response: A response of httpx2 whose body was not read yet. Its content type says how it is read.

    Raises:
        ValueError: The content type is not that of a stream.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self._decoder = StreamDecoder(essence(response.headers.get("content-type")))
        self._response = response
        self._chunks: AsyncGenerator[bytes, None] = response.aiter_bytes()
        self._ready: deque[ServerSentEvent] = deque()
        self._over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._chunks.aclose()
        await self._response.aclose()

    def __aiter__(self) -> EventReader:
        return self

    async def __anext__(self) -> ServerSentEvent:
        """Give the next event.

        Raises:
            httpx2.TransportError: The connection broke, or nothing came in time.
            ProtocolError: The bytes break the format.
        """
        while not self._ready and not self._over:
            try:
                self._ready.extend(self._decoder.feed(await self._chunks.__anext__()))
            except StopAsyncIteration:
                self._over = True
                self._ready.extend(self._decoder.flush())
        if not self._ready:
            raise StopAsyncIteration
        return self._ready.popleft()

    async def take(self, count: int) -> list[ServerSentEvent]:
        """Give the next so many events; fewer if the stream ends before."""
        taken: list[ServerSentEvent] = []
        while len(taken) < count:
            try:
                taken.append(await self.__anext__())
            except StopAsyncIteration:
                break
        return taken
