"""A header with weights, ranges and letters of both cases is not a text to search in."""

from fastapi import FastAPI, Request

app = FastAPI()


@app.get("/mode")
async def mode(request: Request) -> str:
    return "stream" if "text/event-stream" in request.headers.get("accept", "") else "batch"
