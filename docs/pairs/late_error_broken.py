"""FastAPI's own SSE: the error ends the body in good order, and the client takes two rows for all of them."""

import asyncio
from collections.abc import AsyncIterable

from fastapi import FastAPI
from fastapi.sse import EventSourceResponse

app = FastAPI()


@app.get("/rows", response_class=EventSourceResponse)
async def rows() -> AsyncIterable[int]:
    yield 1
    yield 2
    await asyncio.sleep(0.05)
    raise ConnectionError("the database is gone")
