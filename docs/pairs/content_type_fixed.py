"""The response knows which format it sends, and says so."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.get("/ticks")
@dual_mode
async def ticks() -> AsyncIterator[int]:
    for number in range(3):
        yield number
