"""The inbox: one reader of the server's messages for two that want them."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request

from dual_mode_streaming.inbox import Inbox, may_have_body

GIVE_UP = 10.0
GONE = {"type": "http.disconnect"}


def part(body, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


class Server:
    """The server's channel: gives a message when the test says so, and counts how often it was asked."""

    def __init__(self, *messages):
        self.asked = 0
        self._messages = asyncio.Queue()
        for message in messages:
            self._messages.put_nowait(message)

    def give(self, message):
        self._messages.put_nowait(message)

    async def receive(self):
        self.asked += 1
        return await self._messages.get()

    @property
    def left(self):
        return self._messages.qsize()


def a_request(server):
    return Request({"type": "http", "headers": [], "method": "POST"}, server.receive)


async def turns():
    """Let every task go on as far as it can. Nothing here waits for time, so a few turns are enough."""
    for _ in range(20):
        await asyncio.sleep(0)


def watch(inbox):
    return asyncio.ensure_future(inbox.client_left())


# --- nobody reads --------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_without_a_reader_the_body_is_dropped_until_the_client_has_left():
    server = Server(part(b"a"), part(b"b"), part(b"", more=False))
    watching = watch(Inbox(server.receive))
    await turns()
    assert (server.left, server.asked, watching.done()) == (0, 4, False), "the body was not read away"
    server.give(GONE)
    async with asyncio.timeout(GIVE_UP):
        await watching
    assert server.asked == 4, "nothing comes after a disconnect, so nobody may ask for it"


@pytest.mark.asyncio
async def test_without_a_reader_the_channel_of_the_request_is_left_alone():
    server = Server()
    request = a_request(server)
    before = request.receive
    Inbox(server.receive)
    assert request.receive == before


@pytest.mark.asyncio
async def test_any_other_message_means_that_the_client_has_left():
    server = Server({"type": "websocket.disconnect"})
    async with asyncio.timeout(GIVE_UP):
        await Inbox(server.receive).client_left()


# --- a source reads ------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_body_is_handed_on_one_message_at_a_time():
    parts = [part(b"a"), part(b"b"), part(b"c", more=False)]
    server = Server(*parts)
    request = a_request(server)
    watching = watch(Inbox(server.receive, request))
    for number, expected in enumerate(parts, start=1):
        await turns()
        assert server.asked == number, "the inbox reads further than the source"
        async with asyncio.timeout(GIVE_UP):
            assert await request.receive() == expected
    await turns()
    assert (server.asked, watching.done()) == (4, False)
    server.give(GONE)
    async with asyncio.timeout(GIVE_UP):
        await watching


@pytest.mark.asyncio
async def test_the_source_may_ask_before_anything_has_come():
    server = Server()
    request = a_request(server)
    inbox = Inbox(server.receive, request)
    reading = asyncio.ensure_future(request.receive())
    await turns()
    watching = watch(inbox)
    await turns()
    assert not reading.done()
    server.give(part(b"a"))
    async with asyncio.timeout(GIVE_UP):
        assert await reading == part(b"a")
    server.give(GONE)
    await asyncio.wait_for(watching, GIVE_UP)


@pytest.mark.asyncio
async def test_a_disconnect_reaches_the_watch_and_the_source():
    server = Server()
    request = a_request(server)
    watching = watch(Inbox(server.receive, request))
    reading = asyncio.ensure_future(request.receive())
    await turns()
    server.give(GONE)
    async with asyncio.timeout(GIVE_UP):
        await watching
        assert await reading == GONE
        assert await request.receive() == GONE, "a disconnect is told as often as somebody asks"


@pytest.mark.asyncio
async def test_a_part_that_came_before_the_disconnect_is_not_lost():
    server = Server(part(b"a"), GONE)
    request = a_request(server)
    watching = watch(Inbox(server.receive, request))
    await turns()
    async with asyncio.timeout(GIVE_UP):
        assert [await request.receive(), await request.receive()] == [part(b"a"), GONE]
        await watching


@pytest.mark.asyncio
async def test_a_part_that_nobody_has_taken_yet_outlives_the_watch():
    server = Server(part(b"a"))
    request = a_request(server)
    watching = watch(Inbox(server.receive, request))
    await turns()
    watching.cancel()
    await asyncio.wait([watching])
    async with asyncio.timeout(GIVE_UP):
        assert await request.receive() == part(b"a")


@pytest.mark.asyncio
async def test_a_read_that_was_cancelled_takes_nothing_away():
    server = Server()
    request = a_request(server)
    watching = watch(Inbox(server.receive, request))
    reading = asyncio.ensure_future(request.receive())
    await turns()
    reading.cancel()
    await asyncio.wait([reading])
    server.give(part(b"a"))
    async with asyncio.timeout(GIVE_UP):
        assert await request.receive() == part(b"a")
        server.give(GONE)
        await watching


@pytest.mark.asyncio
async def test_starlettes_request_reads_its_body_through_the_inbox():
    server = Server(*(part(bytes([byte])) for byte in range(65, 91)), part(b"!", more=False))
    request = a_request(server)
    watching = watch(Inbox(server.receive, request))
    async with asyncio.timeout(GIVE_UP):
        assert await request.body() == b"ABCDEFGHIJKLMNOPQRSTUVWXYZ!"
        server.give(GONE)
        await watching


@pytest.mark.asyncio
async def test_starlettes_request_is_told_that_its_client_left_in_the_middle():
    server = Server(part(b"a"), GONE)
    request = a_request(server)
    watching = watch(Inbox(server.receive, request))
    async with asyncio.timeout(GIVE_UP):
        chunks = request.stream()
        assert await anext(chunks) == b"a"
        with pytest.raises(ClientDisconnect):
            await anext(chunks)
    await asyncio.wait_for(watching, GIVE_UP)


@pytest.mark.asyncio
async def test_a_server_that_breaks_breaks_the_watch():
    async def receive():
        raise RuntimeError("the socket is broken")

    with pytest.raises(RuntimeError, match="broken"):
        await Inbox(receive).client_left()


# --- whether there is a body at all --------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "method", "headers", "expected"),
    [
        ("1.1", "GET", [], False),
        ("1.1", "POST", [], False),
        ("1.1", "POST", [(b"content-length", b"5")], True),
        ("1.1", "POST", [(b"content-length", b"0")], False),
        ("1.1", "GET", [(b"content-length", b"5")], True),
        ("1.1", "POST", [(b"transfer-encoding", b"chunked")], True),
        ("1.0", "POST", [(b"accept", b"*/*")], False),
        ("2", "POST", [], True),
        ("2", "GET", [], False),
        ("3", "PUT", [], True),
        ("3", "HEAD", [], False),
        ("2", "GET", [(b"content-length", b"5")], True),
    ],
)
def test_whether_a_request_may_have_a_body(version, method, headers, expected):
    assert may_have_body({"http_version": version, "method": method, "headers": headers}) is expected


def test_a_server_that_does_not_tell_the_version_speaks_http_1():
    assert may_have_body({"method": "POST", "headers": []}) is False
