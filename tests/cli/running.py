"""The program as its users start it, and servers that say exactly what a test wants."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest

from dual_mode_streaming.cli import main

DUAL_MODE = Path(sys.executable).with_name("dual-mode")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "PYTHONWARNINGS")},
    "COLUMNS": "120",
    "NO_COLOR": "1",
    "PYTHONDONTWRITEBYTECODE": "1",  # so that a module that is changed twice in a second is never read from a cache
}


def run(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run the program to its end, in this process: a new one takes a second to start."""
    output, errors, status = StringIO(), StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
        patch.setattr(sys, "argv", ["dual-mode", *map(str, arguments)])
        patch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin)))
        patch.setenv("COLUMNS", "120")
        patch.setenv("NO_COLOR", "1")
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
    return subprocess.CompletedProcess(sys.argv, status, output.getvalue(), errors.getvalue())


def answer(media_type: str = "text/event-stream", *, status: str = "200 OK", headers: str = "") -> bytes:
    """Give the head of an answer whose end is the end of the connection."""
    return f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nConnection: close\r\n{headers}\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@contextmanager
def saying(respond: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """Run a server that reads the head of each request, lets a function answer, and closes. Gives its address."""
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (data := connection.recv(65_536)):
                head += data
            if head:
                respond(connection, head)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):  # an early close would take away what the client has not read
                    pass

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(20)
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()


@contextmanager
def saying_bytes(said: bytes) -> Iterator[str]:
    """Run a server that gives these bytes to everybody."""
    with saying(lambda connection, _: connection.sendall(said)) as url:
        yield url
