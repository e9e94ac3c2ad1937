"""One application with an endpoint for each case of the wire contract, for the tests over real servers.

Sources are steered from outside, so that no test has to look at a clock: a request names a `key`, its source waits at
gates that `POST /probe/{key}/gate` opens, and `GET /probe/{key}/wait/closed` answers once its `finally` has run.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs

import anyio
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.background import BackgroundTask

from dual_mode_streaming import Channel, DualModeResponse, Outcome, ServerSentEvent, dual_mode, last
from dual_mode_streaming.errors import NotAcceptable
from dual_mode_streaming.fastapi import DualModeRoute

SECRET = "the password is 12345"
BOUND = 8.0
"""Seconds after which a wait gives up, so that a broken test fails and does not hang."""


class Teapot(Exception):
    """An exception of the application, with a handler of its own."""


class Probe:
    """What is known of the sources of one test, and the gates at which they wait."""

    def __init__(self) -> None:
        self.reached = {name: anyio.Event() for name in ("started", "closing", "closed", "finished", "background")}
        self.gate = anyio.Semaphore(0)
        self.runs = 0
        self.requests: list[str | None] = []
        self.outcomes: list[str] = []
        self.order: list[str] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Surround a source: count its runs, and take note when its clean-up has run."""
        self.runs += 1
        self.reached["started"].set()
        try:
            yield
        finally:
            self.took_place("closed")

    def took_place(self, name: str) -> None:
        self.order.append(name)
        self.reached[name].set()

    async def in_background(self) -> None:
        """Be a background task. A plain function would run in a thread, and wake nobody here."""
        self.took_place("background")

    def finished(self, outcome: Outcome, partial: Any) -> None:
        """Be an `on_finish`."""
        self.outcomes.append(outcome.value)
        self.took_place("finished")


