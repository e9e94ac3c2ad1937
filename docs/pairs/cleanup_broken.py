"""The cursor is closed at the end of the loop, and a client that leaves never gets there."""

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
    for number in range(1000):
        yield number
        await asyncio.sleep(0.01)
    open_cursors.remove("rows")
