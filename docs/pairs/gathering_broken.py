"""A middleware that wants to see the body waits for all of it. The client gets nothing until the stream has ended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import FastAPI, Request, Response

from dual_mode_streaming import dual_mode

app = FastAPI()
gate = asyncio.Event()
waiting = asyncio.Event()
sizes: list[int] = []


@app.middleware("http")
async def measure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    body = b"".join([piece async for piece in response.body_iterator])  # type: ignore[attr-defined]
    sizes.append(len(body))
    return Response(body, response.status_code, dict(response.headers))


@app.get("/ticks")
@dual_mode
async def ticks() -> AsyncIterator[int]:
    yield 1
    waiting.set()
    await gate.wait()
