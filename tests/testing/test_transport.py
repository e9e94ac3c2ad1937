"""The streaming transport behaves as a server does, on asyncio and on trio."""

from contextlib import suppress

import anyio
import httpx2
import pytest

from dual_mode_streaming.errors import StreamAborted
from dual_mode_streaming.testing import ASGIViolation, ClientGone, LifespanFailed, StreamingASGITransport

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


def client_of(app, **options):
    timeout = options.pop("timeout", 10)
    transport = StreamingASGITransport(app, **options)
    return httpx2.AsyncClient(transport=transport, base_url="http://testserver", timeout=timeout)


def http(app):
    """An application without a lifespan."""

    async def called(scope, receive, send):
        assert scope["type"] == "http", "no lifespan here"
        await app(scope, receive, send)

    return called


def start(status=200, headers=(), **more):
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(data=b"", *, more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


def answering(*messages, error=None):
    """An application that sends these messages, and then raises."""

    async def app(scope, receive, send):
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    return http(app)


async def ticks_for_ever(scope, receive, send):
    """An endless stream, which ends when it hears of the disconnect."""
    await send(start())

    async def listen():
        await receive()
        assert await receive() == {"type": "http.disconnect"}
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        while True:
            await send(body(b"tick", more=True))
            await anyio.lowlevel.checkpoint()


# --- what comes, and when ------------------------------------------------------------------------


async def test_bytes_arrive_as_they_are_sent():
    gate = anyio.Event()

    async def app(scope, receive, send):
        await send(start(headers=[(b"x-is", b"here")]))
        await send(body(b"one", more=True))
        await gate.wait()
        await send(body(b"two"))

    async with client_of(http(app)) as client, client.stream("GET", "/") as response:
        chunks = response.aiter_raw()
        assert response.headers["x-is"] == "here"
        assert await anext(chunks) == b"one"
        gate.set()
        assert [chunk async for chunk in chunks] == [b"two"]


async def test_an_endless_stream_is_left_and_the_application_hears_of_it():
    async with client_of(http(ticks_for_ever)) as client:
        async with client.stream("GET", "/") as response:
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"tick"
            call = response.extensions["asgi_call"]
            assert not call.ended
            await chunks.aclose()
        assert call.ended
        assert call.error is None
        assert not call.complete


async def test_the_application_waits_for_a_client_that_is_behind():
    sent = []

    async def app(scope, receive, send):
        await send(start())
        for number in range(5):
            await send(body(b"x" * 10, more=True))
            sent.append(number)
        await send(body())

    async with client_of(http(app), buffer_size=25) as client, client.stream("GET", "/") as response:
        call = response.extensions["asgi_call"]
        await call.until_blocked()
        assert (call.blocked, sent) == (True, [0, 1]), "the third would make 30 bytes"
        chunks = response.aiter_raw()
        await anext(chunks)
        await call.until_blocked()
        while len(sent) < 3:
            await anyio.lowlevel.checkpoint()
        await call.until_blocked()
        assert sent == [0, 1, 2]
        assert call.taken == 10
        assert b"".join([chunk async for chunk in chunks]) == b"x" * 40
        await call.until_ended()
        assert sent == [0, 1, 2, 3, 4]


async def test_without_a_buffer_each_send_waits_for_its_bytes():
    sent = []

    async def app(scope, receive, send):
        await send(start())
        for data in (b"a", b"b"):
            await send(body(data, more=True))
            sent.append(data)
        await send(body())

    async with client_of(http(app), buffer_size=0) as client, client.stream("GET", "/") as response:
        await response.extensions["asgi_call"].until_blocked()
        assert sent == []
        assert await response.aread() == b"ab"
        assert sent == [b"a", b"b"]


async def test_a_sender_that_is_blocked_is_freed_when_the_client_leaves():
    async def app(scope, receive, send):
        await send(start())
        await send(body(b"x" * 100, more=True))
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await send(body(b"for nobody"))

    async with client_of(http(app), buffer_size=1) as client:
        async with client.stream("GET", "/") as response:
            call = response.extensions["asgi_call"]
            await call.until_blocked()
        assert call.ended
        assert call.error is None
        assert not call.complete


@pytest.mark.parametrize(("version", "raised"), [("2.3", None), ("2.4", ClientGone)])
async def test_what_send_does_when_the_client_has_left(version, raised):
    seen = []

    async def app(scope, receive, send):
        assert scope["asgi"]["spec_version"] == version
        await send(start())
        await receive()
        await receive()
        try:
            await send(body(b"for nobody", more=True))
        except OSError as error:
            seen.append(type(error))
            raise
        seen.append(None)

    async with client_of(http(app), spec_version=version) as client:
        async with client.stream("GET", "/") as response:
            pass
        assert seen == [raised]
        assert response.extensions["asgi_call"].ended


async def test_requests_run_at_the_same_time():
    both, seen = anyio.Event(), []

    async def app(scope, receive, send):
        seen.append(scope["path"])
        if len(seen) == 2:
            both.set()
        await both.wait()
        await send(start())
        await send(body(scope["path"].encode()))

    got = []
    async with client_of(http(app)) as client, anyio.create_task_group() as group:
        for path in ("/a", "/b"):

            async def get(path=path):
                got.append((await client.get(path)).text)

            group.start_soon(get)
    assert sorted(got) == ["/a", "/b"]


# --- ends ----------------------------------------------------------------------------------------


async def test_an_exception_before_the_headers_is_the_callers():
    async with client_of(answering(error=KeyError("lost"))) as client:
        with pytest.raises(KeyError, match="lost"):
            await client.get("/")


async def test_an_exception_before_the_headers_is_a_500_if_asked():
    async with client_of(answering(error=KeyError("lost")), raise_app_exceptions=False) as client:
        response = await client.get("/")
        assert (response.status_code, response.text) == (500, "Internal Server Error")
        assert isinstance(response.extensions["asgi_call"].error, KeyError)
        assert (await client.head("/")).content == b""


@pytest.mark.parametrize("raises", [True, False])
async def test_an_exception_behind_the_headers_cuts_the_connection(raises):
    app = answering(start(), body(b"half", more=True), error=KeyError("lost"))
    async with client_of(app, raise_app_exceptions=raises) as client, client.stream("GET", "/") as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"half"
        with pytest.raises(httpx2.RemoteProtocolError, match="KeyError: 'lost'") as cut:
            await anext(chunks)
        assert isinstance(cut.value.__cause__, KeyError)


async def test_an_exception_behind_a_complete_response_is_raised_on_closing():
    app = answering(start(), body(b"all"), error=KeyError("in the background"))
    async with client_of(app) as client:
        with pytest.raises(KeyError, match="in the background"):
            await client.get("/")
    async with client_of(app, raise_app_exceptions=False) as client:
        assert (await client.get("/")).text == "all"


async def test_an_exception_on_leaving_is_raised_on_closing():
    async def app(scope, receive, send):
        await send(start())
        await receive()
        await receive()
        raise KeyError("clean-up")

    async with client_of(http(app)) as client:
        with pytest.raises(KeyError, match="clean-up"):
            async with client.stream("GET", "/"):
                pass


@pytest.mark.parametrize("error", [StreamAborted("cut"), ClientGone("left")])
async def test_a_cut_is_no_news_for_a_client_that_does_not_read(error):
    app = answering(start(), body(b"half", more=True), error=error)
    async with client_of(app) as client, client.stream("GET", "/") as response:
        await response.extensions["asgi_call"].until_ended()


async def test_an_application_that_ends_without_an_answer():
    async with client_of(answering()) as client:
        with pytest.raises(ASGIViolation, match="without an answer"):
            await client.get("/")
    async with client_of(answering(start(), body(b"half", more=True))) as client:
        with pytest.raises(httpx2.RemoteProtocolError, match="without completing"):
            await client.get("/")


async def test_the_read_timeout_holds_for_headers_and_for_bytes():
    async def silent(scope, receive, send):
        await receive()
        if scope["path"] == "/late":
            await send(start())
        assert (await receive())["type"] == "http.disconnect"

    timeout = httpx2.Timeout(10, read=0.01)
    async with client_of(http(silent), timeout=timeout) as client:
        for path in ("/", "/late"):
            with pytest.raises(httpx2.ReadTimeout, match=r"nothing for 0\.01 seconds"):
                await client.get(path)
            call = client._transport.calls[-1]
            await call.until_ended()
            assert call.error is None


async def test_a_deaf_application_is_left_running_and_ended_with_the_client():
    ended = []

    async def deaf(scope, receive, send):
        try:
            await send(start())
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with client_of(http(deaf), close_timeout=0.01) as client:
        async with client.stream("GET", "/") as response:
            pass
        call = response.extensions["asgi_call"]
        assert not call.ended
    assert call.ended
    assert ended == [True]


async def test_an_application_that_sends_to_nobody_does_not_hang_the_test():
    async def stubborn(scope, receive, send):
        await send(start())
        while True:
            await send(body(b"x", more=True))

    async with client_of(http(stubborn), close_timeout=0.01) as client, client.stream("GET", "/") as response:
        pass
    assert response.extensions["asgi_call"].ended


async def test_closing_the_client_ends_what_was_not_read():
    client = client_of(http(ticks_for_ever))
    request = client.build_request("GET", "/")
    response = await client.send(request, stream=True)
    await client.aclose()
    call = response.extensions["asgi_call"]
    assert call.ended
    await response.aclose()


async def test_a_cancelled_request_is_a_disconnect():
    waiting = anyio.Event()

    async def app(scope, receive, send):
        await receive()
        waiting.set()
        assert (await receive())["type"] == "http.disconnect"

    async with client_of(http(app)) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.get, "/")
            await waiting.wait()
            group.cancel_scope.cancel()
        await client._transport.calls[0].until_ended()
        assert client._transport.calls[0].error is None


