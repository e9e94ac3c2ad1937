"""The client and real servers: ours, those of other Python libraries, and one that is written by hand in Node."""

import asyncio
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp_sse
import fastapi.sse
import pydantic
import pytest
import sse_starlette
from aiohttp import web
from fastapi import FastAPI, HTTPException, Request
from starlette.middleware.base import BaseHTTPMiddleware

from client.both import AT_ONCE
from dual_mode_streaming import DualModeResponse, ResponseMode, ServerSentEvent, concat, dual_mode, errors, last
from dual_mode_streaming.modes import JSON_LINES, JSON_SEQ, NDJSON, SSE
from dual_mode_streaming.testing import live_server

app = FastAPI()


class Token(pydantic.BaseModel):
    text: str


ITEMS: list[Any] = [{"n": 1}, "ü \u2028", None, [1, 2.5], {"error": 1}, {"data": 2}, 10**30]


@app.api_route("/items", methods=["GET", "POST"])
@dual_mode
async def items() -> AsyncIterator[Any]:
    for item in ITEMS:
        yield item
        await asyncio.sleep(0)


@app.post("/say")
@dual_mode(fold=concat("text"))
async def say(words: list[str]) -> AsyncIterator[Token]:
    for word in words:
        yield Token(text=word)


@app.get("/last")
@dual_mode(fold=last)
async def only_last() -> AsyncIterator[int]:
    yield 1
    yield 2


@app.get("/stream-only")
@dual_mode(mode="stream")
async def stream_only() -> AsyncIterator[int]:
    yield 1


@app.get("/batch-only")
@dual_mode(mode="batch")
async def batch_only() -> AsyncIterator[int]:
    yield 1


@app.get("/early")
@dual_mode
async def early() -> AsyncIterator[int]:
    raise HTTPException(404, "nothing here")
    yield 1


@app.get("/late")
@dual_mode
async def late() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(0)
    raise HTTPException(409, "too late")


@app.get("/resumable")
async def resumable(request: Request) -> DualModeResponse:
    start = int(request.headers.get("last-event-id", "0"))

    async def numbers() -> AsyncIterator[ServerSentEvent]:
        for n in range(start + 1, 6):
            yield ServerSentEvent({"n": n}, id=str(n), event="tick")
            await asyncio.sleep(0)
            if n in (2, 4):
                raise Cut

    return DualModeResponse(numbers(), retry=(0, 1))


class Cut(Exception):
    """Ends a stream so that the middleware below can break it off."""


