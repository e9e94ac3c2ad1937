"""What observers cost where features.py cannot see it: alone, for an item of a batch, for a look at many open streams.

All of it in this process, without a server, and in time of the processor. What an observer is told of one response,
over and over. A batch of many items, with and without observers, in turns. And Prometheus' text while so many streams
are open; for so long the event loop does nothing else.

    python benchmarks/observing.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
from time import process_time

from _ours import observer
from _rounds import shown, spread
from _serving import CONSOLE, print_versions
from prometheus_client import generate_latest
from rich.table import Table
from starlette.routing import Route

from dual_mode_streaming import DualModeResponse, Outcome, Streams
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


def of_response(name: str, observers: list[Observer], times: int) -> float:
    """Give the microseconds in which a registry admits a response, tells of it, and lets it go."""
    scope = {
        "type": "http",
        "method": "GET",
        "headers": [(b"accept", b"text/event-stream")],
        "route": Route(name, print),
    }
    streams = Streams(observers=observers)
    began = process_time()
    for _ in range(times):
        with streams.admit(dict(scope)) as entry:
            if entry.observed is not None:
                entry.observed.has_first_item()
                entry.observed.sends(b"data: 1\n\n")
            entry.ended(Outcome.DONE, 1)
    return (process_time() - began) / times * 1e6


def compare_observers(rounds: int, times: int) -> None:
    kinds = {
        "no observer": [],
        "an Observer that does nothing": [Observer()],
        **{kind: [observer(kind)] for kind in ("PrometheusMetrics", "OpenTelemetryMetrics", "Tracing", "AccessLog")},
    }
    found = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, observers in kinds.items():
            found[name].append(of_response("/jobs/{job}", observers, times))
    table = Table("observers", "µs per response")
    for name, values in found.items():
        table.add_row(name, shown(spread(values), 1))
    CONSOLE.print(table)


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
    compare_observers(3 if quick else 9, 2000 if quick else 10_000)
    compare_batches(3 if quick else 9, 50_000 if quick else 200_000)
    look_at_many([100, 1000] if quick else [100, 1000, 10_000])


if __name__ == "__main__":
    main()
