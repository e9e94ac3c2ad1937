"""The stream ends with an `error` event. Without a last event `done` no client may take it for complete."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.get("/rows")
@dual_mode
async def rows() -> AsyncIterator[int]:
    yield 1
    yield 2
    await asyncio.sleep(0.05)
    raise ConnectionError("the database is gone")
