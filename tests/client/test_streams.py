"""What the client makes of streams that a server sends byte by byte: cuts, reconnects, ids, ends."""

import threading

import pytest

from client.both import AT_ONCE, NEVER
from client.scripted import DONE, END, RESET, UNTIL_CLIENT_LEAVES, chunk, chunked, event, full, head, scripted
from dual_mode_streaming import ResponseMode, errors
from dual_mode_streaming.client import Reconnect

NDJSON = "application/x-ndjson"
ONE, TWO, THREE = event("1", "a"), event("2", "b"), event("3", "c")


def cut(*texts, **headers):
    """A stream whose connection ends in the middle of its body."""
    return [chunked(**headers), *map(chunk, texts)]


def whole(*texts, content_type="text/event-stream", **headers):
    return [chunked(content_type, **headers), *map(chunk, texts), END]


MANY = "".join(event(str(number)) for number in range(3000))
PLACED = [event(str(number), f"n{number}") for number in range(3000)]

# Name -> scripts, data that has to come, ids that have to be sent, error.
GET_CASES = {
    "whole": ([whole(ONE + TWO + DONE)], [1, 2], [None], None),
    "byte by byte": ([whole(*(ONE + TWO + DONE))], [1, 2], [None], None),
    "many at once": ([whole(MANY + DONE)], list(range(3000)), [None], None),
    "many at once, and [DONE] among them": (
        [whole(MANY + event("[DONE]") + MANY)],
        list(range(3000)),
        [None],
        None,
    ),
    "many at once, cut, and resumed": (
        [cut("".join(PLACED[:2000]) + "data: 0"), whole("".join(PLACED[2000:]) + DONE)],
        list(range(3000)),
        [None, "n1999"],
        None,
    ),
    "comments are nothing": ([whole(": hello\n\n", ONE, ": \n\n", DONE)], [1], [None], None),
    "CRLF": ([whole((ONE + TWO + DONE).replace("\n", "\r\n"))], [1, 2], [None], None),
    "done, then the connection stays open": ([[chunked(), chunk(ONE + DONE), UNTIL_CLIENT_LEAVES]], [1], [None], None),
    "text that is no JSON": ([whole(event("hello") + DONE)], ["hello"], [None], None),
    "several lines of text": ([whole("data: a\ndata: b\n\n" + DONE)], ["a\nb"], [None], None),
    "bad UTF-8 is replaced": ([[chunked(), chunk(b"data: \xff\n\n"), chunk(DONE), END]], ["\ufffd"], [None], None),
    "LLM servers end with [DONE]": ([whole(event("1"), event("[DONE]"))], [1], [None], None),
    "a long integer is exact": ([whole(event("1") + event(str(10**30)) + DONE)], [1, 10**30], [None], None),
    "cut, and resumed": ([cut(ONE, TWO), whole(THREE + DONE)], [1, 2, 3], [None, "b"], None),
    "reset, and resumed": ([[*cut(ONE), RESET], whole(TWO + DONE)], [1, 2], [None, "a"], None),
    "cut in an event, which is dropped": ([cut(ONE, "id: b\ndata: 2"), whole(TWO + DONE)], [1, 2], [None, "a"], None),
    "clean end without done, and resumed": ([whole(ONE), whole(TWO + DONE)], [1, 2], [None, "a"], None),
    "the server repeats the last event": ([cut(ONE, TWO), whole(TWO + THREE + DONE)], [1, 2, 3], [None, "b"], None),
    "the server repeats the last event, and what follows has no id": (
        [cut(ONE), whole(ONE + event("x") + DONE)],
        [1, "x"],
        [None, "a"],
        None,
    ),
    "the server begins anew": ([cut(ONE, TWO), whole(ONE + TWO + THREE + DONE)], [1, 2, 3], [None, "b"], None),
    "the server begins anew, with an event that has no id": (
        [cut(ONE, event("x"), TWO), whole(ONE + event("x") + TWO + THREE + DONE)],
        [1, "x", 2, 3],
        [None, "b"],
        None,
    ),
    "the id holds over reconnects": (
        [cut(ONE), cut(": hello\n\n"), whole(TWO + DONE)],
        [1, 2],
        [None, "a", "a"],
        None,
    ),
    "an id without data is a place": ([cut(ONE, "id: z\n\n"), whole(THREE + DONE)], [1, 3], [None, "z"], None),
    "an id that is not ASCII": ([cut(event("1", "ü✓")), whole(TWO + DONE)], [1, 2], [None, "ü✓"], None),
    "204 ends": ([cut(ONE), full("204 No Content", "")], [1], [None, "a"], None),
    "204 at once": ([full("204 No Content", "")], [], [None], None),
    "nothing came, so it begins anew": ([cut(), cut(": hello\n\n"), whole(ONE + DONE)], [1], [None] * 3, None),
    "no ids": ([cut(event("1"), event("2"))], [1, 2], [None], errors.StreamInterrupted),
    "the last event had no id": ([cut(ONE, event("2"))], [1, 2], [None], errors.StreamInterrupted),
    "the id was taken back": ([cut(ONE, event("2", ""))], [1, 2], [None], errors.StreamInterrupted),
    "ids that come back": ([cut(ONE, TWO, event("3", "a"))], [1, 2, 3], [None], errors.StreamInterrupted),
    "an id that no header can hold": ([cut(event("1", "a\x01"))], [1], [None], errors.StreamInterrupted),
    "clean end without done and ids": ([whole(event("1"))], [1], [None], errors.StreamInterrupted),
    "an error event": (
        [whole(ONE, event('{"status": 502, "code": "x"}', name="error"))],
        [1],
        [None],
        errors.RemoteError,
    ),
    "done counts another number": (
        [whole(ONE, 'event: done\ndata: {"items": 2}\n\n')],
        [1],
        [None],
        errors.StreamInterrupted,
    ),
    "draining, and resumed": (
        [whole(ONE, event('{"status": 503, "code": "draining"}', name="error")), whole(TWO + DONE)],
        [1, 2],
        [None, "a"],
        None,
    ),
    "draining without ids": (
        [whole(event("1"), event('{"status": 503, "code": "draining"}', name="error"))],
        [1],
        [None],
        errors.RemoteError,
    ),
    "five cuts without an event": ([cut()], [], [None] * 5, errors.StreamInterrupted),
    "an event resets the count": (
        [*[cut()] * 4, cut(ONE), *[cut()] * 3, cut(TWO), *[cut()] * 3, whole(THREE + DONE)],
        [1, 2, 3],
        [*[None] * 5, *["a"] * 4, *["b"] * 4],
        None,
    ),
    "old events are no progress": ([cut(ONE), cut(ONE)], [1], [None, *["a"] * 4], errors.StreamInterrupted),
    "a server that closes after each event": (
        [whole(event(str(n), f"i{n}")) for n in range(8)] + [whole(DONE)],
        list(range(8)),
        [None, *(f"i{n}" for n in range(8))],
        None,
    ),
    "a gateway's error on a reconnect": (
        [cut(ONE), full("502 Bad Gateway", "text/html"), whole(TWO + DONE)],
        [1, 2],
        [None, "a", "a"],
        None,
    ),
    "a gateway's error at first": ([full("502 Bad Gateway", "text/html")], [], [None], errors.RemoteError),
    "503 with Retry-After": (
        [full("503 Service Unavailable", Retry_After="0"), whole(ONE + DONE)],
        [1],
        [None, None],
        None,
    ),
    "429 with Retry-After as a date": (
        [full("429 Too Many Requests", Retry_After="Sun, 06 Nov 1994 08:49:37 GMT"), whole(ONE + DONE)],
        [1],
        [None, None],
        None,
    ),
    "429 for too long": ([full("429 Too Many Requests", Retry_After="3600")], [], [None], errors.RemoteError),
    "429 for ever": ([full("429 Too Many Requests", Retry_After="0")], [], [None] * 5, errors.RemoteError),
    "429 without Retry-After": ([full("429 Too Many Requests")], [], [None], errors.RemoteError),
    "410 on a resume": ([cut(ONE), full("410 Gone")], [1], [None, "a"], errors.RemoteError),
    "404 with Retry-After": ([full("404 Not Found", Retry_After="0")], [], [None], errors.RemoteError),
    "500 as a page": ([full("500 Internal Server Error", "text/html", "<h1>Oh</h1>")], [], [None], errors.RemoteError),
    "another media type": ([full("200 OK", "text/html", "<h1>Hi</h1>")], [], [None], errors.UnexpectedAnswer),
    "no media type": ([full("200 OK", "", "hi")], [], [None], errors.UnexpectedAnswer),
    "an endless line": ([[head(), b"data: " + b"x" * 3_000_000]], [], [None], errors.EventTooLarge),
    "garbage instead of HTTP": ([[b"\x00\x01 what?\r\n\r\n"]], [], [None] * 5, errors.RequestFailed),
    "a gap is told": ([whole(ONE, event('{"missed": 3}', name="gap"), TWO, DONE)], [1, {"missed": 3}, 2], [None], None),
}  # fmt: skip


