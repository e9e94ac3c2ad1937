"""One request to an application, as a server sees it: the messages in both directions, and how the call ended.

What a real server does, and this does too:

- What the application sends is there for the client at once, message by message.
- `send` waits while the client is behind by more than `buffer_size` bytes.
- A client that has left is `http.disconnect` for `receive`. What is sent to it is thrown away, or raises `ClientGone`
  where the server says that it speaks ASGI 2.4 or newer.
- An application that raises after its headers cuts the connection: the client's read fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
from starlette.types import ASGIApp, Message, Scope

from dual_mode_streaming.errors import StreamAborted

from .rules import BODY, START, ASGIViolation, ClientGone, SentMessages
from .tasks import Job, Signal
from .uploads import Upload

__all__ = ["Call"]


class Call:
    """One request to an application. `transport.calls` has all of them, `response.extensions["asgi_call"]` its own.

    Attributes:
        scope: The ASGI scope of the request.
        status: The status; None as long as there is none.
        headers: The headers, as they were sent.
        trailers: The trailers, if the application sent some.
        taken: How many bytes of the body the client has taken.
    """

    def __init__(
        self,
        app: ASGIApp,
        request: httpx2.Request,
        scope: Scope,
        *,
        buffer_size: int,
        close_timeout: float,
        raises: bool,
    ) -> None:
        self.scope = scope
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.trailers: list[tuple[bytes, bytes]] = []
        self.taken = 0
        self._request = request
        self._buffer_size = buffer_size
        self._close_timeout = close_timeout
        self._raises = raises
        version = scope["asgi"]["spec_version"]
        self._send_fails = tuple(map(int, version.split("."))) >= (2, 4)
        timeouts: MutableMapping[str, float | None] = request.extensions.get("timeout", {})
        self._read_timeout = timeouts.get("read")
        self._signal = Signal()
        self._sent = SentMessages(request.method)
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._waiting_sends = 0
        self._left = False
        self._told = False
        self._upload = Upload(request, self._signal, self.leave)
        self._job = Job(lambda: app(scope, self._receive, self._send), self._signal)

    # --- what a test can see -----------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Whether the application has sent a complete response."""
        return self._sent.complete

    @property
    def ended(self) -> bool:
        """Whether the application has returned or raised."""
        return self._job.ended

    @property
    def error(self) -> BaseException | None:
        """What the application has raised; None if it has not."""
        return self._job.error

    @property
    def blocked(self) -> bool:
        """Whether the application waits in `send` because the client is behind."""
        return self._waiting_sends > 0

    async def until_ended(self) -> None:
        """Wait until the application has returned or raised."""
        await self._signal.until(self._is_over)

    async def until_blocked(self) -> None:
        """Wait until the application waits in `send`; also returns when it has ended."""
        await self._signal.until(lambda: self.blocked or self.ended)

    def leave(self) -> None:
        """Let the client leave, now. Closing the response does this too, and then waits for the application."""
        self._left = True
        self._upload.stop()
        self._signal.changed()

    def cancel(self) -> None:
        """Cancel the call, as a server does that is being shut down."""
        self._upload.stop()
        self._job.cancel()

    # --- the client's side -------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the call."""
        self._upload.start()
        self._job.start()

    async def head(self) -> int:
        """Wait for the headers; give the status."""
        await self._wait(lambda: self.status is not None or self.ended or self._upload.error)
        if self.status is not None:
            return self.status
        if self._upload.error is not None:
            raise self._upload.error
        if self._raises:
            self._told = True
            raise self.error or ASGIViolation("the application returned without an answer")
        text = b"Internal Server Error"
        self.status = 500
        self.headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
        self._sent.complete = True
        if self._request.method != "HEAD":
            self._chunks.append(text)
            self._buffered += len(text)
        return self.status

    async def next_chunk(self) -> bytes | None:
        """Wait for the next bytes of the body; None at its end.

        Raises:
            httpx2.ReadTimeout: They did not come in time.
            httpx2.RemoteProtocolError: The application failed, so the connection is cut.
        """
        await self._wait(lambda: self._chunks or self.complete or self.ended or self._upload.error)
        if self._chunks:
            chunk = self._chunks.popleft()
            self._buffered -= len(chunk)
            self.taken += len(chunk)
            self._signal.changed()
            return chunk
        if self.complete:
            return None
        if self._upload.error is not None:
            raise self._upload.error
        self._told = True
        error = self.error or ASGIViolation("the application returned without completing its answer")
        raise httpx2.RemoteProtocolError(
            f"the application ended before its response was complete: {type(error).__name__}: {error}"
        ) from error

    async def close(self) -> None:
        """Leave, and wait for the application to return, at most `close_timeout` seconds.

        Raises:
            Exception: What the application raised and nobody was told yet.
        """
        self.leave()
        with anyio.move_on_after(self._close_timeout):
            await self._signal.until(self._is_over)
        error = self.error
        if error is None or self._told or not self._raises or _follows_from_leaving(error):
            return
        self._told = True
        raise error

    def _is_over(self) -> bool:
        return self.ended and self._upload.over

    async def _wait(self, ready: Callable[[], Any]) -> None:
        try:
            with anyio.fail_after(self._read_timeout):
                await self._signal.until(ready)
        except TimeoutError:
            raise httpx2.ReadTimeout(f"the application sent nothing for {self._read_timeout:g} seconds") from None

    # --- the application's side --------------------------------------------------------------------

    async def _receive(self) -> Message:
        await self._signal.until(lambda: self._left or self.complete or self._upload.ready)
        if self._left or self.complete:
            return {"type": "http.disconnect"}
        return self._upload.next_message()

    async def _send(self, message: Message) -> None:
        if self._left and not self.complete:
            # A loop of sends to nobody must not keep everybody else from running.
            await anyio.lowlevel.checkpoint()
            if self._send_fails:
                raise ClientGone("the client has left")
            return
        self._sent.check(message)
        if message["type"] == START:
            self.status = message["status"]
            self.headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        elif message["type"] == BODY:
            body = bytes(message.get("body", b""))
            if body and self._request.method != "HEAD":
                self._chunks.append(body)
                self._buffered += len(body)
        else:
            self.trailers += message.get("headers", ())
        self._signal.changed()
        if self._buffered > self._buffer_size:
            await self._until_taken()

    async def _until_taken(self) -> None:
        self._waiting_sends += 1
        self._signal.changed()
        try:
            await self._signal.until(lambda: self._left or self._buffered <= self._buffer_size)
        finally:
            self._waiting_sends -= 1


def _follows_from_leaving(error: BaseException) -> bool:
    """Whether an application has raised because the client left, or to cut the connection: no news for the test."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (ClientGone, StreamAborted)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