class BreakOff:
    """Ends the body of `/resumable` cleanly, but without the library's last frame: as a broken proxy would."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def cut(message: Any) -> None:
            body, found, _ = message.get("body", b"").partition(b"event: error")
            if found:
                message = {**message, "body": body}
            await send(message)

        await self.app(scope, receive, cut if scope.get("path") == "/resumable" else send)


app.add_middleware(BreakOff)


async def pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)


# --- endpoints of others ---


@app.get("/fastapi", response_class=fastapi.sse.EventSourceResponse)
async def by_fastapi() -> AsyncIterator[fastapi.sse.ServerSentEvent]:
    yield fastapi.sse.ServerSentEvent(data={"n": 1}, event="tick", id="1", retry=0)
    yield fastapi.sse.ServerSentEvent(raw_data="text", id="2")


@app.get("/fastapi-lines")
async def lines_by_fastapi() -> AsyncIterator[Token]:
    yield Token(text="a")
    yield Token(text="b")


@app.get("/sse-starlette")
async def by_sse_starlette() -> sse_starlette.EventSourceResponse:
    async def events() -> AsyncIterator[Any]:
        yield {"data": '{"n": 1}', "event": "tick", "id": "1"}
        yield "text"

    return sse_starlette.EventSourceResponse(events(), ping=3600)


@pytest.fixture(scope="module")
def url():
    with live_server(app) as url:
        yield url


# --- ours --------------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", [None, SSE, NDJSON, JSON_LINES, JSON_SEQ])
def test_the_items_and_the_batch_are_the_same_in_every_format(kind, url, media_type):
    read = kind.read(url, "/items", method="POST", media_type=media_type)
    assert (read.data, read.error) == (ITEMS, None)
    assert read.stream.response.media_type == (media_type or SSE)
    assert read.stream.mode is ResponseMode.STREAM
    batch = kind.request(url, "/items", method="POST")
    assert batch == kind.result(url, "/items", method="POST", media_type=media_type) == {"data": ITEMS}


def test_a_fold_of_ones_own(kind, url):
    words = ["a", "b"]
    assert kind.request(url, "/say", method="POST", json=words) == "ab"
    assert kind.result(url, "/say", method="POST", json=words, fold=concat("text")) == "ab"
    assert kind.read(url, "/say", method="POST", json=words, type=Token).data == [Token(text="a"), Token(text="b")]
    assert kind.request(url, "/last") == kind.result(url, "/last", fold=last) == 2


def test_endpoints_of_one_mode(kind, url):
    assert kind.request(url, "/stream-only") == {"data": [1]}
    read = kind.read(url, "/batch-only")
    assert (read.data, read.stream.mode) == ([1], ResponseMode.BATCH)
    assert kind.result(url, "/batch-only") == {"data": [1]}


def test_errors(kind, url):
    for ask in (kind.request, lambda *args: raised(kind.read(*args))):
        with pytest.raises(errors.RemoteError) as caught:
            ask(url, "/early")
        assert (caught.value.status, caught.value.document) == (404, {"detail": "nothing here"})
    with pytest.raises(errors.RemoteError) as caught:
        kind.request(url, "/late")
    assert caught.value.status == 409
    for media_type in (SSE, NDJSON, JSON_SEQ):
        read = kind.read(url, "/late", media_type=media_type)
        assert read.data == [1]
        assert (read.error.status, read.error.code, read.error.problem.detail) == (409, "http_error", "too late")


def raised(read):
    raise read.error


def test_a_stream_is_resumed_over_a_server_that_breaks_off(kind, url):
    read = kind.read(url, "/resumable")
    assert (read.data, read.error) == ([{"n": n} for n in range(1, 6)], None)
    assert read.stream.reconnects == 2


def test_a_finished_stream_is_not_read_again(kind, url):
    first = kind.read(url, "/last")
    assert first.stream.last_event_id == "dms-done"
    again = kind.read(url, "/last", last_event_id=first.stream.last_event_id)
    assert (again.data, again.error, again.stream.response.status) == ([], None, 204)


# --- others ------------------------------------------------------------------------------------


def test_fastapi(kind, url):
    read = kind.read(url, "/fastapi", require_done=False)
    assert [(came.data, came.event, came.id) for came in read.events] == [({"n": 1}, "tick", "1"), ("text", None, "2")]
    assert read.error is None
    read = kind.read(url, "/fastapi-lines", type=Token)
    assert (read.data, read.error) == ([Token(text="a"), Token(text="b")], None)
    assert kind.result(url, "/fastapi-lines") == {"data": [{"text": "a"}, {"text": "b"}]}


def test_sse_starlette(kind, url):
    read = kind.read(url, "/sse-starlette", require_done=False)
    assert [(came.data, came.event, came.id) for came in read.events] == [({"n": 1}, "tick", "1"), ("text", None, "1")]
    assert read.error is None
    assert isinstance(kind.read(url, "/sse-starlette").error, errors.StreamInterrupted)


@contextmanager
def serving_aiohttp():
    """Run an application of aiohttp on a free port, in a thread."""

    async def events(request):
        async with aiohttp_sse.sse_response(request) as response:
            await response.send('{"n": 1}', id="1", event="tick")
            await response.send("text")
        return response

    async def serve(listener, loop_is, stop_is):
        application = web.Application()
        application.router.add_get("/", events)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        stop = asyncio.Event()
        loop_is.append(asyncio.get_running_loop())
        stop_is.append(stop)
        started.set()
        await stop.wait()
        await runner.cleanup()

    started = threading.Event()
    loops, stops = [], []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=asyncio.run, args=(serve(listener, loops, stops),))
        thread.start()
        try:
            assert started.wait(10)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            loops[0].call_soon_threadsafe(stops[0].set)
            thread.join(10)


def test_aiohttp_sse(kind):
    with serving_aiohttp() as url:
        read = kind.read(url, require_done=False)
    assert [(came.data, came.event, came.id) for came in read.events] == [({"n": 1}, "tick", "1"), ("text", None, "1")]
    assert read.error is None


@pytest.fixture(scope="module")
def node():
    program = shutil.which("node")
    assert program is not None, "the tests of the client need node"
    script = Path(__file__).with_name("node_server.mjs")
    with subprocess.Popen([program, script], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def test_node(kind, node):
    read = kind.read(node, reconnect=AT_ONCE)
    assert [(came.data, came.event, came.id) for came in read.events] == [
        ({"n": n}, "tick", str(n)) for n in range(1, 6)
    ]
    assert (read.error, read.stream.reconnects, read.stream.response.status) == (None, 2, 204)
    read = kind.read(node, "/late-error")
    assert read.data == [1]
    assert (read.error.status, read.error.document) == (500, {"message": "out of tokens"})
