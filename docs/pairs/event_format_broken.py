"""A line break in the text ends the field, and two of them end the event: who writes the text writes the events."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()
notes = ["milk\nbread", "tea\n\nevent: admin\ndata: forged"]


async def frames() -> AsyncIterator[str]:
    for note in notes:
        yield f"data: {note}\n\n"


@app.get("/notes")
async def stream() -> StreamingResponse:
    return StreamingResponse(frames(), media_type="text/event-stream")
