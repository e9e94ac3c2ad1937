"""The connections of a proxy: bytes from a client to a server and back, at the speed that its rules allow."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

__all__ = ["PIECE", "Link", "Rules"]

PIECE = 16_384
"""The most bytes that are passed on at once."""


class Rules:
    """What the connections of a proxy go by.

    Attributes:
        limit: After how many bytes a connection that begins now is cut; None for never.
        refusing: Whether new connections are closed at once.
        piece: The most bytes that are passed on at once.
        delay: How many seconds are waited before each piece.
        flowing: Set as long as bytes are passed on at all.
    """

    def __init__(self) -> None:
        self.limit: int | None = None
        self.refusing = False
        self.piece = PIECE
        self.delay = 0.0
        self.flowing = asyncio.Event()


class Link:
    """One client's connection, and the one to the server behind it."""

    def __init__(self, client: asyncio.StreamWriter, rules: Rules) -> None:
        self._client = client
        self._server: asyncio.StreamWriter | None = None
        self._rules = rules
        self._left = rules.limit
        self._tasks: list[asyncio.Task[None]] = []

    async def run(
        self, requests: asyncio.StreamReader, target: tuple[str, int], passed_on: Callable[[int], None]
    ) -> None:
        """Pass bytes on, in both directions, until the server or a command ends the connection."""
        try:
            if self._left == 0:
                return
            answers, self._server = await asyncio.open_connection(*target, limit=PIECE)
            self._tasks = [
                asyncio.ensure_future(self._up(requests, self._server)),
                asyncio.ensure_future(self._down(answers, passed_on)),
            ]
            up, down = self._tasks
            await asyncio.wait([down])
            up.cancel()
            await asyncio.wait([up])
        except OSError:
            pass  # the server is not there: the client finds its connection closed
        finally:
            self._client.close()
            if self._server is not None:
                self._server.close()

    def cut(self, *, reset: bool = False) -> None:
        """End both connections now, whatever was not passed on yet."""
        for writer in (self._client, self._server):
            if writer is None:
                continue
            if reset and not writer.transport.is_closing():
                # To linger for no time makes the system send RST in place of FIN.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()

    async def _up(self, requests: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await requests.read(PIECE):
                server.write(data)
                await server.drain()
            server.write_eof()

    async def _down(self, answers: asyncio.StreamReader, passed_on: Callable[[int], None]) -> None:
        rules, client = self._rules, self._client
        # "Drained" has to mean that the system has it, or a cut would take back what was passed on.
        client.transport.set_write_buffer_limits(0)
        with suppress(OSError):
            while True:
                await rules.flowing.wait()
                size = rules.piece if self._left is None else min(rules.piece, self._left)
                data = await answers.read(size)
                if not data:
                    return
                await rules.flowing.wait()
                await asyncio.sleep(rules.delay)
                client.write(data)
                await client.drain()
                passed_on(len(data))
                if self._left is not None:
                    self._left -= len(data)
                    if self._left == 0:
                        return
