"""Going down on real servers: SIGTERM comes while hundreds of endless streams are open.

Left to themselves, uvicorn and granian would wait for these streams for ever, and hypercorn would cut them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from asking import asked
from dual_mode_streaming.sse import SSEDecoder
from needs import unmeasured
from servers.wire import ask, connected, opened

TESTS = Path(__file__).resolve().parents[1]
APP = "servers.drain_app:app"
BOUND = 25.0
"""Seconds after which a server that does not end fails its test. Without a drain they would all wait for ever."""

UVICORN = ("uvicorn", APP, "--port", "{port}", "--http", "httptools", "--loop", "uvloop")
GRANIAN = ("granian", APP, "--port", "{port}", "--interface", "asgi")
HYPERCORN = ("hypercorn", APP, "--bind", "127.0.0.1:{port}")
COMMANDS = {
    "uvicorn": UVICORN,
    "uvicorn-asyncio-h11": ("uvicorn", APP, "--port", "{port}", "--http", "h11", "--loop", "asyncio"),
    "uvicorn-2-workers": (*UVICORN, "--workers", "2"),
    "uvicorn-with-a-bound": (*UVICORN, "--timeout-graceful-shutdown", "2"),
    "granian": (*GRANIAN, "--workers", "1"),
    "granian-2-workers": (*GRANIAN, "--workers", "2", "--loop", "uvloop"),
    "hypercorn-in-one-process": (*HYPERCORN, "--workers", "0"),
    "hypercorn": (*HYPERCORN, "--graceful-timeout", "1"),
    "hypercorn-serve": ("servers.drain_app", "{port}"),
}
# A worker that still starts when it is told to stop does not hear of it (granian), so all are waited for.
STARTED = re.compile(rb"startup complete|Started worker-")


@dataclass
class Running:
    """A server process, and where it leaves what it has counted."""

    process: asyncio.subprocess.Process
    port: int
    folder: Path

    def signal(self, number: int, *, group: bool = False) -> None:
        (os.killpg if group else os.kill)(self.process.pid, number)

    async def ended(self) -> int:
        try:
            async with asyncio.timeout(BOUND):
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"the server did not end:\n{(self.folder / 'log').read_text()[-3000:]}") from None

    def reports(self) -> list[dict[str, Any]]:
        """Give what each process of the server has counted, after its shutdown."""
        return [json.loads(path.read_text()) for path in self.folder.glob("*.json")]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@asynccontextmanager
async def running(name: str, folder: Path, *, grace: float = 1, port: int | None = None) -> AsyncIterator[Running]:
    """Run the application on one of the servers, in a process group of its own, and leave none of it behind."""
    port = port or free_port()
    token = secrets.token_hex(8)
    folder.mkdir(exist_ok=True)
    paths = [os.environ.get("PYTHONPATH"), str(TESTS)]
    environment = {
        **unmeasured(),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "CONTRACT_TOKEN": token,
        "DRAIN_REPORTS": str(folder),
        "DRAIN_GRACE": str(grace),
    }
    log = folder / "log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *(part.format(port=port) for part in COMMANDS[name])),
            stdout=output,
            stderr=output,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    try:
        try:

            async def serves() -> bool:
                assert process.returncode is None, log.read_text()
                all_have_started = "2-workers" not in name or len(STARTED.findall(log.read_bytes())) >= 2
                return all_have_started and await answers(port, token)

            await asked(serves, BOUND)
        except TimeoutError:
            raise AssertionError(f"{name} did not start:\n{log.read_text()}") from None
        yield Running(process, port, folder)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def answers(port: int, token: str) -> bool:
    try:
        return (await ask(port, "/token")).body == f'"{token}"'.encode()
    except OSError:
        return False


class Clients:
    """Many clients of endless streams, three of four by SSE. Each reads to its end."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._ready = asyncio.Semaphore(0)
        self._count = count
        self._tasks = [asyncio.create_task(self._read(number % 4 > 0)) for number in range(count)]

    async def _read(self, sse: bool) -> str:
        """Say how the stream ended."""
        accept = "text/event-stream" if sse else "application/x-ndjson"
        async with opened(self._port, "/endless", {"Accept": accept}) as exchange:
            await exchange.until(b'"pid"')
            self._ready.release()
            reply = await exchange.end()
        if sse:
            *_, last = SSEDecoder().feed(reply.body)
            if last.event != "error":
                return "cut"
            block = reply.body.split(b"\n\n")[-2]
            assert re.match(rb"retry: (\d+)\nevent: error\ndata: {", block), block
            problem = json.loads(last.data)
        else:
            problem = json.loads(reply.body.splitlines()[-1]).get("error")
            if problem is None:
                return "cut"
        assert reply.complete is sse  # lines of JSON that are not complete do not look so
        assert (problem["status"], problem["code"]) == (503, "draining")
        return "told"

    async def ready(self) -> None:
        async with asyncio.timeout(BOUND):
            for _ in range(self._count):
                await self._ready.acquire()

    async def ends(self) -> set[str]:
        async with asyncio.timeout(BOUND):
            return set(await asyncio.gather(*self._tasks))


