"""`finally` runs at the end, after an error and after a cancellation. There is no need to catch CancelledError."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()
open_cursors: set[str] = set()


@app.get("/rows")
@dual_mode
async def rows() -> AsyncIterator[int]:
    open_cursors.add("rows")
    try:
        for number in range(1000):
            yield number
            await asyncio.sleep(0.01)
    finally:
        open_cursors.remove("rows")
