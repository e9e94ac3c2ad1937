"""Clients that do not read: what each of them costs the server in memory, and whether it gets rid of them.

Clients ask for a source that never ends and read nothing. When the server has come to rest, its resident memory is
compared with what it was before. Kernel buffers are not in it; they are kept small (64 KiB each), so that the process
has to hold what does not fit. Then: how long it takes until `send_timeout=3` has ended all of ours, and what memory is
left.

For each client the server can hold one send of ours (64 KiB and one frame), which waits, and what uvicorn holds: its
high-water mark of 64 KiB, and the send that went over it. That is the bound: three times 64 KiB.

    python benchmarks/stuck.py [--quick]
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import time

from _readers import ask, request, wait_for
from _serving import CONSOLE, Server, print_versions
from rich.table import Table

VARIANTS = {
    "ours: @dual_mode": ("_ours", "ours_evicting"),
    "Starlette StreamingResponse by hand": ("_peers", "starlette_by_hand"),
    "Litestar": ("_peers", "with_litestar"),
    "sse-starlette": ("_peers", "with_sse_starlette"),
    "FastAPI native": ("_peers", "fastapi_native"),
}
SEND_TIMEOUT = 3.0
BOUND = 3 * 64
PATIENCE = 120.0


def stuck_client(port: int, number: int) -> socket.socket:
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    opened.connect(("127.0.0.1", port))
    opened.sendall(request(f"/endless?n={number}"))
    return opened


def at_rest(server: Server) -> bool:
    """Whether the server has used next to no CPU for a while."""
    before = server.cpu_seconds()
    time.sleep(0.3)
    return server.cpu_seconds() - before < 0.02


def measure(name: str, clients: int) -> tuple[str, str, str, str]:
    module, factory = VARIANTS[name]
    server = Server(module, factory, quiet=True, send_buffer=65_536)
    try:
        ask(server.port, "/ready?n=1000")
        with contextlib.ExitStack() as stack:
            before = server.resident_bytes()
            began = time.monotonic()
            for number in range(clients):
                stack.enter_context(stuck_client(server.port, number))
            assert wait_for(lambda: at_rest(server), PATIENCE), f"{name} did not come to rest"
            each = (server.resident_bytes() - before) / clients / 1024
            gone, left = "", ""
            if factory == "ours_evicting":
                assert wait_for(lambda: ask(server.port, "/open", 5) == b"0", PATIENCE), "clients were not evicted"
                gone = f"{time.monotonic() - began:.1f}"
                left = f"{(server.resident_bytes() - before) / clients / 1024:.0f}"
        return str(clients), f"{each:.0f}", gone, left
    finally:
        server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer clients")
    quick = parser.parse_args().quick
    print_versions("starlette", "fastapi", "uvicorn", "uvloop", "sse-starlette", "litestar", "dual-mode-streaming")
    table = Table(
        "variant", "clients", "KiB per client", f"all gone after, s (send_timeout={SEND_TIMEOUT:g})", "KiB left"
    )
    for name in VARIANTS:
        many = 1000 if name.startswith("ours") else 200
        table.add_row(name, *measure(name, many // 5 if quick else many))
    CONSOLE.print(table)
    CONSOLE.print(f"bound for ours: {BOUND} KiB per client")


if __name__ == "__main__":
    main()
