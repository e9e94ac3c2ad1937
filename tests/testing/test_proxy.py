"""The proxy cuts, holds and slows down real connections, exactly when it is told to."""

import socket
import threading
from contextlib import contextmanager, suppress

import httpx2
import pytest

from dual_mode_streaming.testing import TCPProxy, live_server

SIZE = 1000


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    size = int(scope["query_string"] or SIZE)
    headers = [(b"content-length", b"%d" % size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * size})


@pytest.fixture(scope="module")
def server():
    with live_server(app) as url:
        yield url


@pytest.fixture
def proxy(server):
    with TCPProxy(server) as running:
        yield running


@pytest.fixture
def client(proxy):
    with httpx2.Client(base_url=proxy.url, timeout=10, trust_env=False) as made:
        yield made


def test_bytes_pass_in_both_directions(client, proxy):
    assert client.get("/").text == "x" * SIZE
    assert client.get("/").status_code == 200
    assert proxy.connections == 1, "the second request was on the same connection"
    assert proxy.forwarded > 2 * SIZE


def test_a_connection_is_cut_after_exactly_so_many_bytes(client, proxy):
    proxy.cut_after(500)
    with client.stream("GET", "/") as response, pytest.raises(httpx2.RemoteProtocolError):
        list(response.iter_raw())
    assert proxy.forwarded == 500
    proxy.cut_after(None)
    assert client.get("/").text == "x" * SIZE
    proxy.cut_after(0)
    with httpx2.Client(trust_env=False) as other, pytest.raises(httpx2.TransportError):
        other.get(proxy.url)


@pytest.mark.parametrize("reset", [False, True])
def test_open_connections_are_cut_at_will(client, proxy, reset):
    size = 50_000_000
    with client.stream("GET", f"/?{size}") as response:
        chunks = response.iter_raw()
        assert next(chunks)
        proxy.cut(reset=reset)
        with pytest.raises(httpx2.TransportError):
            list(chunks)
    assert proxy.forwarded < size
    assert client.get("/").status_code == 200, "new connections are not concerned"


def test_nothing_passes_during_a_stall_and_everything_after_it(proxy):
    with connected(proxy) as connection:
        proxy.stall()
        connection.sendall(b"GET /?9 HTTP/1.1\r\nHost: x\r\n\r\n")
        proxy.wait_until(lambda proxy: proxy.connections == 1)
        with pytest.raises(TimeoutError, match="1 connections, 0 bytes"):
            proxy.wait_until(lambda proxy: proxy.forwarded > 0, timeout=0.05)
        proxy.resume()
        proxy.wait_until(lambda proxy: proxy.forwarded > 9)
        assert connection.recv(1).startswith(b"H")


def test_bytes_trickle(client, proxy):
    proxy.trickle(7)
    with client.stream("GET", "/?70") as response:
        assert max(len(chunk) for chunk in response.iter_raw()) <= 70
    whole = proxy.forwarded
    assert client.get("/?70").text == "x" * 70
    assert proxy.forwarded == 2 * whole
    proxy.trickle(10_000, delay=0.001)
    assert client.get("/?70").text == "x" * 70
    proxy.resume()
    assert client.get("/").text == "x" * SIZE


def test_new_connections_are_refused(client, proxy):
    proxy.refuse()
    with pytest.raises(httpx2.TransportError):
        client.get("/")
    proxy.refuse(False)
    assert client.get("/").status_code == 200


def test_a_server_that_is_not_there_is_a_closed_connection():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with TCPProxy(f"127.0.0.1:{port}") as proxy, pytest.raises(httpx2.TransportError):
        httpx2.get(proxy.url, trust_env=False)


@pytest.mark.parametrize("target", ["http://127.0.0.1", "nonsense", ":80"])
def test_a_target_needs_a_host_and_a_port(target):
    with pytest.raises(ValueError, match="needs a host and a port"):
        TCPProxy(target)


def test_closing_twice_is_closing_once_and_leaves_no_thread(server):
    proxy = TCPProxy(server)
    proxy.close()
    proxy.close()
    assert "tcp-proxy" not in {thread.name for thread in threading.enumerate()}


def test_a_client_that_does_not_read_is_felt_by_the_server(server):
    """The proxy takes no more from the server than it can pass on."""
    sent = []

    async def endless(scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2000):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            sent.append(65_536)

    with live_server(endless) as url, TCPProxy(url) as proxy, connected(proxy) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        seen = until_nothing_moves(proxy)
        assert 65_536 < seen < 100_000_000
        assert sum(sent) < 100_000_000
        proxy.cut()
        assert sum(map(len, iter(lambda: connection.recv(65_536), b""))) >= seen, "what was passed on is not taken back"


def until_nothing_moves(proxy):
    seen = -1
    while proxy.forwarded != seen:
        seen = proxy.forwarded
        with suppress(TimeoutError):
            proxy.wait_until(lambda proxy, seen=seen: proxy.forwarded > seen, timeout=0.5)
    return seen


@contextmanager
def connected(proxy):
    """A bare connection, which shows how it ends."""
    with socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), timeout=10) as connection:
        yield connection


@pytest.mark.parametrize("reset", [False, True])
def test_how_a_cut_looks_from_the_client(proxy, reset):
    with connected(proxy) as connection:
        proxy.wait_until(lambda proxy: proxy.connections == 1)
        proxy.cut(reset=reset)
        if reset:
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        else:
            assert connection.recv(1) == b""
