"""Words of an answer, in two ways that are written by hand."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

app = FastAPI()


async def words(question: str) -> AsyncIterator[str]:
    for word in f"You asked: {question}".split():
        yield word


async def frames(question: str) -> AsyncIterator[str]:
    try:
        async for word in words(question):
            yield f"data: {json.dumps({'text': word})}\n\n"
        yield "event: end\ndata: {}\n\n"
    except Exception as error:
        yield f"event: error\ndata: {json.dumps({'error': str(error)})}\n\n"


@app.get("/answer")
async def answer(request: Request, question: str, stream: bool = False) -> Any:
    if stream or "text/event-stream" in request.headers.get("accept", ""):
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(frames(question), media_type="text/event-stream", headers=headers)
    return {"answer": " ".join([word async for word in words(question)])}
