"""Yield the data. As JSON it is one line, whatever is in it."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()
notes = ["milk\nbread", "tea\n\nevent: admin\ndata: forged"]


@app.get("/notes")
@dual_mode
async def stream() -> AsyncIterator[str]:
    for note in notes:
        yield note