# hypercorn's own command line with worker processes is a case of its own; see below.
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("hypercorn", "uvicorn-with-a-bound")])
@pytest.mark.asyncio
async def test_each_client_is_told_and_the_server_ends(name: str, tmp_path: Path) -> None:
    async with running(name, tmp_path) as server:
        clients = Clients(server.port, 200)
        await clients.ready()
        server.signal(signal.SIGTERM)
        assert await clients.ends() == {"told"}
        await server.ended()

    reports = server.reports()
    # Every process came to its own shutdown, with nothing open, each source closed and each hook run.
    assert len(reports) == (2 if "2-workers" in name else 1)
    assert [report["open"] for report in reports] == [0] * len(reports)
    for report in reports:
        told = report["streams"].get("drained", 0)
        assert report["streams"] == ({"drained": told} if told else {})
        assert report["closed"].get("endless", 0) == report["finished"].get("drained", 0) == told
    assert sum(report["streams"].get("drained", 0) for report in reports) == 200


@pytest.mark.asyncio
async def test_hypercorn_with_workers_needs_the_signal_in_the_whole_process_group(tmp_path: Path) -> None:
    async with running("hypercorn", tmp_path / "group", grace=0.2) as server:
        clients = Clients(server.port, 40)
        await clients.ready()
        server.signal(signal.SIGTERM, group=True)
        assert await clients.ends() == {"told"}
        await server.ended()

    # Observed with hypercorn 0.18: the worker does not hear of a SIGTERM to its parent before its streams are cut. From
    # Python 3.12 on it does not hear of it at all, and its streams go on.
    if sys.version_info >= (3, 12):
        return
    async with running("hypercorn", tmp_path / "parent") as server:
        clients = Clients(server.port, 4)
        await clients.ready()
        server.signal(signal.SIGTERM)
        assert await clients.ends() == {"cut"}
        await server.ended()
    (report,) = server.reports()
    assert report["streams"] == {"cancelled": 4}


@pytest.mark.asyncio
async def test_a_client_without_headers_and_a_batch_get_a_status(tmp_path: Path) -> None:
    async with running("uvicorn", tmp_path) as server:
        sse = {"Accept": "text/event-stream"}
        async with (
            opened(server.port, "/endless?silent=true", sse) as silent,
            opened(server.port, "/endless", {"Accept": "application/json"}) as batch,
            opened(server.port, "/stubborn", sse) as stubborn,
        ):
            await stubborn.until(b'"pid"')
            server.signal(signal.SIGTERM)
            for exchange in (silent, batch):
                reply = await exchange.end()
                assert (reply.status, reply["content-type"]) == (503, "application/problem+json")
                assert reply.json["code"] == "draining"
                assert int(reply["retry-after"] or 0) >= 1
                assert reply["connection"] == "close"
            # This one ignored its cancellation and was left behind.
            assert b'"code":"draining"' in (await stubborn.end()).body
        await server.ended()
    (report,) = server.reports()
    assert (report["streams"], report["batches"]) == ({"drained": 2}, {"drained": 1})


@pytest.mark.asyncio
async def test_a_client_that_takes_nothing_is_drained_and_the_bound_of_the_server_does_the_rest(tmp_path: Path) -> None:
    async with running("uvicorn-with-a-bound", tmp_path, grace=0.1) as server, connected(server.port) as exchange:
        await exchange.send("GET", "/flood", {"Accept": "text/event-stream"})
        await exchange.head()  # and from here on it reads nothing
        server.signal(signal.SIGTERM)
        # uvicorn waits until everything that was sent has gone out, which will never be so.
        await server.ended()
    (report,) = server.reports()
    assert (report["streams"], report["closed"], report["finished"]) == (
        {"drained": 1},
        {"flood": 1},
        {"drained": 1},
    )


