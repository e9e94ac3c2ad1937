"""Servers to be measured: each in a process of its own, pinned to one core, its CPU time read from the kernel."""

from __future__ import annotations

import asyncio
import importlib
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

CONSOLE = Console()
SERVER_CORE, CLIENT_CORE = (0, 1) if (os.cpu_count() or 1) > 1 else (0, 0)


class Server:
    """A uvicorn with one application, which `module.factory(*arguments)` makes in the server's process."""

    def __init__(self, module: str, factory: str, *arguments: str, quiet: bool = False, send_buffer: int = 0) -> None:
        os.sched_setaffinity(0, {CLIENT_CORE})
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, __file__, str(self.port), module, factory, *arguments]
        self._process = subprocess.Popen(
            command,
            cwd=Path(__file__).parent,
            env={**os.environ, "SEND_BUFFER": str(send_buffer)},
            stderr=subprocess.DEVNULL if quiet else None,
        )
        for _ in range(1200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the server did not start")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def ended_within(self, seconds: float) -> bool:
        """Wait for the end of the process, for so long at the most."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End a server that does not listen any more."""
        self._process.kill()
        self._process.wait(10)

    def resident_bytes(self) -> int:
        """Give how much memory the process has at the moment."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """Give the CPU time of all threads so far (the first field of schedstat, in nanoseconds)."""
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    async def get(self, path: str) -> bytes:
        """Give the body of one answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(_request(path))
        body = await _read_answer(reader)
        writer.close()
        await writer.wait_closed()
        return body

    async def cpu_per_request(self, path: str, requests: int, connections: int) -> float:
        """Send so many requests over so many connections; give the server's CPU time for one, in microseconds.

        wrk does it, where it is installed. Our own client is slower than some servers, which then wait for it, and a
        server that waits between two requests pays for going to sleep and waking up.
        """
        if wrk := shutil.which("wrk"):
            return await asyncio.to_thread(self._cpu_per_request_by_wrk, wrk, path, requests, connections)
        opened = [await asyncio.open_connection("127.0.0.1", self.port) for _ in range(connections)]
        request = _request(path)

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(requests // connections):
                writer.write(request)
                await _read_answer(reader)

        before = self.cpu_seconds()
        await asyncio.gather(*(client(reader, writer) for reader, writer in opened))
        spent = self.cpu_seconds() - before
        for _, writer in opened:
            writer.close()
        return spent / (requests // connections * connections) * 1e6

    def _cpu_per_request_by_wrk(self, wrk: str, path: str, requests: int, connections: int) -> float:
        seconds = max(1, requests // 4000)
        url = f"http://127.0.0.1:{self.port}{path}"
        before = self.cpu_seconds()
        said = subprocess.run(
            [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", url], check=True, capture_output=True, text=True
        ).stdout
        spent = self.cpu_seconds() - before
        assert "Non-2xx" not in said, said
        return spent / int(re.search(r"(\d+) requests in", said)[1]) * 1e6


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: benchmark\r\nAccept: */*\r\n\r\n".encode()


async def _read_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


def print_versions(*packages: str) -> None:
    CONSOLE.print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages))


def report(title: str, rows: dict[str, tuple[float, list[float]]]) -> None:
    """Print a table: CPU per request, and the ratio to the first row within each round."""
    table = Table("variant", "CPU, µs", "to the first row", "min..max", title=title)
    for name, (cost, ratios) in rows.items():
        spread = f"{min(ratios):.3f}..{max(ratios):.3f}"
        table.add_row(name, f"{cost:.1f}", f"{statistics.median(ratios):.3f}", spread)
    CONSOLE.print(table)


def _serve() -> None:
    import uvicorn

    port, module, factory, *arguments = sys.argv[1:]
    os.sched_setaffinity(0, {SERVER_CORE})
    app = getattr(importlib.import_module(module), factory)(*arguments)
    if type(app).__module__.startswith("aiohttp."):
        _serve_aiohttp(app, int(port))
        return
    options = {"loop": "uvloop", "http": "httptools", "access_log": False, "log_level": "error", "backlog": 8192}
    if size := int(os.environ.get("SEND_BUFFER", 0)):
        # Connections get the size from the socket that listens. The kernel would let it grow to megabytes.
        with socket.create_server(("127.0.0.1", int(port)), backlog=8192) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
            uvicorn.Server(uvicorn.Config(app, **options)).run([listening])
        return
    uvicorn.run(app, port=int(port), **options)


def _serve_aiohttp(app, port: int) -> None:
    """Run an application of aiohttp in its own server, which is no ASGI server."""
    import aiohttp.web
    import uvloop

    aiohttp.web.run_app(
        app, host="127.0.0.1", port=port, access_log=None, print=None, backlog=8192, loop=uvloop.new_event_loop()
    )


if __name__ == "__main__":
    _serve()
