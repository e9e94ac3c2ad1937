"""The server of the soak: every way in which a response can end, and a page that tells what is left of them.

It listens on a socket that it is handed, and writes nothing anywhere: whatever it logs, and every warning of Python, is
kept and told by `/state`. Responses that end by an abort are logged by uvicorn, as errors of the application. They are
meant, so they are counted apart.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import warnings
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException

from dual_mode_streaming import Channel, Outcome, Streams, dual_mode
from dual_mode_streaming.errors import StreamAborted

SEND_TIMEOUT = float(os.environ.get("SOAK_SEND_TIMEOUT", "10"))

streams = Streams()
news = Channel(max_items=64)
sources = Counter[str]()
finished = Counter[str]()
closed_ids: set[int] = set()
logged: list[str] = []
aborted = 0


class Kept(logging.Handler):
    """Keeps what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        global aborted
        if record.exc_info and record.exc_info[0] is StreamAborted:
            aborted += 1
        elif len(logged) < 100:
            logged.append(self.format(record))


def listen() -> None:
    """Keep warnings and everything above, from whomever."""
    logging.basicConfig(level=logging.WARNING, handlers=[Kept()], force=True)
    logging.captureWarnings(True)
    warnings.simplefilter("always")
    sys.unraisablehook = lambda found: logged.append(f"unraisable: {found.exc_value!r} in {found.object!r}")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with streams.lifespan(app):
        publisher = asyncio.create_task(publish())
        try:
            yield
        finally:
            publisher.cancel()


async def publish() -> None:
    number = 0
    while True:
        await news.publish({"number": number})
        number += 1
        await asyncio.sleep(1)


app = FastAPI(lifespan=lifespan, openapi_url=None)


def finish(outcome: Outcome, partial: Any) -> None:
    finished[outcome.value] += 1


@app.get("/ticks")
@dual_mode(on_finish=finish, heartbeat=5, send_timeout=SEND_TIMEOUT)
async def ticks(
    items: int = 10, pause: float = 0, size: int = 20, fail: int = -1, number: int = -1
) -> AsyncIterator[dict[str, Any]]:
    """Give so many items, with pauses; or fail before the item of this number."""
    sources["opened"] += 1
    try:
        text = "x" * size
        for seq in range(items):
            if seq == fail:
                raise HTTPException(409, "As planned.")
            yield {"seq": seq, "text": text}
            if pause:
                await asyncio.sleep(pause)
    finally:
        sources["closed"] += 1
        if number >= 0:
            closed_ids.add(number)


@app.get("/news")
@dual_mode(on_finish=finish, heartbeat=5, send_timeout=SEND_TIMEOUT)
async def subscribe() -> Channel:
    """Be one of many subscribers."""
    return news


@app.get("/closed")
async def is_closed(number: int) -> bool:
    """Say whether the source of a stream is closed; it is asked until it is."""
    found = number in closed_ids
    closed_ids.discard(number)
    return found


def resources() -> dict[str, int]:
    """Read from the kernel what the process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "resident_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
    }


@app.get("/state")
async def state(collect: bool = False) -> dict[str, Any]:
    """Tell everything that could be left over."""
    if collect:
        gc.collect()
    seen = streams.snapshot()
    return {
        "opened": seen.streams.opened,
        "open": seen.streams.open,
        "refused": seen.streams.refused,
        "items": seen.streams.items,
        "outcomes": {outcome.value: count for outcome, count in seen.streams.outcomes.items()},
        "batches_opened": seen.batches.opened,
        "batches_open": seen.batches.open,
        "batch_outcomes": {outcome.value: count for outcome, count in seen.batches.outcomes.items()},
        "finished": dict(finished),
        "sources_opened": sources["opened"],
        "sources_closed": sources["closed"],
        "tasks": len(asyncio.all_tasks()),
        **resources(),
        "aborted": aborted,
        "logged": logged,
    }


def main(listener: int) -> None:
    listen()
    options: dict[str, Any] = {"loop": "uvloop", "http": "httptools", "access_log": False, "log_config": None}
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", **options))
    server.run([socket.socket(fileno=listener)])


if __name__ == "__main__":
    main(int(sys.argv[1]))
