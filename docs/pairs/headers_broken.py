"""Caches may keep this, proxies may compress and collect it: nothing says that it is live."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()


async def ticks() -> AsyncIterator[str]:
    for number in range(3):
        yield f"data: {number}\n\n"


@app.get("/ticks")
async def stream() -> StreamingResponse:
    return StreamingResponse(ticks(), media_type="text/event-stream")
