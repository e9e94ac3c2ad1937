"""The application that hostile clients attack: streams with a limit for each address, and a language model."""

import asyncio
import os
from collections import Counter

from fastapi import FastAPI, Request
from fastapi.responses import Response

from dual_mode_streaming import DualModeResponse, ServerSentEvent, Streams, dual_mode
from dual_mode_streaming.llm import Simulator, llm_router

streams = Streams(max_per_key=int(os.environ.get("HOSTILE_PER_ADDRESS", "20")))
sources = Counter()

app = FastAPI(lifespan=streams.lifespan, openapi_url=None)
app.include_router(llm_router(Simulator(names=("simulator",)), max_body_bytes=100_000))


@app.get("/token")
async def token():
    return os.environ.get("CONTRACT_TOKEN", "")


@app.get("/batch")
@dual_mode
async def batch():
    """Be what a healthy client asks for again and again."""
    yield {"n": 1}


@app.get("/quiet")
@dual_mode(heartbeat=0.1)
async def quiet():
    """Say one word, and then nothing but heartbeats."""
    sources["opened"] += 1
    try:
        yield {"n": 1}
        await asyncio.Event().wait()
    finally:
        sources["closed"] += 1


@app.get("/flood")
@dual_mode(send_timeout=0.5)
async def flood():
    """Never wait, whatever the client takes of it."""
    sources["opened"] += 1
    try:
        while True:
            yield {"text": "x" * 4096}
    finally:
        sources["closed"] += 1


@app.get("/reflect")
async def reflect(request: Request):
    """Say what the client says, in every place of an event and of the head."""
    query = dict(request.query_params)
    headers = {"x-reflected": query.pop("header")} if "header" in query else None

    async def source():
        yield ServerSentEvent(**query)

    return DualModeResponse(source(), headers=headers)


@app.get("/cookie")
@dual_mode
async def cookie(response: Response, value: str):
    """Set a header as FastAPI offers it."""
    response.headers["x-reflected"] = value
    yield 1


@app.get("/counts")
async def counts():
    seen = streams.snapshot().streams
    return {
        "open": seen.open,
        "opened": seen.opened,
        "refused": seen.refused,
        "bytes": seen.bytes,
        "outcomes": {outcome.value: count for outcome, count in seen.outcomes.items()},
        "sources": sources["opened"] - sources["closed"],
    }
