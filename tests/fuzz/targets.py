# ruff: noqa: PT017  these are no tests; both ends of a `try` are looked at
"""What is fuzzed: one function for each decoder and parser that reads a stranger's bytes.

Each takes any bytes, and raises what its subject may not raise, or an AssertionError where a law does not hold. They
are called by `test_fuzz.py` for seconds, and by `hunt.py` for as long as one likes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dual_mode_streaming.errors import (
    EventTooLarge,
    InvalidRequest,
    InvalidStreamFlag,
    NotAcceptable,
    ProtocolError,
    RemoteError,
    StreamInterrupted,
)
from dual_mode_streaming.headers import combine_lines, parse_prefer, read_parameters, split_list
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.jsonlines import JSONSeqDecoder, NDJSONDecoder
from dual_mode_streaming.llm.dialects import ALL, Stamp
from dual_mode_streaming.llm.fold import fold_all
from dual_mode_streaming.llm.requests import Message, Request
from dual_mode_streaming.modes import OFFERS, choose_mode, last_event_id, negotiate
from dual_mode_streaming.runs.records import read_event_id
from dual_mode_streaming.sse import SSEDecoder, encode_event

Target = Callable[[bytes], None]
LIMIT = 64
REQUEST = Request("toy-1", (Message("user", ("Hi",)),), include_usage=True)


class Source:
    """Decisions drawn from bytes; when they are used up, every decision is 0."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, bound: int) -> int:
        value = 0
        for _ in range(1 if bound <= 256 else 2):
            value = value * 256 + (self._data[self._at] if self._at < len(self._data) else 0)
            self._at += 1
        return value % bound

    def rest(self) -> bytes:
        return self._data[self._at :]

    @property
    def left(self) -> int:
        return max(0, len(self._data) - self._at)


# --- codecs --------------------------------------------------------------------------------------


def pieces(data: bytes, seed: int) -> list[bytes]:
    """Cut bytes into pieces of a few sizes."""
    cut, at = [], 0
    while at < len(data):
        size = (seed + at) % 7 + 1
        cut.append(data[at : at + size])
        at += size
    return cut


def decoded(decoder: Any, parts: list[bytes]) -> list[Any]:
    """Give what comes of the parts, errors in their places, and a fatal one as the last."""
    found: list[Any] = []
    for part in parts:
        before = len(found)
        try:
            found += decoder.feed(part)
        except EventTooLarge as error:
            return [*found[:before], error]
    try:
        found += decoder.flush()
    except EventTooLarge as error:
        found.append(error)
    return found


def plain(values: list[Any]) -> list[Any]:
    """Make errors comparable."""
    return [(type(value), getattr(value, "index", None)) if isinstance(value, Exception) else value for value in values]


def sse(data: bytes) -> None:
    source = Source(data)
    seed, bound = source.below(7), (None, LIMIT)[source.below(2)]
    stream = source.rest()
    whole = decoded(SSEDecoder(bound), [stream])
    for parts in (pieces(stream, seed), [bytes([byte]) for byte in stream]):
        assert plain(decoded(SSEDecoder(bound), parts)) == plain(whole)
    for event in whole:
        if not isinstance(event, Exception):
            assert "\0" not in event.id
            again = SSEDecoder().feed(encode_event(event))
            assert [(one.event, one.raw, one.id) for one in again] == [(event.event, event.raw, event.id)]


def lines(data: bytes) -> None:
    _records(data, NDJSONDecoder)


def sequences(data: bytes) -> None:
    _records(data, JSONSeqDecoder)


def _records(data: bytes, kind: Any) -> None:
    source = Source(data)
    seed, bound = source.below(7), (None, LIMIT)[source.below(2)]
    stream = source.rest()
    whole = decoded(kind(bound), [stream])
    for parts in (pieces(stream, seed), [bytes([byte]) for byte in stream]):
        assert plain(decoded(kind(bound), parts)) == plain(whole)
    for value in whole:
        assert isinstance(value, ProtocolError) or json.loads(encode_json(value)) is not Ellipsis


# --- headers and the query -------------------------------------------------------------------------


def accept(data: bytes) -> None:
    text = data.decode("latin-1")
    try:
        assert negotiate(text, OFFERS) in OFFERS
    except NotAcceptable as error:
        assert len(encode_json(error.problem.as_dict())) < 3000  # a client's text is not sent back at length
    scope = {"headers": [(b"accept", data)], "query_string": b""}
    with contextlib.suppress(NotAcceptable):
        assert choose_mode(scope).media_type in OFFERS
    assert choose_mode(scope, mode="stream").media_type in OFFERS


