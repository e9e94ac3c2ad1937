"""What the client gives and raises for single requests: values, types, errors, authorization, transports."""

import asyncio
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal

import anyio
import httpx2
import pydantic
import pytest

from client.both import AT_ONCE, PLAIN
from client.scripted import DONE, END, UNTIL_CLIENT_LEAVES, chunk, chunked, event, full, head, scripted
from dual_mode_streaming import DualModeClient, DualModeSyncClient, concat, errors, last, to_list
from dual_mode_streaming.client import Reconnect


class Point(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    x: Decimal
    at: tuple[int, ...] = ()


@dataclass
class Pair:
    left: int
    right: int


STREAM = [chunked(), chunk(event('{"x": 1}') + event('{"x": 2}') + DONE), END]


# --- batches -----------------------------------------------------------------------------------


def test_a_batch(kind):
    with scripted(full("200 OK", body='{"data": [1]}')) as server:
        assert kind.request(server.url, "/a") == {"data": [1]}
    [request] = server.requests
    assert request.line == "GET /a HTTP/1.1"
    assert request.headers["accept"] == "application/json"
    assert request.last_event_id is None


def test_no_body_is_no_value(kind):
    with scripted(full("204 No Content", "")) as server:
        assert kind.request(server.url, method="DELETE") is None
    with scripted([head(content_type="application/json", Content_Length="5")]) as server:
        assert kind.request(server.url, method="HEAD") is None


def test_any_item_can_be_a_body(kind):
    with scripted(full("200 OK", body="1")) as server:
        kind.request(server.url, method="POST", json=Pair(1, 2))
        kind.request(server.url, method="POST", json=Point(x=Decimal("0.1")))
        with pytest.raises(errors.ItemNotEncodable):
            kind.request(server.url, method="POST", json=b"x")
    assert [request.body for request in server.requests] == [b'{"left":1,"right":2}', b'{"x":"0.1","at":[]}']
    assert server.requests[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "wanted", "value"),
    [
        ('{"x": "1.5", "at": [1]}', Point, Point(x=Decimal("1.5"), at=(1,))),
        ('{"left": 1, "right": 2}', Pair, Pair(1, 2)),
        ('[{"left": 1, "right": 2}]', list[Pair], [Pair(1, 2)]),
        ("3", int, 3),
    ],
)
def test_a_batch_of_a_type(kind, body, wanted, value):
    with scripted(full("200 OK", body=body)) as server:
        assert kind.request(server.url, type=wanted) == value


def test_a_batch_of_another_type(kind):
    with scripted(full("200 OK", body='{"left": 1}')) as server, pytest.raises(errors.UnexpectedAnswer) as caught:
        kind.request(server.url, type=Pair)
    assert caught.value.index is None
    assert isinstance(caught.value.__cause__, pydantic.ValidationError)


def test_what_no_type_can_be_made_of(kind):
    with scripted(full("200 OK", body="1")) as server, pytest.raises(TypeError, match="made of JSON"):
        kind.read(server.url, type=object())


def test_a_server_that_streams_all_the_same(kind):
    with scripted(STREAM) as server:
        assert kind.request(server.url) == {"data": [{"x": 1}, {"x": 2}]}
        assert kind.request(server.url, fold=last) == {"x": 2}
        assert kind.request(server.url, fold=last, type=Point) == Point(x=Decimal(2))
    with scripted([chunked(), chunk(event("1", "a"))]) as server, pytest.raises(errors.StreamInterrupted):
        kind.request(server.url)
    assert len(server.requests) == 1


PROBLEM = (
    '{"type":"about:blank","title":"Not Acceptable","status":406,"code":"not_acceptable","detail":"No.","offers":[1]}'
)


def test_a_problem_document(kind):
    answer = full("406 Not Acceptable", "application/problem+json", PROBLEM, X_Trace="7")
    for ask in (kind.request, lambda url: raise_(kind.read(url).error)):
        with scripted(answer) as server, pytest.raises(errors.RemoteError) as caught:
            ask(server.url)
        error = caught.value
        assert (error.status, error.code, error.retry_after) == (406, "not_acceptable", None)
        assert error.problem == errors.Problem(406, "not_acceptable", "No.", {"offers": [1]})
        assert error.document["title"] == "Not Acceptable"
        assert error.headers["x-trace"] == "7"
        assert str(error) == "The server answered 406 (not_acceptable): No."


