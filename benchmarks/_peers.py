"""Streams to be measured: the same sources in our responses, in those of other libraries, and in bare ASGI.

Every application has one path for each shape of source, and the query says how many events are wanted. The source is
the endpoint itself wherever a library takes it so, and no library has an `async for` around it that it does not need:
those that want text get it from a source that yields text.

Each peer is in its best form: with the JSON encoder that it brings along, else `json.dumps`; without middleware, and
without the generation of documents.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
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
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from dual_mode_streaming import DualModeResponse, ServerSentEvent, dual_mode

MARK = ord("[")
"""A byte that every event has once, and that no framing has: counting it counts events."""

# --- sources ---------------------------------------------------------------------------------------------------


async def ready(n: int) -> AsyncIterator[dict]:
    """Never waits. One item is a chunk of a chat completion, 191 bytes as an event with compact JSON."""
    for _ in range(n):
        yield {
            "id": "chatcmpl-9xK2mPqR7sT1uV4wX6yZ8",
            "object": "chat.completion.chunk",
            "created": 1767225600,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "delta": {"content": " token"}, "finish_reason": None}],
        }


async def ready_as(n: int, dress: Callable[[dict], Any]) -> AsyncIterator[Any]:
    """The same, but each item is turned into what a library wants."""
    for _ in range(n):
        yield dress(
            {
                "id": "chatcmpl-9xK2mPqR7sT1uV4wX6yZ8",
                "object": "chat.completion.chunk",
                "created": 1767225600,
                "model": "gpt-4o-mini",
                "choices": [{"index": 0, "delta": {"content": " token"}, "finish_reason": None}],
            }
        )


async def turns(n: int) -> AsyncIterator[dict]:
    """Gives the event loop a turn after each item."""
    for _ in range(n):
        yield {
            "id": "chatcmpl-9xK2mPqR7sT1uV4wX6yZ8",
            "object": "chat.completion.chunk",
            "created": 1767225600,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "delta": {"content": " token"}, "finish_reason": None}],
        }
        await asyncio.sleep(0)


async def turns_as(n: int, dress: Callable[[dict], Any]) -> AsyncIterator[Any]:
    async for item in turns(n):
        yield dress(item)


async def short(n: int) -> AsyncIterator[dict]:
    """Has its first item at once and the others after a while: what a response costs, not what an event costs."""
    async for item in ready(1):
        yield item
    await asyncio.sleep(0.001)
    async for item in ready(n - 1):
        yield item


async def slow(n: int) -> AsyncIterator[dict]:
    """Gives an item every 5 ms, with the time at which it was made."""
    for _ in range(n):
        yield {"at": time.monotonic_ns(), "choices": [{"index": 0, "delta": {"content": " token"}}]}
        await asyncio.sleep(0.005)


async def bursts(n: int) -> AsyncIterator[dict]:
    """Gives its items in bursts of ten, with a turn of the event loop after each, and then is silent for 5 ms."""
    for number in range(n):
        yield {"at": time.monotonic_ns(), "choices": [{"index": 0, "delta": {"content": " token"}}]}
        await asyncio.sleep(0.005 if number % 10 == 9 else 0)


closed: dict[int, int] = {}
"""When each endless source was closed (monotonic, in nanoseconds); one record for each request."""


async def endless(n: int) -> AsyncIterator[dict]:
    """Never waits and never ends; `n` is the name of its record."""
    try:
        while True:
            yield {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": " token"}}]}
    finally:
        closed[n] = time.monotonic_ns()


SHAPES = {"ready": ready, "turns": turns, "short": short, "slow": slow, "bursts": bursts, "endless": endless}
DRESSED = {"ready": ready_as, "turns": turns_as}


def dressed(shape: str, n: int, dress: Callable[[dict], Any]) -> AsyncIterator[Any]:
    """Give a source whose items are turned into what a library wants."""
    if shape in DRESSED:
        return DRESSED[shape](n, dress)
    return _dressed(SHAPES[shape](n), dress)


async def _dressed(source: AsyncIterator[dict], dress: Callable[[dict], Any]) -> AsyncIterator[Any]:
    try:
        async for item in source:
            yield dress(item)
    finally:
        await source.aclose()


def frame(item: dict) -> str:
    return f"data: {json.dumps(item)}\n\n"


class Delta(BaseModel):
    content: str


class Part(BaseModel):
    index: int
    delta: Delta
    finish_reason: str | None


class Chunk(BaseModel):
    id: str
    object: str
    created: int
    model: str
    choices: list[Part]


async def ready_typed(n: int) -> AsyncIterator[Chunk]:
    for _ in range(n):
        yield Chunk(
            id="chatcmpl-9xK2mPqR7sT1uV4wX6yZ8",
            object="chat.completion.chunk",
            created=1767225600,
            model="gpt-4o-mini",
            choices=[Part(index=0, delta=Delta(content=" token"), finish_reason=None)],
        )


# --- ours ------------------------------------------------------------------------------------------------------


def _count(request: Request) -> int:
    return int(request.query_params["n"])


def _starlette(respond: Callable[[str, int], Any]) -> Starlette:
    """Make an application in which a function gives the response of a shape."""

    def endpoint(shape: str) -> Callable:
        async def answer(request: Request) -> Any:
            return respond(shape, _count(request))

        return answer

    return _with_probes([Route(f"/{shape}", endpoint(shape)) for shape in SHAPES])


def _with_probes(routes: list[Route]) -> Starlette:
    async def ping(request: Request) -> fastapi.Response:
        return fastapi.Response(b"pong")

    async def when_closed(request: Request) -> fastapi.Response:
        return fastapi.Response(str(closed.get(_count(request), 0)))

    return Starlette(routes=[*routes, Route("/ping", ping), Route("/closed", when_closed)])


def ours(**options: Any) -> Starlette:
    """`@dual_mode` in Starlette, with every default on unless told otherwise."""

    def endpoint(shape: str) -> Callable:
        @dual_mode(mode="stream", **options)
        def answer(request: Request) -> AsyncIterator[dict]:
            return SHAPES[shape](_count(request))

        return answer

    return _with_probes([Route(f"/{shape}", endpoint(shape)) for shape in SHAPES])


def ours_returned() -> Starlette:
    return _starlette(lambda shape, n: DualModeResponse(SHAPES[shape](n), mode="stream"))


def ours_ndjson() -> Starlette:
    return _starlette(lambda shape, n: DualModeResponse(SHAPES[shape](n), media_type="application/x-ndjson"))


def ours_json_dumps() -> Starlette:
    """Items that the author has encoded with `json.dumps`: the same encoder as the peers."""

    def dress(item: dict) -> ServerSentEvent:
        return ServerSentEvent(raw=json.dumps(item))

    return _starlette(lambda shape, n: DualModeResponse(dressed(shape, n, dress), mode="stream"))


def ours_fragment() -> Starlette:
    """The same as a plain item: orjson writes a fragment as it is."""

    def dress(item: dict) -> orjson.Fragment:
        return orjson.Fragment(json.dumps(item))

    return _starlette(lambda shape, n: DualModeResponse(dressed(shape, n, dress), mode="stream"))


def ours_linger() -> Starlette:
    return ours(linger=0.0005)


def ours_fastapi() -> FastAPI:
    app = _fastapi()
    for shape, source in SHAPES.items():
        app.get(f"/{shape}")(dual_mode(mode="stream")(source))
    return app


def ours_fastapi_returned() -> FastAPI:
    app = _fastapi()
    for shape, source in SHAPES.items():

        async def answer(n: int, source: Callable = fastapi.Depends(lambda source=source: source)) -> DualModeResponse:
            return DualModeResponse(source(n), mode="stream")

        app.get(f"/{shape}")(answer)
    return app


# --- peers -----------------------------------------------------------------------------------------------------


def _fastapi() -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get("/ping")
    async def ping() -> fastapi.Response:
        return fastapi.Response(b"pong")

    @app.get("/closed")
    async def when_closed(n: int) -> fastapi.Response:
        return fastapi.Response(str(closed.get(n, 0)))

    return app


def fastapi_native() -> FastAPI:
    app = _fastapi()
    for shape, source in SHAPES.items():
        app.get(f"/{shape}", response_class=fastapi.sse.EventSourceResponse)(_untyped(source))
    return app


def _untyped(source: Callable) -> Callable:
    """Take the type of the items away: FastAPI would validate dicts against it."""
    source.__annotations__.pop("return", None)
    return source


def fastapi_typed() -> FastAPI:
    app = _fastapi()
    app.get("/ready", response_class=fastapi.sse.EventSourceResponse)(ready_typed)
    return app


def fastapi_by_hand() -> FastAPI:
    app = _fastapi()

    def endpoint(shape: str) -> Callable:
        async def answer(n: int) -> StreamingResponse:
            return StreamingResponse(dressed(shape, n, frame), media_type="text/event-stream")

        return answer

    for shape in SHAPES:
        app.get(f"/{shape}")(endpoint(shape))
    return app


def starlette_by_hand() -> Starlette:
    return _starlette(
        lambda shape, n: StreamingResponse(dressed(shape, n, frame), media_type="text/event-stream")
    )


def with_sse_starlette() -> Starlette:
    return _starlette(lambda shape, n: sse_starlette.EventSourceResponse(dressed(shape, n, json.dumps)))


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
            await send(
                {"type": "http.response.body", "body": b"data: " + dumps(item) + b"\n\n", "more_body": True}
            )

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