class CountRequests:
    """Takes note of each request that has a key: of the last event id that came with it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            for key in parse_qs(scope["query_string"].decode()).get("key", ()):
                probes[key].requests.append(dict(scope["headers"]).get(b"last-event-id", b"").decode() or None)
        await self.app(scope, receive, send)


probes: defaultdict[str, Probe] = defaultdict(Probe)
app = FastAPI()
app.router.route_class = DualModeRoute
app.add_middleware(CountRequests)


@app.exception_handler(Teapot)
async def on_teapot(request: Request, error: Teapot) -> JSONResponse:
    return JSONResponse({"teapot": str(error)}, 418, {"x-handler": "the application's own"})


# --- the way in for the tests ------------------------------------------------------------------


@app.get("/token")
async def token() -> str:
    return os.environ.get("CONTRACT_TOKEN", "")


@app.get("/probe/{key}")
async def probe(key: str) -> dict[str, Any]:
    seen = probes[key]
    return {"runs": seen.runs, "requests": seen.requests, "outcomes": seen.outcomes, "order": seen.order}


@app.get("/probe/{key}/wait/{name}")
async def wait(key: str, name: str) -> bool:
    try:
        with anyio.fail_after(BOUND):
            await probes[key].reached[name].wait()
    except TimeoutError:
        return False
    return True


@app.post("/probe/{key}/gate")
async def gate(key: str) -> None:
    probes[key].gate.release()


@app.get("/page", response_class=HTMLResponse)
async def page() -> str:
    return '<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>a page of the same origin</title>'


# --- items -------------------------------------------------------------------------------------


@app.get("/items")
@dual_mode
async def items(key: str = "") -> AsyncIterator[dict[str, Any]]:
    with probes[key].running():
        yield {"n": 1}
        await anyio.sleep(0)
        yield {"n": 2, "text": "ü \u2028 \U0001f600"}
        yield {"n": 3, "list": [None, True, 1.5]}


@app.post("/items")
@dual_mode
async def given_items(request: Request) -> AsyncIterator[Any]:
    for item in await request.json():
        yield item
        await anyio.sleep(0)


@app.get("/named")
@dual_mode
async def named() -> AsyncIterator[Any]:
    yield ServerSentEvent({"n": 1}, event="tick", id="7")
    await anyio.sleep(0)
    yield ServerSentEvent({"n": 2}, event="tick")
    yield ServerSentEvent({"n": 3}, id="8", retry=1234)
    yield ServerSentEvent(comment="not an item")
    yield ServerSentEvent({"n": 4})
    yield {"n": 5}


@app.get("/texts")
@dual_mode
async def texts() -> AsyncIterator[str]:
    yield "plain"
    yield "two\nlines"
    await anyio.sleep(0)
    yield ""


@app.get("/raw")
@dual_mode
async def raw() -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(raw="hello")
    yield ServerSentEvent(raw="two\nlines")
    yield ServerSentEvent(raw='{"x":  1}', event="tick")


@app.get("/envelopes")
@dual_mode
async def envelopes() -> AsyncIterator[Any]:
    yield {"error": "of a sensor"}
    yield {"data": 1}
    yield {"data": 2, "event": "x"}
    yield {"error": 1, "data": 2}
    yield {"event": "x"}


@app.get("/empty")
@dual_mode
async def empty(key: str = "") -> AsyncIterator[Any]:
    with probes[key].running():
        for nothing in ():
            yield nothing


@app.get("/sync")
@dual_mode
def sync(key: str = "") -> Iterator[dict[str, int]]:
    with probes[key].running():
        yield {"n": 1}
        yield {"n": 2}


@app.post("/echo")
@dual_mode(fold=lambda parts: {"bytes": sum(part["bytes"] for part in parts)})
async def echo(request: Request, key: str = "") -> AsyncIterator[dict[str, int]]:
    with probes[key].running():
        async for part in request.stream():
            if part:
                yield {"bytes": len(part)}


# --- errors ------------------------------------------------------------------------------------

UNENCODABLE = {"rows": [{"price": object()}]}
LARGE = {"text": "x" * 500}


def fail(kind: str) -> Any:
    """Raise, or give the item or event that will make the response fail."""
    match kind:
        case "http":
            raise HTTPException(418, "short and stout", {"x-brew": "no"})
        case "value":
            raise ValueError(SECRET)
        case "own":
            raise Teapot("my own")
        case "unencodable":
            return UNENCODABLE
        case "large":
            return LARGE
        case "reserved":
            return ServerSentEvent({"n": 0}, event="done")
        case "forged":
            return ServerSentEvent({"n": 0}, event="a\ndata: b")
    raise AssertionError(kind)


@app.get("/early/{kind}")
@dual_mode(max_item_bytes=100)
async def early(kind: str, key: str = "") -> AsyncIterator[Any]:
    with probes[key].running():
        await anyio.sleep(0)
        yield fail(kind)


@app.get("/at-once/{kind}")
@dual_mode(max_item_bytes=100)
async def at_once(kind: str, key: str = "") -> AsyncIterator[Any]:
    with probes[key].running():
        yield {"n": 1}
        yield fail(kind)


@app.get("/late/{kind}")
@dual_mode(max_item_bytes=100)
async def late(kind: str, key: str) -> AsyncIterator[Any]:
    with probes[key].running():
        yield {"n": 1}
        await probes[key].gate.acquire()
        yield {"n": 2}
        yield fail(kind)


@app.get("/late-after-much")
@dual_mode
async def late_after_much(key: str) -> AsyncIterator[Any]:
    with probes[key].running():
        for n in range(64):
            yield {"n": n, "padding": "." * 65_536}
            await anyio.sleep(0)
        raise ValueError(SECRET)


@app.get("/raises-in-finally")
@dual_mode
async def raises_in_finally(key: str) -> AsyncIterator[Any]:
    with probes[key].running():
        try:
            yield {"n": 1}
            await probes[key].gate.acquire()
        finally:
            raise ValueError(SECRET)


# --- time --------------------------------------------------------------------------------------


@app.get("/gated")
@dual_mode
async def gated(key: str) -> AsyncIterator[dict[str, int]]:
    with probes[key].running():
        yield {"n": 1}
        await probes[key].gate.acquire()
        yield {"n": 2}


@app.get("/slow-start")
@dual_mode(commit_after=0.05, heartbeat=None)
async def slow_start(key: str, fails: bool = False) -> AsyncIterator[dict[str, int]]:
    with probes[key].running():
        await probes[key].gate.acquire()
        if fails:
            raise HTTPException(418, "short and stout")
        yield {"n": 1}


@app.get("/heartbeat")
@dual_mode(commit_after=0.05, heartbeat=0.05, heartbeat_lines=True)
async def heartbeat(key: str) -> AsyncIterator[dict[str, int]]:
    with probes[key].running():
        await probes[key].gate.acquire()
        yield {"n": 1}
        await probes[key].gate.acquire()
        yield {"n": 2}


@app.get("/keepalive")
@dual_mode(commit_after=0.05, heartbeat=0.05, batch_keepalive=True)
async def keepalive(key: str, fails: bool = False) -> AsyncIterator[dict[str, int]]:
    with probes[key].running():
        yield {"n": 1}
        await probes[key].gate.acquire()
        if fails:
            raise ValueError(SECRET)
        yield {"n": 2}


@app.get("/deadline")
@dual_mode(deadline=0.25)
async def deadline(key: str, first: bool = False) -> AsyncIterator[dict[str, int]]:
    with probes[key].running():
        if first:
            yield {"n": 1}
        await anyio.sleep_forever()


@app.get("/idle")
@dual_mode(idle_timeout=0.25)
async def idle(key: str, first: bool = False) -> AsyncIterator[dict[str, int]]:
    with probes[key].running():
        if first:
            yield {"n": 1}
        await anyio.sleep_forever()


# --- what the author sets ----------------------------------------------------------------------


@app.get("/author", status_code=202)
@dual_mode
async def author(response: Response) -> AsyncIterator[dict[str, int]]:
    response.headers["X-Author"] = "me"
    response.headers["Cache-Control"] = "private, max-age=60"
    response.headers["Vary"] = "Cookie"
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    yield {"n": 1}
    await anyio.sleep(0)
    yield {"n": 2}


@app.get("/background")
@dual_mode
async def background(key: str, tasks: BackgroundTasks) -> AsyncIterator[dict[str, int]]:
    tasks.add_task(probes[key].in_background)
    with probes[key].running():
        yield {"n": 1}


async def numbers(key: str, end: int | None) -> AsyncIterator[dict[str, int]]:
    """Count, for ever if there is no end; wait in `finally` until the gate opens if the key says so."""
    with probes[key].running():
        try:
            n = 0
            while end is None or n < end:
                n += 1
                yield {"n": n, "padding": "." * 100} if end is None else {"n": n}
                await anyio.sleep(0)
        finally:
            probes[key].took_place("closing")
            if key.endswith("-slow-close"):
                await probes[key].gate.acquire()


async def plain(request: Request) -> DualModeResponse:
    """Be an endpoint of plain Starlette."""
    key = request.query_params.get("key", "")
    return DualModeResponse(
        numbers(key, 2),
        201,
        {"X-Author": "me", "X-Accel-Buffering": "yes"},
        background=BackgroundTask(probes[key].in_background),
        on_finish=probes[key].finished,
    )


async def endless(request: Request) -> DualModeResponse:
    key = request.query_params["key"]
    return DualModeResponse(numbers(key, None), batch_max_items=None, on_finish=probes[key].finished)


async def flood(request: Request) -> DualModeResponse:
    """Send far more than the buffers between server and client hold, and do not wait long for a slow client."""
    key = request.query_params["key"]

    async def source() -> AsyncIterator[dict[str, Any]]:
        with probes[key].running():
            for n in range(10_000):
                yield {"n": n, "padding": "." * 65_536}

    return DualModeResponse(source(), send_timeout=0.25, fold=last, on_finish=probes[key].finished)


async def stuck(request: Request) -> DualModeResponse:
    """Give nothing, or one item, and wait for ever."""
    key = request.query_params["key"]

    async def source() -> AsyncIterator[dict[str, int]]:
        with probes[key].running():
            if "first" in request.query_params:
                yield {"n": 1}
            await anyio.sleep_forever()

    return DualModeResponse(source(), on_finish=probes[key].finished)


async def fixed(request: Request) -> DualModeResponse:
    """Have a media type of its own."""
    return DualModeResponse(numbers("", 2), media_type=request.query_params["type"])


app.add_route("/plain", plain, methods=["GET", "POST"])
app.add_route("/endless", endless)
app.add_route("/flood", flood)
app.add_route("/stuck", stuck)
app.add_route("/fixed", fixed)


# --- for browsers ------------------------------------------------------------------------------


@app.get("/browser/items")
@dual_mode(retry=(10, 20))
async def browser_items(key: str) -> AsyncIterator[Any]:
    with probes[key].running():
        yield {"n": 1}
        yield ServerSentEvent({"n": 2}, event="tick", id="två")
        await probes[key].gate.acquire()
        yield "text"


@app.get("/browser/cut")
@dual_mode(retry=(10, 20))
async def browser_cut(request: Request, key: str) -> AsyncIterator[Any]:
    """Fail after the first item, unless the client comes back with its id."""
    with probes[key].running():
        if request.headers.get("last-event-id") != "1":
            yield ServerSentEvent({"n": 1}, id="1")
            await probes[key].gate.acquire()
            raise ValueError(SECRET)
        yield ServerSentEvent({"n": 2}, id="2")


# --- channels ------------------------------------------------------------------------------------

channels: defaultdict[str, Channel] = defaultdict(lambda: Channel(history=100, max_items=10))


async def subscribe(key: str) -> DualModeResponse:
    """Subscribe to the channel of a test."""
    return DualModeResponse(channels[key], retry=None, heartbeat=0.05)


app.add_api_route("/channel/{key}", subscribe, methods=["GET"])


@app.post("/channel/{key}")
async def publish(request: Request, key: str, times: int = 1) -> dict[str, int]:
    """Publish the body so many times, without a pause."""
    for _ in range(times):
        await channels[key].publish((await request.body()).decode())
    return {"subscribers": len(channels[key].subscriptions)}


@app.delete("/channel/{key}")
async def close(key: str) -> None:
    """Close the channel."""
    channels[key].close()


# --- the application inside others ---------------------------------------------------------------

wrapped = FastAPI()
wrapped.add_api_route("/late/{kind}", late, methods=["GET"])
wrapped.add_api_route("/gated", gated, methods=["GET"])
wrapped.add_route("/stuck", stuck)
wrapped.add_api_route("/channel/{key}", subscribe, methods=["GET"])


@wrapped.middleware("http")
async def through(request: Request, call_next: Any) -> Response:
    """Be a middleware of the `BaseHTTPMiddleware` kind, which stands between the response and the server."""
    return await call_next(request)


owner = FastAPI()
owner.add_api_route("/items", items, methods=["GET"])


@owner.exception_handler(NotAcceptable)
async def on_not_acceptable(request: Request, error: NotAcceptable) -> JSONResponse:
    return JSONResponse({"mine": list(error.offers)}, 406)


app.mount("/wrapped", wrapped)
app.mount("/owner", owner)
