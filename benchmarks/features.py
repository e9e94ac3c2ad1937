"""What each feature of a stream costs the server: for one event, and for one response.

For an event: a source that never waits, one connection. For a response: two events with a wait between them, fifty
connections at a time; the watch and the timers begin with that wait. Every variant runs on a server of its own, and
what a feature adds is the difference to "every default" within one round (see emission.py for how it is measured).
At last the same short response from other libraries.

    python benchmarks/features.py [--quick]
"""

from __future__ import annotations

import argparse

import _ours
from _readers import drain
from _rounds import Rounds, Servers, shown, spread
from _serving import CONSOLE, Server, print_versions
from _sources import MARK
from rich.table import Table

BASE = "every default"
WAVES = 6
"""How often fifty connections come in a round."""


BY_HAND = "Starlette StreamingResponse by hand"
RESPONSES = {
    BY_HAND: "starlette_by_hand",
    "ours: @dual_mode": "ours",
    "ours: FastAPI, @dual_mode": "ours_fastapi",
    "FastAPI StreamingResponse by hand": "fastapi_by_hand",
    "FastAPI native": "fastapi_native",
    "sse-starlette": "with_sse_starlette",
    "Litestar": "with_litestar",
    "aiohttp-sse": "with_aiohttp",
    "bare ASGI": "raw",
}


def cost_of_response(server: Server, warms_up: bool) -> float:
    """Give the server's CPU time for one response of two events, in microseconds."""
    waves = 1 if warms_up else WAVES
    before = server.cpu_seconds()
    for _ in range(waves):
        assert drain(server.port, "/short?n=2", 50, MARK).events == 100
    return (server.cpu_seconds() - before) / (waves * 50) * 1e6


def compare_responses(rounds: int) -> None:
    with Servers() as servers:
        found = Rounds(RESPONSES)
        found.run(rounds, lambda name, warms_up: cost_of_response(servers[RESPONSES[name]], warms_up))
    table = Table("variant", "CPU per response, µs", f"to {BY_HAND}", title="two events, with a wait in between")
    for name in RESPONSES:
        table.add_row(name, f"{found.median(name):.0f}", shown(found.ratio(name, BY_HAND)))
    CONSOLE.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    quick = parser.parse_args().quick
    rounds, each = (3, 50_000) if quick else (9, 200_000)
    print_versions("starlette", "uvicorn", "uvloop", "orjson", "pydantic", "dual-mode-streaming")
    names = [*_ours.FEATURES, _ours.NO_WATCH]
    servers = {name: Server("_ours", "with_feature", name) for name in names}

    def per_event(name: str, warms_up: bool) -> float:
        wanted = each // 10 if warms_up else each
        before = servers[name].cpu_seconds()
        received = drain(servers[name].port, f"/ready?n={wanted}", 1, MARK)
        assert received.events == wanted, f"{name} lost events: {received}"
        return (servers[name].cpu_seconds() - before) / wanted * 1e6

    def per_response(name: str, warms_up: bool) -> float:
        return cost_of_response(servers[name], warms_up)

    try:
        found = {}
        for kind, measure in {"event": per_event, "response": per_response}.items():
            found[kind] = Rounds(names)
            found[kind].run(rounds, measure)
    finally:
        for server in servers.values():
            server.stop()
    table = Table("variant", "added per event, µs", "added per response, µs")
    for name in names:
        added = [
            shown(spread(a - b for a, b in zip(kind.values[name], kind.values[BASE], strict=True)), digits)
            for kind, digits in ((found["event"], 3), (found["response"], 0))
        ]
        if name == BASE:
            added = [f"{found['event'].median(BASE):.2f} in all", f"{found['response'].median(BASE):.0f} in all"]
        table.add_row(name, *added)
    CONSOLE.print(table)
    compare_responses(rounds)


if __name__ == "__main__":
    main()
