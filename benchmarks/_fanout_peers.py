"""One producer and many subscribers: our channel, and the same with other libraries.

Every application has two paths: a GET of `/` subscribes, and the body of a POST to it, which is JSON, goes to all that
are subscribed. A payload is encoded once wherever a library takes bytes, and each library is in its cheapest form.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import fastapi.sse
import litestar
import litestar.channels
import litestar.response
import orjson
import sse_starlette
from fastapi import FastAPI
from litestar.channels.backends.memory import MemoryChannelsBackend
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dual_mode_streaming import Channel, DualModeResponse


async def body_of(receive: Callable) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


# --- ours ------------------------------------------------------------------------------------------------------


def ours(**options: Any) -> Callable:
    """Our channel behind `DualModeResponse`, every default on, without a framework: nchan has none either."""
    channel = Channel(**options)

    async def app(scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] == "lifespan":
            return
        if scope["path"] == "/count":
            await Response(str(len(channel.subscriptions)))(scope, receive, send)
            return
        if scope["method"] == "GET":
            await DualModeResponse(channel, mode="stream")(scope, receive, send)
            return
        await channel.publish(orjson.loads(await body_of(receive)))
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    return app


def bare() -> Callable:
    """Nothing but sends, one after the other: no bound, no heartbeat, and one client that waits stops all others."""
    sends: set[Callable] = set()

    async def app(scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] == "lifespan":
            return
        if scope["method"] == "GET":
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            await receive()
            sends.add(send)
            await receive()  # until the client has left
            sends.discard(send)
            return
        frame = b"data: " + await body_of(receive) + b"\n\n"
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        for one in list(sends):
            await one({"type": "http.response.body", "body": frame, "more_body": True})

    return app


def ours_starlette() -> Starlette:
    channel = Channel()

    async def subscribe(request: Request) -> DualModeResponse:
        return DualModeResponse(channel, mode="stream")

    async def publish(request: Request) -> Response:
        await channel.publish(orjson.loads(await request.body()))
        return Response(status_code=202)

    return Starlette(routes=[Route("/", subscribe), Route("/", publish, methods=["POST"])])


def ours_bounded(policy: str) -> Callable:
    """For clients that are stuck: bounds that are easy to see."""
    return ours(policy=policy, max_items=100, max_bytes=65_536)


# --- peers -----------------------------------------------------------------------------------------------------


class Queues:
    """A queue for each subscriber: what one writes by hand."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue] = set()

    def put(self, item: Any) -> None:
        for queue in self._queues:
            queue.put_nowait(item)

    async def items(self) -> AsyncIterator[Any]:
        queue: asyncio.Queue = asyncio.Queue()
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)


def with_sse_starlette() -> Starlette:
    queues = Queues()

    async def subscribe(request: Request) -> Response:
        return sse_starlette.EventSourceResponse(queues.items())

    async def publish(request: Request) -> Response:
        queues.put(b"data: " + await request.body() + b"\r\n\r\n")  # it lets bytes pass
        return Response(status_code=202)

    return Starlette(routes=[Route("/", subscribe), Route("/", publish, methods=["POST"])])


def fastapi_native() -> FastAPI:
    app, queues = FastAPI(openapi_url=None), Queues()

    @app.get("/", response_class=fastapi.sse.EventSourceResponse)
    async def subscribe():
        async for text in queues.items():
            yield fastapi.sse.ServerSentEvent(raw_data=text)

    @app.post("/")
    async def publish(request: Request) -> Response:
        queues.put((await request.body()).decode())
        return Response(status_code=202)

    return app


def litestar_channels() -> litestar.Litestar:
    plugin = litestar.channels.ChannelsPlugin(backend=MemoryChannelsBackend(), channels=["all"])

    @litestar.get("/")
    async def subscribe() -> litestar.response.Stream:
        async def frames() -> AsyncIterator[bytes]:
            async with plugin.start_subscription(["all"]) as subscriber:
                async for event in subscriber.iter_events():
                    yield event  # it is a frame already

        return litestar.response.Stream(frames(), media_type="text/event-stream")

    @litestar.post("/", status_code=202)
    async def publish(request: litestar.Request) -> None:
        plugin.publish(b"data: " + await request.body() + b"\n\n", "all")

    return litestar.Litestar([subscribe, publish], plugins=[plugin], openapi_config=None)
