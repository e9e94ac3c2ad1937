"""Hostile clients against a real server: each gets a clear answer or is got rid of, and the others notice nothing.

The server is uvicorn with httptools: of the servers that we know it leaves the most to the application, headers of any
length for one. How long a healthy client waits during such attacks is measured by `benchmarks/hostile.py`.
"""

import asyncio
import json
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from asking import asked
from dual_mode_streaming.sse import SSEDecoder
from needs import lacking
from servers.running import serving
from servers.wire import BOUND, Exchange, ask, opened

pytestmark = pytest.mark.asyncio

SSE = {"Accept": "text/event-stream"}
PER_ADDRESS = 20
OTHER_ADDRESS = "127.0.0.2"
MEGABYTE = 1_000_000
TCP_REPAIR = 19


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving("uvicorn-httptools", tmp_path_factory.mktemp("hostile"), "faults.hostile_app:app") as server:
        yield server
    assert server.trouble() == []


@pytest.fixture
def port(server):
    return server.port


@pytest_asyncio.fixture(autouse=True)
async def nobody_else_is_hurt(server):
    """Have a stream of somebody else open during each test. It must not be cut, and a new request be answered."""
    before = await counts(server.port)
    async with from_address(OTHER_ADDRESS, server.port) as exchange:
        await exchange.send("GET", "/quiet", SSE)
        await exchange.until(b'"n":1')
        yield
        exchange.reply.body = b""
        await exchange.until(b": \n\n")
        assert (await ask(server.port, "/batch")).json == {"data": [{"n": 1}]}
    after = await until(server.port, lambda seen: not seen["open"])
    assert after["sources"] == 0
    assert after["opened"] - before["opened"] == sum(after["outcomes"].values()) - sum(before["outcomes"].values())


async def counts(port):
    return (await ask(port, "/counts")).json


async def until(port, holds):
    """Ask until the counts are so: nobody tells a client when the server has noticed something."""

    async def seen():
        found = await counts(port)
        return found if holds(found) else None

    return await asked(seen, BOUND)


@asynccontextmanager
async def from_address(address, port, receive_buffer=0):
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.bind((address, 0))
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        yield Exchange(reader, writer)
    finally:
        writer.close()


# --- requests that are too large ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        [("Accept", "a/b," * (MEGABYTE // 4))],
        [("Accept", '"' * MEGABYTE)],
        [("Accept", "a/b;q=0.5;x=" + "y" * 100)] * 8000,
        [("Accept", "text/event-stream"), ("Last-Event-ID", "1" * MEGABYTE)],
    ],
    ids=["an Accept of 1 MB", "nothing but quotes", "8,000 lines of Accept", "a Last-Event-ID of 1 MB"],
)
async def test_a_header_of_a_megabyte_is_refused_before_it_is_read(port, headers):
    reply = await ask(port, "/quiet", headers)
    assert (reply.status, reply["content-type"]) == (431, "application/problem+json")
    assert reply.json["code"] == "header_too_large"
    assert reply.json["limit"] == 16_384
    assert len(reply.body) < 400  # nothing of it comes back


async def test_ten_thousand_headers_are_no_trouble(port):
    headers = [(f"X-{number}", "1") for number in range(10_000)]
    assert (await ask(port, "/batch", headers)).json == {"data": [{"n": 1}]}
    async with opened(port, "/quiet", [*headers, *SSE.items()]) as exchange:
        assert b'"n":1' in await exchange.until(b"\n\n")


async def test_a_body_that_is_announced_too_large_is_refused_before_it_comes(port):
    async with from_address("127.0.0.1", port) as exchange:
        # Not one byte of the body follows.
        await exchange.begin("POST", "/v1/chat/completions", {"Content-Length": "1000000000"})
        reply = await exchange.head()
        assert (reply.status, (await exchange.until(b"}}"))[:9]) == (413, b'{"error":')


async def test_a_body_without_end_is_refused_at_the_bound(port):
    headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    async with opened(port, "/v1/chat/completions", headers, method="POST") as exchange:
        for _ in range(11):
            await exchange.send_part(b" " * 10_000)
        reply = await exchange.head()
        assert reply.status == 413
        assert b"100000 bytes" in await exchange.until(b"}}")


