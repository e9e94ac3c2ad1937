"""What observers cost where features.py cannot see it: for an item of a batch, and for one look at many open streams.

Both in this process, without a server. A batch of many items, with and without observers, in turns. And the time in
which Prometheus' text is made while so many streams are open; for so long the event loop does nothing else.

    python benchmarks/observing.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
from time import process_time

from _rounds import shown, spread
from _serving import CONSOLE, print_versions
from prometheus_client import generate_latest
from rich.table import Table

from dual_mode_streaming import DualModeResponse, Streams
from dual_mode_streaming.observers import Observer
from dual_mode_streaming.telemetry import PrometheusMetrics

REGISTRIES = {"no observer": [], "an Observer": [Observer()], "PrometheusMetrics": [PrometheusMetrics()]}


async def batch(streams: Streams, items: int) -> float:
    """Give the seconds of the processor that a batch takes."""

    async def source():
        for number in range(items):
            yield number

    async def receive():
        await asyncio.sleep(3600)

    async def send(message):
        pass

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    began = process_time()
    await DualModeResponse(source(), streams=streams, batch_max_items=None, max_item_bytes=None)(scope, receive, send)
    return process_time() - began


def compare_batches(rounds: int, items: int) -> None:
    found = {name: [] for name in REGISTRIES}
    for _ in range(rounds):
        for name, observers in REGISTRIES.items():
            found[name].append(asyncio.run(batch(Streams(observers=observers), items)) / items * 1e9)
    table = Table("observers", "ns per item", "added")
    base = found["no observer"]
    for name, values in found.items():
        added = shown(spread(a - b for a, b in zip(values, base, strict=True)), 0)
        table.add_row(name, f"{sorted(values)[rounds // 2]:.0f}", added)
    CONSOLE.print(table)


def look_at_many(counts: list[int]) -> None:
    table = Table("open streams", "ms for Prometheus' text")
    for count in counts:
        metrics = PrometheusMetrics()
        streams = Streams(observers=[metrics])
        entries = [streams.admit({"headers": []}) for _ in range(count)]
        times = []
        for _ in range(9):
            began = process_time()
            generate_latest(metrics.registry)
            times.append((process_time() - began) * 1e3)
        table.add_row(f"{count:,}", shown(spread(times), 1))
        for entry in entries:
            entry.leave()
    CONSOLE.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    quick = parser.parse_args().quick
    print_versions("starlette", "prometheus-client", "dual-mode-streaming")
    compare_batches(3 if quick else 9, 50_000 if quick else 200_000)
    look_at_many([100, 1000] if quick else [100, 1000, 10_000])


if __name__ == "__main__":
    main()
