"""What one chunk of a chat costs the server, from the model's event to the socket; and what its fold costs.

Ours is `llm_router`, with every default on. The others are what servers of language models have: an async generator of
text in a `StreamingResponse`, with a dict and `json.dumps` for each chunk, or a Pydantic model and `model_dump_json`.
Each is an application of its own on its own uvicorn, pinned to one core; the client is pinned to another. All are given
the same events by the same model. In every round every variant has its turn once, and a ratio is taken within a round.

    python benchmarks/llm.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import time

from _readers import drain
from _rounds import Goals, Rounds, shown, spread
from _serving import CONSOLE, Server, print_versions
from rich.table import Table

from dual_mode_streaming.llm import Finish, Text, Usage
from dual_mode_streaming.llm.fold import fold_all

PACKAGES = "starlette fastapi uvicorn uvloop httptools orjson pydantic dual-mode-streaming"
OURS, LINGERS, BY_HAND, TYPED = (
    "ours: llm_router",
    "ours: linger=0.0005",
    "StreamingResponse, json.dumps",
    "StreamingResponse, Pydantic",
)
# Name -> the function of _llm.py that makes the application, and how many thousands of chunks it gives in a round.
VARIANTS = {BY_HAND: ("by_hand", 40), TYPED: ("by_hand_typed", 40), OURS: ("ours", 400), LINGERS: ("ours_linger", 400)}
SHAPES = {"ready": "a model that never waits", "turns": "a model that does sleep(0) after each token"}
CONNECTIONS = 64
DELTAS = 100_000
MARK = ord("[")
"""A byte that every chunk has once."""


def request(tokens: int) -> bytes:
    body = {
        "model": "toy",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "max_tokens": tokens,
    }
    content = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + content


def compare(shape: str, rounds: int, share: float, goals: Goals) -> None:
    servers = {name: Server("_llm", factory, shape) for name, (factory, _) in VARIANTS.items()}
    sizes: dict[str, float] = {}

    def measure(name: str, warms_up: bool) -> float:
        each = int(VARIANTS[name][1] * 1000 * share / CONNECTIONS / (10 if warms_up else 1))
        server = servers[name]
        before = server.cpu_seconds()
        received = drain(server.port, "", CONNECTIONS, MARK, request(each))
        spent = server.cpu_seconds() - before
        assert received.events >= (each + 1) * CONNECTIONS, f"{name} lost chunks: {received}"
        sizes[name] = received.size / each / CONNECTIONS
        return spent / each / CONNECTIONS * 1e6

    found = Rounds(VARIANTS)
    try:
        found.run(rounds, measure)
    finally:
        for server in servers.values():
            server.stop()
    title = f"{SHAPES[shape]}, {CONNECTIONS} connections"
    table = Table("variant", "CPU per chunk, µs", "to ours", "bytes per chunk", title=title)
    for name in VARIANTS:
        table.add_row(name, f"{found.median(name):.2f}", shown(found.ratio(name, OURS)), f"{sizes[name]:.0f}")
    CONSOLE.print(table)
    if shape == "ready":
        goals.at_least(f"{BY_HAND} to ours, {title}", 5, found.ratio(BY_HAND, OURS))


def fold(rounds: int, goals: Goals) -> None:
    """Fold many pieces, and a tenth of them, which has to take a tenth of the time."""

    def seconds(deltas: int) -> float:
        events = [Text(" token")] * deltas + [Finish(), Usage(5, deltas)]
        began = time.process_time()
        assert len(fold_all(events).first.text) == 6 * deltas
        return time.process_time() - began

    seconds(DELTAS)
    pairs = [(seconds(DELTAS), seconds(DELTAS // 10)) for _ in range(rounds)]
    goals.at_most(f"fold of {DELTAS:,} pieces, ms", 100, spread(1000 * whole for whole, _ in pairs))
    goals.at_most("the same, for each piece, to a tenth of them", 1.5, spread(a / b / 10 for a, b in pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    chosen = parser.parse_args()
    rounds, share = (3, 0.25) if chosen.quick else (5, 0.6)
    print_versions(*PACKAGES.split())
    goals = Goals()
    for shape in SHAPES:
        compare(shape, rounds, share, goals)
    fold(2 * rounds, goals)
    goals.print()


if __name__ == "__main__":
    main()
