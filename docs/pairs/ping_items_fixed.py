"""Heartbeats are comments. They keep the connection, and no client sees them."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.get("/readings")
@dual_mode(heartbeat=15)
async def readings() -> AsyncIterator[dict[str, object]]:
    yield {"celsius": 19.5}
    yield {"celsius": 20.0}
