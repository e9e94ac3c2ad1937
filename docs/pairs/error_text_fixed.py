"""Let it be raised. The client learns that it happened, and the log learns what. An HTTPException is told in full."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.get("/rows")
@dual_mode
async def rows() -> AsyncIterator[int]:
    yield 1
    raise ConnectionError("cannot reach db://admin:hunter2@10.0.0.7")
