"""Starlette's middleware lets events be, and flushes after each piece of every other stream."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from dual_mode_streaming import dual_mode

app = FastAPI()
app.add_middleware(GZipMiddleware, minimum_size=0)
gate = asyncio.Event()
waiting = asyncio.Event()


@app.get("/ticks")
@dual_mode
async def ticks() -> AsyncIterator[dict[str, int]]:
    yield {"tick": 1}
    waiting.set()
    await gate.wait()
