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
    return found_each((port, path, direct))[0]


def found_each(*looks: tuple[int, str, int | None]) -> list[dict[str, Finding]]:
    """Look at several streams at the same time, since each takes as long as it takes."""
    return asyncio.run(_found(looks))


async def _found(looks: tuple[tuple[int, str, int | None], ...]) -> list[dict[str, Finding]]:
    address = "http://127.0.0.1:{}{}"
    seen = await asyncio.gather(
        *(
            look(Request(address.format(port, path)), None if direct is None else address.format(direct, path), 15)
            for port, path, direct in looks
        )
    )
    judged = [judge(through, at_server, has_two_modes=two) for through, at_server, two in seen]
    return [{finding.code: finding for finding in findings if not finding.is_note} for findings in judged]


@pytest.mark.parametrize("path", ["/bare/timed", "/timed"])
def test_nothing_is_found_between_it_and_a_server(server: Server, path: str) -> None:
    codes = set(found(server.port, path))
    assert codes == ({"cache_control", "accel_buffering"} if path == "/bare/timed" else set())


def test_nginx_with_its_defaults_buffers(server: Server, tmp_path: Path) -> None:
    bursts = "/bare/timed?every=0.04&items=40&size=600"
    with nginx(with_lines(DEFAULT_NGINX), server.port, tmp_path) as port:
        alone, compared, bursting, ours = found_each(
            (port, "/bare/timed", None),
            (port, "/bare/timed", server.port),
            (port, bursts, None),
            (port, "/timed", server.port),
        )
    assert set(alone) == {"at_once", "cache_control"}
    assert set(compared) == {"buffered", "cache_control", "accel_buffering"}
    # A stream that fills the buffer again and again comes in bursts, and these end in the middle of a frame.
    assert "halves" in bursting["buffered"].text
    # What this library sends is not buffered.
    assert ours == {}


@pytest.mark.parametrize("line", ["proxy_buffering off;", "proxy_http_version 1.1;"])
def test_what_mends_the_buffering_of_nginx(server: Server, tmp_path: Path, line: str) -> None:
    with nginx(with_lines(DEFAULT_NGINX, line), server.port, tmp_path) as port:
        assert "buffered" not in found(port, "/bare/timed", server.port)


def test_nginx_that_compresses(server: Server, tmp_path: Path) -> None:
    block = with_lines(DEFAULT_NGINX, "gzip on;", "gzip_types text/event-stream;", "gzip_min_length 0;")
    with nginx(block, server.port, tmp_path) as port:
        bare, ours = found_each((port, "/bare/timed", server.port), (port, "/timed", None))
        assert set(bare) == {"buffered", "compressed", "cache_control", "accel_buffering"}
        assert "a hop does it" in bare["compressed"].text
        assert set(ours) == {"compressed"}
        mend = dict(ours["compressed"].mend)["nginx"]
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
    mends = dict(found(server.port, "/bare/timed?items=1")["cache_control"].mend)
    for name in ("nginx", "haproxy"):
        (tmp_path / name).mkdir()
    with (
        nginx(with_lines(DEFAULT_NGINX, mends["nginx"]), server.port, tmp_path / "nginx") as by_nginx,
        haproxy(with_lines(DEFAULT_HAPROXY, mends["haproxy"]), server.port, tmp_path / "haproxy") as by_haproxy,
    ):
        found_by = found_each((by_nginx, "/bare/timed", None), (by_haproxy, "/bare/timed", None))
    assert [set(codes) for codes in found_by] == [{"at_once"}, {"accel_buffering"}]


def test_haproxy_with_its_defaults_is_late(server: Server, tmp_path: Path) -> None:
    with haproxy(with_lines(DEFAULT_HAPROXY), server.port, tmp_path) as port:
        late = found(port, "/timed", server.port)
    assert set(late) == {"delayed"}
    with haproxy(with_lines(DEFAULT_HAPROXY, dict(late["delayed"].mend)["haproxy"]), server.port, tmp_path) as port:
        assert found(port, "/timed", server.port) == {}


def test_haproxy_that_compresses(server: Server, tmp_path: Path) -> None:
    lines = ["compression algo gzip", "compression type text/event-stream"]
    with haproxy(with_lines(DEFAULT_HAPROXY, *lines), server.port, tmp_path) as port:
        bare, ours = found_each((port, "/bare/timed", None), (port, "/timed", None))
    assert "compressed" in bare
    assert "compressed" not in ours


@pytest.mark.parametrize(("name", "proxy"), [("nginx", nginx), ("haproxy", haproxy)])
def test_nothing_is_found_where_the_recipe_is_used(server: Server, tmp_path: Path, name: str, proxy) -> None:
    with proxy(recipe(name), server.port, tmp_path) as port:
        ours, bare = found_each((port, "/timed", server.port), (port, "/bare/timed", server.port))
    assert ours == {}
    # The headers are the application's to send.
    assert set(bare) == {"cache_control", "accel_buffering"}
