"""All clients are told to come back after one second. A server that is restarted is met by all of them at once."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()


async def frames() -> AsyncIterator[str]:
    yield "retry: 1000\ndata: 1\n\n"


@app.get("/ticks")
async def ticks() -> StreamingResponse:
    return StreamingResponse(frames(), media_type="text/event-stream")