def raise_(error):
    raise error


@pytest.mark.parametrize(
    ("body", "document"),
    [
        ("<h1>Oh</h1>", {"detail": "<h1>Oh</h1>"}),
        ("", {}),
        ('["a"]', {"detail": ["a"]}),
        ('{"detail": [{"msg": "x"}]}', {"detail": [{"msg": "x"}]}),
        ("x" * 200_000, {"detail": "x" * 500}),
    ],
)
def test_an_error_without_a_problem_document(kind, body, document):
    page = full("500 Internal Server Error", "text/html", body, Retry_After="7")
    with scripted(page) as server, pytest.raises(errors.RemoteError) as caught:
        kind.request(server.url)
    error = caught.value
    assert (error.status, error.code, error.document, error.retry_after) == (500, "remote_error", document, 7)
    assert len(server.requests) == 1


def test_an_error_whose_body_never_ends(kind):
    with scripted([head("500 Oh", "text/html"), b"x" * 1_000_000, UNTIL_CLIENT_LEAVES]) as server:
        with pytest.raises(errors.RemoteError):
            kind.request(server.url)
        assert server.left.wait(10)


def test_an_error_whose_body_is_cut(kind):
    cut = [head("404 Not Found", "text/plain", Content_Length="10"), b"Not"]
    with scripted(cut) as server, pytest.raises(errors.RemoteError) as caught:
        kind.request(server.url)
    assert caught.value.document == {"detail": "Not"}


@pytest.mark.parametrize(
    ("script", "kind_of_error", "reason"),
    [
        (full("200 OK", body="{"), errors.ProtocolError, None),
        (full("200 OK", "text/html", "<h1>"), errors.UnexpectedAnswer, None),
        ([head(content_type="application/json", Content_Length="9"), b"[1"], errors.RequestFailed, "broken"),
        ([b"nonsense\r\n\r\n"], errors.RequestFailed, "broken"),
        ([UNTIL_CLIENT_LEAVES], errors.RequestFailed, "timeout"),
        (full("302 Found", "", Location="/"), errors.RequestFailed, "redirects"),
        (full("302 Found", "", Location="http://a:b/"), errors.RequestFailed, "broken"),
        (full("302 Found", "", Location="ftp://x/"), errors.RequestFailed, "invalid_url"),
    ],
    ids=["no JSON", "a page", "cut", "no HTTP", "silence", "redirects", "redirect to no URL", "redirect to ftp"],
)
def test_an_answer_that_is_none(kind, script, kind_of_error, reason):
    with scripted(script) as server, pytest.raises((errors.ProtocolError, errors.RequestFailed)) as caught:
        kind.request(server.url, timeout=0.1 if reason == "timeout" else 10)
    assert type(caught.value) is kind_of_error
    assert getattr(caught.value, "reason", None) == reason


@pytest.mark.parametrize("url", ["", "nonsense", "http://", "http://a\n/", "ftp://127.0.0.1/", "http://127.0.0.1:x/"])
def test_what_is_no_url(kind, url):
    for ask in (kind.request, lambda url: raise_(kind.read(url).error)):
        with pytest.raises(errors.RequestFailed) as caught:
            ask(url)
        assert caught.value.reason == "invalid_url"


def test_nobody_is_there(kind):
    with scripted() as server:
        pass
    with pytest.raises(errors.RequestFailed) as caught:
        kind.request(server.url)
    assert caught.value.reason == "connect"
    assert isinstance(caught.value.__cause__, httpx2.ConnectError)
    assert kind.read(server.url).error.reason == "connect"


# --- streams of a type, and their results --------------------------------------------------------


def test_items_of_a_type(kind):
    with scripted(STREAM) as server:
        assert kind.read(server.url, type=Point).data == [Point(x=Decimal(1)), Point(x=Decimal(2))]
        assert kind.read(server.url, type=Pair).error.index == 0
    with scripted([chunked(), chunk(event("hello") + DONE), END]) as server:
        assert kind.read(server.url, type=str).data == ["hello"]
        assert isinstance(kind.read(server.url, type=int).error, errors.UnexpectedAnswer)
    with scripted([chunked("application/jsonl"), chunk('{"x":1}\n{"x":"a"}\n'), END]) as server:
        read = kind.read(server.url, type=Point)
    assert read.data == [Point(x=Decimal(1))]
    assert read.error.index == 1


