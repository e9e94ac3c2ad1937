"""A transport for httpx2 that runs an ASGI application in process and streams, as a server does.

The transport that comes with httpx2 gives the response when the application has returned, so an endless stream hangs,
nobody can leave, and nobody is slow. `calls.py` says how this one behaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self

import anyio
import httpx2
from starlette.types import ASGIApp, Scope

from .calls import Call
from .lifespan import Lifespan

__all__ = ["StreamingASGITransport"]

_PORTS = {"http": 80, "https": 443}


class StreamingASGITransport(httpx2.AsyncBaseTransport):
    """Runs an ASGI application for `httpx2.AsyncClient(transport=...)`, on asyncio or on trio.

    Each request runs in a task of its own. Bytes arrive as they are sent. Closing a response is a disconnect for the
    application, and waits until the application has returned. Closing the client ends everything that still runs.

    The lifespan of the application starts with `async with`, else with the first request, and ends with the client.

    Args:
        app: The ASGI application.
        buffer_size: How many bytes the application may be ahead of the client before `send` waits. 0: each send
            waits until its bytes were taken.
        raise_app_exceptions: Whether an exception of the application is raised where the request was made. Else it
            is a 500, as on a server. Once headers were sent it is an `httpx2.RemoteProtocolError` either way, whose
            cause is the exception.
        close_timeout: How many seconds closing waits for the application. After that a response leaves it running,
            and the client cancels it.
        lifespan: Whether to run the application's lifespan.
        root_path: Where the application is mounted.
        client: Address and port that the application sees as its client's.
        spec_version: The version of ASGI's HTTP messages. From 2.4 on, `send` raises `ClientGone` when the client has
            left; before, as on uvicorn, what is sent is thrown away.

    Attributes:
        calls: All calls so far, in order.

    Raises:
        ValueError: `buffer_size` is negative.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        buffer_size: int = 65_536,
        raise_app_exceptions: bool = True,
        close_timeout: float = 5.0,
        lifespan: bool = True,
        root_path: str = "",
        client: tuple[str, int] = ("127.0.0.1", 123),
        spec_version: str = "2.3",
    ) -> None:
        if buffer_size < 0:
            raise ValueError(f"buffer_size={buffer_size!r} must not be negative")
        self.calls: list[Call] = []
        self._app = app
        self._buffer_size = buffer_size
        self._raises = raise_app_exceptions
        self._close_timeout = close_timeout
        self._root_path = root_path
        self._client = client
        self._spec_version = spec_version
        self._has_lifespan = lifespan
        self._lifespan: Lifespan | None = None
        self._starting: anyio.Lock | None = None

    async def __aenter__(self) -> Self:
        """Start the application's lifespan."""
        await self._state()
        return self

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request to the application; give the response as soon as its headers are there."""
        call = Call(
            self._app,
            request,
            self._scope(request, await self._state()),
            buffer_size=self._buffer_size,
            close_timeout=self._close_timeout,
            raises=self._raises,
        )
        self.calls.append(call)
        call.start()
        try:
            status = await call.head()
        except BaseException:
            call.leave()
            raise
        extensions: dict[str, Any] = {"http_version": b"HTTP/1.1", "asgi_call": call}
        return httpx2.Response(status, headers=call.headers, stream=_Body(call), extensions=extensions)

    async def aclose(self) -> None:
        """Let every client leave, end what still runs, and then the lifespan.

        Raises:
            LifespanFailed: The application says that its shutdown failed.
        """
        with anyio.CancelScope(shield=True):  # also when a test is being cancelled
            for call in self.calls:
                call.leave()
            with anyio.move_on_after(self._close_timeout):
                for call in self.calls:
                    await call.until_ended()
            for call in self.calls:
                call.cancel()
                await call.until_ended()
            lifespan, self._lifespan = self._lifespan, None
            if lifespan is not None:
                await lifespan.stop(self._close_timeout)

    async def _state(self) -> dict[str, Any]:
        """Start the lifespan if it is not running; give its state."""
        if not self._has_lifespan:
            return {}
        if self._starting is None:
            self._starting = anyio.Lock()
        async with self._starting:
            if self._lifespan is None:
                lifespan = Lifespan(self._app)
                await lifespan.start()
                self._lifespan = lifespan
        return self._lifespan.state

    def _scope(self, request: httpx2.Request, state: dict[str, Any]) -> Scope:
        url = request.url
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": self._spec_version},
            "http_version": "1.1",
            "method": request.method,
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "root_path": self._root_path,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": self._client,
            "server": (url.host, url.port or _PORTS.get(url.scheme)),
            "state": state.copy(),
            "extensions": {"http.response.trailers": {}},
        }


class _Body(httpx2.AsyncByteStream):
    """The body of one response, as it comes."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._call.next_chunk()) is not None:
            yield chunk

    async def aclose(self) -> None:
        await self._call.close()
