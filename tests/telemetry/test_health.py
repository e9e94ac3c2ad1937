"""Whether a process lives, and whether it is ready: while it drains, and while its store does not answer."""

import asyncio
import socket

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from asgi import Call
from dual_mode_streaming import DualModeResponse, Runs, Streams
from dual_mode_streaming.drained import Drained
from dual_mode_streaming.stores import MemoryStore, RedisStore
from dual_mode_streaming.telemetry import health_routes
from dual_mode_streaming.testing import live_server


async def both(app):
    return [await Call(app, path).run() for path in ("/healthz", "/readyz")]


@pytest.mark.asyncio
async def test_a_process_that_is_well():
    alive, ready = await both(Starlette(routes=health_routes(Streams(), runs=Runs())))
    assert (alive.status, alive.body, alive.headers["cache-control"]) == (200, b'{"status":"alive"}', "no-store")
    assert (ready.status, ready.body, ready.headers["cache-control"]) == (200, b'{"status":"ready"}', "no-store")


@pytest.mark.asyncio
async def test_a_process_that_drains_lives_but_is_not_ready():
    streams = Streams()
    app = Starlette(routes=health_routes(streams))
    await streams.drain(0)
    alive, ready = await both(app)
    assert alive.status == 200
    assert (ready.status, ready.headers["content-type"]) == (503, "application/problem+json")
    assert int(ready.headers["retry-after"]) >= 1
    assert b'"code":"draining"' in ready.body
    assert ready.headers["connection"] == "close"
    assert ready.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("where", ["state", "scope"])
@pytest.mark.asyncio
async def test_the_registry_is_found_where_responses_find_it(where):
    app = Starlette(routes=health_routes())
    streams = Streams()
    if where == "state":
        app.state.streams = streams
        served = app
    else:
        served = Drained(app)
        streams = served.streams
    assert (await both(served))[1].status == 200
    await streams.drain(0)
    assert (await both(served))[1].status == 503


@pytest.mark.asyncio
async def test_a_store_that_cannot_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store = RedisStore(f"redis://:hunter2@127.0.0.1:{port}/0")
    try:
        alive, ready = await both(Starlette(routes=health_routes(Streams(), runs=Runs(store), within=30)))
    finally:
        await store.aclose()
    assert alive.status == 200
    assert (ready.status, ready.headers["content-type"]) == (503, "application/problem+json")
    assert b'"code":"store_unavailable"' in ready.body
    assert b"Redis cannot be reached" in ready.body
    assert int(ready.headers["retry-after"]) >= 1
    assert b"hunter2" not in ready.body


@pytest.mark.asyncio
async def test_a_store_that_does_not_answer_in_time():
    class Stuck(MemoryStore):
        async def read(self, run_id, after=0, limit=1000):
            await asyncio.Event().wait()

    _, ready = await both(Starlette(routes=health_routes(runs=Runs(Stuck()), within=0.01)))
    assert ready.status == 503
    assert b"within 0.01 s" in ready.body


def test_paths_of_one_s_own_and_a_bound_that_makes_no_sense():
    assert [route.path for route in health_routes(alive="/live", ready="/ready")] == ["/live", "/ready"]
    with pytest.raises(ValueError, match="within=0"):
        health_routes(within=0)


def test_on_a_real_server_while_a_stream_has_its_grace():
    """As before a server is stopped: it listens still, so whoever sends it requests can hear that it should not."""
    streams = Streams(grace=30)
    begun = []

    async def endless(request):
        async def source():
            yield "begun"
            await asyncio.Event().wait()

        return DualModeResponse(source())

    async def drain(request):
        begun.append(asyncio.get_running_loop().create_task(streams.drain()))
        await asyncio.sleep(0)
        return Response(status_code=202)

    routes = [Route("/endless", endless), Route("/drain", drain, methods=["POST"]), *health_routes()]
    app = Starlette(routes=routes)
    app.state.streams = streams
    with (
        live_server(app) as url,
        httpx2.Client(base_url=url) as client,
        client.stream("GET", "/endless", headers={"accept": "text/event-stream"}) as stream,
    ):
        parts = stream.iter_bytes()
        next(parts)
        assert client.get("/readyz").status_code == 200
        assert client.post("/drain").status_code == 202
        refused = client.get("/readyz")
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        assert client.get("/healthz").status_code == 200
        assert client.head("/readyz").status_code == 503
        assert streams.open == 1
    assert streams.open == 0
