"""A new item each time. What was yielded belongs to the reader."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.get("/progress")
@dual_mode
async def progress() -> AsyncIterator[dict[str, int]]:
    state = {"percent": 0}
    for percent in (33, 66, 100):
        state["percent"] = percent
        yield dict(state)