@pytest.mark.asyncio
async def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    async with running("uvicorn", tmp_path, grace=1000) as server:
        clients = Clients(server.port, 4)
        await clients.ready()
        server.signal(signal.SIGINT)
        await asked(lambda: b"Waiting for connections" in (tmp_path / "log").read_bytes())
        server.signal(signal.SIGINT)
        await server.ended()
        assert await clients.ends() == {"cut"}


@pytest.mark.asyncio
async def test_a_restart_sends_all_clients_to_the_new_server_at_different_times(tmp_path: Path) -> None:
    """Each client waits as long as it was told to, then tries until somebody answers."""
    waits: list[int] = []

    async def follow(port: int, connected: asyncio.Semaphore, home: set[int]) -> int:
        """Read, reconnect, and give the process that answers at last."""
        retry = 1000
        while True:
            with suppress(OSError):
                async with opened(port, "/endless", {"Accept": "text/event-stream"}) as exchange:
                    decoder = SSEDecoder()
                    (first,) = decoder.feed(await exchange.until(b"\n\n"))
                    pid = json.loads(first.data)["pid"]
                    if home and pid not in home:
                        return pid
                    connected.release()
                    before = len(exchange.reply.body)
                    events = decoder.feed((await exchange.end()).body[before:])
                    assert [event.event for event in events] == ["error"]
                    assert decoder.retry is not None
                    retry = decoder.retry
                    waits.append(retry)
            await asyncio.sleep(retry / 1000 * random.uniform(1, 1.2))

    home: set[int] = set()
    connected = asyncio.Semaphore(0)
    async with running("uvicorn", tmp_path / "old", grace=0.2) as old:
        home.add((await ask(old.port, "/pid")).json)
        clients = [asyncio.create_task(follow(old.port, connected, home)) for _ in range(40)]
        for _ in clients:
            await connected.acquire()
        old.signal(signal.SIGTERM)
        await old.ended()
    async with running("uvicorn", tmp_path / "new", port=old.port) as new:
        async with asyncio.timeout(BOUND):
            found = set(await asyncio.gather(*clients))
        assert found == {(await ask(new.port, "/pid")).json}
    assert found.isdisjoint(home)
    assert len(waits) == 40
    assert all(50 <= wait <= 250 for wait in waits)
    assert len(set(waits)) > 10  # not all at once


# --- without a server: signals that would have ended the process ------------------------------------------

SCRIPT = """
import asyncio, signal, sys
from dual_mode_streaming import Streams

async def main():
    streams = Streams(grace=float(sys.argv[1]))
    with streams.drain_on_signals(), streams.admit({}) as entry:
        told = asyncio.Event()
        entry.on_drain(lambda why: told.set())
        print("listening", flush=True)
        await told.wait()
        entry.leave()
        print("drained", flush=True)
        await asyncio.Event().wait()

loop = asyncio.new_event_loop()  # asyncio.run would handle SIGINT in its own way
signal.signal(signal.SIGINT, getattr(signal, sys.argv[2]))
loop.run_until_complete(main())
"""


def script(grace: float, handler: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(grace), handler],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=unmeasured(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"
    return process


@pytest.mark.parametrize(
    ("number", "handler"),
    [
        (signal.SIGTERM, "default_int_handler"),
        (signal.SIGINT, "SIG_DFL"),
        (signal.SIGINT, "default_int_handler"),
    ],
)
def test_a_signal_that_ends_the_process_ends_it_after_the_drain(number: int, handler: str) -> None:
    with script(0, handler) as process:
        process.send_signal(number)
        assert process.communicate(timeout=BOUND)[0] == "drained\n"
    assert process.returncode == -number


def test_a_second_ctrl_c_ends_the_process_at_once() -> None:
    with script(1000, "SIG_DFL") as process:
        process.send_signal(signal.SIGINT)
        # One of them may be taken for the other while it waits to be delivered; a third is then the second.
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        assert process.communicate(timeout=BOUND)[0] == ""
    assert process.returncode == -signal.SIGINT