async def test_a_call_can_be_cancelled_as_by_a_server_that_stops():
    async with client_of(http(ticks_for_ever)) as client, client.stream("GET", "/") as response:
        response.extensions["asgi_call"].cancel()
        with pytest.raises(httpx2.RemoteProtocolError, match="without completing"):
            await response.aread()


# --- requests ------------------------------------------------------------------------------------


async def test_a_request_body_streams_in():
    taken = []

    async def pieces():
        for piece in (b"ab", b"", b"cd"):
            taken.append(piece)
            yield piece

    messages = []

    async def app(scope, receive, send):
        while True:
            message = await receive()
            messages.append((message["body"], message["more_body"], len(taken)))
            if not message["more_body"]:
                break
        await send(start())
        await send(body())

    async with client_of(http(app)) as client:
        await client.post("/", content=pieces())
        assert b"".join(data for data, _, _ in messages) == b"abcd"
        assert [more for _, more, _ in messages][-1] is False
        assert messages[0] == (b"ab", True, 1), "the first piece was there before the second was made"
        messages.clear()
        await client.post("/", content=b"whole")
        assert [message[:2] for message in messages] == [(b"whole", False)]
        messages.clear()
        await client.get("/")
        assert [message[:2] for message in messages] == [(b"", False)]


async def test_a_request_body_that_breaks_is_the_callers_error_and_a_disconnect():
    heard = []

    async def pieces():
        yield b"ab"
        raise KeyError("no more")

    async def app(scope, receive, send):
        assert (await receive())["body"] == b"ab"
        heard.append(await receive())

    async with client_of(http(app)) as client:
        with pytest.raises(KeyError, match="no more"):
            await client.post("/", content=pieces())
        await client._transport.calls[0].until_ended()
    assert heard == [{"type": "http.disconnect"}]


