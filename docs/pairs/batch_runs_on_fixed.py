"""A client that leaves is noticed in both modes, and the source is cancelled."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()
done: list[str] = []
gate = asyncio.Event()


@app.get("/report")
@dual_mode
async def report() -> AsyncIterator[str]:
    for page in ("one", "two"):
        await gate.wait()  # a slow and expensive step
        done.append(page)
        yield page
