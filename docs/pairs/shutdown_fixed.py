"""A registry hears of SIGTERM, tells the clients of open streams, ends them, and lets the server go."""

import asyncio
import itertools
from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import Streams, dual_mode

app = FastAPI(lifespan=Streams(grace=0).lifespan)


@app.get("/ticks")
@dual_mode
async def ticks() -> AsyncIterator[int]:
    for number in itertools.count():
        yield number
        await asyncio.sleep(0.001)
