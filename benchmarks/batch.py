"""What a dual-mode endpoint costs in batch mode, against the same endpoint written by hand in the same framework.

Each variant is an application of its own on its own uvicorn (one worker, uvloop, httptools, no access log), pinned to
one core; the client (wrk, where it is installed) is pinned to another. In every round every variant answers requests
for a while, one variant after the other, in the same order. What counts is the CPU time that the server's process used
for one request, and the ratio of two variants within one round: machines are shared, and a ratio is disturbed less
than a time.

    python benchmarks/batch.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import AsyncIterator

import orjson
from _serving import Server, print_versions, report
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dual_mode_streaming import DualModeResponse, dual_mode

ITEMS = 20
CONNECTIONS = 64


async def rows() -> AsyncIterator[dict]:
    for index in range(ITEMS):
        yield {"id": index, "name": f"row {index}", "score": index * 1.5, "tags": ["a", "b"], "ok": True}


async def waiting_rows() -> AsyncIterator[dict]:
    await asyncio.sleep(0.001)
    async for row in rows():
        yield row


def by_hand(source):
    async def endpoint(request: Request) -> Response:
        items = [item async for item in source()]
        return Response(orjson.dumps({"data": items}), media_type="application/json")

    return endpoint


def returned(source):
    async def endpoint(request: Request) -> DualModeResponse:
        return DualModeResponse(source())

    return endpoint


def decorated(source):
    """The usual form: the endpoint is the source. By hand it would be a loop in the endpoint."""
    if source is rows:

        @dual_mode
        async def endpoint(request: Request) -> AsyncIterator[dict]:
            for index in range(ITEMS):
                yield {"id": index, "name": f"row {index}", "score": index * 1.5, "tags": ["a", "b"], "ok": True}
    else:

        @dual_mode
        async def endpoint(request: Request) -> AsyncIterator[dict]:
            await asyncio.sleep(0.001)
            for index in range(ITEMS):
                yield {"id": index, "name": f"row {index}", "score": index * 1.5, "tags": ["a", "b"], "ok": True}

    return endpoint


VARIANTS = {"by hand": by_hand, "returned": returned, "@dual_mode": decorated}
SOURCES = {"ready": rows, "waits once": waiting_rows}


def application(framework: str, variant: str, source: str):
    """Give the application of one variant; the server's process calls this."""
    endpoint = VARIANTS[variant](SOURCES[source])
    if framework == "Starlette":
        return Starlette(routes=[Route("/rows", endpoint)])
    app = FastAPI(openapi_url=None)
    app.get("/rows")(endpoint)
    return app


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    quick = parser.parse_args().quick
    rounds, requests = (3, 4000) if quick else (7, 8000)
    print_versions("starlette", "fastapi", "uvicorn", "uvloop", "httptools", "orjson", "dual-mode-streaming")
    for source in SOURCES:
        for framework in ("Starlette", "FastAPI"):
            servers = {name: Server("batch", "application", framework, name, source) for name in VARIANTS}
            try:
                bodies = {await server.get("/rows") for server in servers.values()}
                assert len(bodies) == 1, "the variants must give the same answer"
                costs: dict[str, list[float]] = {name: [] for name in servers}
                for number in range(rounds + 1):
                    for name, server in servers.items():
                        cost = await server.cpu_per_request("/rows", requests if number else 200, CONNECTIONS)
                        if number:
                            costs[name].append(cost)
            finally:
                for server in servers.values():
                    server.stop()
            report(
                f"{framework}, {ITEMS} items, source {source}",
                {
                    name: (statistics.median(values), [a / b for a, b in zip(values, costs["by hand"], strict=True)])
                    for name, values in costs.items()
                },
            )


if __name__ == "__main__":
    asyncio.run(main())
