"""The precedence of the design, row by row; `choose_mode`, `detect_mode` and `last_event_id` on raw ASGI scopes."""

import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import HTTPConnection, Request

from dual_mode_streaming import headers, modes
from dual_mode_streaming.errors import HeaderTooLarge, InvalidStreamFlag, NotAcceptable
from dual_mode_streaming.modes import (
    OFFERS,
    STREAM_TYPES,
    Choice,
    ResponseMode,
    choose_mode,
    detect_mode,
    last_event_id,
    negotiate,
)

BATCH, STREAM = ResponseMode.BATCH, ResponseMode.STREAM
JSON, SSE, NDJSON, JSON_LINES, JSON_SEQ = OFFERS


def scope_of(accept=None, query="", *, headers=()):
    """A scope as an ASGI server makes it: names in lower case, everything in bytes."""
    lines = [accept] if isinstance(accept, str) else accept or []
    return {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": query.encode("latin-1"),
        "headers": [
            (b"host", b"example.org"),
            *((b"accept", line.encode("latin-1")) for line in lines),
            (b"accept-encoding", b"gzip"),
            *headers,
        ],
    }


# --- precedence --------------------------------------------------------------------------------

PRECEDENCE = [
    # 1: the author's mode wins over everything
    (STREAM, "stream=false", JSON, STREAM),
    (STREAM, "", JSON, STREAM),
    (STREAM, "", "image/png", STREAM),
    (BATCH, "stream=true", SSE, BATCH),
    (BATCH, "", SSE, BATCH),
    (BATCH, "", "image/png", BATCH),
    (BATCH, "", None, BATCH),
    (STREAM, "", None, STREAM),
    ("stream", "stream=0", JSON, STREAM),
    ("batch", "stream=1", SSE, BATCH),
    # 2: the query wins over Accept
    (None, "stream=true", JSON, STREAM),
    (None, "stream=true", "image/png", STREAM),
    (None, "stream=true", "*/*;q=0", STREAM),
    (None, "stream=true", None, STREAM),
    (None, "stream=false", SSE, BATCH),
    (None, "stream=false", "image/png", BATCH),
    (None, "stream=false", "application/json;q=0", BATCH),
    (None, "stream=false", None, BATCH),
    # 4: Accept
    (None, "", JSON, BATCH),
    (None, "", SSE, STREAM),
    (None, "", NDJSON, STREAM),
    (None, "", "application/json;q=0.5, text/event-stream", STREAM),
    (None, "", "application/json, text/event-stream;q=0.9", BATCH),
    (None, "", "application/json;q=0, */*", STREAM),
    (None, "", "text/*", STREAM),
    (None, "", "application/*", BATCH),
    # a tie is batch, whatever the order in the header
    (None, "", "*/*", BATCH),
    (None, "", "text/event-stream, */*", BATCH),
    (None, "", "text/event-stream, application/json", BATCH),
    (None, "", ["text/event-stream", "application/json"], BATCH),
    # 5: otherwise batch
    (None, "", None, BATCH),
    (None, "", "", BATCH),
    (None, "", [",", ""], BATCH),
    (None, "", "garbage", BATCH),
    (None, "page=2&size=10", None, BATCH),
]


@pytest.mark.parametrize(("mode", "query", "accept", "expected"), PRECEDENCE)
def test_precedence(mode, query, accept, expected):
    assert choose_mode(scope_of(accept, query), mode=mode).mode is expected


@pytest.mark.parametrize(("query", "accept", "expected"), [row[1:] for row in PRECEDENCE if row[0] is None])
@pytest.mark.parametrize("kind", [Request, HTTPConnection, lambda scope: SimpleNamespace(scope=scope)])
def test_detect_mode_is_the_same_without_an_author(kind, query, accept, expected):
    assert detect_mode(kind(scope_of(accept, query))) is expected


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "*/*;q=0", "text/html, application/xml;q=0.9"])
def test_accept_alone_may_end_in_not_acceptable(accept):
    for choose in (lambda: choose_mode(scope_of(accept)), lambda: detect_mode(Request(scope_of(accept)))):
        with pytest.raises(NotAcceptable) as caught:
            choose()
        assert caught.value.offers == OFFERS
        assert accept in caught.value.detail


def test_the_mode_is_text_too():
    assert ResponseMode("stream") is STREAM
    assert STREAM == "stream"
    assert f"{BATCH}" == "batch"
    with pytest.raises(ValueError, match="both"):
        choose_mode(scope_of(), mode="both")


def test_a_choice_unpacks():
    mode, media_type = choose_mode(scope_of(SSE))
    assert (mode, media_type) == Choice(mode=STREAM, media_type=SSE)


