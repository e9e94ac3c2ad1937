"""What a client gets when something goes wrong: ours beside FastAPI's native SSE, sse-starlette and Litestar.

The same sources and the same clients, each library in a uvicorn of its own, with its defaults but for `send_timeout=3`
and a limit for each address of ours, which the others do not have. A server that hangs is killed, and that is the
result. Every cell of the table in `docs/reliability.md` is what this prints.

    python benchmarks/reliability_peers.py [part of the name of a row]
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
import time

from _readers import ask, connect, request, wait_for
from _serving import CONSOLE, Server, print_versions
from rich.table import Table

from dual_mode_streaming.sse import SSEDecoder

LIBRARIES = {
    "ours": "ours",
    "FastAPI native": "fastapi_native",
    "sse-starlette": "with_sse_starlette",
    "Litestar": "with_litestar",
}
PATIENCE = 10.0


def whole(port: int, path: str, *, last_id: str = "") -> tuple[str, bytes, bool]:
    """Read an answer to its end: its status, its body, and whether it came to its end as HTTP defines it."""
    message = request(path)
    if last_id:
        message = message[:-2] + f"Last-Event-ID: {last_id}\r\n\r\n".encode()
    with connect(port) as opened:
        opened.sendall(message)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := opened.recv(65_536):
                answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    chunked = b"transfer-encoding: chunked" in head.lower()
    complete = body.endswith(b"0\r\n\r\n") if chunked else bool(head)
    return head[9:12].decode(), unchunked(body) if chunked else body, complete


def unchunked(body: bytes) -> bytes:
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        found, body = found + body[:length], body[length + 2 :]
    return found


def begun(port: int, path: str, receive_buffer: int = 0) -> socket.socket:
    opened = socket.socket()
    if receive_buffer:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    opened.connect(("127.0.0.1", port))
    opened.settimeout(PATIENCE)
    opened.sendall(request(path))
    return opened


def until_item(opened: socket.socket) -> bytes:
    got = b""
    while b"\n\n" not in got and b"\r\n\r\n" not in got.partition(b"\r\n\r\n")[2]:
        piece = opened.recv(65_536)
        if not piece:
            break
        got += piece
    return got


def closed(port: int, name: str) -> int:
    return json.loads(ask(port, "/closed", 1)).get(name, 0)


# --- what is looked at ---------------------------------------------------------------------------------


def error_before(server: Server) -> str:
    status, body, complete = whole(server.port, "/early")
    return f"{status}, {'a body' if body.strip() else 'empty'}, {'clean end' if complete else 'cut'}"


def error_after(server: Server) -> str:
    _, body, complete = whole(server.port, "/late")
    names = [event.event or "item" for event in SSEDecoder().feed(body)]
    leak = ", the secret is told" if b"a secret" in body else ""
    return f"{', '.join(names)}; {'clean end' if complete else 'cut'}{leak}"


def silent_source(server: Server) -> str:
    before = closed(server.port, "quiet")
    opened = begun(server.port, "/quiet")
    until_item(opened)
    opened.close()
    left = time.monotonic()
    if not wait_for(lambda: closed(server.port, "quiet") > before, PATIENCE):
        return f"not closed in {PATIENCE:.0f} s"
    return f"closed after {(time.monotonic() - left) * 1000:.0f} ms"


def limit(server: Server) -> str:
    with contextlib.ExitStack() as stack:
        statuses = []
        for _ in range(30):
            opened = stack.enter_context(begun(server.port, "/limited"))
            statuses.append(opened.recv(65_536)[9:12].decode())
    return ", ".join(f"{statuses.count(status)} x {status}" for status in sorted(set(statuses)))


def resume(server: Server) -> str:
    opened, decoder, events = begun(server.port, "/count"), SSEDecoder(), []
    got = b""
    while got.count(b"data:") < 5:
        got += opened.recv(4096)
    opened.close()
    events = decoder.feed(unchunked(got.partition(b"\r\n\r\n")[2].rpartition(b"\r\n")[0]))
    seen = [json.loads(event.raw)["n"] for event in events]
    _, body, _ = whole(server.port, "/count", last_id=events[-1].id)
    again = [json.loads(event.raw)["n"] for event in decoder.feed(body) if event.event is None]
    twice = len(set(seen) & set(again))
    missing = 10 - len(set(seen) | set(again))
    last = decoder.last_event_id
    status, body, _ = whole(server.port, "/count", last_id=last)
    return f"{twice} twice, {missing} missing; after the end {status}{', all again' if b'data' in body else ''}"


def slow_clients(server: Server) -> str:
    count = 50
    before, began = server.resident_bytes(), time.monotonic()
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(begun(server.port, "/flood", 4096))
        time.sleep(1)
        each = (server.resident_bytes() - before) / count / 1024
        gone = wait_for(lambda: closed(server.port, "flood") >= count, PATIENCE)
        took = time.monotonic() - began
        told = f"all got rid of after {took:.1f} s" if gone else f"still there after {took:.0f} s"
    return f"{each:.0f} KiB each, {told}"


def never_waits(server: Server) -> str:
    before = 0
    with contextlib.suppress(OSError):
        before = closed(server.port, "flood")
    opened = begun(server.port, "/flood")
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        opened.recv(1 << 20)
    try:
        asked = time.monotonic()
        ask(server.port, "/ping", 3)
        other = f"others wait {(time.monotonic() - asked) * 1000:.0f} ms"
    except OSError:
        other = "others get no answer in 3 s"
    opened.close()
    left = time.monotonic()
    if wait_for(lambda: closed(server.port, "flood") > before, PATIENCE):
        return f"{other}; closed after {(time.monotonic() - left) * 1000:.0f} ms"
    with contextlib.suppress(OSError):
        ask(server.port, "/ping", 3)
        return f"{other}; source not closed in {PATIENCE:.0f} s"
    return f"{other}; the server hangs"


def sigterm(server: Server) -> str:
    opened = begun(server.port, "/quiet")
    until_item(opened)
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    if not server.ended_within(30):
        return "still there after 30 s"
    took = f"ends after {time.monotonic() - began:.1f} s"
    rest = b""
    with contextlib.suppress(OSError):
        while piece := opened.recv(65_536):
            rest += piece
    told = "told" if b"event: error" in rest else "not told, clean end" if rest.endswith(b"0\r\n\r\n") else "cut"
    return f"{took}; the client is {told}"


ROWS = {
    "error before the first item (404)": error_before,
    "error after the first item": error_after,
    "client of a silent source leaves": silent_source,
    "30 streams of one address": limit,
    "cut after 5 of 10 events, resumed by the last id": resume,
    "50 clients that read nothing": slow_clients,
    "a source that never waits, whose reader leaves": never_waits,
    "SIGTERM with an open stream": sigterm,
}


def main() -> None:
    print_versions("starlette", "fastapi", "uvicorn", "sse-starlette", "litestar", "dual-mode-streaming")
    table = Table("", *LIBRARIES, title="what happens")
    rows = {row: look for row, look in ROWS.items() if all(word in row for word in sys.argv[1:])}
    found: dict[str, list[str]] = {row: [] for row in rows}
    for factory in LIBRARIES.values():
        for row, look in rows.items():
            # A server for each, so that no row sees what another has left.
            server = Server("_reliability_apps", factory, quiet=True, send_buffer=65_536)
            try:
                found[row].append(look(server))
            finally:
                server.kill()
    for row, cells in found.items():
        table.add_row(row, *cells)
    CONSOLE.print(table)
    for row, cells in found.items():
        print(f"| {row} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
