"""Thousands of streams at once, for minutes, whose clients and sources do what they should not: what is left of them?

One server process, one client process. The client keeps so many streams open. What each of them does is drawn from the
seed and its number, so a run can be repeated:

    reads all, as SSE or NDJSON    the items must be complete, in order, and end with their terminal frame
    leaves                         closes or resets the connection somewhere in the middle
    is slow                        reads a little, then rests
    is stuck                       reads nothing until the server has given it up; then it must see a cut, not an end
    has a source that fails        before its first item (a status) or later (an error that is told)
    listens to a channel           and leaves after some events
    asks for a batch

Then the same server answers short streams one after another.

Asserted at the end: each outcome was counted as often as the clients saw it, opened is the sum of the outcomes, every
source was closed, `on_finish` ran once for each; tasks and file descriptors are as many as before; nothing was logged
but the aborts that were meant. Memory is read every ten seconds; after a warm-up it must not grow by more than a tenth.

    python benchmarks/soak.py [--quick | --streams 5000 --minutes 10 --short 50000] [--seed 8]

`--quick` is counted, not timed: 600 streams, 200 at once, in a few seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httptools
import uvloop

HERE = Path(__file__).parent
EVENT_BOUND = 300.0
"""Seconds without a byte after which a stream counts as hanging. A heartbeat comes every five."""

KINDS = {
    "reads all, SSE": 30,
    "reads all, NDJSON": 12,
    "leaves": 20,
    "resets": 10,
    "is slow": 8,
    "is stuck": 2,
    "fails late, SSE": 5,
    "fails late, NDJSON": 3,
    "fails early": 3,
    "listens": 5,
    "batch": 2,
}
OUTCOME_OF = {
    "reads all, SSE": "done",
    "reads all, NDJSON": "done",
    "leaves": "client_gone",
    "resets": "client_gone",
    "is slow": "done",
    "is stuck": "slow_client",
    "fails late, SSE": "error",
    "fails late, NDJSON": "error",
    "fails early": "error",
    "listens": "client_gone",
}
"""How the server has to count a stream of each kind."""


class Client(asyncio.Protocol):
    """One connection: sends one request, keeps what comes, can rest."""

    def __init__(self, path: str, accept: str) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nHost: soak\r\nAccept: {accept}\r\nConnection: close\r\n\r\n".encode()
        self._parser = httptools.HttpResponseParser(self)
        self._changed = asyncio.Event()
        self._rests = 0.0
        self.transport: Any = None
        self.body = bytearray()
        self.status = 0
        self.complete = False
        self.closed = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        self._changed.set()
        if self._rests and not self.closed:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(self._rests, self._read_on)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._changed.set()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True

    def rest_after_each_read(self, seconds: float) -> None:
        self._rests = seconds

    def _read_on(self) -> None:
        if not self.closed:
            self.transport.resume_reading()

    async def until(self, mark: bytes, times: int) -> bool:
        """Wait for so many marks; False if the connection ended without them."""
        while self.body.count(mark) < times:
            if self.closed:
                return False
            self._changed.clear()
            async with asyncio.timeout(EVENT_BOUND):
                await self._changed.wait()
        return True

    async def end(self) -> None:
        while not self.closed:
            self._changed.clear()
            async with asyncio.timeout(EVENT_BOUND):
                await self._changed.wait()


async def opened(port: int, path: str, accept: str, receive_buffer: int = 0) -> Client:
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    _, client = await loop.create_connection(lambda: Client(path, accept), sock=sock)
    return client


async def ask(port: int, path: str) -> Any:
    client = await opened(port, path, "application/json")
    await client.end()
    assert (client.status, client.complete) == (200, True), (path, client.status, bytes(client.body))
    return json.loads(client.body)


SSE, NDJSON = "text/event-stream", "application/x-ndjson"


@dataclass
class Crowd:
    """All clients of one soak.

    Attributes:
        pace: What all pauses are multiplied by.
        kinds: How many streams of each kind have ended as they should.
        wrong: What did not.
    """

    port: int
    seed: int
    pace: float
    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    begun: int = 0
    items: int = 0

    async def keep(self, go_on: Any) -> None:
        """Have one stream after another, as long as one may begin."""
        while go_on():
            number = self.begun
            self.begun += 1
            rng = random.Random(f"{self.seed} {number}")
            kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
            try:
                await self.one(kind, number, rng)
                self.kinds[kind] += 1
            except Exception as error:
                self.wrong.append(f"{number}, {kind}: {error!r}")

    async def one(self, kind: str, number: int, rng: random.Random) -> None:
        items, pause = rng.randint(5, 30), rng.uniform(1, 4) * self.pace
        path, port = f"/ticks?items={items}&pause={pause:.4f}", self.port
        match kind:
            case "reads all, SSE" | "reads all, NDJSON":
                is_sse = kind.endswith("SSE")
                client = await opened(port, path, SSE if is_sse else NDJSON)
                await client.end()
                self.check(client, items, is_sse)
            case "leaves" | "resets":
                client = await opened(port, f"/ticks?items=1000000&pause={pause:.4f}", SSE)
                assert await client.until(b'"seq"', rng.randint(1, items)), "it ended too early"
                if kind == "resets":
                    sock = client.transport.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.transport.abort()
                await client.end()
            case "is slow":
                client = await opened(port, "/ticks?items=400&size=1000", SSE, receive_buffer=16_384)
                client.rest_after_each_read(0.5 * self.pace)
                await client.end()
                self.check(client, 400, True)
            case "is stuck":
                client = await opened(port, f"/ticks?items=1000000&size=4000&number={number}", SSE, receive_buffer=4096)
                client.transport.pause_reading()
                async with asyncio.timeout(EVENT_BOUND):
                    while not await ask(port, f"/closed?number={number}"):  # noqa: ASYNC110  another process
                        await asyncio.sleep(0.5 * max(self.pace, 0.2))
                client.transport.resume_reading()
                await client.end()
                assert not client.complete, "it was given up, and looks complete"
            case "fails late, SSE" | "fails late, NDJSON":
                is_sse = kind.endswith("SSE")
                fails = rng.randint(1, items - 1)
                client = await opened(port, f"{path}&fail={fails}", SSE if is_sse else NDJSON)
                await client.end()
                assert client.body.count(b'"seq"') == fails
                assert b'"status":409' in client.body.splitlines()[-2 if is_sse else -1], bytes(client.body[-300:])
                assert client.complete is is_sse
            case "fails early":
                client = await opened(port, f"{path}&fail=0", SSE)
                await client.end()
                assert (client.status, client.complete) == (409, True)
            case "listens":
                client = await opened(port, "/news", SSE)
                assert await client.until(b'"number"', rng.randint(1, 20) if self.pace == 1 else 1)
                client.transport.abort()
                await client.end()
            case "batch":
                client = await opened(port, path, "application/json")
                await client.end()
                assert [item["seq"] for item in json.loads(client.body)["data"]] == list(range(items))

    def check(self, client: Client, items: int, is_sse: bool) -> None:
        assert (client.status, client.complete) == (200, True), (client.status, client.complete)
        lines = client.body.split(b"\n")
        if is_sse:
            assert b"event: done" in lines[-5:], lines[-5:]
            assert b'data: {"items":%d}' % items in lines[-5:], lines[-5:]
            lines = [line.removeprefix(b"data: ") for line in lines if line.startswith(b'data: {"seq"')]
        found = [json.loads(line)["seq"] for line in lines if line]
        assert found == list(range(items)), f"{len(found)} of {items} items"
        self.items += items


# --- the server, and what is asserted of it ----------------------------------------------------------------------


class Server:
    """The server, in a process of its own, with small kernel buffers: what does not fit in, the process has to hold."""

    def __init__(self, send_timeout: float) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        self.port = listener.getsockname()[1]
        fd = listener.fileno()
        self._process = subprocess.Popen(
            [sys.executable, HERE / "_soak_app.py", str(fd)],
            pass_fds=[fd],
            env={**os.environ, "SOAK_SEND_TIMEOUT": str(send_timeout)},
        )
        listener.close()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)

    async def state(self) -> dict[str, Any]:
        return await ask(self.port, "/state?collect=true")

    async def at_rest(self, like: dict[str, Any] | None) -> dict[str, Any]:
        """Give the state when nothing is left; after a time give it all the same."""
        for _ in range(100):
            state = await self.state()
            over = not state["open"] and not state["batches_open"]
            if over and (like is None or all(state[name] <= like[name] for name in ("tasks", "descriptors"))):
                return state
            await asyncio.sleep(0.1)
        return await self.state()


def compare(before: dict[str, Any], after: dict[str, Any], kinds: Counter[str]) -> list[str]:
    """Say what does not add up."""
    wrong = []

    def equal(what: str, found: Any, wanted: Any) -> None:
        if found != wanted:
            wrong.append(f"{what}: {found}, not {wanted}")

    expected = Counter[str]()
    for kind, outcome in OUTCOME_OF.items():
        expected[outcome] += kinds[kind]
    outcomes = Counter(after["outcomes"])
    outcomes.subtract(before["outcomes"])
    for outcome in outcomes:
        equal(f"outcome {outcome}", outcomes[outcome], expected[outcome])
    opened_now = after["opened"] - before["opened"]
    equal("opened", opened_now, sum(outcomes.values()))
    equal("still open", (after["open"], after["batches_open"], after["refused"]), (0, 0, 0))
    equal("batches", after["batches_opened"] - before["batches_opened"], kinds["batch"])
    equal("batches done", after["batch_outcomes"]["done"] - before["batch_outcomes"]["done"], kinds["batch"])
    equal("sources closed", after["sources_closed"], after["sources_opened"])
    in_all = Counter(after["outcomes"]) + Counter(after["batch_outcomes"])
    equal("on_finish", Counter(after["finished"]), in_all)
    equal("tasks", after["tasks"], before["tasks"])
    equal("descriptors", after["descriptors"], before["descriptors"])
    equal("aborts", after["aborted"] - before["aborted"], kinds["is stuck"] + kinds["fails late, NDJSON"])
    equal("logged", after["logged"], [])
    return wrong


async def watch(server: Server, seconds: float, samples: list[dict[str, Any]]) -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(seconds)
        sample = await ask(server.port, "/state")
        samples.append({"at": time.monotonic() - began, **sample})


async def crowd(server: Server, count: int, minutes: float, total: int, pace: float, seed: int) -> list[str]:
    """Keep so many streams open, for minutes or until so many have begun; give what was wrong."""
    before = await server.at_rest(None)
    clients = Crowd(server.port, seed, pace)
    samples: list[dict[str, Any]] = []
    end = time.monotonic() + minutes * 60

    def go_on() -> bool:
        return clients.begun < total if total else time.monotonic() < end

    began = time.monotonic()
    watching = asyncio.create_task(watch(server, 10, samples))
    slots = []
    for _ in range(count):
        slots.append(asyncio.create_task(clients.keep(go_on)))
        if len(slots) % 50 == 0:
            await asyncio.sleep(0.1 * pace)  # nobody's clients all come in the same moment
    await asyncio.gather(*slots)
    watching.cancel()
    after = await server.at_rest(before)
    took = time.monotonic() - began
    wrong = clients.wrong[:20] + compare(before, after, clients.kinds)

    print(f"{clients.begun} streams in {took:.0f} s, {count} clients at once, seed {seed}")
    for kind in KINDS:
        print(f"  {kind:<20}{clients.kinds[kind]:>8}")
    print("  outcomes            ", {name: n for name, n in after["outcomes"].items() if n})
    print(f"  tasks {before['tasks']} before, {after['tasks']} after; ", end="")
    print(f"descriptors {before['descriptors']} before, {after['descriptors']} after; logged: {len(after['logged'])}")
    if not total:
        wrong += memory(samples, minutes * 60)
    print(f"  resident: {mib(before)} MiB before, {mib(after)} MiB after")
    return wrong


def mib(state: dict[str, Any]) -> str:
    return f"{state['resident_bytes'] / 2**20:.1f}"


def memory(samples: list[dict[str, Any]], seconds: float) -> list[str]:
    """Compare the memory of the quarter after the warm-up with that of the last one."""
    steady = [sample for sample in samples if seconds / 4 <= sample["at"] <= seconds]
    third = len(steady) // 3
    early, late = steady[:third], steady[-third:]
    if not early:
        return ["there are too few samples of the memory"]
    first, last = (statistics.median(sample["resident_bytes"] for sample in part) / 2**20 for part in (early, late))
    still = [sample["open"] for sample in steady]
    print(f"  open streams after the warm-up: {min(still)} to {max(still)}")
    growth = (last / first - 1) * 100
    print(f"  resident: {first:.1f} MiB after the warm-up, {last:.1f} MiB in the end ({growth:+.1f} %)")
    return [] if last <= first * 1.1 else [f"memory grew from {first:.1f} to {last:.1f} MiB"]


async def short(server: Server, count: int) -> list[str]:
    """Have so many short streams, one after another, on connections that are kept for a hundred of them each."""
    before = await server.at_rest(None)
    request = b"GET /ticks?items=3 HTTP/1.1\r\nHost: soak\r\nAccept: text/event-stream\r\n\r\n"
    wrong, began, resident = [], time.monotonic(), []
    done = 0
    while done < count:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(min(100, count - done)):
            writer.write(request)
            reply = await reader.readuntil(b"\r\n0\r\n\r\n")
            if b"event: done\n" not in reply or b'data: {"items":3}' not in reply:
                wrong.append(repr(reply))
            done += 1
        writer.close()
        await writer.wait_closed()
        if done % (count // 10) == 0:
            resident.append((await server.state())["resident_bytes"] / 2**20)
    after = await server.at_rest(before)
    wrong = wrong[:20] + compare(before, after, Counter({"reads all, SSE": count}))
    print(f"{count} short streams one after another in {time.monotonic() - began:.0f} s")
    print(f"  resident at each tenth, MiB: {', '.join(f'{size:.1f}' for size in resident)}")
    print(f"  tasks {before['tasks']} before, {after['tasks']} after; ", end="")
    print(f"descriptors {before['descriptors']} before, {after['descriptors']} after; logged: {len(after['logged'])}")
    if resident[-1] > resident[1] * 1.1:
        wrong.append("memory grew")
    return wrong


def raise_limit(descriptors: int) -> None:
    """Let this process and its children have so many files open, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= descriptors:
        return
    with suppress(ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, max(hard, descriptors)))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(descriptors, hard), hard))


async def soak(options: argparse.Namespace) -> list[str]:
    quick = options.quick
    server = Server(send_timeout=1.0 if quick else 10.0)
    try:
        if quick:
            wrong = await crowd(server, 200, 0, 600, 0.01, options.seed)
            return wrong + await short(server, 500)
        wrong = await crowd(server, options.streams, options.minutes, 0, 1.0, options.seed)
        return wrong + await short(server, options.short)
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="600 streams, 200 at once, then 500 short ones")
    parser.add_argument("--streams", type=int, default=5000, help="streams at once")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--short", type=int, default=50_000, help="short streams one after another, after that")
    parser.add_argument("--seed", type=int, default=8)
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # so that a run of minutes can be watched in a file
    raise_limit(options.streams + 1000)
    wrong = uvloop.run(soak(options))
    for line in wrong:
        print("WRONG:", line)
    print("everything adds up" if not wrong else f"{len(wrong)} things do not add up")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
