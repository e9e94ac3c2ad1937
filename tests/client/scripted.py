"""A server whose every byte a test decides: it plays one script for each connection, and keeps what it was sent."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

RESET = object()
"""Ends the connection as a machine that goes down does, without a word."""
UNTIL_CLIENT_LEAVES = object()
"""Waits until the client has closed the connection."""

Step = bytes | object | threading.Event
Script = Sequence[Step]


@dataclass
class Request:
    """What a client has sent on one connection."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def last_event_id(self) -> str | None:
        return self.headers.get("last-event-id")


@dataclass
class Scripted:
    """A running server.

    Attributes:
        scripts: What is still to be played, one for each connection; the last one is played for ever.
        requests: What has come.
        left: Set when a script has seen its client leave.
    """

    scripts: list[Script]
    requests: list[Request] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def ids(self) -> list[str | None]:
        return [request.last_event_id for request in self.requests]


@contextmanager
def scripted(*scripts: Script, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """Run a server that plays these scripts."""
    server = Scripted(list(scripts), scheme="https" if tls else "http")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        stop = threading.Event()
        thread = threading.Thread(target=_accept, args=(server, listener, stop, tls))
        thread.start()
        try:
            yield server
        finally:
            stop.set()
            with socket.create_connection(("127.0.0.1", server.port)):
                pass
            thread.join(10)
            assert not thread.is_alive()


def _accept(server: Scripted, listener: socket.socket, stop: threading.Event, tls: ssl.SSLContext | None) -> None:
    while True:
        connection, _ = listener.accept()
        if stop.is_set():
            connection.close()
            return
        connection.settimeout(10)
        try:
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            _play(server, connection)
        except OSError:
            pass  # The client has left; the test looks at what came.
        finally:
            connection.close()


def _play(server: Scripted, connection: socket.socket) -> None:
    request = _read_request(connection)
    if request is None:
        return
    server.requests.append(request)
    script = server.scripts.pop(0) if len(server.scripts) > 1 else server.scripts[0]
    for step in script:
        if isinstance(step, bytes):
            connection.sendall(step)
        elif isinstance(step, threading.Event):
            assert step.wait(10)
        elif step is RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        elif step is UNTIL_CLIENT_LEAVES:
            try:
                while connection.recv(65_536):
                    pass
            except ConnectionError:
                pass
            server.left.set()
            return
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65_536):  # until the client has read all and closed
        pass


def _read_request(connection: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65_536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("utf-8").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65_536)
    return Request(line, headers, body)


# --- answers -------------------------------------------------------------------------------------


def head(status: str = "200 OK", content_type: str = "text/event-stream", **headers: str) -> bytes:
    """The head of an answer whose body ends with the connection. A cut looks like its clean end."""
    named = {"Content-Type": content_type, "Connection": "close", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in named.items() if value]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def chunked(content_type: str = "text/event-stream", **headers: str) -> bytes:
    """The head of an answer in chunks. Without `END` its body is cut."""
    return head(content_type=content_type, Transfer_Encoding="chunked", **headers)


def chunk(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return b"%x\r\n%b\r\n" % (len(data), data)


END = b"0\r\n\r\n"
DONE = "event: done\nid: dms-done\ndata: {}\n\n"


def full(status: str, content_type: str = "application/json", body: str = "", **headers: str) -> Script:
    """A whole answer."""
    data = body.encode()
    return [head(status, content_type, Content_Length=str(len(data)), **headers) + data]


def event(data: str, new_id: str | None = None, name: str | None = None) -> str:
    lines = [f"event: {name}"] if name else []
    lines += [f"id: {new_id}"] if new_id is not None else []
    return "\n".join([*lines, f"data: {data}", "", ""])