def prefer(data: bytes) -> None:
    preferences = parse_prefer(data.decode("latin-1"))
    assert preferences.wait is None or 0 <= preferences.wait <= 2**31
    assert preferences.respond_async in (True, False)
    for name, preference in preferences.items():
        assert name == name.lower() == preference.name


def grammar(data: bytes) -> None:
    text = data.decode("latin-1")
    for member in split_list(combine_lines([text, text])):
        assert member == member.strip(" \t") != ""
    for spaced in (False, True):
        for name, value in read_parameters(text, spaced=spaced) or ():
            assert name == name.lower() != ""
            assert value is None or len(value) <= len(text)


def event_id(data: bytes) -> None:
    source = Source(data)
    head, *more = source.rest().split(b"\n", 1)
    found = last_event_id({"headers": [(b"last-event-id", line) for line in (head, *more)]})
    assert found != ""
    try:
        epoch, seq = read_event_id(found or "")
    except InvalidRequest:
        return
    assert epoch
    assert 0 <= seq < 10**18


def flag(data: bytes) -> None:
    try:
        choose_mode({"headers": [], "query_string": data})
    except InvalidStreamFlag as error:
        assert len(encode_json(error.problem.as_dict())) < 3000


# --- language models -------------------------------------------------------------------------------

WORDS = Path(__file__).with_name("words.txt").read_text("utf-8").split()
NUMBERS = [0, 1, -1, 2, 400, 503, 2**31, 2**63, -(2**63), 0.5, -0.5, 1e308, 2.0, True, False]


def value_of(source: Source, depth: int = 0) -> Any:
    """Make a JSON value of the words that the vendors use."""
    kind = source.below(10)
    if kind < 2 or depth > 6 or not source.left:
        return WORDS[source.below(len(WORDS))]
    if kind == 2:
        return NUMBERS[source.below(len(NUMBERS))]
    if kind == 3:
        return None
    if kind == 4:
        return chr(source.below(60_000) % 0xD800) * source.below(4)
    if kind == 5:
        return "9" * (source.below(256) * 20)
    if kind < 8:
        return [value_of(source, depth + 1) for _ in range(source.below(4))]
    return {WORDS[source.below(len(WORDS))]: value_of(source, depth + 1) for _ in range(source.below(6))}


def body_of(source: Source) -> bytes:
    """Make a body: a JSON object most of the time, else the bytes as they are."""
    if source.below(8) == 0:
        return source.rest()
    value = {WORDS[source.below(len(WORDS))]: value_of(source) for _ in range(source.below(12))}
    return json.dumps(value).encode()


def llm_requests(data: bytes) -> None:
    source = Source(data)
    dialect = ALL[source.below(len(ALL))]
    try:
        request = dialect.parse_request(body_of(source))
    except InvalidRequest as error:
        assert encode_json(dialect.error_body(error.problem))
        return
    answer = dialect.immediate(request)
    if answer is not None:
        assert encode_json(dialect.batch(answer, request, Stamp("1")))


def llm_streams(data: bytes) -> None:
    """Read a vendor's stream, and tell it to the clients of another vendor, as a proxy does."""
    source = Source(data)
    dialect, other = ALL[source.below(len(ALL))], ALL[source.below(len(ALL))]
    frames = b""
    while source.left and len(frames) < 20_000:
        body = body_of(source)
        name = WORDS[source.below(len(WORDS))].encode()
        is_lines = dialect.media_type != "text/event-stream"
        frames += body + b"\n" if is_lines else b"event: %b\ndata: %b\n\n" % (name, body)
    parser, events = dialect.parser(), []
    try:
        for part in pieces(frames, 3):
            events += parser.feed(part)
        events += parser.flush()
    except (RemoteError, ProtocolError, StreamInterrupted) as error:
        assert encode_json(other.error_body(error.problem))
    renderer = other.renderer(REQUEST, Stamp("1"))
    renderer.start()
    for event in events:
        renderer.event(event)
    renderer.finish()
    assert encode_json(other.batch(fold_all(events), REQUEST, Stamp("1")))


def llm_batches(data: bytes) -> None:
    source = Source(data)
    dialect, other = ALL[source.below(len(ALL))], ALL[source.below(len(ALL))]
    value = {WORDS[source.below(len(WORDS))]: value_of(source) for _ in range(source.below(12))}
    try:
        completion = dialect.parse_batch(value)
    except (RemoteError, ProtocolError):
        return
    assert encode_json(other.batch(completion, REQUEST, Stamp("1")))


TARGETS: dict[str, Target] = {
    "sse": sse,
    "lines": lines,
    "sequences": sequences,
    "accept": accept,
    "prefer": prefer,
    "grammar": grammar,
    "event_id": event_id,
    "flag": flag,
    "llm_requests": llm_requests,
    "llm_streams": llm_streams,
    "llm_batches": llm_batches,
}
