"""Streams unless the client says no. Every script that expects JSON breaks on the second line."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()


async def words() -> AsyncIterator[str]:
    for word in ("Hello", "you"):
        yield word


async def lines() -> AsyncIterator[str]:
    async for word in words():
        yield json.dumps({"text": word}) + "\n"


@app.get("/answer")
async def answer(stream: bool = True) -> Any:
    if stream:
        return StreamingResponse(lines(), media_type="application/x-ndjson")
    return {"data": [{"text": word} async for word in words()]}
