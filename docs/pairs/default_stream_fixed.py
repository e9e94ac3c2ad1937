"""Who asks for nothing in particular gets a document."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.get("/answer")
@dual_mode
async def answer() -> AsyncIterator[dict[str, str]]:
    for word in ("Hello", "you"):
        yield {"text": word}
