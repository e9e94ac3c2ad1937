"""The heartbeat is a timer beside the source and does not touch it."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()
gate = asyncio.Event()


@app.get("/readings")
@dual_mode(heartbeat=0.01)
async def readings() -> AsyncIterator[float]:
    yield 19.5
    await gate.wait()  # longer than a heartbeat
    yield 20.0
