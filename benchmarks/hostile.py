"""How long a healthy client waits while others attack the server.

One server: uvicorn with httptools, one process, at most 100 streams for each address. A healthy client, from an address
of its own, asks for a batch and for the first event of a stream, again and again, first alone, then during each attack.
The attackers are a process of their own. Told are the median and the 99th percentile of its waiting, what the server
answered to the attackers, how much memory it took, and what was left open when they were gone.

With two cores, attackers and the healthy client share one, so a part of the waiting is theirs.

    python benchmarks/hostile.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

TESTS = Path(__file__).parents[1] / "tests"
HEALTHY = "127.0.0.2"
SSE = b"Accept: text/event-stream\r\n"
HOST = b" HTTP/1.1\r\nHost: x\r\n"


# --- attacks, each in a process of its own; they go on until they are killed ---------------------------------

Attack = Callable[[int, Counter], Coroutine[Any, Any, None]]


async def answered(port: int, request: bytes, statuses: Counter) -> None:
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        line = await reader.readline()
        statuses[line.split(b" ")[1].decode() if line else "cut"] += 1
        writer.close()


def again_and_again(request: bytes, beside: int = 4) -> Attack:
    async def attack(port: int, statuses: Counter) -> None:
        async def one() -> None:
            while True:
                await answered(port, request, statuses)

        await asyncio.gather(*(one() for _ in range(beside)))

    return attack


def kept_open(request: bytes, connections: int, receive_buffer: int = 0, *, reads: bool = True) -> Attack:
    """Open so many connections, and keep them; read what comes, or nothing."""

    async def attack(port: int, statuses: Counter) -> None:
        loop = asyncio.get_running_loop()
        kept = []

        async def one() -> None:
            opened = socket.socket()
            opened.setblocking(False)
            if receive_buffer:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            kept.append(opened)
            with contextlib.suppress(OSError):
                await loop.sock_connect(opened, ("127.0.0.1", port))
                await loop.sock_sendall(opened, request)
                statuses["sent"] += 1
                while reads:
                    got = await loop.sock_recv(opened, 65_536)
                    if got.startswith(b"HTTP/1.1 "):
                        statuses[got[9:12].decode()] += 1
                    if not got:
                        opened.close()
                        return

        readers = []
        for number in range(connections):
            readers.append(asyncio.ensure_future(one()))
            if number % 50 == 49:
                await asyncio.sleep(0.02)
        await asyncio.Event().wait()

    return attack


ATTACKS: dict[str, Attack] = {
    "Accept of 1 MB": again_and_again(b"GET /batch" + HOST + b"Accept: " + b"a/b," * 250_000 + b"\r\n\r\n"),
    "Last-Event-ID of 1 MB": again_and_again(
        b"GET /quiet" + HOST + SSE + b"Last-Event-ID: " + b"1" * 1_000_000 + b"\r\n\r\n"
    ),
    "10,000 headers": again_and_again(
        b"GET /batch" + HOST + b"".join(b"X-%d: 1\r\n" % n for n in range(10_000)) + b"\r\n"
    ),
    "2,000 heads that never end": kept_open(b"GET /batch" + HOST + b"X-Slow: ", 2000, reads=False),
    "2,000 streams of one address": kept_open(b"GET /quiet" + HOST + SSE + b"\r\n", 2000),
    "100 readers that read nothing": kept_open(b"GET /flood" + HOST + SSE + b"\r\n", 100, 4096, reads=False),
    "100 readers of all that comes": kept_open(b"GET /flood" + HOST + SSE + b"\r\n", 100),
    "bodies of 1 GB, announced": again_and_again(
        b"POST /v1/chat/completions" + HOST + b"Content-Length: 1000000000\r\n\r\n" + b" " * 50_000
    ),
    "JSON 20,000 deep": again_and_again(
        b"POST /v1/chat/completions" + HOST + b"Content-Length: 90000\r\n\r\n" + b"[" * 90_000
    ),
    "garbage": again_and_again(b"\x00\xff" * 50_000),
}


async def be_hostile(name: str, port: int) -> None:
    statuses: Counter = Counter()
    task = asyncio.ensure_future(ATTACKS[name](port, statuses))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    task.cancel()
    print(json.dumps(statuses), flush=True)
    os._exit(0)  # as an attacker does: all connections at once


# --- the server and its healthy client -----------------------------------------------------------------


class Server:
    """The application of the tests, with a larger limit for each address."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        options = ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "critical"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "faults.hostile_app:app", "--port", str(self.port), *options],
            cwd=TESTS,
            env={**os.environ, "HOSTILE_PER_ADDRESS": "100", "CONTRACT_TOKEN": secrets.token_hex(4)},
        )

    def resident(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def once(port: int, request: bytes, mark: bytes) -> float:
    """Give the milliseconds from the connection to the mark in the answer."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(HEALTHY, 0))
    writer.write(request)
    async with asyncio.timeout(30):
        await reader.readuntil(mark)
    took = (time.perf_counter() - began) * 1000
    writer.close()
    return took


async def waits(port: int, seconds: float) -> tuple[list[float], list[float]]:
    batches, streams, end = [], [], time.monotonic() + seconds
    while time.monotonic() < end:
        batches.append(await once(port, b"GET /batch" + HOST + b"\r\n", b'{"data":[{"n":1}]}'))
        streams.append(await once(port, b"GET /quiet" + HOST + SSE + b"\r\n", b'{"n":1}'))
        await asyncio.sleep(0.01)
    return batches, streams


def told(times: list[float]) -> str:
    ordered = sorted(times)
    return f"{statistics.median(ordered):.1f} / {ordered[int(len(ordered) * 0.99)]:.1f}"


async def counts(port: int) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(HEALTHY, 0))
    writer.write(b"GET /counts" + HOST + b"Connection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return json.loads(answer.partition(b"\r\n\r\n")[2])


async def measure(seconds: float, table: Table) -> None:
    server = Server()
    try:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(OSError):
                    await counts(server.port)
                    break
                await asyncio.sleep(0.05)
        await waits(server.port, seconds / 4)
        batches, streams = await waits(server.port, seconds)
        table.add_row("nobody", told(batches), told(streams), "", "", "")
        for name in ATTACKS:
            before = server.resident()
            hostile = await asyncio.create_subprocess_exec(
                sys.executable, __file__, "--attack", name, "--port", str(server.port),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            await asyncio.sleep(1)
            batches, streams = await waits(server.port, seconds)
            grown = server.resident() - before
            statuses = json.loads((await hostile.communicate(b""))[0])
            async with asyncio.timeout(30):
                while (seen := await counts(server.port))["open"]:  # noqa: ASYNC110  it is in another process
                    await asyncio.sleep(0.05)
            said = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
            table.add_row(name, told(batches), told(streams), said, f"{grown:+.1f}", str(seen["open"]))
    finally:
        server.process.terminate()
        server.process.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="half a second for each attack")
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    if options.attack:
        asyncio.run(be_hostile(options.attack, options.port))
    table = Table("attack", "batch, ms", "first event, ms", "answers to the attackers", "MiB", "left open")
    asyncio.run(measure(0.5 if options.quick else 5.0, table))
    console = Console(width=150)
    console.print("median / 99th percentile of the healthy client's waiting")
    console.print(table)


if __name__ == "__main__":
    main()