def test_types_without_pydantic(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with scripted([chunked(), chunk(event('{"left": 1, "right": 2}') + DONE), END]) as server:
        assert kind.read(server.url, type=Pair).data == [Pair(1, 2)]
        assert kind.read(server.url, type=dict).data == [{"left": 1, "right": 2}]
        assert isinstance(kind.read(server.url, type=list).error, errors.UnexpectedAnswer)
        with pytest.raises(TypeError, match="needs Pydantic"):
            kind.read(server.url, type=list[int])
    for text, wanted in (("true", int), ('{"left": 1}', Pair), ("[1]", Pair)):
        with scripted([chunked(), chunk(event(text) + DONE), END]) as server:
            assert isinstance(kind.read(server.url, type=wanted).error, errors.UnexpectedAnswer)
    with scripted([chunked(), chunk(event("hello") + DONE), END]) as server:
        assert kind.read(server.url, type=str).data == ["hello"]


BATCHES = {
    "an object of data": ('{"data": [{"x": 1}, {"x": 2}]}', {"data": [{"x": 1}, {"x": 2}]}),
    "a bare array": ('[{"x": 1}, {"x": 2}]', [{"x": 1}, {"x": 2}]),
    "another document": ('{"sum": 3}', {"sum": 3}),
}


def test_the_result_of_a_stream(kind):
    with scripted(STREAM) as server:
        assert kind.result(server.url) == {"data": [{"x": 1}, {"x": 2}]}
        assert kind.result(server.url, fold=to_list) == [{"x": 1}, {"x": 2}]
        assert kind.result(server.url, fold=len) == 2
        assert kind.result(server.url, type=Point, fold=last) == Point(x=Decimal(2))
        with pytest.raises(TypeError, match="fold="):
            kind.result(server.url, fold=3)


@pytest.mark.parametrize("name", BATCHES)
def test_the_result_of_a_batch_in_place_of_a_stream(kind, name):
    body, value = BATCHES[name]
    with scripted(full("200 OK", body=body)) as server:
        assert kind.result(server.url) == kind.request(server.url) == value
        if name == "another document":
            assert kind.result(server.url, fold=concat("x")) == value  # the server has folded already
        else:
            assert kind.result(server.url, fold=last) == {"x": 2}
            typed = [Point(x=Decimal(1)), Point(x=Decimal(2))]
            expected = typed if name == "a bare array" else {"data": typed}
            assert kind.result(server.url, type=Point) == expected


def test_there_is_no_result_of_a_stream_with_a_gap(kind):
    stream = [chunked(), chunk(event("1") + event('{"missed": 2}', name="gap") + DONE), END]
    with scripted(stream) as server, pytest.raises(errors.StreamInterrupted, match="dropped 2 items"):
        kind.result(server.url)


def test_a_stream_is_used_as_a_context_manager_and_in_one_way():
    with scripted(STREAM) as server, DualModeSyncClient(server.url, **PLAIN) as client:
        stream = client.stream("GET", "/")
        for use in (stream.result, lambda: next(iter(stream)), lambda: stream.response):
            with pytest.raises(RuntimeError, match="context manager"):
                use()
        with stream:
            assert next(iter(stream)).data == {"x": 1}
            assert stream.last_event_id == ""
            with pytest.raises(RuntimeError, match="before any of them is taken"):
                stream.result()
            assert list(stream.items()) == [{"x": 2}]  # the rest
        with pytest.raises(RuntimeError, match="context manager"):
            list(stream)


def test_the_last_id_is_that_of_the_event_in_hand():
    stream = [chunked(), chunk(event("1", "a") + event("2", "b") + event("3", "c") + DONE), END]
    with scripted(stream) as server, DualModeSyncClient(server.url, **PLAIN) as client:
        with client.stream("GET", "/") as events:
            assert [events.last_event_id for _ in events] == ["a", "b", "c"]
        with client.stream("GET", "/") as events:
            for came in events:
                if came.data == 2:
                    break
            assert events.last_event_id == "b"


def test_items_leave_gaps_out():
    stream = [chunked(), chunk(event("1") + event('{"missed": 2}', name="gap") + event("2") + DONE), END]
    with (
        scripted(stream) as server,
        DualModeSyncClient(server.url, **PLAIN) as client,
        client.stream("GET", "/") as events,
    ):
        assert list(events.items()) == [1, 2]
        assert (events.missed, events.count) == (2, 2)


def test_a_stream_that_has_failed_fails_again():
    with (
        scripted([chunked(), chunk(event("1"))]) as server,
        DualModeSyncClient(server.url, **PLAIN) as client,
        client.stream("GET", "/") as stream,
    ):
        for _ in range(2):
            with pytest.raises(errors.StreamInterrupted):
                list(stream)


# --- authorization, transports, clients ----------------------------------------------------------


def test_a_token_is_renewed_when_it_is_refused(kind):
    denied = full("401 Unauthorized")
    calls = []

    def refresh():
        calls.append(1)
        return {"Authorization": f"Bearer {len(calls)}"}

    async def later():
        return refresh()

    stream = [chunked(), chunk(event("1", "a"))]
    ends = [chunked(), chunk(event("2") + DONE), END]
    with scripted(denied, stream, denied, ends) as server:
        read = kind.read(server.url, client={"refresh": later if kind.name == "async" else refresh})
    assert (read.data, read.error) == ([1, 2], None)
    assert [request.headers.get("authorization") for request in server.requests] == [
        None,
        "Bearer 1",
        "Bearer 1",
        "Bearer 2",
    ]


def test_a_401_that_stands(kind):
    with scripted(full("401 Unauthorized", body='{"detail":"no"}')) as server:
        for refresh, count in ((lambda: None, 1), (lambda: {"A": "b"}, 2), (None, 1)):
            server.requests.clear()
            with pytest.raises(errors.RemoteError) as caught:
                kind.request(server.url, client={"refresh": refresh})
            assert (caught.value.status, caught.value.document) == (401, {"detail": "no"})
            assert len(server.requests) == count


def test_the_authentication_of_httpx2(kind):
    with scripted(full("200 OK", body="1")) as server:
        kind.request(server.url, auth=("a", "b"))
        kind.request(server.url, client={"auth": ("a", "b")})
    assert {request.headers["authorization"] for request in server.requests} == {"Basic YTpi"}


def test_tls(kind, tls):
    context, trusting = tls
    with scripted(full("200 OK", body="1"), tls=context) as server:
        assert kind.request(server.url, client={"verify": trusting}) == 1
        with pytest.raises(errors.RequestFailed) as caught:
            kind.request(server.url, client={"verify": True})
        assert caught.value.reason == "tls"
        read = kind.read(server.url, client={"verify": True})
        assert read.error.reason == "tls"


@pytest.fixture(scope="module")
def tls():
    import ssl

    import trustme

    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return server, trusting


def test_a_proxy(kind):
    """The scripted server stands for the proxy: it is sent the whole URL."""
    with scripted(full("200 OK", body="1")) as server:
        assert kind.request("http://example.test", "/a", client={"proxy": server.url}) == 1
    assert server.requests[0].line == "GET http://example.test/a HTTP/1.1"


def test_a_proxy_that_refuses(kind):
    with scripted(full("407 Proxy Authentication Required")) as server, pytest.raises(errors.RequestFailed) as caught:
        kind.request("https://example.test", client={"proxy": server.url})
    assert caught.value.reason == "proxy"


def test_a_refused_connection_is_tried_again(kind):
    """At first and later, as a machine that is being restarted refuses it."""
    answers = [
        httpx2.ConnectError("refused"),
        event("1", "a"),
        httpx2.ConnectError("refused"),
        httpx2.ConnectError("refused"),
        event("2", "b") + DONE,
    ]

    def answer(request):
        given = answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=given)

    read = kind.read("http://a", client={"transport": httpx2.MockTransport(answer)})
    assert (read.data, read.error) == ([1, 2], None)