async def test_an_answer_before_the_end_of_the_request_body_stops_the_upload():
    async def for_ever():
        while True:
            yield b"x"

    async with client_of(answering(start(413), body(b"too much"))) as client:
        response = await client.post("/", content=for_ever())
        assert (response.status_code, response.text) == (413, "too much")
        assert response.extensions["asgi_call"].ended


async def test_the_scope():
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)
        await send(start())
        await send(body())

    async with client_of(http(app), root_path="/sub", client=("10.1.1.1", 7)) as client:
        await client.get("/a%20b?q=1", headers={"X-Mixed": "Case"})
        await client.get("https://elsewhere/")
    scope, other = scopes
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"q=1")
    assert (scope["server"], scope["client"], scope["root_path"]) == (("testserver", 80), ("10.1.1.1", 7), "/sub")
    assert (b"x-mixed", b"Case") in scope["headers"]
    assert (other["scheme"], other["server"]) == ("https", ("elsewhere", 443))


# --- the protocol --------------------------------------------------------------------------------


async def test_head_and_answers_without_a_body():
    async with client_of(answering(start(headers=[(b"content-length", b"5")]), body(b"hello"))) as client:
        response = await client.head("/")
        assert (response.content, response.headers["content-length"]) == (b"", "5")
    async with client_of(answering(start(204), body())) as client:
        assert (await client.get("/")).status_code == 204


async def test_trailers():
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"42")], "more_trailers": False}
    async with client_of(answering(start(trailers=True), body(b"all"), trailers)) as client:
        response = await client.get("/")
        assert response.text == "all"
        assert response.extensions["asgi_call"].trailers == [(b"x-sum", b"42")]
        assert response.extensions["asgi_call"].complete


