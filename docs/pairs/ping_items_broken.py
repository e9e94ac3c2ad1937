"""A heartbeat that is an item: the batch is full of them, and every client has to know and skip them."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.get("/readings")
@dual_mode
async def readings() -> AsyncIterator[dict[str, object]]:
    yield {"celsius": 19.5}
    yield {"ping": True}  # nothing new
    yield {"celsius": 20.0}
