"""Clients that leave and come back at random, at several worker processes behind one port, while producers run.

Five clients share each run; whoever comes first begins it. Each reads with a connection that it cuts after some events
or some milliseconds, and goes on at whichever worker the next one reaches, until it has seen the end. Then it must have
exactly the items of its run, which follow from the name of the run, and the batch must be the same. A client that is
told that the store does not answer in time, as on a machine that is busy, comes back; that is counted.

    python benchmarks/chaos.py --engine sqlite --seconds 60 --clients 200
    python benchmarks/chaos.py --engine nats --rounds 2 --clients 20

With `--seconds` clients begin with new runs until the time is over, with `--rounds` each reads so many. The status is 1
if a client did not get what it had to get.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from time import monotonic

import httpx2

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "stores"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from engines import VALKEY, nats, redis_like

from dual_mode_streaming.sse import SSEDecoder
from runs.chaos_work import items_of
from runs.workers import Workers, address

SHARE = 5
"""How many clients read one run."""
HANG = 120.0
"""Seconds after which a client that has not got its run is wrong."""
JSON = {"accept": "application/json"}
BATCHES = 0.2
"""The part of the runs of which a client asks for the batch as well."""


@dataclass
class Tally:
    """What has happened."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    came_back_after: list[float] = field(default_factory=list)


class Client:
    """One client. It reads one run after the other."""

    def __init__(self, number: int, options: argparse.Namespace, http: httpx2.AsyncClient, tally: Tally) -> None:
        self._group = number // SHARE
        self._seed, self._pause = options.seed, options.pause
        self._rng = random.Random(f"{options.seed} client {number}")
        self._http = http
        self._tally = tally

    async def read_all(self, rounds: int | None, end: float) -> None:
        number = 0
        await asyncio.sleep(self._pause * self._rng.random())
        while number < rounds if rounds is not None else monotonic() < end:
            key = f"{self._seed}-{self._group}-{number}"
            number += 1
            try:
                async with asyncio.timeout(HANG):
                    await self._read(key)
            except TimeoutError:
                self._tally.wrong.append(f"{key}: no end within {HANG:g} s")
            self._tally.counts["runs read"] += 1

    async def _read(self, key: str) -> None:
        items: list[object] = []
        ids: list[str] = []
        expected = items_of(key)
        while True:
            end = await self._connect(key, items, ids)
            if end is not None:
                break
            await asyncio.sleep(self._pause * self._rng.choice([0.0, 0.01, 0.1, 1.0]) * self._rng.random())
        name, data, last_id = end
        epoch = last_id.partition("-")[0]
        if name != "done":
            self._tally.wrong.append(f"{key}: ended with {name} {data}")
        elif items != expected:
            self._tally.wrong.append(f"{key}: {len(items)} items of {len(expected)}, or others than these")
        elif [*ids, last_id] != [f"{epoch}-{seq}" for seq in range(1, len(expected) + 2)]:
            self._tally.wrong.append(f"{key}: the ids are not those of one run")
        elif self._rng.random() < BATCHES:
            while (batch := await self._http.get(f"/jobs/{key}", headers=JSON)).status_code == 503:
                await self._told_to_wait(float(batch.headers["retry-after"]))
            self._tally.counts["batches"] += 1
            if batch.status_code != 200 or batch.json() != {"data": expected}:
                self._tally.wrong.append(f"{key}: the batch is {batch.status_code} {batch.text[:200]}")

    async def _connect(self, key: str, items: list[object], ids: list[str]) -> tuple[str, str, str] | None:
        """Read with one connection; give the last event if it came."""
        tally, rng = self._tally, self._rng
        left = rng.randrange(1, 150)
        patience = rng.uniform(0.0, 1.0) if rng.random() < 0.3 else None
        headers = {"accept": "text/event-stream", **({"last-event-id": ids[-1]} if ids else {})}
        tally.counts["connections"] += 1
        asked = monotonic()
        try:
            async with asyncio.timeout(patience), self._http.stream("GET", f"/jobs/{key}", headers=headers) as answer:
                if answer.status_code != 200:
                    body = (await answer.aread()).decode()
                    if answer.status_code == 503 and "retry-after" in answer.headers:
                        return await self._told_to_wait(float(answer.headers["retry-after"]))
                    return (f"status {answer.status_code}", body, "")
                if ids:
                    tally.counts["resumes"] += 1
                decoder, first = SSEDecoder(), True
                async for piece in answer.aiter_bytes():
                    for event in decoder.feed(piece):
                        if first and ids:
                            tally.came_back_after.append(monotonic() - asked)
                        first = False
                        if event.event == "error" and '"code":"store_unavailable"' in (event.raw or ""):
                            return await self._told_to_wait(1.0)
                        if event.event in ("done", "error"):
                            return event.event, event.raw or "", event.id or ""
                        items.append(json.loads(event.raw or ""))
                        ids.append(event.id or "")
                        tally.counts["items"] += 1
                        left -= 1
                        if not left:
                            tally.counts["cut after some events"] += 1
                            return None
        except TimeoutError:
            tally.counts["cut after some time"] += 1
            return None
        tally.counts["ended without a last event"] += 1
        return None

    async def _told_to_wait(self, seconds: float) -> None:
        """Do as a client does that is told that the store does not answer in time: come back later."""
        self._tally.counts["told to come back later"] += 1
        await asyncio.sleep(seconds)


