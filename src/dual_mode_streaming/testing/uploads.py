"""The body of a request, on its way to the application: piece by piece, as the client gives it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import cast

import httpx2
from starlette.types import Message

from .tasks import Job, Signal

__all__ = ["Upload"]


class Upload:
    """The body of one request. One that is not there as a whole is read by a task, one piece ahead of the application.

    Attributes:
        error: What the client's own generator has raised. For the server, the client is gone then.
    """

    def __init__(self, request: httpx2.Request, signal: Signal, leave: Callable[[], None]) -> None:
        self.error: Exception | None = None
        self._request = request
        self._signal = signal
        self._leave = leave
        self._pieces: deque[bytes] = deque()
        self._read_all = False
        self._given_all = False
        self._job = Job(self._read, signal)

    @property
    def ready(self) -> bool:
        """Whether there is something to receive."""
        return not self._given_all and (bool(self._pieces) or self._read_all)

    @property
    def over(self) -> bool:
        """Whether nothing is being read any more."""
        return self._read_all or self._job.ended

    def start(self) -> None:
        """Begin to read."""
        if isinstance(self._request.stream, httpx2.ByteStream):
            self._pieces.append(self._request.content)
            self._read_all = True
        else:
            self._job.start()

    def stop(self) -> None:
        """Read no further."""
        self._job.cancel()

    def next_message(self) -> Message:
        """Give the next piece, once there is something to receive."""
        body = self._pieces.popleft() if self._pieces else b""
        self._given_all = self._read_all and not self._pieces
        self._signal.changed()
        return {"type": "http.request", "body": body, "more_body": not self._given_all}

    async def _read(self) -> None:
        try:
            # Of httpx2's streams and the caller's own, those that are generators have to be closed.
            async with AsyncExitStack() as closing:
                pieces = aiter(cast("httpx2.AsyncByteStream", self._request.stream))
                if isinstance(pieces, AsyncGenerator):
                    await closing.enter_async_context(aclosing(pieces))
                async for piece in pieces:
                    if piece:
                        self._pieces.append(piece)
                        self._signal.changed()
                        await self._signal.until(lambda: not self._pieces)
        except Exception as error:
            self.error = error
            self._leave()
        self._read_all = True
        self._signal.changed()
