"""How long an event is under way, and what a source that never waits does to everybody else.

Slow source: an event every 5 ms, with the time in it at which it was made; the client looks at the same clock when it
has read it. Time to the first item: from sending the request. Linger: bursts of 300 events with `sleep(0)` in between.

A source that never waits, and a client that reads it as fast as it can, or not at all: how long another request takes
meanwhile, and how long after the disconnect the source is closed. A server that does not answer in time is counted as
hung, killed and started anew.

The server is pinned to one core, the client to another. Every variant has its turn in every round; ratios are taken
within a round.

    python benchmarks/latency.py [--quick]
"""

from __future__ import annotations

import argparse
import re
import select
import socket
import statistics
import time

from _readers import ask, connect, request
from _rounds import Goals, Rounds, Servers, shown, spread
from _serving import CONSOLE, print_versions
from rich.table import Table

RAW, OURS = "bare ASGI, a send per event", "ours: @dual_mode"
VARIANTS = {
    RAW: "raw",
    OURS: "ours",
    "ours: FastAPI, @dual_mode": "ours_fastapi",
    "Starlette StreamingResponse by hand": "starlette_by_hand",
    "FastAPI StreamingResponse by hand": "fastapi_by_hand",
    "FastAPI native": "fastapi_native",
    "sse-starlette": "with_sse_starlette",
    "Litestar": "with_litestar",
    "aiohttp-sse": "with_aiohttp",
}
MADE_AT = re.compile(rb'"at": ?(\d+)')
PATIENCE = 1.0
"""Seconds after which a server that does not answer, or a source that is not closed, counts as hung."""
LINGER = 0.0005


def delays(port: int, path: str) -> list[float]:
    """Read a stream to its end; give how old each event was when it was read, in microseconds."""
    found = []
    with connect(port) as opened:
        opened.sendall(request(path))
        while piece := opened.recv(65_536):
            now = time.monotonic_ns()
            found += [(now - int(made)) / 1000 for made in MADE_AT.findall(piece)]
    return found


def first_item(port: int) -> float:
    """Give the time from a request to its first event, in microseconds."""
    with connect(port) as opened:
        began = time.monotonic_ns()
        opened.sendall(request("/slow?n=1"))
        answer = b""
        while not MADE_AT.search(answer):
            answer += opened.recv(65_536)
        took = (time.monotonic_ns() - began) / 1000
        while opened.recv(65_536):
            pass
    return took


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def slow_sources(servers: Servers, rounds: int, events: int, goals: Goals) -> None:
    kinds = {name: Rounds(VARIANTS) for name in ("p50", "p99", "first")}

    def measure(name: str, warms_up: bool) -> float:
        port = servers[VARIANTS[name]].port
        found = delays(port, f"/slow?n={events // 10 if warms_up else events}")
        firsts = [first_item(port) for _ in range(3 if warms_up else 20)]
        if not warms_up:
            assert len(found) == events, f"{name} lost events"
            kinds["p99"].values[name].append(percentile(found, 0.99))
            kinds["first"].values[name].append(statistics.median(firsts))
        return percentile(found, 0.5)

    kinds["p50"].run(rounds, measure)
    table = Table("variant", "p50, µs", "to bare ASGI", "p99, µs", "to bare ASGI", "first item, µs", "to bare ASGI")
    table.title = "an event every 5 ms"
    for name in VARIANTS:
        cells = [(f"{kind.median(name):.0f}", shown(kind.ratio(name, RAW))) for kind in kinds.values()]
        table.add_row(name, *(cell for pair in cells for cell in pair))
    CONSOLE.print(table)
    goals.at_most("p50 of a slow source to bare ASGI", 1.1, kinds["p50"].ratio(OURS, RAW))
    goals.at_most("time to the first item, to bare ASGI", 1.0, kinds["first"].ratio(OURS, RAW))
    by_hand = "Starlette StreamingResponse by hand"
    goals.at_most("the same, to a StreamingResponse in the same framework", 1.0, kinds["first"].ratio(OURS, by_hand))
    goals.at_most("p50, to a StreamingResponse in the same framework", 1.0, kinds["p50"].ratio(OURS, by_hand))


