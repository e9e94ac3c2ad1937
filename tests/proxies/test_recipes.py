"""The recipes of docs/deploy.md in real proxies, in front of two servers: a stream goes through them as it is.

Nothing here looks at a clock: what has to come early is read while its source still waits at a gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from proxies.running import PROXIES, nginx, recipe
from servers.running import Server, serving
from servers.wire import ask, opened

SSE, NDJSON = "text/event-stream", "application/x-ndjson"
COMPRESS = "gzip on; gzip_types *; gzip_min_length 0;"


@dataclass
class Way:
    """The ports at both ends of a proxy."""

    proxy: int
    server: int


@pytest.fixture(scope="module", params=["uvicorn-h11", "granian"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(request.param, tmp_path_factory.mktemp("server"), "proxies.app:app") as server:
        yield server


@pytest.fixture(scope="module", params=PROXIES)
def way(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """A proxy with the recipe of the page, in front of a server."""
    folder = tmp_path_factory.mktemp("proxy")
    with PROXIES[request.param](recipe(request.param), server.port, folder) as port:
        yield Way(port, server.port)


@pytest.fixture
def key() -> str:
    return uuid4().hex


def accept(mode: str) -> dict[str, str]:
    # As browsers do: a proxy that compresses does so only for who takes it.
    return {"Accept": mode, "Accept-Encoding": "gzip, deflate, br"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "mode", "first"),
    [("/gated", SSE, b'data: {"n":1}\n\n'), ("/gated", NDJSON, b'{"n":1}\n'), ("/bare/gated", SSE, b"data: 1\n\n")],
)
async def test_an_item_arrives_before_the_next_one_exists(
    way: Way, key: str, path: str, mode: str, first: bytes
) -> None:
    async with opened(way.proxy, f"{path}?key={key}", accept(mode)) as exchange:
        await exchange.until(first)
        await ask(way.server, f"/probe/{key}/gate", method="POST", body=b"")
        reply = await exchange.end()
    assert reply.complete
    assert first.replace(b"1", b"2") in reply.body


@pytest.mark.asyncio
async def test_headers_and_heartbeats_arrive_while_the_source_is_silent(way: Way, key: str) -> None:
    async with opened(way.proxy, f"/heartbeat?key={key}", accept(SSE)) as exchange:
        await exchange.until(b": \n\n", 2)
        assert exchange.reply.status == 200
        assert exchange.reply["cache-control"] == "no-cache, no-transform"


@pytest.mark.asyncio
async def test_a_stream_that_is_cut_does_not_look_complete(way: Way, key: str) -> None:
    async with opened(way.proxy, f"/late/value?key={key}", accept(NDJSON)) as exchange:
        await exchange.until(b'{"n":1}\n')
        await ask(way.server, f"/probe/{key}/gate", method="POST", body=b"")
        reply = await exchange.end()
    assert not reply.complete


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/gated", "/bare/gated"])
async def test_a_client_that_leaves_ends_the_source(way: Way, key: str, path: str) -> None:
    async with opened(way.proxy, f"{path}?key={key}", accept(SSE)) as exchange:
        await exchange.until(b"1")
        exchange.leave()
        assert (await ask(way.server, f"/probe/{key}/wait/closed")).json is True


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["application/json", SSE, NDJSON])
async def test_an_answer_is_the_same_on_both_sides(way: Way, mode: str) -> None:
    through, direct = [await ask(port, "/envelopes", accept(mode)) for port in (way.proxy, way.server)]
    assert through.body.partition(b"\n")[2] == direct.body.partition(b"\n")[2]  # the retry time is drawn anew
    for header in ("content-type", "cache-control", "vary", "content-length"):
        assert through[header] == direct[header]


# --- why each line is there ----------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_recipe_holds_where_everything_else_is_compressed(server: Server, tmp_path: Path, key: str) -> None:
    with nginx(recipe("nginx"), server.port, tmp_path, around=COMPRESS) as port:
        async with opened(port, f"/gated?key={key}", accept(SSE)) as exchange:
            await exchange.until(b'data: {"n":1}')
            assert exchange.reply["content-encoding"] is None


@pytest.mark.asyncio
async def test_nginx_compresses_in_spite_of_no_transform(server: Server, tmp_path: Path, key: str) -> None:
    with nginx(without("gzip off;", "nginx"), server.port, tmp_path, around=COMPRESS) as port:
        async with opened(port, f"/gated?key={key}", accept(SSE)) as exchange:
            reply = await exchange.head()
            assert reply["cache-control"] == "no-cache, no-transform"
            assert reply["content-encoding"] == "gzip"


@pytest.mark.asyncio
async def test_with_http_1_0_to_the_server_a_cut_looks_like_an_end(server: Server, tmp_path: Path, key: str) -> None:
    block = without("proxy_http_version 1.1;", "nginx")
    with nginx(block, server.port, tmp_path) as port:
        async with opened(port, f"/late/value?key={key}", accept(NDJSON)) as exchange:
            await exchange.until(b'{"n":1}\n')
            await ask(server.port, f"/probe/{key}/gate", method="POST", body=b"")
            reply = await exchange.end()
    assert reply.complete
    assert b'{"error":' in reply.body.splitlines()[-1]


@pytest.mark.asyncio
async def test_haproxy_obeys_no_transform_and_compresses_the_rest(server: Server, tmp_path: Path, key: str) -> None:
    compressing = "    compression algo gzip\n    compression type text/event-stream\n"
    block = recipe("haproxy").replace("    default_backend", f"{compressing}    default_backend")
    with PROXIES["haproxy"](block, server.port, tmp_path) as port:
        for path, encoding in (("/gated", None), ("/bare/gated", "gzip")):
            async with opened(port, f"{path}?key={key}{path[-5:]}", accept(SSE)) as exchange:
                assert (await exchange.head())["content-encoding"] == encoding, path


def without(line: str, name: str) -> str:
    """Give a recipe without one of its lines."""
    block = recipe(name)
    assert block.count(line) == 1
    return block.replace(line, "")