@pytest.mark.parametrize("case", GET_CASES)
def test_a_stream(kind, case):
    scripts, data, ids, error = GET_CASES[case]
    with scripted(*scripts) as server:
        read = kind.read(server.url)
    assert read.data == data
    assert server.ids == ids
    assert type(read.error) is (error or type(None)), read.error
    if isinstance(read.error, errors.StreamInterrupted):
        assert read.error.count == len(data)
        assert read.error.last_event_id == read.stream.last_event_id


def test_what_a_request_for_a_stream_says(kind):
    with scripted(whole(DONE)) as server:
        kind.read(server.url, "/x?a=1", params={"b": "ü"}, headers={"X-Own": "1"})
        kind.read(server.url, media_type="application/x-ndjson", headers={"cache-control": "max-age=1"})
    first, second = server.requests
    assert first.line == "GET /x?a=1&b=%C3%BC HTTP/1.1" or first.line == "GET /x?b=%C3%BC HTTP/1.1"
    assert first.headers["accept"].startswith("text/event-stream, application/x-ndjson;q=0.")
    assert first.headers["accept"].endswith("application/json;q=0.1")
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["accept-encoding"] == "identity"
    assert first.headers["x-own"] == "1"
    assert second.headers["accept"].startswith("application/x-ndjson, text/event-stream;q=0.")
    assert second.headers["cache-control"] == "max-age=1"


