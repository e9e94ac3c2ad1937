"""Drives an ASGI application in process, message by message, as slowly and as rudely as a test wants.

Every step is a gate, none is a sleep: a test waits for a message, holds a send back, or lets the client leave.
"""

from __future__ import annotations

import asyncio
from typing import Any

GIVE_UP = 10.0
"""Seconds after which a test that hangs is ended. No test needs a noticeable part of them."""


class Clock:
    """The clock of the running event loop, which a test puts forward instead of waiting. Make it first of all."""

    def __init__(self):
        self._ahead = 0.0
        loop = asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() + self._ahead

    def forward(self, seconds: float) -> None:
        """What is due until then comes in the next turns of the loop. So do timeouts that are under way."""
        self._ahead += seconds


class Call:
    """One request to an application, as the server sees it."""

    def __init__(self, app, path="/", *, method="GET", headers=(), query="", body=b"", scope=None, server_type="http"):
        self._app = app
        pairs = headers.items() if isinstance(headers, dict) else headers
        raw = [(name.lower().encode(), value.encode("utf-8")) for name, value in pairs]
        if body:
            raw.append((b"content-length", str(len(body)).encode()))
        self.scope: dict[str, Any] = {
            "type": server_type,
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": raw,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            **(scope or {}),
        }
        self.messages: list[dict[str, Any]] = []
        self.left = asyncio.Event()
        self.send_error: BaseException | None = None
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._blocked = asyncio.Event()
        self._unblocked = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        if body is not None:
            self._inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})

    # --- the server's side ---

    async def _receive(self):
        return await self._inbox.get()

    async def _send(self, message):
        if not self._may_send.is_set():
            self._blocked.set()
            self._unblocked.clear()
            try:
                await self._may_send.wait()
            finally:
                self._blocked.clear()
                self._unblocked.set()
        if self.send_error is not None:
            raise self.send_error
        self.messages.append(message)
        self._changed.set()

    # --- the test's side ---

    def begin(self) -> Call:
        """Start the call in a task of its own."""
        self.task = asyncio.get_running_loop().create_task(self._app(self.scope, self._receive, self._send))
        return self

    async def run(self) -> Call:
        """Start the call and wait for its end."""
        await self.begin().end()
        return self

    async def end(self) -> Call:
        """Wait for the end of the call; raise what it raised."""
        assert self.task is not None
        async with asyncio.timeout(GIVE_UP):
            await self.task
        return self

    async def until(self, enough) -> None:
        """Wait until `enough()` is true, looking after each message."""
        async with asyncio.timeout(GIVE_UP):
            while not enough():
                assert self.task is None or not self.task.done(), "the call ended before it came so far"
                self._changed.clear()
                await self._changed.wait()

    async def until_body_has(self, text: bytes) -> None:
        await self.until(lambda: text in self.body)

    def leave(self) -> None:
        """The client is gone."""
        self._inbox.put_nowait({"type": "http.disconnect"})

    def give(self, body: bytes, more: bool) -> None:
        """Send a part of the request body."""
        self._inbox.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def stop_reading(self) -> None:
        """From now on sends block, as behind a client that takes no byte."""
        self._may_send.clear()

    def read_on(self) -> None:
        self._may_send.set()

    async def until_blocked(self) -> None:
        """Wait until the application waits in a send."""
        async with asyncio.timeout(GIVE_UP):
            await self._blocked.wait()

    async def until_unblocked(self) -> None:
        """Wait until the application waits no more in the send in which it waited."""
        async with asyncio.timeout(GIVE_UP):
            await self._unblocked.wait()

    @property
    def started(self) -> bool:
        return bool(self.messages)

    @property
    def status(self) -> int:
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[str, str]:
        pairs = [(name.decode(), value.decode()) for name, value in self.messages[0]["headers"]]
        assert len({name for name, _ in pairs if name != "set-cookie"}) == len(
            [name for name, _ in pairs if name != "set-cookie"]
        ), f"a header is sent twice: {pairs}"
        return dict(pairs)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of the single sends, without empty ones."""
        return [message["body"] for message in self.messages[1:] if message.get("body")]

    @property
    def complete(self) -> bool:
        """Whether the response came to its proper end."""
        return len(self.messages) > 1 and not self.messages[-1].get("more_body", False)
