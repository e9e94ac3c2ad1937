"""Hits of a search with FastAPI's own SSE, and an endpoint beside it for whoever wants a document."""

from collections.abc import AsyncIterable

from fastapi import FastAPI
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel

app = FastAPI()


class Hit(BaseModel):
    title: str


async def found(q: str) -> AsyncIterable[Hit]:
    for number in (1, 2):
        yield Hit(title=f"{q} {number}")


@app.get("/search/stream", response_class=EventSourceResponse)
async def stream(q: str) -> AsyncIterable[Hit]:
    async for hit in found(q):
        yield hit


@app.get("/search")
async def batch(q: str) -> list[Hit]:
    return [hit async for hit in found(q)]
