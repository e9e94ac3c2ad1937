"""What one event costs the server: ours, other libraries, bare ASGI, and the work that nobody can avoid.

Each variant is an application of its own on its own server (uvicorn with uvloop and httptools; aiohttp on its own
server with uvloop), pinned to one core; the client is pinned to another. It counts the events that it receives, and a
variant that loses one fails. In every round every variant has its turn once, in the same order. What counts is the CPU
time of the server's process for one event, accepting the connections included, and the ratio of two variants within
one round: machines are shared, and a ratio is disturbed less than a time.

The floor is measured in a server's process like the others: drain the same source, encode with orjson, join.

Ours run with every default on: heartbeat, watch for the disconnect, send timeout, size bound, terminal event.

    python benchmarks/emission.py [--quick] [--chart DIRECTORY]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _readers import drain
from _rounds import Goals, Rounds, Servers, shown
from _serving import CONSOLE, Server, print_versions
from _sources import MARK
from rich.table import Table

PACKAGES = "starlette fastapi uvicorn uvloop httptools orjson pydantic sse-starlette litestar aiohttp aiohttp-sse"

# Name -> the function of _ours.py or _peers.py that makes the application, and how many thousands of events it gives in
# a round: about what takes it half a second to two.
OURS = "ours: @dual_mode"
JSON_OURS = "ours: json.dumps by the author, orjson.Fragment"
FLOOR = "the floor: drain, orjson, join"
SSE_STARLETTE, NATIVE = "sse-starlette", "FastAPI native"
RAW = "bare ASGI, a send per event, orjson"
VARIANTS: dict[str, tuple[str, int]] = {
    NATIVE: ("fastapi_native", 20),
    "FastAPI native, typed items": ("fastapi_typed", 20),
    SSE_STARLETTE: ("with_sse_starlette", 50),
    "aiohttp-sse": ("with_aiohttp", 50),
    "Litestar": ("with_litestar", 80),
    "FastAPI StreamingResponse by hand": ("fastapi_by_hand", 80),
    "bare ASGI, a send per event, json.dumps": ("raw_json_dumps", 80),
    RAW: ("raw", 160),
    "ours: json.dumps by the author, raw events": ("ours_json_dumps", 160),
    JSON_OURS: ("ours_fragment", 160),
    "ours: NDJSON": ("ours_ndjson", 400),
    "ours: FastAPI, DualModeResponse": ("ours_fastapi_returned", 400),
    "ours: FastAPI, @dual_mode": ("ours_fastapi", 400),
    "ours: DualModeResponse": ("ours_returned", 400),
    OURS: ("ours", 400),
    FLOOR: ("floor", 400),
    "bare ASGI, bodies of 64 KiB, prebuilt": ("prebuilt", 4000),
}
NOT_DRAWN = {
    "ours: json.dumps by the author, raw events",
    "ours: FastAPI, DualModeResponse",
    "ours: DualModeResponse",
    "bare ASGI, bodies of 64 KiB, prebuilt",
}
LINGERS = "ours: linger=0.0005"
TURNS: dict[str, tuple[str, int]] = {
    NATIVE: ("fastapi_native", 20),
    SSE_STARLETTE: ("with_sse_starlette", 50),
    "aiohttp-sse": ("with_aiohttp", 50),
    "Litestar": ("with_litestar", 80),
    "FastAPI StreamingResponse by hand": ("fastapi_by_hand", 80),
    RAW: ("raw", 120),
    OURS: ("ours", 120),
    LINGERS: ("ours_linger", 300),
}
SOURCES = {"ready": "never waits", "turns": "does sleep(0) after each item", "short": "waits once"}


def cost(server: Server, factory: str, shape: str, each: int, connections: int) -> tuple[float, float]:
    """Give the server's CPU time for one event, in microseconds, and the bytes for one on the wire."""
    before = server.cpu_seconds()
    if factory == "floor":
        received = drain(server.port, f"/{shape}?n={each * connections}", 1, MARK)
    else:
        received = drain(server.port, f"/{shape}?n={each}", connections, MARK)
        assert received.events == each * connections, f"{factory} lost events: {received}"
    events = each * connections
    return (server.cpu_seconds() - before) / events * 1e6, received.size / events


def compare(
    servers: Servers, variants: dict[str, tuple[str, int]], shape: str, connections: int, rounds: int, share: float
) -> Rounds:
    """Measure all variants with one shape of source, print the table."""
    sizes: dict[str, float] = {}

    def measure(name: str, warms_up: bool) -> float:
        factory, thousands = variants[name]
        # Of a thousand connections each gets a hundred events from all, as setting it up is a good part of the cost.
        each = 100 if connections == 1000 else max(1, int(thousands * 1000 * share / connections))
        each = max(1, each // 10) if warms_up else each
        spent, sizes[name] = cost(servers[factory], factory, shape, each, connections)
        return spent

    found = Rounds(variants)
    found.run(rounds, measure)
    table = Table(
        "variant",
        "CPU per event, µs",
        "to ours",
        "bytes per event",
        title=f"{SOURCES[shape]}, {connections} connections",
    )
    for name in variants:
        size = "" if name == FLOOR else f"{sizes[name]:.0f}"
        table.add_row(name, f"{found.median(name):.2f}", shown(found.ratio(name, OURS)), size)
    CONSOLE.print(table)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, no thousand connections")
    parser.add_argument("--chart", type=Path, help="write charts into this directory")
    chosen = parser.parse_args()
    rounds, share = (3, 0.25) if chosen.quick else (5, 0.6)
    print_versions(*PACKAGES.split(), "dual-mode-streaming")
    goals = Goals()
    with Servers() as servers:
        for connections in (1, 64) if chosen.quick else (1, 64, 1000):
            some = {n: v for n, v in VARIANTS.items() if connections < 1000 or n != "FastAPI native, typed items"}
            found = compare(servers, some, "ready", connections, 3 if connections == 1000 else rounds, share)
            where = f"{connections} connections"
            goals.at_least(f"sse-starlette to ours, {where}", 15, found.ratio(SSE_STARLETTE, OURS))
            goals.at_least(f"FastAPI native to ours, {where}", 60, found.ratio(NATIVE, OURS))
            goals.at_least(
                f"sse-starlette to ours, json.dumps for both, {where}", 4, found.ratio(SSE_STARLETTE, JSON_OURS)
            )
            goals.at_least(f"FastAPI native to ours, json.dumps for both, {where}", 18, found.ratio(NATIVE, JSON_OURS))
            if connections < 1000:
                goals.at_most(f"ours to the floor, {where}", 2, found.ratio(OURS, FLOOR))
                goals.at_most(f"ours as NDJSON to the floor, {where}", 2, found.ratio("ours: NDJSON", FLOOR))
            if connections == 1:
                first = found
        for connections in (1, 64):
            found = compare(servers, TURNS, "turns", connections, rounds, share)
            where = f"sleep(0), {connections} connections"
            goals.at_least(f"a send per event to ours with linger, {where}", 2, found.ratio(RAW, LINGERS))
    goals.print()
    if chosen.chart:
        from _charts import bars

        drawn = [name for name in first.values if name not in NOT_DRAWN]
        bars(
            chosen.chart / "emission.svg",
            {name: first.median(name) for name in drawn},
            "CPU of the server per event, µs",
        )


if __name__ == "__main__":
    main()