@contextmanager
def store(engine: str, folder: Path) -> Iterator[str]:
    """Start an engine; give what the workers are told of it."""
    if engine == "sqlite":
        yield f"sqlite={folder / 'runs.db'}"
        return
    server = redis_like(VALKEY, folder, "--appendonly", "yes") if engine == "valkey" else nats(folder)
    scheme = {"valkey": "redis", "nats": "nats"}[engine]
    try:
        yield f"{engine}={scheme}://{server.address}"
    finally:
        server.stop()


async def read(url: str, options: argparse.Namespace) -> Tally:
    tally = Tally()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx2.AsyncClient(base_url=url, timeout=HANG, limits=limits, verify=False) as http:
        clients = [Client(number, options, http, tally) for number in range(options.clients)]
        end = monotonic() + options.seconds
        await asyncio.gather(*(client.read_all(options.rounds, end) for client in clients))
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["sqlite", "valkey", "nats"], default="sqlite")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=None, help="so many runs for each client, however long it takes")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--pause", type=float, default=5.0, help="seconds that a client stays away at the most")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", default="chaos")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        store(options.engine, Path(name)) as place,
        Workers("runs.chaos_app:app", CHAOS_STORE=place) as workers,
    ):
        listener = workers.listen()
        for _ in range(options.workers):
            workers.start(listener)
        began = monotonic()
        tally = asyncio.run(read(address(listener), options))
        took = monotonic() - began
        died = sum(process.poll() is not None for process in workers.processes)
    print(f"{options.engine}: {options.clients} clients, {options.workers} workers, {took:.0f} s, seed {options.seed}")
    for what, count in sorted(tally.counts.items()):
        print(f"  {what}: {count}")
    if times := sorted(tally.came_back_after):
        half, most = (1000 * times[int(len(times) * part)] for part in (0.5, 0.99))
        print(f"  from coming back to the next item: half within {half:.0f} ms, 99 % within {most:.0f} ms")
    own, others = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)
    spent = [usage.ru_utime + usage.ru_stime for usage in (own, others)]
    print(f"  CPU time: {spent[0]:.0f} s for the clients, {spent[1]:.0f} s for the workers and the engine")
    for wrong in tally.wrong[:20]:
        print(f"  WRONG {wrong}")
    print(f"  wrong: {len(tally.wrong)}, workers that died: {died}")
    return 1 if tally.wrong or died or not tally.counts["runs read"] else 0


if __name__ == "__main__":
    sys.exit(main())