# --- media types -------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", OFFERS)
def test_each_offer_can_be_asked_for(media_type):
    expected = Choice(BATCH if media_type == JSON else STREAM, media_type)
    assert choose_mode(scope_of(media_type)) == expected
    assert choose_mode(scope_of(media_type.upper())) == expected
    assert choose_mode(scope_of(f"*/*;q=0.1, {media_type};q=0.2")) == expected


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, SSE),
        ("", SSE),
        ("*/*", SSE),
        ("garbage", SSE),
        (JSON, SSE),
        ("image/png", SSE),
        ("*/*;q=0", SSE),
        (SSE, SSE),
        (NDJSON, NDJSON),
        (JSON_LINES, JSON_LINES),
        (JSON_SEQ, JSON_SEQ),
        ("application/*", NDJSON),
        ("application/json, application/jsonl;q=0.1", JSON_LINES),
        ("application/json-seq, application/x-ndjson", NDJSON),
        ("text/event-stream;q=0.5, application/json-seq;q=0.6", JSON_SEQ),
        ("*/*, text/event-stream;q=0", NDJSON),
        (["application/json", "application/jsonl"], JSON_LINES),
    ],
)
def test_the_type_of_a_stream_that_was_asked_for_otherwise(accept, media_type):
    assert choose_mode(scope_of(accept), mode=STREAM) == Choice(STREAM, media_type)
    assert choose_mode(scope_of(accept, "stream=1")) == Choice(STREAM, media_type)
    assert choose_mode(scope_of(accept), mode=STREAM, batch_type="a/b") == Choice(STREAM, media_type)


@pytest.mark.parametrize("accept", [None, "*/*", "text/csv", "application/json, text/csv;q=0.1", "text/*"])
def test_another_batch_type(accept):
    assert choose_mode(scope_of(accept), batch_type="text/csv") == Choice(BATCH, "text/csv")


def test_another_batch_type_takes_the_place_of_json():
    assert choose_mode(scope_of("image/png"), mode=BATCH, batch_type="text/csv") == Choice(BATCH, "text/csv")
    assert choose_mode(scope_of("image/png", "stream=0"), batch_type="text/csv") == Choice(BATCH, "text/csv")
    with pytest.raises(NotAcceptable) as caught:
        choose_mode(scope_of(JSON), batch_type="text/csv")
    assert caught.value.offers == ("text/csv", *STREAM_TYPES)


def test_a_batch_type_with_parameters():
    with_profile = 'application/json; profile="x"'
    assert choose_mode(scope_of(JSON), batch_type=with_profile) == Choice(BATCH, with_profile)
    assert choose_mode(scope_of("application/json;profile=x"), batch_type=with_profile) == Choice(BATCH, with_profile)
    with pytest.raises(NotAcceptable):
        choose_mode(scope_of("application/json;profile=y"), batch_type=with_profile)


@pytest.mark.parametrize("charset", [";charset=utf-8", "; charset=UTF-8", ';Charset="Utf-8"', ' ; CHARSET="UTF\\-8"'])
@pytest.mark.parametrize("media_type", OFFERS)
def test_our_formats_are_utf_8(media_type, charset):
    expected = Choice(BATCH if media_type == JSON else STREAM, media_type)
    assert choose_mode(scope_of(media_type + charset)) == expected
    assert choose_mode(scope_of(f"{media_type}{charset};q=0.3, */*;q=0.1")) == expected
    if expected.mode is STREAM:
        assert choose_mode(scope_of(media_type + charset), mode=STREAM) == expected
    # By the letter of the RFC a range with a parameter does not match an offer without it.
    with pytest.raises(NotAcceptable):
        negotiate(media_type + charset, OFFERS)


def test_another_charset_is_another_type():
    with pytest.raises(NotAcceptable):
        choose_mode(scope_of("application/json;charset=latin-1"))
    assert choose_mode(scope_of("text/event-stream;charset=utf-16, application/x-ndjson;q=0.1")).media_type == NDJSON
    assert choose_mode(scope_of("a/b;charset=latin-1"), batch_type="a/b;charset=Latin-1").mode is BATCH
    with pytest.raises(NotAcceptable):
        choose_mode(scope_of("a/b;charset=utf-8"), batch_type="a/b;charset=latin-1")


