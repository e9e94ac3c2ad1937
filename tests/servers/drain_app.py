"""One application whose responses do not end by themselves, for the tests of going down.

After its shutdown each process writes what it has counted to a file of its own, in the folder `DRAIN_REPORTS`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from dual_mode_streaming import Outcome, Streams, dual_mode

streams = Streams(grace=float(os.environ.get("DRAIN_GRACE", "1")))
closed = Counter[str]()
finished = Counter[str]()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with streams.lifespan(app):
        yield
    counts = {name.value: count for name, count in streams.outcomes.items() if count}
    batches = {name.value: count for name, count in streams.batches.outcomes.items() if count}
    seen = {"streams": counts, "batches": batches, "open": streams.open, "closed": closed, "finished": finished}
    Path(os.environ["DRAIN_REPORTS"], f"{os.getpid()}.json").write_text(json.dumps(seen))


app = FastAPI(lifespan=lifespan)


@app.get("/token")
async def token() -> str:
    return os.environ.get("CONTRACT_TOKEN", "")


@app.get("/pid")
async def pid() -> int:
    return os.getpid()


def finish(outcome: Outcome, partial: Any) -> None:
    finished[outcome.value] += 1


@app.get("/endless")
@dual_mode(on_finish=finish, retry=(50, 250))
async def endless(*, silent: bool = False) -> AsyncIterator[dict[str, int]]:
    """Say who answers, then nothing for ever; or say nothing at all."""
    try:
        if not silent:
            yield {"pid": os.getpid()}
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        closed["endless"] += 1


@app.get("/flood")
@dual_mode(on_finish=finish)
async def flood() -> AsyncIterator[dict[str, str]]:
    """Never wait, whatever the client takes of it."""
    try:
        while True:
            yield {"text": "x" * 4096}
    finally:
        closed["flood"] += 1


@app.get("/stubborn")
@dual_mode(close_timeout=0.2)
async def stubborn() -> AsyncIterator[dict[str, int]]:
    """Ignore every cancellation."""
    yield {"pid": os.getpid()}
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            closed["stubborn"] += 1


def main(port: int) -> None:
    """Serve on hypercorn as a program of one's own does, with SIGTERM in one's own hands."""
    import signal

    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        config = Config.from_mapping(bind=[f"127.0.0.1:{port}"])
        await serve(app, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]

    asyncio.run(run())


if __name__ == "__main__":
    main(int(sys.argv[1]))
