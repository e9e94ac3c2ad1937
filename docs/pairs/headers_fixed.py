"""The headers belong to the stream, so the response sets them, for every format. One that you set yourself wins."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.get("/ticks")
@dual_mode
async def ticks() -> AsyncIterator[int]:
    for number in range(3):
        yield number
