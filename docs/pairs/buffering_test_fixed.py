"""`StreamingASGITransport` streams as a server does. Leaving the block is a client that leaves."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
from fastapi import FastAPI

from dual_mode_streaming import dual_mode
from dual_mode_streaming.testing import StreamingASGITransport

app = FastAPI()
gate = asyncio.Event()
waiting = asyncio.Event()


@app.get("/ticks")
@dual_mode
async def ticks() -> AsyncIterator[int]:
    yield 1
    waiting.set()
    await gate.wait()


async def first_piece() -> bytes:
    transport = StreamingASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
        async with client.stream("GET", "/ticks", headers={"Accept": "application/x-ndjson"}) as response:
            return await anext(response.aiter_bytes())
