"""No queue. The source takes its next step when the network has taken the one before."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()
made: list[int] = []


@app.get("/flood")
@dual_mode
async def flood() -> AsyncIterator[str]:
    for number in range(200):
        made.append(number)
        yield "x" * 10_000
        await asyncio.sleep(0)
