"""The generator starts when 200 has been sent, so there is no way left to say 404."""

from collections.abc import AsyncIterator

from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse

app = FastAPI()


async def lines(order: int) -> AsyncIterator[str]:
    if order != 1:
        raise HTTPException(404, "There is no such order.")
    yield '{"state": "packing"}\n'


@app.get("/orders/{order}")
async def stream(order: int) -> StreamingResponse:
    return StreamingResponse(lines(order), media_type="application/x-ndjson")