TRAILERS = {"type": "http.response.trailers", "headers": []}


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([start(), start()], "start' was sent twice"),
        ([body()], "before 'http.response.start'"),
        ([start(), body(), body()], "after the response was complete"),
        ([start(), {"type": "http.unknown"}], "no message of an HTTP response"),
        ([start(), body("text")], "is bytes, not str"),
        ([start("200")], "status of a response"),
        ([start(100)], "status of a response"),
        ([start(headers=[("x", b"y")])], "pair of bytes"),
        ([start(headers=[(b"X-Big", b"y")])], "lower case"),
        ([start(headers=[(b"x", b"a\nb")])], "line break"),
        ([start(headers=[(b"content-length", b"x")])], "no number"),
        ([start(204), body(b"x")], "has no body"),
        ([start(headers=[(b"content-length", b"1")]), body(b"xy")], "longer than its Content-Length of 1"),
        ([start(headers=[(b"content-length", b"3")]), body(b"x")], "after 1 of the 3 bytes"),
        ([start(), TRAILERS], "did not announce"),
        ([start(trailers=True), TRAILERS], "before the body was complete"),
        ([start(trailers=True), body(), body()], "after the body was complete"),
    ],
)
async def test_a_broken_protocol_is_told_where_it_is_broken(messages, text):
    async def app(scope, receive, send):
        for message in messages[:-1]:
            await send(message)
        with pytest.raises(ASGIViolation, match=text) as broken:
            await send(messages[-1])
        assert broken.value.code == "asgi_violation"

    async with client_of(http(app)) as client:
        with suppress(ASGIViolation, httpx2.RemoteProtocolError):  # the answer was not completed
            await client.get("/")
        await client._transport.calls[0].until_ended()
        assert client._transport.calls[0].error is None


def test_a_negative_buffer_is_refused():
    with pytest.raises(ValueError, match="buffer_size=-1"):
        StreamingASGITransport(answering(), buffer_size=-1)


# --- lifespan ------------------------------------------------------------------------------------


class WithLifespan:
    def __init__(self, *, startup=None, shutdown=None, error=None):
        self.log = []
        self.answers = {"lifespan.startup": startup, "lifespan.shutdown": shutdown}
        self.error = error

    async def __call__(self, scope, receive, send):
        if scope["type"] != "lifespan":
            self.log.append(scope["state"]["name"])
            scope["state"]["name"] = "changed in the copy"
            await send(start())
            await send(body())
            return
        scope["state"]["name"] = "shared"
        for what in ("lifespan.startup", "lifespan.shutdown"):
            assert (await receive())["type"] == what
            self.log.append(what)
            message = self.answers[what]
            if message is not None:
                await send({"type": f"{what}.failed", "message": message})
                raise RuntimeError(message)
            if what == "lifespan.shutdown" and self.error is not None:
                raise self.error
            await send({"type": f"{what}.complete"})


async def test_the_lifespan_runs_around_the_requests_and_shares_its_state():
    app = WithLifespan()
    async with client_of(app) as client:
        assert app.log == ["lifespan.startup"]
        await client.get("/")
        await client.get("/")
    assert app.log == ["lifespan.startup", "shared", "shared", "lifespan.shutdown"]


async def test_the_lifespan_starts_with_the_first_request_of_a_client_that_was_not_entered():
    app = WithLifespan()
    client = client_of(app)
    assert app.log == []
    async with anyio.create_task_group() as group:
        group.start_soon(client.get, "/")
        group.start_soon(client.get, "/")
    await client.aclose()
    assert app.log == ["lifespan.startup", "shared", "shared", "lifespan.shutdown"]


async def test_the_lifespan_can_be_left_out():
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send(start())
        await send(body())

    async with client_of(app, lifespan=False) as client:
        assert (await client.get("/")).status_code == 200


async def test_a_lifespan_that_fails():
    client = client_of(WithLifespan(startup="Traceback\nno database"))
    with pytest.raises(LifespanFailed, match=r"startup\.failed: no database") as failed:
        await client.get("/")
    assert isinstance(failed.value.__cause__, RuntimeError)
    client = client_of(WithLifespan(shutdown="still busy"))
    await client.get("/")
    with pytest.raises(LifespanFailed, match=r"shutdown\.failed: still busy"):
        await client.aclose()
    client = client_of(WithLifespan(error=KeyError("x")))
    await client.get("/")
    with pytest.raises(LifespanFailed, match="raised KeyError"):
        await client.aclose()


async def test_a_lifespan_that_does_not_stop_is_cancelled():
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await anyio.sleep_forever()
        await send(start())
        await send(body())

    async with client_of(app, close_timeout=0.01) as client:
        assert (await client.get("/")).status_code == 200


# --- tasks ---------------------------------------------------------------------------------------


async def test_a_client_may_be_closed_by_another_task_than_the_one_that_opened_it():
    """As the setup and the teardown of a fixture do."""
    client = client_of(http(ticks_for_ever))

    async def open_it():
        await client.__aenter__()
        await client.send(client.build_request("GET", "/"), stream=True)

    async with anyio.create_task_group() as group:
        group.start_soon(open_it)
    async with anyio.create_task_group() as group:
        group.start_soon(client.aclose)
    assert client._transport.calls[0].ended
