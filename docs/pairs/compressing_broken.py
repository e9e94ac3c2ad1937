"""A compressor collects until it has enough to be worth it. Nothing says here that the pieces must go out."""

import asyncio
import zlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()
gate = asyncio.Event()
waiting = asyncio.Event()


async def lines() -> AsyncIterator[bytes]:
    yield b'{"tick": 1}\n'
    waiting.set()
    await gate.wait()


async def compressed() -> AsyncIterator[bytes]:
    gzip = zlib.compressobj(wbits=31)
    async for line in lines():
        if piece := gzip.compress(line):
            yield piece
    yield gzip.flush()


@app.get("/ticks")
async def ticks() -> StreamingResponse:
    headers = {"Content-Encoding": "gzip"}
    return StreamingResponse(compressed(), media_type="application/x-ndjson", headers=headers)
