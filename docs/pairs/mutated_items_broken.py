"""One dict that is changed and yielded again: the batch holds the same dict three times."""

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
        yield state
