"""`doctor` before real proxies: what it finds, and that each of its remedies is one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from dual_mode_streaming.cli.doctor import look
from dual_mode_streaming.cli.findings import Finding, judge
from dual_mode_streaming.cli.request import Request
from proxies.running import haproxy, nginx, recipe
from servers.running import Server, serving

DEFAULT_NGINX = "server {\n    listen 80;\n    location / {\n        proxy_pass http://127.0.0.1:8000;\nMORE    }\n}\n"
DEFAULT_HAPROXY = """\
defaults
    mode http
    timeout connect 5s
    timeout client 1m
    timeout server 1h
frontend web
    bind :80
    default_backend application
MORE
backend application
    server one 127.0.0.1:8000
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("uvicorn-h11", tmp_path_factory.mktemp("server"), "proxies.app:app") as server:
        yield server


def with_lines(block: str, *lines: str) -> str:
    return block.replace("MORE", "".join(f"        {line}\n" for line in lines))


def found(port: int, path: str, direct: int | None = None) -> dict[str, Finding]:
    """Give what `doctor` has to mend, by its codes."""
    address = "http://127.0.0.1:{}{}"
    at_server = None if direct is None else address.format(direct, path)
    seen, other, has_two_modes = asyncio.run(look(Request(address.format(port, path)), at_server, 15))
    findings = judge(seen, other, has_two_modes=has_two_modes)
    return {finding.code: finding for finding in findings if not finding.is_note}


@pytest.mark.parametrize("path", ["/bare/timed", "/timed"])
def test_nothing_is_found_between_it_and_a_server(server: Server, path: str) -> None:
    codes = set(found(server.port, path))
    assert codes == ({"cache_control", "accel_buffering"} if path == "/bare/timed" else set())


def test_nginx_with_its_defaults_buffers(server: Server, tmp_path: Path) -> None:
    with nginx(with_lines(DEFAULT_NGINX), server.port, tmp_path) as port:
        assert set(found(port, "/bare/timed")) == {"at_once", "cache_control"}
        assert set(found(port, "/bare/timed", server.port)) == {"buffered", "cache_control", "accel_buffering"}
        # A stream that fills the buffer again and again comes in bursts, and these end in the middle of a frame.
        assert "halves" in found(port, "/bare/timed?every=0.04&items=40&size=600")["buffered"].text
        # What this library sends is not buffered.
        assert found(port, "/timed", server.port) == {}


@pytest.mark.parametrize("line", ["proxy_buffering off;", "proxy_http_version 1.1;"])
def test_what_mends_the_buffering_of_nginx(server: Server, tmp_path: Path, line: str) -> None:
    with nginx(with_lines(DEFAULT_NGINX, line), server.port, tmp_path) as port:
        assert "buffered" not in found(port, "/bare/timed", server.port)


def test_nginx_that_compresses(server: Server, tmp_path: Path) -> None:
    block = with_lines(DEFAULT_NGINX, "gzip on;", "gzip_types text/event-stream;", "gzip_min_length 0;")
    with nginx(block, server.port, tmp_path) as port:
        bare = found(port, "/bare/timed", server.port)
        assert set(bare) == {"buffered", "compressed", "cache_control", "accel_buffering"}
        assert "a hop does it" in bare["compressed"].text
        assert set(found(port, "/timed")) == {"compressed"}
        mend = dict(found(port, "/timed")["compressed"].mend)["nginx"]
    with nginx(block.replace("gzip on;", mend), server.port, tmp_path) as port:
        assert found(port, "/timed") == {}


def test_nginx_that_cuts_a_silence(server: Server, tmp_path: Path) -> None:
    block = with_lines(DEFAULT_NGINX, "proxy_http_version 1.1;", "proxy_read_timeout 2s;")
    with nginx(block, server.port, tmp_path) as port:
        timeout = found(port, "/timed?every=4&items=2")
    assert set(timeout) == {"timeout"}
    assert ("nginx", "proxy_read_timeout 1h;") in timeout["timeout"].mend


def test_a_gateway_that_gives_up(server: Server, tmp_path: Path) -> None:
    with nginx(with_lines(DEFAULT_NGINX, "proxy_read_timeout 1s;"), server.port, tmp_path) as port:
        by_nginx = found(port, "/bare/silent")
    block = with_lines(DEFAULT_HAPROXY).replace("timeout server 1h", "timeout server 1s")
    with haproxy(block, server.port, tmp_path) as port:
        by_haproxy = found(port, "/bare/silent")
    for status in (by_nginx, by_haproxy):
        assert set(status) == {"status"}
        assert "504 (text/html): a hop gave up after 1" in status["status"].text


def test_headers_that_the_proxy_adds(server: Server, tmp_path: Path) -> None:
    mends = dict(found(server.port, "/bare/timed")["cache_control"].mend)
    with nginx(with_lines(DEFAULT_NGINX, mends["nginx"]), server.port, tmp_path) as port:
        assert set(found(port, "/bare/timed")) == {"at_once"}
    with haproxy(with_lines(DEFAULT_HAPROXY, mends["haproxy"]), server.port, tmp_path) as port:
        assert set(found(port, "/bare/timed")) == {"accel_buffering"}


def test_haproxy_with_its_defaults_is_late(server: Server, tmp_path: Path) -> None:
    with haproxy(with_lines(DEFAULT_HAPROXY), server.port, tmp_path) as port:
        late = found(port, "/timed", server.port)
    assert set(late) == {"delayed"}
    with haproxy(with_lines(DEFAULT_HAPROXY, dict(late["delayed"].mend)["haproxy"]), server.port, tmp_path) as port:
        assert found(port, "/timed", server.port) == {}


def test_haproxy_that_compresses(server: Server, tmp_path: Path) -> None:
    lines = ["compression algo gzip", "compression type text/event-stream"]
    with haproxy(with_lines(DEFAULT_HAPROXY, *lines), server.port, tmp_path) as port:
        assert "compressed" in found(port, "/bare/timed")
        assert "compressed" not in found(port, "/timed")


@pytest.mark.parametrize(("name", "proxy"), [("nginx", nginx), ("haproxy", haproxy)])
def test_nothing_is_found_where_the_recipe_is_used(server: Server, tmp_path: Path, name: str, proxy) -> None:
    with proxy(recipe(name), server.port, tmp_path) as port:
        assert found(port, "/timed", server.port) == {}
        # The headers are the application's to send.
        assert set(found(port, "/bare/timed", server.port)) == {"cache_control", "accel_buffering"}
