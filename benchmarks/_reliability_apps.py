"""The same endpoints in four libraries, each in its own best form, for `reliability_peers.py`.

/early   raises 404 before its first item         /quiet   one item, then nothing for ever
/late    one item, then an error                  /flood   never waits, never ends
/count   ten items with ids, some time apart      /limited the same, for 20 clients of one address if that can be
/ping    an answer at once                        /closed  how many sources are closed
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import fastapi.sse
import litestar
import litestar.exceptions
import litestar.response
import sse_starlette
from fastapi import FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from dual_mode_streaming import Runs, Streams, dual_mode

closed: Counter[str] = Counter()
COUNT = 10


class Broken(Exception):
    """What goes wrong in the middle."""


async def early(not_found: Exception) -> AsyncIterator[dict]:
    raise not_found
    yield {}


async def late() -> AsyncIterator[dict]:
    yield {"n": 1}
    await asyncio.sleep(0.01)
    raise Broken("a secret")


async def quiet() -> AsyncIterator[dict]:
    try:
        yield {"n": 1}
        await asyncio.Event().wait()
    finally:
        closed["quiet"] += 1


async def flood() -> AsyncIterator[dict]:
    try:
        while True:
            yield {"text": "x" * 1000}
    finally:
        closed["flood"] += 1


async def count() -> AsyncIterator[dict]:
    for n in range(1, COUNT + 1):
        yield {"n": n}
        await asyncio.sleep(0.02)


async def limited() -> AsyncIterator[dict]:
    yield {"n": 1}
    await asyncio.Event().wait()


PLAIN: dict[str, Callable[[], AsyncIterator[dict]]] = {"late": late, "quiet": quiet, "flood": flood, "limited": limited}


def in_fastapi(lifespan: Any = None) -> FastAPI:
    app = FastAPI(openapi_url=None, lifespan=lifespan)

    @app.get("/ping", response_class=PlainTextResponse)
    async def ping() -> str:
        return "pong"

    @app.get("/closed")
    async def when_closed() -> dict:
        return closed

    return app


def ours() -> FastAPI:
    streams, of_one, runs = Streams(grace=1), Streams(max_per_key=20), Runs()
    app = in_fastapi(streams.lifespan)
    for name, source in PLAIN.items():
        registry = of_one if name == "limited" else streams
        app.get(f"/{name}")(dual_mode(send_timeout=3, streams=registry)(source))

    @app.get("/early")
    @dual_mode
    async def is_early() -> AsyncIterator[dict]:
        async for item in early(HTTPException(404, "no such thing")):
            yield item

    @app.get("/count")
    async def is_count() -> Any:
        return (await runs.start(count(), key="one")).response()

    return app


def fastapi_native() -> FastAPI:
    app = in_fastapi()
    kind = fastapi.sse.EventSourceResponse
    for name, source in PLAIN.items():
        source.__annotations__.pop("return", None)
        app.get(f"/{name}", response_class=kind)(source)

    @app.get("/early", response_class=kind)
    async def is_early():
        async for item in early(HTTPException(404, "no such thing")):
            yield item

    @app.get("/count", response_class=kind)
    async def is_count():
        async for item in count():
            yield fastapi.sse.ServerSentEvent(data=item, id=str(item["n"]))

    return app


def with_sse_starlette() -> Starlette:
    async def events(source: AsyncIterator[dict], *, ids: bool = False) -> AsyncIterator[dict]:
        try:
            async for item in source:
                yield {"data": json.dumps(item), **({"id": str(item["n"])} if ids else {})}
        finally:
            await source.aclose()

    def endpoint(source: Callable[[], AsyncIterator[dict]], *, ids: bool = False) -> Callable:
        async def answer(request: Request) -> sse_starlette.EventSourceResponse:
            return sse_starlette.EventSourceResponse(events(source(), ids=ids))

        return answer

    async def ping(request: Request) -> PlainTextResponse:
        return PlainTextResponse("pong")

    async def when_closed(request: Request) -> PlainTextResponse:
        return PlainTextResponse(json.dumps(closed))

    sources = {**PLAIN, "early": lambda: early(HTTPException(404, "no such thing"))}
    routes = [Route(f"/{name}", endpoint(source)) for name, source in sources.items()]
    more = [Route("/count", endpoint(count, ids=True)), Route("/ping", ping), Route("/closed", when_closed)]
    return Starlette(routes=[*routes, *more])


def with_litestar() -> litestar.Litestar:
    message = litestar.response.ServerSentEventMessage

    async def events(source: AsyncIterator[dict], *, ids: bool = False) -> AsyncIterator[Any]:
        try:
            async for item in source:
                yield message(data=json.dumps(item), id=str(item["n"]) if ids else None)
        finally:
            await source.aclose()

    def endpoint(name: str, source: Callable[[], AsyncIterator[dict]], *, ids: bool = False) -> Any:
        @litestar.get(f"/{name}", name=name)
        async def answer() -> litestar.response.ServerSentEvent:
            return litestar.response.ServerSentEvent(events(source(), ids=ids))

        return answer

    @litestar.get("/ping", sync_to_thread=False)
    def ping() -> str:
        return "pong"

    @litestar.get("/closed", sync_to_thread=False)
    def when_closed() -> dict:
        return closed

    missing = litestar.exceptions.NotFoundException
    routes = [*(endpoint(name, source) for name, source in PLAIN.items()), endpoint("count", count, ids=True)]
    return litestar.Litestar(
        [*routes, endpoint("early", lambda: early(missing("no such thing"))), ping, when_closed], openapi_config=None
    )