def test_a_post_is_not_sent_again_without_an_id(kind):
    with scripted(cut()) as server:
        read = kind.read(server.url, method="POST", json={"a": 1})
    assert isinstance(read.error, errors.StreamInterrupted)
    assert "POST" in str(read.error)
    assert [request.body for request in server.requests] == [b'{"a":1}']


def test_a_post_that_was_refused_for_a_while_is_not_sent_again(kind):
    with scripted(full("503 Service Unavailable", Retry_After="0")) as server:
        read = kind.read(server.url, method="POST", json=1)
    assert isinstance(read.error, errors.RemoteError)
    assert read.error.retry_after == 0
    assert len(server.requests) == 1


def test_a_post_with_ids_goes_on_with_the_same_body(kind):
    with scripted(cut(ONE), whole(TWO + DONE)) as server:
        read = kind.read(server.url, method="POST", json={"a": 1})
    assert (read.data, read.error) == ([1, 2], None)
    assert [(request.body, request.last_event_id) for request in server.requests] == [
        (b'{"a":1}', None),
        (b'{"a":1}', "a"),
    ]
    assert server.requests[0].headers["content-type"] == "application/json"


def test_a_body_that_is_used_up_is_not_sent_again(kind):
    async def parts():
        yield b"x"

    content = parts() if kind.name == "async" else iter([b"x"])
    with scripted(cut(ONE)) as server:
        read = kind.read(server.url, method="PUT", content=content, headers={"Content-Length": "1"})
    assert isinstance(read.error, errors.StreamInterrupted)
    assert "cannot be sent twice" in str(read.error)


def test_where_a_stream_was_left_it_can_be_taken_up(kind):
    with scripted(whole(ONE + TWO + DONE)) as server:
        read = kind.read(server.url, last_event_id="a")
    assert server.ids == ["a"]
    assert read.data == [2]  # the server began with the event of that id


def test_events_without_an_id_have_the_one_before_over_a_reconnect(kind):
    with scripted(cut(ONE), whole(event("x") + DONE)) as server:
        read = kind.read(server.url)
    assert [(event.data, event.id) for event in read.events] == [(1, "a"), ("x", "a")]


def test_the_event_has_its_text_its_name_and_its_id(kind):
    with scripted(whole(event('{"a": 1}', "7", "tick"), DONE)) as server:
        read = kind.read(server.url)
    [came] = read.events
    assert (came.data, came.raw, came.event, came.id) == ({"a": 1}, '{"a": 1}', "tick", "7")


@pytest.mark.parametrize("count", [1, 50])
def test_items_that_are_not_decoded(kind, count):
    with scripted(whole(event("[1]") * count, event('{"missed": 1}', name="gap"), DONE)) as server:
        read = kind.read(server.url, decode=False)
    assert read.data == [*["[1]"] * count, {"missed": 1}]
    assert read.stream.count == count
    with scripted(whole("[1]\n", content_type=NDJSON)) as server:
        assert kind.read(server.url, decode=False).data == ["[1]"]
    with scripted(full("200 OK", body='{"data":[[1]]}')) as server:
        assert kind.read(server.url, decode=False).data == ["[1]"]


