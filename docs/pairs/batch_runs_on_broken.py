"""Nobody watches the connection of an ordinary endpoint. The work goes on to its end for a client that has left."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI

app = FastAPI()
done: list[str] = []
gate = asyncio.Event()


async def pages() -> AsyncIterator[str]:
    for page in ("one", "two"):
        await gate.wait()  # a slow and expensive step
        done.append(page)
        yield page


@app.get("/report")
async def report() -> dict[str, list[str]]:
    return {"data": [page async for page in pages()]}
