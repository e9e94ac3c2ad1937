"""The last event has an id of its own. Who comes back with it gets 204, and EventSource stops."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()
begun: list[str] = []


@app.get("/answer")
@dual_mode
async def answer() -> AsyncIterator[str]:
    begun.append("an answer")
    for word in ("Hello", "you"):
        yield word
