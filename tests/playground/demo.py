"""A client for the demo on a real server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import httpx2

from dual_mode_streaming.playground.app import create_app
from dual_mode_streaming.sse import SSEDecoder
from dual_mode_streaming.testing import live_server

BOUND = 20
"""Seconds that any one step may take."""


@contextmanager
def demo(**options: Any) -> Iterator[httpx2.Client]:
    with live_server(create_app(**options)) as url, httpx2.Client(base_url=url, timeout=BOUND) as client:
        yield client


class Reader:
    """Reads one answer through a socket that takes little, so that a reader who stops is felt at once."""

    def __init__(self, client: httpx2.Client, path: str) -> None:
        url = client.base_url
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(BOUND)
        self._socket.connect((url.host, url.port))
        self._socket.sendall(f"GET {path} HTTP/1.0\r\nHost: {url.host}\r\n\r\n".encode())
        self._decoder = SSEDecoder(None)
        self._head = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def events(self) -> Iterator[Any]:
        """Give events as they come, until the connection ends."""
        while data := self._socket.recv(65_536):
            if self._head is not None:
                self._head += data
                if b"\r\n\r\n" not in self._head:
                    continue
                _, _, data = self._head.partition(b"\r\n\r\n")
                self._head = None
            yield from self._decoder.feed(data)
