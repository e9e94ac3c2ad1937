"""A client whose connection broke asks again, and the work is done and paid for again."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()
bills: list[str] = []


@app.post("/reports")
@dual_mode
async def report() -> AsyncIterator[str]:
    bills.append("one report")
    for page in ("one", "two"):
        yield page
