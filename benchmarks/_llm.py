"""Servers of one model that costs nothing: ours, and the two ways in which servers of language models write theirs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import fastapi
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from dual_mode_streaming.llm import Finish, Request, Sampling, Text, llm_router

HEAD = {"id": "chatcmpl-9xK2mPqR7sT1uV4wX6yZ8", "object": "chat.completion.chunk", "created": 1767225600}


class Toy:
    """Gives as many tokens as the request allows. With `waits`, it gives the event loop a turn after each."""

    def __init__(self, waits: bool) -> None:
        self.names = ("toy",)
        self._waits = waits

    async def generate(self, request: Request) -> AsyncIterator[Any]:
        if self._waits:
            for _ in range(request.sampling.max_tokens or 0):
                yield Text(" token")
                await asyncio.sleep(0)
        else:
            for _ in range(request.sampling.max_tokens or 0):
                yield Text(" token")
        yield Finish("length")


def ours(shape: str) -> fastapi.FastAPI:
    app = fastapi.FastAPI()
    app.include_router(llm_router(Toy(shape == "turns")))
    return app


def ours_linger(shape: str) -> fastapi.FastAPI:
    app = fastapi.FastAPI()
    app.include_router(llm_router(Toy(shape == "turns"), linger=0.0005))
    return app


def by_hand(shape: str) -> fastapi.FastAPI:
    """A dict for each chunk, `json.dumps`, and a `StreamingResponse`."""

    def written(body: dict[str, Any], event: Any) -> str:
        delta = {"content": event.text} if isinstance(event, Text) else {}
        reason = None if delta else event.reason
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return f"data: {json.dumps({**HEAD, 'model': body['model'], 'choices': [choice]})}\n\n"

    return _serving(shape, written)


class _Delta(BaseModel):
    role: str | None = None
    content: str | None = None


class _Choice(BaseModel):
    index: int
    delta: _Delta
    logprobs: Any = None
    finish_reason: str | None = None


class _Chunk(BaseModel):
    id: str
    object: str
    created: int
    model: str
    choices: list[_Choice]


def by_hand_typed(shape: str) -> fastapi.FastAPI:
    """A Pydantic model for each chunk, `model_dump_json`, and a `StreamingResponse`."""

    def written(body: dict[str, Any], event: Any) -> str:
        text = event.text if isinstance(event, Text) else None
        choice = _Choice(index=0, delta=_Delta(content=text), finish_reason=None if text else event.reason)
        chunk = _Chunk(**HEAD, model=body["model"], choices=[choice])
        return f"data: {chunk.model_dump_json(exclude_unset=True)}\n\n"

    return _serving(shape, written)


def _serving(shape: str, written: Any) -> fastapi.FastAPI:
    app = fastapi.FastAPI()
    model = Toy(shape == "turns")

    async def frames(body: dict[str, Any]) -> AsyncIterator[str]:
        async for event in model.generate(Request(body["model"], (), sampling=Sampling(max_tokens=body["max_tokens"]))):
            yield written(body, event)
        yield "data: [DONE]\n\n"

    @app.post("/v1/chat/completions")
    async def chat(request: fastapi.Request) -> StreamingResponse:
        return StreamingResponse(frames(await request.json()), media_type="text/event-stream")

    return app
