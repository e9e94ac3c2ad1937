"""The streams of other libraries, and of bare ASGI, for comparison with ours.

Each peer is in its best form: the source is the endpoint itself where a library takes it so, with the JSON encoder that
the library brings along, else `json.dumps`; without middleware, and without the generation of documents.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import aiohttp.web
import aiohttp_sse
import fastapi.sse
import litestar
import litestar.response
import litestar.serialization
import orjson
import sse_starlette
from _ours import bare_fastapi, in_starlette
from _sources import SHAPES, closed, dressed, ready, ready_typed
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette


def frame(item: dict) -> str:
    return f"data: {json.dumps(item)}\n\n"


def fastapi_native() -> FastAPI:
    app = bare_fastapi()
    for shape, source in SHAPES.items():
        app.get(f"/{shape}", response_class=fastapi.sse.EventSourceResponse)(_untyped(source))
    return app


def _untyped(source: Callable) -> Callable:
    """Take the type of the items away: FastAPI would validate dicts against it."""
    source.__annotations__.pop("return", None)
    return source


def fastapi_typed() -> FastAPI:
    app = bare_fastapi()
    app.get("/ready", response_class=fastapi.sse.EventSourceResponse)(ready_typed)
    return app


def fastapi_by_hand() -> FastAPI:
    app = bare_fastapi()

    def endpoint(shape: str) -> Callable:
        async def answer(n: int) -> StreamingResponse:
            return StreamingResponse(dressed(shape, n, frame), media_type="text/event-stream")

        return answer

    for shape in SHAPES:
        app.get(f"/{shape}")(endpoint(shape))
    return app


def starlette_by_hand() -> Starlette:
    return in_starlette(lambda shape, n: StreamingResponse(dressed(shape, n, frame), media_type="text/event-stream"))


def with_sse_starlette() -> Starlette:
    return in_starlette(lambda shape, n: sse_starlette.EventSourceResponse(dressed(shape, n, json.dumps)))


def with_litestar() -> litestar.Litestar:
    def endpoint(shape: str) -> Any:
        @litestar.get(f"/{shape}")
        async def answer(n: int) -> litestar.response.ServerSentEvent:
            return litestar.response.ServerSentEvent(dressed(shape, n, litestar.serialization.encode_json))

        return answer

    @litestar.get("/ping", sync_to_thread=False)
    def ping() -> str:
        return "pong"

    @litestar.get("/closed", sync_to_thread=False)
    def when_closed(n: int) -> str:
        return str(closed.get(n, 0))

    return litestar.Litestar([*map(endpoint, SHAPES), ping, when_closed], openapi_config=None)


def with_aiohttp() -> aiohttp.web.Application:
    app = aiohttp.web.Application()

    def endpoint(shape: str) -> Callable:
        async def answer(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
            source = SHAPES[shape](int(request.query["n"]))
            async with aiohttp_sse.sse_response(request) as response:
                try:
                    async for item in source:
                        await response.send(json.dumps(item))
                finally:
                    await source.aclose()
            return response

        return answer

    async def ping(request: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(body=b"pong")

    async def when_closed(request: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(text=str(closed.get(int(request.query["n"]), 0)))

    app.add_routes([aiohttp.web.get(f"/{shape}", endpoint(shape)) for shape in SHAPES])
    app.add_routes([aiohttp.web.get("/ping", ping), aiohttp.web.get("/closed", when_closed)])
    return app


# --- bare ASGI -------------------------------------------------------------------------------------------------

HEADERS = [(b"content-type", b"text/event-stream")]


def _bare(answer: Callable) -> Callable:
    async def app(scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] == "lifespan":
            return
        n = int(parse_qs(scope["query_string"])[b"n"][0])
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await answer(scope["path"][1:], n, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def raw(encode: str = "orjson") -> Callable:
    """One send for each event."""
    dumps = orjson.dumps if encode == "orjson" else lambda item: json.dumps(item).encode()

    async def answer(shape: str, n: int, send: Callable) -> None:
        async for item in SHAPES[shape](n):
            await send({"type": "http.response.body", "body": b"data: " + dumps(item) + b"\n\n", "more_body": True})

    return _bare(answer)


def raw_json_dumps() -> Callable:
    return raw("json")


def prebuilt() -> Callable:
    """No source and no encoder: bodies of 64 KiB that are there already."""

    async def answer(shape: str, n: int, send: Callable) -> None:
        event = b"data: " + orjson.dumps(await anext(ready(1))) + b"\n\n"
        at_once = 65_536 // len(event)
        body = event * at_once
        for _ in range(n // at_once):
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": event * (n % at_once), "more_body": True})

    return _bare(answer)


def floor() -> Callable:
    """Nothing but the work that nobody can avoid: drain the source, encode, join. Only the number is sent."""

    async def answer(shape: str, n: int, send: Callable) -> None:
        dumps, frames, count = orjson.dumps, [], 0
        async for item in SHAPES[shape](n):
            frames.append(b"data: " + dumps(item) + b"\n\n")
            if len(frames) == 340:
                b"".join(frames)
                count += 340
                frames.clear()
        await send({"type": "http.response.body", "body": b"%d" % (count + len(frames)), "more_body": True})

    return _bare(answer)
