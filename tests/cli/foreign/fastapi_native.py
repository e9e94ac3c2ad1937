"""FastAPI's own server-sent events and JSON Lines."""

import asyncio
from collections.abc import AsyncIterable

from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent

app = FastAPI()


@app.get("/events", response_class=EventSourceResponse)
async def events() -> AsyncIterable[ServerSentEvent]:
    for number in range(3):
        yield ServerSentEvent(data={"n": number}, event="tick", id=str(number))
        await asyncio.sleep(0.05)


@app.get("/lines")
async def lines() -> AsyncIterable[dict[str, int]]:
    for number in range(3):
        yield {"n": number}
        await asyncio.sleep(0.05)
