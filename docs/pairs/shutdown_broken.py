"""A server that is told to stop waits for its open responses, and this one never ends."""

import asyncio
import itertools
from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.get("/ticks")
@dual_mode
async def ticks() -> AsyncIterator[int]:
    for number in itertools.count():
        yield number
        await asyncio.sleep(0.001)
