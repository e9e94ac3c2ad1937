"""EventSource refuses this stream: it takes nothing but text/event-stream."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()


async def ticks() -> AsyncIterator[str]:
    for number in range(3):
        yield f"data: {number}\n\n"


@app.get("/ticks")
async def stream() -> StreamingResponse:
    return StreamingResponse(ticks(), media_type="application/json")
