"""Events without ids, given to who is there. What happens between two connections is lost, and nobody is told."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()
readers: set[asyncio.Queue[int | None]] = set()


async def publish(goal: int | None) -> None:
    for reader in readers:
        reader.put_nowait(goal)


async def frames() -> AsyncIterator[str]:
    queue: asyncio.Queue[int | None] = asyncio.Queue(100)
    readers.add(queue)
    try:
        yield ": hello\n\n"
        while (goal := await queue.get()) is not None:
            yield f"data: {goal}\n\n"
    finally:
        readers.remove(queue)


@app.get("/goals")
async def goals() -> StreamingResponse:
    return StreamingResponse(frames(), media_type="text/event-stream")


async def close() -> None:
    await publish(None)
