"""What an unexpected exception says is meant for the log. Here every client can read the password."""

import json
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()


async def frames() -> AsyncIterator[str]:
    try:
        yield "data: 1\n\n"
        raise ConnectionError("cannot reach db://admin:hunter2@10.0.0.7")
    except Exception as error:
        yield f"event: error\ndata: {json.dumps({'error': str(error)})}\n\n"


@app.get("/rows")
async def rows() -> StreamingResponse:
    return StreamingResponse(frames(), media_type="text/event-stream")
