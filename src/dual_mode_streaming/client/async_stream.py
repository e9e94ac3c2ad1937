"""A stream as asyncio and trio read it. `client` says what holds for both clients."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio

from dual_mode_streaming.errors import DualModeError, RequestFailed
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.modes import ResponseMode

from .base import (
    ERROR_BYTES,
    Call,
    StreamBase,
    answer_of,
    batch_value,
    request_failed,
    typed_value,
)
from .reconnecting import Session, State

if TYPE_CHECKING:
    import httpx2

    Send = Callable[[Call, Session], Awaitable[httpx2.Response]]

__all__ = ["AsyncStream"]


class AsyncStream(StreamBase):
    """The events of a stream, in the order of the server, over as many connections as it takes.

    It is a context manager: it connects when it is entered, and closes the connection when it is left, at once. In
    it, iterate over its events, or over `items()`, or call `result()`.

    An event is a `ServerSentEvent`: `data` is the item (decoded JSON, the text if it is not JSON, or an instance of
    the type that was asked for), `raw` its text, `event` its name and `id` the newest id. Where the server says that
    it has dropped items, an event named `gap` is among them, and `missed` counts them.

    Entering and iterating raise:
        RemoteError: The server answered with an error, by its status or in the stream.
        RequestFailed: There was no answer, and the stream was never open.
        StreamInterrupted: The stream came to no end, and cannot go on.
        ProtocolError: What came cannot be read: another media type, bad JSON, an event over the bound or of
            another type.
    """

    def __init__(self, send: Send, call: Call, session: Session, fold: Any) -> None:
        super().__init__(session, fold)
        self._send = send
        self._call = call
        self._http: httpx2.Response | None = None
        self._chunks: AsyncGenerator[bytes, None] | None = None
        self._events: AsyncGenerator[ServerSentEvent, None] | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._connect()
        except BaseException:
            await self._close()
            raise
        self._events = self._all_events()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[ServerSentEvent]:
        """Iterate over the events that were not taken yet. A stream that has failed fails again."""
        if self._events is None:
            raise RuntimeError("the stream is not open: use it as a context manager")
        if self._error is not None:
            raise self._error
        return self._events

    async def items(self) -> AsyncGenerator[Any, None]:
        """Iterate over the data of the events: the items, without the events named `gap`."""
        async for event in self:
            if event.event != "gap":
                yield event.data

    async def result(self) -> Any:
        """Read the stream to its end, and give the fold of all items: what the batch would be.

        If the server has answered with a batch, that is the value.

        Raises:
            RuntimeError: Events were taken already.
            StreamInterrupted: The server has dropped items, so there is no such value.
        """
        state = self._begin()
        event = None
        async for event in self:
            state = self._step(state, event)
        return self._result(state, event)

    async def value(self, wanted: Any) -> Any:
        """Give the value of an answer to a request for a batch; None if it has no body."""
        if self.response.status == 204 or self._call.method.upper() == "HEAD" or self._http is None:
            return None
        if self.mode is ResponseMode.STREAM:
            return typed_value(await self.result(), wanted)

        import httpx2

        try:
            body = await self._http.aread()
        except httpx2.RequestError as error:
            raise request_failed(error) from error
        return batch_value(body, wanted)

    async def aclose(self) -> None:
        """Close the connection. There are no more events then."""
        events, self._events = self._events, None
        if events is not None:
            await events.aclose()
        await self._close()

    async def _close(self) -> None:
        if self._chunks is not None:
            await self._chunks.aclose()
        if self._http is not None:
            await self._http.aclose()

    async def _connect(self) -> None:
        """Open the stream, or find that it is complete."""
        session = self._session
        while True:
            try:
                self._http = response = await self._send(self._call, session)
            except RequestFailed as failure:
                wait = session.unanswered(failure, random.random())  # noqa: S311  no secret
            else:
                if session.opened(answer_of(response)):
                    self._chunk, self._fed = b"", 0
                    self._chunks = response.aiter_bytes()
                    return
                body = await self._beginning(response)
                if session.complete:
                    return
                wait = session.refused(body, time.time(), random.random())  # noqa: S311
            await anyio.sleep(wait)

    async def _beginning(self, response: httpx2.Response) -> bytes:
        """Read the beginning of the body of an answer that is no stream, and close it."""
        import httpx2

        body = b""
        try:
            async with aclosing(response.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) >= ERROR_BYTES:
                        break
        except httpx2.RequestError:
            pass  # The status says enough.
        finally:
            await response.aclose()
        return body

    async def _all_events(self) -> AsyncGenerator[ServerSentEvent, None]:
        """Give the events of all connections."""
        session = self._session
        self._begun = True
        try:
            while not session.complete:
                events = await self._read()
                if session.alike:
                    for event in events:
                        yield event  # no place has to be noted
                else:
                    for event in events:
                        self._at = event
                        yield event
                    self._at = None
                if session.state is State.OPEN:
                    continue
                await self._close()
                if session.failure is not None:
                    raise session.failure
                if session.state is State.LOST:
                    await anyio.sleep(session.lost(random.random()))  # noqa: S311
                    await self._connect()
        except DualModeError as error:
            self._error = error
            raise

    async def _read(self) -> list[ServerSentEvent]:
        """Read once; give the events that are complete now."""
        import httpx2

        if self._chunks is None:
            raise RuntimeError("the stream is closed")
        if self._chunk:
            return self._feed()
        try:
            chunk = await anext(self._chunks, None)
        except httpx2.RequestError as error:
            self._session.broke(error)
            return []
        if chunk is None:
            return self._session.end()
        self._chunk = chunk
        return self._feed()