@pytest.mark.parametrize(
    ("client", "accept", "expected"),
    [
        ("a browser's page", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        ("a browser's EventSource", "text/event-stream", SSE),
        ("curl, httpx, requests, fetch", "*/*", JSON),
        ("axios", "application/json, text/plain, */*", JSON),
        ("jQuery", "application/json, text/javascript, */*; q=0.01", JSON),
        ("an MCP client", "application/json, text/event-stream", JSON),
        ("Java before 19", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON),
    ],
)
def test_clients_in_the_field(client, accept, expected):
    assert choose_mode(scope_of(accept)).media_type == expected


# --- the flag in the query ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("stream=true", STREAM),
        ("stream=TRUE", STREAM),
        ("stream=True", STREAM),
        ("stream=1", STREAM),
        ("stream=false", BATCH),
        ("stream=False", BATCH),
        ("stream=0", BATCH),
        ("a=b&stream=1&c", STREAM),
        ("stream=1&stream=1", STREAM),
        ("stream=1&x=0&stream=TRUE", STREAM),
        ("stream=0&stream=false", BATCH),
        ("%73tream=tru%65", STREAM),
        ("&&stream=1&", STREAM),
    ],
)
def test_the_flag(query, expected):
    other = JSON if expected is STREAM else SSE
    assert choose_mode(scope_of(other, query)).mode is expected
    assert detect_mode(Request(scope_of(other, query))) is expected


@pytest.mark.parametrize(
    "query", ["upstream=1", "streams=1", "Stream=1", "STREAM=0", "x=stream", "x=stream=1", "x=1%26stream=1", "=stream"]
)
def test_what_is_not_the_flag(query):
    assert choose_mode(scope_of(SSE, query)).mode is STREAM
    assert choose_mode(scope_of(JSON, query)).mode is BATCH


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("stream", ""),
        ("stream=", ""),
        ("stream=yes", "yes"),
        ("stream=2", "2"),
        ("stream=01", "01"),
        ("stream=+true", " true"),
        ("stream=true%00", "true\x00"),
        ("stream=\xff", "ÿ"),
        ("stream=%FF", "\ufffd"),
        ("stream=%D9%A1", "١"),
        ("stream=1&stream=no", "no"),
        ("stream=&stream=1", ""),
        ("stream=true&stream=false", "true, false"),
        ("stream=1&stream=True&stream=0", "1, True, 0"),
    ],
)
def test_a_bad_flag(query, value):
    for choose in (lambda: choose_mode(scope_of(JSON, query)), lambda: detect_mode(Request(scope_of(None, query)))):
        with pytest.raises(InvalidStreamFlag) as caught:
            choose()
        assert (caught.value.name, caught.value.value) == ("stream", value)


def test_a_bad_flag_means_nothing_where_the_author_has_decided():
    assert choose_mode(scope_of(None, "stream=maybe"), mode=BATCH).mode is BATCH
    assert choose_mode(scope_of(None, "stream=maybe"), mode="stream").mode is STREAM


def test_a_long_bad_flag_is_not_repeated_in_full():
    with pytest.raises(InvalidStreamFlag) as caught:
        choose_mode(scope_of(None, "stream=" + "x" * 10_000))
    assert len(caught.value.detail) < 500


@pytest.mark.parametrize("name", ["live", "is live", "größe", "a&b"])
def test_another_name_for_the_flag(name):
    for encode in (quote, quote_plus):
        scope = scope_of(JSON, f"stream=false&{encode(name)}=1")
        assert choose_mode(scope, stream_param=name).mode is STREAM
        assert detect_mode(Request(scope), stream_param=name) is STREAM
    with pytest.raises(InvalidStreamFlag, match=name):
        choose_mode(scope_of(JSON, f"{quote(name)}=x"), stream_param=name)


def test_the_flag_can_be_switched_off():
    for query in ("stream=true", "stream=maybe", "stream"):
        assert choose_mode(scope_of(JSON, query), stream_param=None).mode is BATCH
        assert detect_mode(Request(scope_of(JSON, query)), stream_param=None) is BATCH


# --- scopes ------------------------------------------------------------------------------------


def test_a_bare_scope():
    assert choose_mode({"type": "http"}) == Choice(BATCH, JSON)
    assert choose_mode({"type": "http", "headers": [], "query_string": b""}) == Choice(BATCH, JSON)
    assert last_event_id({"type": "http"}) is None


def test_headers_may_be_lists_and_any_iterable():
    scope = {"headers": iter([[b"accept", b"text/event-stream"]]), "query_string": b""}
    assert choose_mode(scope) == Choice(STREAM, SSE)


def test_bytes_that_are_not_ascii():
    scope = scope_of(headers=[(b"accept", b'\xff\xfe, text/event-stream;x="\xff";q=0.5, application/x-ndjson;q=0.4')])
    assert choose_mode(scope) == Choice(STREAM, NDJSON)


def test_long_headers_are_read_but_not_remembered():
    modes._by_short_accept.cache_clear()
    long = "a/b, " * 100 + SSE
    for _ in range(3):
        assert choose_mode(scope_of(long)) == Choice(STREAM, SSE)
        assert choose_mode(scope_of(long), mode=STREAM) == Choice(STREAM, SSE)
    assert modes._by_short_accept.cache_info().currsize == 0
    for number in range(1000):
        assert choose_mode(scope_of(f"a/b{number}, {SSE}")) == Choice(STREAM, SSE)
    info = modes._by_short_accept.cache_info()
    assert info.currsize == info.maxsize == 256