def test_many_items_in_one_read(kind):
    """They take a shorter way than few."""
    texts = [str(n) for n in range(100)]
    with scripted(whole("".join(map(event, texts)) + DONE)) as server:
        read = kind.read(server.url)
        assert (read.data, read.stream.count) == (list(range(100)), 100)
    with scripted(whole("".join(map(event, texts)))) as server:
        assert isinstance(kind.read(server.url).error, errors.StreamInterrupted)
    with scripted(whole("".join(map(event, texts)) + event('{"code": "x"}', name="error"))) as server:
        read = kind.read(server.url)
        assert (read.data, read.error.code) == (list(range(100)), "x")
    for last, error in (("[DONE]", None), ("x", errors.StreamInterrupted)):
        with scripted(whole("".join(map(event, [*texts, last, "never"])))) as server:
            read = kind.read(server.url)
        assert read.data == [*range(100), *([] if error is None else ["x", "never"])]
        assert type(read.error) is (error or type(None))


def test_what_is_known_of_a_stream(kind):
    with scripted(cut(ONE), whole(event('{"missed": 2}', name="gap"), TWO, DONE, X_Y="z")) as server:
        read = kind.read(server.url)
    stream = read.stream
    assert (stream.count, stream.missed, stream.reconnects, stream.mode) == (2, 2, 1, ResponseMode.STREAM)
    assert (stream.response.status, stream.response.media_type) == (200, "text/event-stream")
    assert stream.response.headers["x-y"] == "z"
    assert stream.response.url == f"{server.url}/"


def test_require_done_can_be_left_out(kind):
    with scripted(whole(event("1"))) as server:
        read = kind.read(server.url, require_done=False)
        assert (read.data, read.error) == ([1], None)
        read = kind.read(server.url, client={"require_done": False})
        assert (read.data, read.error) == ([1], None)
    with scripted(cut(event("1"))) as server:
        assert isinstance(kind.read(server.url, require_done=False).error, errors.StreamInterrupted)


def test_the_error_for_a_missing_end_says_what_to_do(kind):
    with scripted(whole(event("1"))) as server:
        assert "require_done=False" in str(kind.read(server.url).error)


def test_no_reconnect(kind):
    with scripted(cut(ONE)) as server:
        read = kind.read(server.url, reconnect=NEVER)
    assert isinstance(read.error, errors.StreamInterrupted)
    assert (read.error.last_event_id, read.error.count, server.ids) == ("a", 1, [None])
    assert read.error.__cause__ is not None


def test_the_largest_event(kind):
    with scripted(whole(event("x" * 100) + DONE)) as server:
        assert isinstance(kind.read(server.url, max_event_size=50).error, errors.EventTooLarge)
        assert kind.read(server.url, max_event_size=None).error is None
        assert isinstance(kind.read(server.url, client={"max_event_size": 50}).error, errors.EventTooLarge)


def test_silence_is_a_cut(kind):
    with scripted([chunked(), chunk(ONE), UNTIL_CLIENT_LEAVES], whole(TWO + DONE)) as server:
        read = kind.read(server.url, idle_timeout=0.05)
        assert server.left.is_set()
    assert (read.data, read.error, server.ids) == ([1, 2], None, [None, "a"])


def test_a_slow_first_byte(kind):
    gate = threading.Event()
    threading.Timer(0.02, gate.set).start()
    with scripted([gate, *whole(ONE + DONE)]) as server:
        assert kind.read(server.url).data == [1]


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_redirects_are_followed(kind, status):
    with scripted(full(f"{status} Moved", "", Location="/other"), whole(ONE + DONE)) as server:
        read = kind.read(server.url)
    assert (read.data, read.error) == ([1], None)
    assert [request.line for request in server.requests] == ["GET / HTTP/1.1", "GET /other HTTP/1.1"]
    assert read.stream.response.url == f"{server.url}/other"


def test_a_reconnect_begins_at_the_url_that_was_asked_for(kind):
    moved = full("307 Moved", "", Location="/other")
    with scripted(moved, cut(ONE), moved, whole(TWO + DONE)) as server:
        assert kind.read(server.url).data == [1, 2]
    assert [request.line.split()[1] for request in server.requests] == ["/", "/other", "/", "/other"]


def test_a_redirect_that_leads_nowhere(kind):
    with scripted(full("302 Found", "")) as server:
        read = kind.read(server.url)
    assert isinstance(read.error, errors.RemoteError)
    assert read.error.status == 302


def test_redirects_without_end(kind):
    with scripted(full("302 Found", "", Location="/")) as server:
        read = kind.read(server.url)
    assert isinstance(read.error, errors.RequestFailed)
    assert read.error.reason == "redirects"


