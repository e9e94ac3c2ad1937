"""A network that misbehaves on command: a TCP proxy between a client and a real server.

It runs in a thread of its own, so tests may be sync or async. Every method has taken effect when it returns. The proxy
passes on what it is given byte by byte and knows nothing of HTTP. It reads no more than it can pass on, so a client
that does not read is felt by the server, as without it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from .links import PIECE, Link, Rules

__all__ = ["TCPProxy"]

_GIVE_UP = 10.0


class TCPProxy:
    """Passes connections on to a server, and cuts, delays or holds them when told to. A context manager.

    All commands are about the way from the server to the client; what the client sends is passed on at once.

    Args:
        target: The address of the server: `http://127.0.0.1:8000`, or `host:port`.

    Attributes:
        url: The address of the proxy, which clients use in place of the server's.

    Raises:
        ValueError: The target has no host or no port.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target if "//" in target else f"//{target}")
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"target={target!r} needs a host and a port, as in http://127.0.0.1:8000")
        self._target = (parts.hostname, parts.port)
        self._links: set[Link] = set()
        self._connections = 0
        self._forwarded = 0
        self._changed = threading.Condition()
        # What the connections go by. It is changed in the proxy's thread only.
        self._rules = Rules()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="tcp-proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- commands ----------------------------------------------------------------------------------

    def cut(self, *, reset: bool = False) -> None:
        """Cut all open connections now: as a socket is closed (FIN), or with `reset` as a machine crashes (RST)."""

        def cut_all() -> None:
            for link in tuple(self._links):
                link.cut(reset=reset)

        self._do(cut_all)

    def cut_after(self, count: int | None) -> None:
        """Cut every connection that begins from now on after exactly so many bytes; None: no more."""
        self._set(limit=count)

    def refuse(self, refusing: bool = True) -> None:
        """Close new connections at once, as if nobody were there; `refuse(False)` ends it."""
        self._set(refusing=refusing)

    def stall(self) -> None:
        """Pass nothing on from now, and read nothing more from the server."""
        self._do(self._rules.flowing.clear)

    def trickle(self, size: int = 1, delay: float = 0.0) -> None:
        """Pass bytes on in pieces of this size, and wait so many seconds before each of them."""
        self._set(piece=size, delay=delay)

    def resume(self) -> None:
        """Pass everything on as it comes: ends what `stall` and `trickle` have begun."""
        self._set(piece=PIECE, delay=0.0)
        self._do(self._rules.flowing.set)

    def close(self) -> None:
        """Cut all connections and stop."""
        if self._thread.is_alive():
            self.cut()
            loop, stopping = self._running.result(_GIVE_UP)
            loop.call_soon_threadsafe(stopping.set)
            self._thread.join()

    # --- what has happened -------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """How many connections clients have made so far."""
        return self._connections

    @property
    def forwarded(self) -> int:
        """How many bytes were passed on to clients so far."""
        return self._forwarded

    def wait_until(self, condition: Callable[[TCPProxy], bool], timeout: float = _GIVE_UP) -> None:
        """Wait, blocking, until a condition on the counters is true, such as `lambda proxy: proxy.forwarded > 100`.

        Raises:
            TimeoutError: It was not true within so many seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout):
                seen = f"{self._connections} connections, {self._forwarded} bytes passed on"
                raise TimeoutError(f"not true after {timeout:g} seconds: {seen}")

    # --- in the proxy's thread ---------------------------------------------------------------------

    def _set(self, **rules: Any) -> None:
        def change() -> None:
            for name, value in rules.items():
                setattr(self._rules, name, value)

        self._do(change)

    def _do(self, command: Callable[[], object]) -> None:
        async def run() -> None:
            command()

        loop, _ = self._running.result(_GIVE_UP)
        asyncio.run_coroutine_threadsafe(run(), loop).result(_GIVE_UP)

    async def _run(self) -> None:
        stopping = asyncio.Event()
        self._rules.flowing.set()
        server = await asyncio.start_server(self._accept, sock=self._listener, limit=PIECE)
        self._running.set_result((asyncio.get_running_loop(), stopping))
        await stopping.wait()
        server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count(connections=1)
        if self._rules.refusing:
            writer.transport.abort()
            return
        link = Link(writer, self._rules)
        self._links.add(link)
        try:
            await link.run(reader, self._target, lambda size: self._count(forwarded=size))
        finally:
            self._links.discard(link)

    def _count(self, *, connections: int = 0, forwarded: int = 0) -> None:
        with self._changed:
            self._connections += connections
            self._forwarded += forwarded
            self._changed.notify_all()
