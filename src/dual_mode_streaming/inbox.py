"""Who reads the server's messages: one reader for two that want them.

While a response runs, the watch for a disconnect waits for the server's next message, and a source that reads the
request body wants messages too. If both called `receive`, the watch would take parts of the body and the source would
wait for ever. So only the watch reads. It hands the body on to the source, one message at a time: it holds one
that the source has not asked for yet, and reads no further, so that the body is not piled up in memory.
"""

from __future__ import annotations

from collections.abc import Iterable

import anyio
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

__all__ = ["Inbox", "may_have_body"]


def may_have_body(scope: Scope) -> bool:
    """Whether the request can have a body (RFC 9112, section 6; in HTTP/2 and 3 no header has to announce it)."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return True
    return scope.get("http_version", "1.1")[0] in "23" and scope["method"] not in ("GET", "HEAD", "OPTIONS", "DELETE")


class Inbox:
    """Reads messages until the client has left; hands the request body on to a source that wants it.

    Args:
        receive: The server's channel.
        reader: The request whose body the source may read while the response runs. None: nobody reads the body, so
            what comes of it is dropped.
    """

    def __init__(self, receive: Receive, reader: Request | None = None) -> None:
        self._server = receive
        self._held: Message | None = None
        self._gone: Message | None = None
        self._reader = reader
        if reader is not None:
            self._changed = anyio.Event()
            # The request object is the only way by which a source reads its body, and it keeps the server's channel
            # to itself. Starlette's own middleware puts a channel in its place in the same way.
            reader._receive = self._receive  # noqa: SLF001

    async def client_left(self) -> None:
        """Wait until the client has left, or the server says so."""
        while True:
            message = await self._server()
            if message["type"] != "http.request":
                self._gone = message
                self._tell()
                return
            if self._reader is not None:
                self._held = message
                self._tell()
                while self._held is not None:
                    await self._changed.wait()

    async def _receive(self) -> Message:
        """Give the source its next message."""
        while self._held is None and self._gone is None:
            await self._changed.wait()
        message = self._held if self._held is not None else self._gone
        assert message is not None  # noqa: S101  the loop has seen to it
        self._held = None
        self._tell()
        return message

    def _tell(self) -> None:
        if self._reader is not None:
            self._changed.set()
            self._changed = anyio.Event()