@pytest.mark.parametrize("mode", [None, STREAM])
def test_an_accept_of_a_strangers_length_is_not_read(mode):
    longest = "a/b,".rjust(headers.LONGEST - len(SSE), ",") + SSE
    assert choose_mode(scope_of(longest), mode=mode) == Choice(STREAM, SSE)
    with pytest.raises(HeaderTooLarge, match="accept is longer than 16384 bytes") as caught:
        choose_mode(scope_of("," + longest), mode=mode)
    assert caught.value.problem.as_dict() | {"detail": ""} == {
        "type": "about:blank",
        "title": "Request Header Fields Too Large",
        "status": 431,
        "code": "header_too_large",
        "detail": "",
        "header": "accept",
        "limit": 16384,
    }
    lines = [(b"accept", b"a/b;q=0.1") for _ in range(2000)]
    with pytest.raises(HeaderTooLarge):
        choose_mode(scope_of(headers=lines), mode=mode)


def test_a_long_accept_that_has_no_say_is_no_mistake():
    assert choose_mode(scope_of("a/b," * 100_000), mode="batch") == Choice(BATCH, JSON)


def test_what_is_remembered_depends_on_the_batch_type_and_on_the_mode():
    scope = scope_of("text/csv, application/json;q=0.5, text/event-stream;q=0.1")
    for _ in range(2):
        assert choose_mode(scope) == Choice(BATCH, JSON)
        assert choose_mode(scope, batch_type="text/csv") == Choice(BATCH, "text/csv")
        assert choose_mode(scope, mode=STREAM) == Choice(STREAM, SSE)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.binary(max_size=300), max_size=3), st.binary(max_size=30), st.sampled_from([None, *ResponseMode]))
def test_any_bytes_lead_to_a_choice_or_to_one_of_two_errors(accept, query, mode):
    scope = {"headers": [(b"accept", line) for line in accept], "query_string": query}
    for text in (query, b"stream=" + query, b"%73tream=" + query):
        try:
            choice = choose_mode({**scope, "query_string": text}, mode=mode)
        except NotAcceptable:
            assert mode is None
            assert accept
        except InvalidStreamFlag:
            assert mode is None
            assert b"stream" in text or b"%73tream" in text
        else:
            assert choice.media_type in (STREAM_TYPES if choice.mode is STREAM else (JSON,))
            assert mode is None or choice.mode is mode


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(["*/*", "text/*", "a/b", "*/*;q=0", *OFFERS]), max_size=4), st.booleans())
def test_choose_mode_and_negotiate_agree_without_parameters(ranges, joined):
    accept = [", ".join(ranges)] if joined and ranges else ranges
    try:
        expected = negotiate(accept, OFFERS)
    except NotAcceptable:
        with pytest.raises(NotAcceptable):
            choose_mode(scope_of(accept))
    else:
        assert choose_mode(scope_of(accept)).media_type == expected


def test_no_framework_is_loaded():
    code = (
        "import sys, dual_mode_streaming.modes;"
        "print({'starlette', 'pydantic', 'httpx2', 'fastapi', 'asyncio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


# --- Last-Event-ID -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        ([b""], None),
        ([b" \t"], None),
        ([b"", b" "], None),
        ([b"42"], "42"),
        ([b" \t42\t "], "42"),
        ([b"a b"], "a b"),
        (["a\u2026b".encode()], "a\u2026b"),
        ([b"a\xffb"], "a\ufffdb"),
        ([b"\xa0x"], "\ufffdx"),
        (["\u00a0x".encode()], "\u00a0x"),
        ([b"42", b"42"], "42"),
        ([b"42", b" 42 ", b"", b"42"], "42"),
        ([b"1", b"2"], "1, 2"),
        ([b"2", b"1", b"2"], "2, 1"),
        ([b"1, 2"], "1, 2"),
    ],
)
def test_last_event_id(lines, expected):
    headers = [(b"last-event-id", line) for line in lines]
    assert last_event_id(scope_of(SSE, headers=[*headers, (b"x-last-event-id", b"no")])) == expected


@pytest.mark.parametrize("lines", [[b"x" * 16_385], [b"1"] * 16_385, [b"x" * 9000, b"y" * 9000]])
def test_a_last_event_id_of_a_strangers_length_is_not_read(lines):
    assert last_event_id(scope_of(headers=[(b"last-event-id", b"x" * 16_384)])) == "x" * 16_384
    with pytest.raises(HeaderTooLarge, match="last-event-id"):
        last_event_id(scope_of(headers=[(b"last-event-id", line) for line in lines]))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.binary(), max_size=3))
def test_any_bytes_give_an_id_or_none(lines):
    found = last_event_id({"headers": [(b"last-event-id", line) for line in lines]})
    assert found is None or found