def test_retry_is_honoured():
    retry = Reconnect(delay=1, max_delay=10, jitter=0.5)
    assert [retry.wait(n, None, 0) for n in (1, 2, 3, 4, 5, 99)] == [1, 2, 4, 8, 10, 10]
    assert retry.wait(1, None, 1) == 1.5
    assert [retry.wait(n, 250, 0) for n in (1, 2)] == [0.25, 0.5]
    assert retry.wait(1, 10**5000, 0) == 10
    for wrong in ({"attempts": 0}, {"delay": -1}, {"max_delay": -1}, {"jitter": 2}, {"delay": float("nan")}):
        with pytest.raises(ValueError):
            Reconnect(**wrong)


def test_the_wait_that_a_server_asked_for(kind):
    """The client would wait an hour by itself."""
    reconnect = Reconnect(delay=3600, max_delay=7200, jitter=0)
    with scripted(cut("retry: 0\n", ONE), cut("retry: 1\n\n", TWO), whole(THREE + DONE)) as server:
        assert kind.read(server.url, reconnect=reconnect).data == [1, 2, 3]


# --- other formats -----------------------------------------------------------------------------

LINES = {
    "lines": (NDJSON, whole('{"a":1}\n2\n\n"x"', content_type=NDJSON), [{"a": 1}, 2, "x"], None),
    "json lines": ("application/jsonl", whole("1\n", content_type="application/jsonl; charset=utf-8"), [1], None),
    "a sequence": ("application/json-seq", whole("\x1e1\n\x1e2\n", content_type="application/json-seq"), [1, 2], None),
    "an envelope is opened": (NDJSON, whole('{"data":{"error":1}}\n', content_type=NDJSON), [{"error": 1}], None),
    "an error line": (NDJSON, whole('1\n{"error":{"status":502}}\n', content_type=NDJSON), [1], errors.RemoteError),
    "a cut": (NDJSON, cut("1\n2", content_type=NDJSON), [1], errors.StreamInterrupted),
    "a line that is no JSON": (NDJSON, whole("1\n{\n3\n", content_type=NDJSON), [1], errors.ProtocolError),
    "bad UTF-8": (NDJSON, [chunked(NDJSON), chunk(b'1\n"\xff"\n'), END], [1], errors.ProtocolError),
    "a line over the bound": (NDJSON, [head(content_type=NDJSON), b"1" * 3_000_000], [], errors.EventTooLarge),
    "an item of others that looks like an envelope": (
        NDJSON,
        whole('{"id":[],"data":1}\n{"id":4,"data":1}\n', content_type=NDJSON),
        [{"id": [], "data": 1}, 1],
        None,
    ),
    "a batch": (None, full("200 OK", body='{"data":[1,2]}'), [1, 2], None),
    "a bare array": (None, full("200 OK", body="[1,2]"), [1, 2], None),
    "another document": (None, full("200 OK", body='{"data":[1],"more":2}'), [{"data": [1], "more": 2}], None),
    "a document that is cut": (None, [head(content_type="application/json"), b"[1,"], [], errors.ProtocolError),
    "a document under another name": (None, full("201 Created", "application/geo+json", "[1]"), [1], None),
}


@pytest.mark.parametrize("case", LINES)
def test_another_format(kind, case):
    media_type, script, data, error = LINES[case]
    with scripted(script) as server:
        read = kind.read(server.url, method="POST", media_type=media_type)
    assert read.data == data
    assert type(read.error) is (error or type(None)), read.error
    if read.error is None:
        is_batch = read.stream.response.media_type.endswith("json") and media_type is None
        assert read.stream.mode is (ResponseMode.BATCH if is_batch else ResponseMode.STREAM)


def test_lines_with_ids_are_resumed(kind):
    with scripted(
        cut('{"id":"1","data":1}\n', content_type=NDJSON), whole('{"id":"2","data":2}\n', content_type=NDJSON)
    ) as server:
        read = kind.read(server.url)
    assert (read.data, read.error, server.ids) == ([1, 2], None, [None, "1"])


def test_a_document_that_was_cut_is_asked_for_again(kind):
    short = [head(content_type="application/json", Content_Length="7"), b"[1,"]
    with scripted(short, full("200 OK", body="[1,2]")) as server:
        assert kind.read(server.url).data == [1, 2]


def test_the_waits_are_ours_to_set(kind):
    assert kind.read("http://127.0.0.1:9", reconnect=AT_ONCE).error.reason == "connect"
