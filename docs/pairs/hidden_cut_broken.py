"""A middleware of the BaseHTTPMiddleware kind turns a cut connection into a clean end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import FastAPI, Request, Response

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.middleware("http")
async def tag(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers["X-Server"] = "one"
    return response


@app.get("/rows")
@dual_mode
async def rows() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(0)
    raise ConnectionError("the database is gone")
