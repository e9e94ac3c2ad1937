"""The bill is written behind the loop, and a client that leaves early pays nothing."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()
bills: list[int] = []


@app.post("/answer")
@dual_mode
async def answer() -> AsyncIterator[str]:
    words = 0
    for word in ("Hello", "and", "goodbye"):
        words += 1
        yield word
        await asyncio.sleep(0.01)
    bills.append(words)
