"""Each client is told its own time, out of a range."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.get("/ticks")
@dual_mode(retry=(1000, 5000))
async def ticks() -> AsyncIterator[int]:
    yield 1
