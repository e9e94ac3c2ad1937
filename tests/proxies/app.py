"""The contract application, with streams beside it that say nothing to proxies, as most in the world do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import StreamingResponse

from dual_mode_streaming import dual_mode
from servers.contract_app import app, probes

__all__ = ["app"]


@app.get("/bare/gated")
async def bare_gated(key: str) -> StreamingResponse:
    """Give an event, wait at the gate, give another one."""

    async def events() -> AsyncIterator[str]:
        with probes[key].running():
            yield "data: 1\n\n"
            await probes[key].gate.acquire()
            yield "data: 2\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@app.get("/bare/timed")
async def bare_timed(every: float = 0.2, items: int = 8, size: int = 10) -> StreamingResponse:
    """Give an event every so many seconds, without a header of its own."""

    async def events() -> AsyncIterator[str]:
        for number in range(items):
            yield f"data: {number}{'.' * size}\n\n"
            await asyncio.sleep(every)
        yield "event: done\ndata: {}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@app.get("/bare/silent")
async def bare_silent() -> None:
    """Never answer."""
    await asyncio.Event().wait()


@app.get("/timed")
@dual_mode(heartbeat=None)
async def timed(request: Request, every: float = 0.2, items: int = 8) -> AsyncIterator[int]:
    for number in range(items):
        yield number
        await asyncio.sleep(every)
