"""Each mistake of docs/mistakes.md: one observation, which shows the broken file broken and the fixed one fixed.

An observation looks at what a client, a server or a colleague would see, and gives it as a value. It waits for what
happens and never for a time.
"""

import asyncio
import importlib.util
import json
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from dual_mode_streaming.sse import SSEDecoder
from dual_mode_streaming.testing import EventReader, StreamingASGITransport, check_dual_mode
from needs import unmeasured

ROOT = Path(__file__).parents[1]
PAIRS = ROOT / "docs" / "pairs"
SSE = {"Accept": "text/event-stream"}
NDJSON = {"Accept": "application/x-ndjson"}

observations = {}


def shows(*, broken, fixed):
    """Register what an observation gives for the two files that have its name."""

    def register(observe):
        observations[observe.__name__] = (observe, {"broken": broken, "fixed": fixed})
        return observe

    return register


def load(name):
    """Run a file anew, so that no test sees what another one has left."""
    spec = importlib.util.spec_from_file_location(name, PAIRS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are resolved by way of it
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


@asynccontextmanager
async def client_of(module, **options):
    options = {"raise_app_exceptions": False, **options}
    transport = StreamingASGITransport(module.app, **options)
    async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
        client.calls = transport.calls
        yield client


async def turns(count=50):
    """Let everything run that can run without a clock."""
    for _ in range(count):
        await asyncio.sleep(0)


# --- what is sent ------------------------------------------------------------------------------


@shows(broken="application/json", fixed="text/event-stream; charset=utf-8")
async def content_type(module):
    async with client_of(module) as client:
        return (await client.get("/ticks", headers=SSE)).headers["content-type"]


@shows(
    broken=[(None, "milk"), (None, "tea"), ("admin", "forged")],
    fixed=[(None, "milk\nbread"), (None, "tea\n\nevent: admin\ndata: forged"), ("done", {"items": 2})],
)
async def event_format(module):
    async with client_of(module) as client:
        body = (await client.get("/notes", headers=SSE)).content
    return [(event.event, decoded(event.data)) for event in SSEDecoder().feed(body)]


def decoded(text):
    with suppress(ValueError):
        return json.loads(text)
    return text


@shows(broken=(None, None), fixed=("no-cache, no-transform", "no"))
async def headers(module):
    async with client_of(module) as client:
        answer = await client.get("/ticks", headers=SSE)
    return answer.headers.get("cache-control"), answer.headers.get("x-accel-buffering")


@shows(
    broken=[{"percent": 100}, {"percent": 100}, {"percent": 100}],
    fixed=[{"percent": 33}, {"percent": 66}, {"percent": 100}],
)
async def mutated_items(module):
    async with client_of(module) as client:
        return (await client.get("/progress")).json()["data"]


@shows(broken=[{"celsius": 19.5}, {"ping": True}, {"celsius": 20.0}], fixed=[{"celsius": 19.5}, {"celsius": 20.0}])
async def ping_items(module):
    async with client_of(module) as client:
        return (await client.get("/readings")).json()["data"]


@shows(broken=["batch", "stream", "stream"], fixed=["stream", "batch", "batch"])
async def accept_text(module):
    asked = ["TEXT/Event-Stream", "text/event-stream;q=0, */*", "application/json, text/event-stream;q=0.1"]
    async with client_of(module) as client:
        return [(await client.get("/mode", headers={"Accept": accept})).json() for accept in asked]


@shows(broken="no JSON", fixed={"data": [{"text": "Hello"}, {"text": "you"}]})
async def default_stream(module):
    async with client_of(module) as client:
        try:
            return (await client.get("/answer")).json()
        except ValueError:
            return "no JSON"


@shows(broken="law 1: the first difference is at $.data[0].price", fixed="no difference")
async def two_paths(module):
    try:
        await asyncio.to_thread(check_dual_mode, module.app, "GET", "/prices")
    except AssertionError as differs:
        law, place = re.search(r"(law \d).*The (first difference is at \S+)", str(differs), re.DOTALL).groups()
        return f"{law}: the {place}"
    return "no difference"


# --- errors ------------------------------------------------------------------------------------


@shows(broken=200, fixed=404)
async def early_error(module):
    async with client_of(module) as client, client.stream("GET", "/orders/7", headers=NDJSON) as answer:
        return answer.status_code


@shows(broken=["1", "2", "a clean end"], fixed=["1", "2", "error", "a clean end"])
async def late_error(module):
    async with client_of(module) as client:
        return await told(client, "/rows", SSE)


async def told(client, path, headers):
    """Give the data of the events, or the name of one that has a name, and how the body ended."""
    decoder, seen = SSEDecoder(), []
    async with client.stream("GET", path, headers=headers) as answer:
        try:
            async for piece in answer.aiter_bytes():
                seen += [event.event or event.data for event in decoder.feed(piece)]
        except httpx2.RemoteProtocolError:
            return [*seen, "a cut"]
    return [*seen, "a clean end"]


@shows(broken=True, fixed=False)
async def error_text(module):
    async with client_of(module) as client:
        return "hunter2" in (await client.get("/rows", headers=SSE)).text


@shows(broken="a clean end", fixed="a cut")
async def hidden_cut(module):
    async with client_of(module) as client, client.stream("GET", "/rows", headers=NDJSON) as answer:
        try:
            body = await answer.aread()
        except httpx2.RemoteProtocolError:
            return "a cut"
    assert b'{"error":' in body  # the last line says it in any case
    return "a clean end"


# --- who runs, who waits, who leaves -------------------------------------------------------------


@shows(broken="in the event loop", fixed="in a thread")
async def blocking(module):
    places = set()

    class Watched:
        """Stands in the place of the module `time`: where a sleep would block is all that matters."""

        @staticmethod
        def sleep(seconds):
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                places.add("in a thread")
            else:
                places.add("in the event loop")

    module.time = Watched
    async with client_of(module) as client:
        assert (await client.get("/readings")).json() == {"data": [19.5, 20.0]}
    (place,) = places
    return place


@shows(broken={"rows"}, fixed=set())
async def cleanup(module):
    async with client_of(module) as client:
        async with client.stream("GET", "/rows", headers=SSE) as answer, EventReader(answer) as events:
            await events.take(2)
        return module.open_cursors


@shows(broken=["one", "two"], fixed=[])
async def batch_runs_on(module):
    patience = 0.1 if module.__name__.endswith("broken") else 30  # what never ends needs no long look
    async with client_of(module) as client:
        asking = asyncio.create_task(client.get("/report"))
        while not client.calls:
            await asyncio.sleep(0)
        (call,) = client.calls
        await turns()
        call.leave()
        with suppress(TimeoutError):
            await asyncio.wait_for(call.until_ended(), patience)
        module.gate.set()
        await call.until_ended()
        asking.cancel()
        with suppress(asyncio.CancelledError, httpx2.HTTPError):
            await asking
    return module.done


@shows(broken="all 200 are in memory", fixed="the source waits")
async def slow_client(module):
    async with client_of(module) as client, client.stream("GET", "/flood", headers=NDJSON) as answer:
        await answer.extensions["asgi_call"].until_blocked()
        await turns(500)  # more than enough for 200 items, if nothing holds them up
        return "all 200 are in memory" if len(module.made) == 200 else "the source waits"


@shows(broken=[None, "heartbeat"], fixed=[None, "heartbeat", "20.0"])
async def wait_for(module):
    """Whether the reading behind a heartbeat arrives."""
    seen = [None]
    async with client_of(module) as client, client.stream("GET", "/readings", headers=SSE) as answer:
        async for text in answer.aiter_text():
            if text.startswith(":") and "heartbeat" not in seen:
                seen.append("heartbeat")
                module.gate.set()
            seen += re.findall(r"data: (20\.0)", text)
    return seen


@shows(broken=["response ended"], fixed=["cursor closed", "response ended"])
async def inner_generator(module):
    async with client_of(module) as client:
        assert (await client.get("/doubled")).json() == {"data": [0, 2, 4]}
    seen = list(module.events)
    for generator in getattr(module, "kept", ()):
        await generator.aclose()
    return seen


@shows(broken=[], fixed=[2])
async def lost_bill(module):
    async with client_of(module) as client:
        async with client.stream("POST", "/answer", headers=SSE) as answer, EventReader(answer) as events:
            await events.take(2)
        return module.bills


# --- what holds a stream back ------------------------------------------------------------------


async def arrives(module, first_piece):
    """Whether the first item is there while the source waits for what comes behind it."""
    reading = asyncio.ensure_future(first_piece)
    await module.waiting.wait()
    await turns()
    arrived = reading.done()
    module.gate.set()
    assert await reading
    return arrived


async def first_piece_of(module, headers):
    async with client_of(module) as client, client.stream("GET", "/ticks", headers=headers) as answer:
        async for piece in answer.aiter_bytes():
            if piece:
                return piece
    return b""


@shows(broken=False, fixed=True)
async def gathering(module):
    return await arrives(module, first_piece_of(module, NDJSON))


@shows(broken=False, fixed=True)
async def compressing(module):
    return await arrives(module, first_piece_of(module, {**NDJSON, "Accept-Encoding": "gzip"}))


@shows(broken=False, fixed=True)
async def buffering_test(module):
    return await arrives(module, module.first_piece())


# --- coming back -------------------------------------------------------------------------------


@shows(broken=["1", "3"], fixed=["1", "2", "3"])
async def lost_events(module):
    seen, last = [], {}
    async with client_of(module) as client:
        async with client.stream("GET", "/goals", headers=SSE) as answer:
            pieces = answer.aiter_text()
            await anext(pieces)  # it is connected
            await module.publish(1)
            event = await next_event(pieces)
            seen.append(event.data)
            last = {"Last-Event-ID": event.id} if event.id else {}
        await module.publish(2)  # nobody is connected
        async with client.stream("GET", "/goals", headers={**SSE, **last}) as answer:
            pieces = answer.aiter_text()
            text = await anext(pieces)
            await module.publish(3)
            await module.close()
            text += "".join([piece async for piece in pieces])
    return seen + [event.data for event in SSEDecoder().feed(text.encode()) if event.event is None]


async def next_event(pieces):
    decoder = SSEDecoder()
    async for piece in pieces:
        for event in decoder.feed(piece.encode()):
            return event
    raise AssertionError("the stream has ended")


@shows(broken="all at once", fixed="spread")
async def same_moment(module):
    async with client_of(module) as client:
        bodies = [(await client.get("/ticks", headers=SSE)).text for _ in range(20)]
    times = {re.findall(r"retry: (\d+)", body)[0] for body in bodies}
    return "all at once" if len(times) == 1 else "spread"  # twenty equal draws of 4001 do not happen


@shows(broken=(200, 2), fixed=(204, 1))
async def endless_reconnect(module):
    async with client_of(module) as client:
        last = SSEDecoder().feed((await client.get("/answer", headers=SSE)).content)[-1].id
        again = await client.get("/answer", headers={**SSE, "Last-Event-ID": last})
    return again.status_code, len(module.begun)


@shows(broken=2, fixed=1)
async def paid_twice(module):
    async with client_of(module) as client:
        for _ in range(2):
            answer = await client.post("/reports", headers={"Idempotency-Key": "today"})
            assert answer.json() == {"data": ["one", "two"]}
    return len(module.bills)


@shows(broken="json.JSONDecodeError", fixed=[{"text": "Grüße"}, {"text": "zwei"}])
async def piece_is_event(module):
    body = 'data: {"text": "Grüße"}\n\ndata: {"text": "zwei"}\n\n'.encode()
    try:
        return list(module.items([body[:18], body[18:]]))
    except ValueError as error:  # a letter that is cut, or half a document
        return f"json.{type(error).__name__}"


# --- stopping ----------------------------------------------------------------------------------


@shows(broken="the stream goes on", fixed="the client is told, and the server ends")
async def shutdown(module):
    return await asyncio.to_thread(stopped, module.__name__)


def stopped(name):
    """Start a real server, open a stream, tell the server to stop, and see what a client gets from then on."""
    command = [sys.executable, "-m", "uvicorn", f"{name}:app", "--port", "0", "--no-use-colors"]
    server = subprocess.Popen(command, cwd=PAIRS, stderr=subprocess.PIPE, text=True, env=unmeasured())
    try:
        url = next(re.findall(r"http://\S+", line)[0] for line in server.stderr if "http://" in line)
        with httpx2.Client(timeout=30) as client, client.stream("GET", f"{url}/ticks", headers=NDJSON) as answer:
            lines = answer.iter_lines()
            assert next(lines) == "0"
            server.send_signal(signal.SIGTERM)
            until(server.stderr, r"Waiting for connections to close|Finished server process")
            with suppress(httpx2.RemoteProtocolError):  # NDJSON ends with an error line and a cut
                for line in lines:
                    if int(line if line.isdecimal() else 0) > 200:
                        return "the stream goes on"
            assert json.loads(line)["error"]["code"] == "draining"
        server.wait()
        return "the client is told, and the server ends"
    finally:
        server.kill()
        server.wait()
        server.stderr.close()


def until(stream, pattern):
    assert any(re.search(pattern, line) for line in stream), f"never came: {pattern}"


# --- all of them -------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("state", ["broken", "fixed"])
@pytest.mark.parametrize("name", observations)
async def test_a_mistake_shows_and_its_cure_helps(name, state):
    observe, expected = observations[name]
    assert await observe(load(f"{name}_{state}")) == expected[state]


def test_every_pair_is_observed_and_on_the_page():
    page = (ROOT / "docs" / "mistakes.md").read_text("utf-8")
    files = {path.stem for path in PAIRS.glob("*.py")}
    assert files == {f"{name}_{state}" for name in observations for state in ("broken", "fixed")}
    assert files == set(re.findall(r"<!-- file: docs/pairs/(\w+)\.py -->", page))