def linger(servers: Servers, rounds: int, goals: Goals) -> None:
    variants = {"linger=0": "ours", f"linger={LINGER}": "ours_linger"}
    kinds = {name: Rounds(variants) for name in ("p50", "p90", "p99")}

    def measure(name: str, warms_up: bool) -> float:
        found = delays(servers[variants[name]].port, "/bursts?n=6000")
        if not warms_up:
            kinds["p90"].values[name].append(percentile(found, 0.9))
            kinds["p99"].values[name].append(percentile(found, 0.99))
        return percentile(found, 0.5)

    kinds["p50"].run(rounds, measure)
    table = Table(
        "variant", *(f"{kind}, µs" for kind in kinds), title="bursts of 300 with sleep(0), then 5 ms of silence"
    )
    for name in variants:
        table.add_row(name, *(f"{kind.median(name):.0f}" for kind in kinds.values()))
    CONSOLE.print(table)
    for kind in ("p50", "p90"):
        plain, lingers = kinds[kind].values.values()
        added = spread((b - a) / 1000 for a, b in zip(plain, lingers, strict=True))
        goals.at_most(f"delay added by linger={LINGER}, {kind}, ms", LINGER * 1000, added)


# --- sources that never wait -----------------------------------------------------------------------------------


class Hung(Exception):
    """The server does not answer any more."""


def other_request(port: int, streams: list[socket.socket]) -> float:
    """Give how long another request takes while the streams are being read, in milliseconds."""
    with connect(port) as opened:
        began = time.monotonic()
        opened.sendall(request("/ping", "*/*"))
        buffer = bytearray(1 << 18)
        while time.monotonic() < began + PATIENCE:
            for ready in select.select([opened, *streams], [], [], 0.1)[0]:
                if ready is opened:
                    return (time.monotonic() - began) * 1000
                ready.recv_into(buffer)
    raise Hung


def time_to_close(port: int, stream: socket.socket, number: int) -> float | None:
    """Leave, and give how long after that the source was closed, in milliseconds; None if it was not in time."""
    left = time.monotonic_ns()
    stream.close()
    while time.monotonic_ns() < left + PATIENCE * 1e9:
        try:
            when = int(ask(port, f"/closed?n={number}", PATIENCE))
        except OSError:
            raise Hung from None
        if when:
            return (when - left) / 1e6
        time.sleep(0.002)
    return None


def never_waiting(servers: Servers, rounds: int, goals: Goals) -> None:
    variants = {name: factory for name, factory in VARIANTS.items() if factory != "raw"}
    table = Table(
        "variant", "other request, ms", "closed after, reader fast, ms", "closed after, reader stalled, ms", "hung",
        title=f"sources that never wait: median \\[min..max]; not in time is over {PATIENCE:g} s",
    )  # fmt: skip
    number = 0
    for name, factory in variants.items():
        others, closes, hung, late = [], {"fast": [], "stalled": []}, 0, 0
        for _ in range(rounds):
            for reader, found in closes.items():
                number += 1
                port = servers[factory].port
                stream = connect(port)
                stream.sendall(request(f"/endless?n={number}"))
                try:
                    if reader == "fast":
                        others += [other_request(port, [stream]) for _ in range(20)]
                    else:
                        time.sleep(0.3)
                        other_request(port, [])
                    took = time_to_close(port, stream, number)
                    late += took is None
                    found += [] if took is None else [took]
                except Hung:
                    hung += 1
                    stream.close()
                    servers.replace(factory)
        cells = [shown(spread(values), 1) if values else "never" for values in (others, *closes.values())]
        tries = 2 * rounds
        table.add_row(name, *cells, f"{hung} of {tries}" + (f", {late} closed too late" if late else ""))
        if name == OURS:
            goals.at_most("other requests beside a source that never waits, ms", 10, spread(others))
            goals.at_most("closed after a disconnect, reader fast, ms", 5, spread(closes["fast"]))
            goals.at_most("servers hung", 0, (hung, hung, hung))
    CONSOLE.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    quick = parser.parse_args().quick
    print_versions(
        "starlette", "fastapi", "uvicorn", "uvloop", "sse-starlette", "litestar", "aiohttp-sse", "dual-mode-streaming"
    )
    goals = Goals()
    with Servers() as servers:
        slow_sources(servers, 3 if quick else 9, 60 if quick else 150, goals)
        linger(servers, 3 if quick else 9, goals)
        never_waiting(servers, 1 if quick else 3, goals)
    goals.print()


if __name__ == "__main__":
    main()
