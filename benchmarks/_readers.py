"""Clients of streams that cost less than the servers they measure: bare sockets and large reads."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from dataclasses import dataclass

_BUFFER = bytearray(1 << 20)


@dataclass
class Received:
    """What came over all connections together."""

    events: int
    size: int
    body: bytes
    """The beginning of the last answer, its head included."""


def request(path: str, accept: str = "text/event-stream") -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: benchmark\r\nAccept: {accept}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 10)


def ask(port: int, path: str, timeout: float = 10) -> bytes:
    """Give the body of one short answer.

    Raises:
        OSError: There was no answer in time.
    """
    with connect(port) as opened:
        opened.settimeout(timeout)
        opened.sendall(request(path, "*/*"))
        answer = b""
        while piece := opened.recv(65_536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise OSError(head.decode("latin-1"))
    return body


def drain(port: int, path: str, connections: int, mark: int, message: bytes | None = None) -> Received:
    """Read so many streams at the same time to their ends, and count a byte in all of them.

    The request is a GET of the path, or the message that is given in its place.
    """
    received = Received(0, 0, b"")
    with selectors.EpollSelector() as selector, contextlib.ExitStack() as stack:
        for _ in range(connections):
            opened = stack.enter_context(connect(port))
            opened.setblocking(False)
            opened.send(message or request(path))
            selector.register(opened, selectors.EVENT_READ)
        left = connections
        while left:
            ready = selector.select(20)
            if not ready:
                raise TimeoutError(f"{path}: nothing came for 20 seconds")
            for key, _ in ready:
                size = key.fileobj.recv_into(_BUFFER)
                if not size:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    left -= 1
                    continue
                received.size += size
                received.events += _BUFFER.count(mark, 0, size)
                if not received.body:
                    received.body = bytes(_BUFFER[: min(size, 1000)])
    return received


def wait_for(condition, seconds: float) -> bool:
    """Look again and again until the condition holds, at the most for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if condition():
                return True
        time.sleep(0.001)
    return False