@pytest.mark.parametrize("body", [b"[" * 90_000, b'{"a":' * 18_000, b'{"messages":' + b"9" * 90_000 + b"}"])
async def test_json_that_is_made_to_hurt_is_refused(port, body):
    reply = await ask(port, "/v1/chat/completions", {"Content-Type": "application/json"}, method="POST", body=body)
    assert (reply.status, reply.json["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    "sent",
    [b"\x00\xff" * 5000, b"GET / HTTP/9.9\r\n\r\n", b"GET /quiet HTTP/1.1\r\nAccept: text/event-stream\nX: 1\r\n\r\n"],
    ids=["garbage", "another version", "a bare line feed"],
)
async def test_what_is_no_http_ends_with_400_or_nothing(port, sent):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    writer.write_eof()
    async with asyncio.timeout(BOUND):
        answer = await reader.read()
    writer.close()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


# --- too many, too slow, gone ------------------------------------------------------------------------


async def test_one_address_has_so_many_streams_and_no_more(port):
    before = await counts(port)
    async with AsyncExitStack() as stack:

        async def one():
            exchange = await stack.enter_async_context(opened(port, "/quiet", SSE))
            return exchange, (await exchange.head()).status

        answers = await asyncio.gather(*(one() for _ in range(5 * PER_ADDRESS)))
        admitted = [exchange for exchange, status in answers if status == 200]
        refused = [exchange for exchange, status in answers if status == 429]
        assert (len(admitted), len(refused)) == (PER_ADDRESS, 4 * PER_ADDRESS)
        for exchange in refused:
            reply = await exchange.end()
            assert (reply.json["code"], reply.json["limit"]) == ("too_many_streams", PER_ADDRESS)
            assert 1 <= int(reply["retry-after"]) <= 5
        for exchange in admitted:
            await exchange.until(b": \n\n", times=2)  # they are served on
        # Somebody else is not refused for it.
        async with from_address(OTHER_ADDRESS, port) as other:
            await other.send("GET", "/quiet", SSE)
            assert (await other.head()).status == 200
    after = await until(port, lambda seen: seen["open"] == before["open"])
    assert after["refused"] - before["refused"] == 4 * PER_ADDRESS
    async with opened(port, "/quiet", SSE) as exchange:
        assert (await exchange.head()).status == 200  # and who has left may come back


async def test_heads_that_never_end_cost_the_application_nothing(port):
    before = await counts(port)
    async with AsyncExitStack() as stack:
        for number in range(200):
            exchange = await stack.enter_async_context(from_address("127.0.0.1", port))
            exchange._writer.write(b"GET /flood HTTP/1.1\r\nHost: x\r\nX-Slow: "[: 10 + number % 40])
        seen = await counts(port)
        assert (seen["opened"], seen["open"]) == (before["opened"], before["open"])
        assert (await ask(port, "/batch")).status == 200


async def test_readers_that_read_nothing_are_got_rid_of(port):
    before = await counts(port)
    async with AsyncExitStack() as stack:
        for _ in range(PER_ADDRESS):
            exchange = await stack.enter_async_context(from_address("127.0.0.1", port, receive_buffer=4096))
            await exchange.send("GET", "/flood", SSE)
        goal = before["outcomes"]["slow_client"] + PER_ADDRESS
        after = await until(port, lambda seen: seen["outcomes"]["slow_client"] == goal)
        assert after["open"] == before["open"]  # while they are still there, and read nothing
        # The source was stopped when the kernel's buffers were full; they grow to a few megabytes each.
        assert after["bytes"] - before["bytes"] < PER_ADDRESS * 8 * 2**20


async def test_a_client_that_is_gone_without_a_word_is_found_out_by_the_heartbeat(port):
    """As after a reset of its machine: no FIN comes, and what is sent there is answered with RST."""
    before = await counts(port)
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(b"GET /quiet HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
    await until(port, lambda seen: seen["open"] == before["open"] + 1)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except PermissionError:
        sock.close()
        lacking("the right to let a connection vanish (CAP_NET_ADMIN)", "sudo, or run the tests as root")
    sock.close()
    after = await until(port, lambda seen: seen["open"] == before["open"])
    assert after["outcomes"]["client_gone"] == before["outcomes"]["client_gone"] + 1


# --- injection ---------------------------------------------------------------------------------------

FORGED = "x{end}event: admin{end}data: forged{end}{end}"
ENDS = {"LF": "\n", "CR": "\r", "CRLF": "\r\n"}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("field", ["event", "id"])
async def test_a_line_end_in_a_name_or_an_id_is_refused(port, field, end):
    query = urlencode({"raw": "1", field: FORGED.format(end=end)})
    reply = await ask(port, f"/reflect?{query}", SSE)
    assert (reply.status, reply.json["code"], reply.json["field"]) == (500, "invalid_event", field)
    assert b"forged" not in reply.body


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_line_ends_in_the_data_and_in_a_comment_stay_there(port, end):
    forged = FORGED.format(end=end)
    reply = await ask(port, f"/reflect?{urlencode({'raw': forged, 'comment': forged})}", SSE)
    first, last = SSEDecoder().feed(reply.body)
    assert (first.event, first.raw) == (None, forged.replace("\r\n", "\n").replace("\r", "\n"))
    assert (last.event, last.raw) == ("done", '{"items":1}')
    for accept in ("application/x-ndjson", "application/json-seq"):
        reply = await ask(port, f"/reflect?{urlencode({'raw': forged})}", {"Accept": accept})
        (line,) = [line for line in reply.body.splitlines() if line]
        assert json.loads(line.lstrip(b"\x1e")) == forged


async def test_a_name_of_the_librarys_own_cannot_be_forged(port):
    for name in ("done", "error", "gap"):
        reply = await ask(port, f"/reflect?{urlencode({'raw': '1', 'event': name})}", SSE)
        assert (reply.status, reply.json["code"]) == (500, "invalid_event")


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("path", ["/reflect?raw=1&header=", "/cookie?value="])
async def test_a_line_end_in_a_header_is_refused(port, path, accept):
    forged = "1\r\nSet-Cookie: admin=1\r\n\r\nforged"
    reply = await ask(port, path + urlencode({"": forged})[1:], {"Accept": accept})
    assert reply.status == 500
    assert reply["set-cookie"] is None
    assert b"forged" not in reply.body


async def test_an_accept_that_is_refused_comes_back_short_and_as_json(port):
    reply = await ask(port, "/batch", {"Accept": 'image/png;a="<script>alert(1)</script>' + "x" * 10_000 + '"'})
    assert (reply.status, reply["content-type"]) == (406, "application/problem+json")
    assert len(reply.body) < 1000
