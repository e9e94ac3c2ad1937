"""A timeout around `anext` cancels the source, and a generator that was cancelled is over: the heartbeat ends it."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()
gate = asyncio.Event()


async def readings() -> AsyncIterator[float]:
    yield 19.5
    await gate.wait()  # longer than a heartbeat
    yield 20.0


async def frames() -> AsyncIterator[str]:
    source = readings()
    while True:
        try:
            yield f"data: {await asyncio.wait_for(anext(source), 0.01)}\n\n"
        except TimeoutError:
            yield ": heartbeat\n\n"
        except StopAsyncIteration:
            return


@app.get("/readings")
async def stream() -> StreamingResponse:
    return StreamingResponse(frames(), media_type="text/event-stream")