def test_a_connection_that_cannot_be_made_again(kind):
    answers = iter([event("1", "a")])

    def answer(request):
        text = next(answers, None)
        if text is None:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=text)

    read = kind.read("http://a", client={"transport": httpx2.MockTransport(answer)})
    assert isinstance(read.error, errors.StreamInterrupted)
    assert (read.error.last_event_id, read.error.count) == ("a", 1)
    assert isinstance(read.error.__cause__, errors.RequestFailed)


def test_a_client_of_ones_own():
    with scripted(STREAM) as server, httpx2.Client(base_url=server.url, trust_env=False) as http:
        with DualModeSyncClient(client=http) as client, client.stream("GET", "/x") as stream:
            assert stream.result() == {"data": [{"x": 1}, {"x": 2}]}
        assert not http.is_closed
        with pytest.raises(TypeError, match="httpx2 client"):
            DualModeSyncClient("http://a", client=http)
        with pytest.raises(TypeError, match="httpx2 client"):
            DualModeSyncClient(client=http, headers={})


def test_a_client_of_ones_own_for_tasks():
    async def run():
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
            async with DualModeClient(client=http) as client:
                assert await client.request("GET", "/x") == {"data": [{"x": 1}, {"x": 2}]}
            assert not http.is_closed
            with pytest.raises(TypeError, match="httpx2 client"):
                DualModeClient("http://a", client=http)

    with scripted(STREAM) as server:
        asyncio.run(run())


