"""A queue without a bound between source and client: what a slow client does not take stays in memory."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()
made: list[int] = []


async def produce(queue: asyncio.Queue[bytes | None]) -> None:
    for number in range(200):
        made.append(number)
        await queue.put(b"x" * 10_000)
        await asyncio.sleep(0)
    await queue.put(None)


async def frames() -> AsyncIterator[bytes]:
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()
    producing = asyncio.create_task(produce(queue))
    try:
        while (piece := await queue.get()) is not None:
            yield piece
    finally:
        producing.cancel()


@app.get("/flood")
async def flood() -> StreamingResponse:
    return StreamingResponse(frames(), media_type="application/x-ndjson")
