"""EventSource comes back after every end, also after the good one. Each time the work is done again."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()
begun: list[str] = []


async def frames() -> AsyncIterator[str]:
    begun.append("an answer")
    for number, word in enumerate(("Hello", "you")):
        yield f"id: {number}\ndata: {word}\n\n"


@app.get("/answer")
async def answer() -> StreamingResponse:
    return StreamingResponse(frames(), media_type="text/event-stream")