def test_without_httpx2(tmp_path):
    (tmp_path / "httpx2.py").write_text("raise ModuleNotFoundError(\"No module named 'httpx2'\", name='httpx2')")
    code = """
        import dual_mode_streaming
        from dual_mode_streaming import *
        for client in DualModeClient, DualModeSyncClient:
            try:
                client("http://localhost")
            except ImportError as error:
                print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(line[8:] for line in code.splitlines())],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = "httpx2 is missing; it comes with an extra: pip install 'dual-mode-streaming[client]'\n"
    assert done.stdout == said * 2


# --- tasks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_task_closes_its_connection_at_once(backend):
    async def run():
        async with DualModeClient(server.url, **PLAIN) as client:
            with anyio.CancelScope() as scope:
                async with client.stream("GET", "/") as stream:
                    async for came in stream:
                        assert came.data == 1
                        scope.cancel()
            assert scope.cancelled_caught
            assert await anyio.to_thread.run_sync(server.left.wait, 10)

    with scripted([chunked(), chunk(event("1")), UNTIL_CLIENT_LEAVES]) as server:
        anyio.run(run, backend=backend)


def test_a_task_that_is_cancelled_while_it_waits_for_a_reconnect():
    async def run():
        async with DualModeClient(
            server.url, **{**PLAIN, "reconnect": Reconnect(delay=3600, max_delay=3600)}
        ) as client:

            async def read():
                async with client.stream("GET", "/") as stream:
                    async for _ in stream:
                        came.set()

            came = asyncio.Event()
            task = asyncio.create_task(read())
            await came.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with scripted([chunked(), chunk(event("1", "a"))]) as server:
        asyncio.run(run())


def test_a_stream_that_is_not_read_is_closed_too():
    async def run():
        async with DualModeClient(server.url, **PLAIN) as client:
            async with client.stream("GET", "/") as stream:
                assert stream.response.status == 200
            assert await anyio.to_thread.run_sync(server.left.wait, 10)

    with scripted([chunked(), UNTIL_CLIENT_LEAVES]) as server:
        asyncio.run(run())
    with scripted([chunked(), UNTIL_CLIENT_LEAVES]) as server, DualModeSyncClient(server.url, **PLAIN) as client:
        with client.stream("GET", "/") as stream:
            assert stream.response.status == 200
        assert server.left.wait(10)


def test_leaving_early_closes_the_connection():
    async def run():
        async with DualModeClient(server.url, **PLAIN) as client:
            async with client.stream("GET", "/") as stream:
                async for _ in stream:
                    break
            assert await anyio.to_thread.run_sync(server.left.wait, 10)

    with scripted([chunked(), chunk(event("1")), UNTIL_CLIENT_LEAVES]) as server:
        asyncio.run(run())
    endless = [chunked(), chunk(event("1")), UNTIL_CLIENT_LEAVES]
    with scripted(endless) as server, DualModeSyncClient(server.url, **PLAIN) as client:
        with client.stream("GET", "/") as stream:
            assert next(iter(stream)).data == 1
        assert server.left.wait(10)


# httpx2 leaves a generator of its own to the garbage collector, if a body is not read to its end.
@pytest.mark.filterwarnings("ignore:Async generator .httpcore2:ResourceWarning")
def test_on_trio_it_reconnects():
    async def run():
        async with DualModeClient(server.url, **PLAIN) as client, client.stream("GET", "/") as stream:
            assert [came async for came in stream.items()] == [1, 2]
            assert stream.reconnects == 1
        assert AT_ONCE.delay == 0

    with scripted([chunked(), chunk(event("1", "a"))], [chunked(), chunk(event("2") + DONE), END]) as server:
        anyio.run(run, backend="trio")
