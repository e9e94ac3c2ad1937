"""A small HTTP/1.1 client that hides nothing: every header line, where a body ends, and whether it was cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11

BOUND = 10.0
"""Seconds that any one step may take before the test fails. Nothing in a green run comes near it."""

Headers = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass
class Reply:
    """What came back.

    Attributes:
        headers: Every header line, in the order of the wire, with its name in lower case.
        complete: Whether the message came to its end as HTTP defines it. False: the connection was cut.
        after: What the server sent after the end of the message. There must be nothing.
    """

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False
    after: bytes = b""

    def __getitem__(self, name: str) -> str | None:
        """Give a header, which must not be there twice."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} was sent {len(values)} times: {values}"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def chunked(self) -> bool:
        return self["transfer-encoding"] == "chunked"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Exchange:
    """One request on a connection of its own, and its reply, read step by step."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        self._ended = False
        self._received = b""
        self.reply = Reply()

    async def send(self, method: str, path: str, headers: Headers = (), body: bytes | None = None) -> None:
        """Send a request. With a body of None and a `Transfer-Encoding` header the parts follow by `send_part`."""
        lines = list(headers.items() if isinstance(headers, Mapping) else headers)
        if body is not None:
            lines.append(("Content-Length", str(len(body))))
        await self.begin(method, path, lines)
        if body:
            self._write(h11.Data(data=body))
        if body is not None or "transfer-encoding" not in {name.lower() for name, _ in lines}:
            self._write(h11.EndOfMessage())
        await self._writer.drain()

    async def begin(self, method: str, path: str, headers: Headers) -> None:
        """Send the head of a request, and nothing of what it announces."""
        lines = list(headers.items() if isinstance(headers, Mapping) else headers)
        raw = [(name, value.encode("latin-1")) for name, value in [("Host", "127.0.0.1"), *lines]]
        self._write(h11.Request(method=method, target=path, headers=raw))
        await self._writer.drain()

    async def send_part(self, data: bytes | None) -> None:
        """Send a part of the body; None ends it."""
        self._write(h11.EndOfMessage() if data is None else h11.Data(data=data))
        await self._writer.drain()

    def _write(self, event: Any) -> None:
        self._writer.write(self._http.send(event) or b"")

    async def head(self) -> Reply:
        """Wait for the status and the headers."""
        async with asyncio.timeout(BOUND):
            while not self.reply.status:
                await self._read()
        return self.reply

    async def until(self, part: bytes, times: int = 1) -> bytes:
        """Read on until the body holds these bytes (so many times); give all of it so far."""
        try:
            async with asyncio.timeout(BOUND):
                while self.reply.body.count(part) < times:
                    assert not self._ended, f"the reply ended without {part!r}: {self.reply}"
                    await self._read()
        except TimeoutError:
            raise AssertionError(f"no {part!r} came, but {self.reply}") from None
        return self.reply.body

    async def end(self) -> Reply:
        """Read to the end of the message, or of the connection."""
        try:
            async with asyncio.timeout(BOUND):
                while not self._ended:
                    await self._read()
        except TimeoutError:
            raise AssertionError(f"no end came after {self.reply}") from None
        self.reply.after = self._http.trailing_data[0]
        return self.reply

    async def _read(self) -> None:
        event = self._next()
        while event is h11.NEED_DATA:
            try:
                data = await self._reader.read(65_536)
            except ConnectionError:
                data = b""
            if not self.reply.status:
                self._received += data
            self._http.receive_data(data)
            event = self._next()
        match event:
            case h11.Response():
                self.reply.status = event.status_code
                # From the bytes themselves: h11 joins lines that say the same length twice.
                head, _, self._received = self._received.partition(b"\r\n\r\n")
                for line in head.decode("latin-1").split("\r\n")[1:]:
                    name, _, value = line.partition(":")
                    self.reply.headers.append((name.lower(), value.strip()))
            case h11.Data():
                self.reply.body += bytes(event.data)
            case h11.EndOfMessage():
                self._ended = self.reply.complete = True
            case _:
                self._ended = True

    def _next(self) -> Any:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            if not error.args[0].startswith("peer closed connection without"):
                raise
            return h11.ConnectionClosed()

    async def again(self) -> None:
        """Make ready for another request on the same connection."""
        self._http.start_next_cycle()
        self._ended = False
        self._received = b""
        self.reply = Reply()

    def leave(self) -> None:
        """Close the connection, as a client does that wants no more."""
        self._writer.close()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Exchange]:
    """Connect to a server of this machine; close the connection in the end."""
    async with asyncio.timeout(BOUND):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Exchange(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def opened(
    port: int, path: str, headers: Headers = (), *, method: str = "GET", body: bytes | None = None
) -> AsyncIterator[Exchange]:
    """Send a request and leave its reply to be read."""
    async with connected(port) as exchange:
        await exchange.send(method, path, headers, body)
        yield exchange


async def ask(port: int, path: str, headers: Headers = (), *, method: str = "GET", body: bytes | None = None) -> Reply:
    """Send a request and read the whole reply."""
    async with opened(port, path, headers, method=method, body=body) as exchange:
        reply = await exchange.end()
        assert reply.after == b"", f"bytes after the end of the message: {reply}"
        return reply
