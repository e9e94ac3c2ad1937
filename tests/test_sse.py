"""`SSEDecoder` and `encode_event`: vectors of other projects, the standard's algorithm as an oracle, bounds, refusals.

The decoder has several ways through the same bytes. Every test of what it gives runs along each of them.
"""

import base64
import json
import os
import re
import subprocess
import sys
import tracemalloc
from collections import deque
from dataclasses import FrozenInstanceError
from enum import IntEnum
from itertools import repeat
from pathlib import Path

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dual_mode_streaming._sse_paths import Interpreter
from dual_mode_streaming.errors import EventTooLarge, InvalidEvent, ItemNotEncodable
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.sse import SSEDecoder, check_event, encode_event

VECTORS = Path(__file__).parent / "vectors"


# --- the ways through the decoder --------------------------------------------------------------


class LineByLine(Interpreter):
    MANY = sys.maxsize


class Always(Interpreter):
    MANY = 0


class Blocks(Always):
    _plain = property(lambda self: False, lambda self, value: None)


class Bulk(Always):
    _plain = property(lambda self: True, lambda self, value: None)


class OddLines(Blocks):
    """No block is of a usual form: the regular expression finds nothing but single lines."""

    BLOCK = re.compile(r"()()()()()()(.*+\n)")


PATHS = {
    "as it is": (Interpreter, None),
    "line by line": (LineByLine, None),
    "blocks": (Blocks, None),
    "bulk": (Bulk, None),
    "odd lines": (OddLines, None),
    "by turns": (Always, None),
    "small windows": (Always, 4),
}
every_path = pytest.mark.parametrize("path", PATHS)


def decoder_on(path, max_event_size=None):
    interpreter, window = PATHS[path]
    decoder = SSEDecoder(max_event_size)
    decoder._stream = interpreter(max_event_size)
    if window is not None:
        decoder._window = window
    return decoder


def decode(chunks, path="as it is", max_event_size=None):
    """The events as (type, data, id), the last event id and the reconnection time."""
    decoder = decoder_on(path, max_event_size)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    events += decoder.flush()
    for event in events:
        assert type(event) is ServerSentEvent
        assert event == ServerSentEvent(event.data, event=event.event, id=event.id, raw=event.data)
        assert event.event not in ("", "message")
    return [(event.event or "message", event.data, event.id) for event in events], decoder.last_event_id, decoder.retry


def bytewise(data):
    return [data[at : at + 1] for at in range(len(data))]


# --- the standard's algorithm, as it stands there ----------------------------------------------


def reference(data):  # noqa: C901  as long as the standard's
    """WHATWG HTML, sections 9.2.5 and 9.2.6, one character after the other."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = []
    line = ""
    at = 0
    while at < len(text):
        if text[at] in "\r\n":
            lines.append(line)
            line = ""
            if text[at : at + 2] == "\r\n":
                at += 1
        else:
            line += text[at]
        at += 1
    events, retry, last_id = [], None, ""
    data_buffer = type_buffer = id_buffer = ""
    for line in lines:
        if line == "":
            last_id = id_buffer
            if data_buffer != "":
                events.append((type_buffer or "message", data_buffer.removesuffix("\n"), last_id))
            data_buffer = type_buffer = ""
            continue
        if line[0] == ":":
            continue
        field, value = line, ""
        if ":" in line:
            field, value = line[: line.index(":")], line[line.index(":") + 1 :]
            value = value.removeprefix(" ")
        if field == "event":
            type_buffer = value
        elif field == "data":
            data_buffer += value + "\n"
        elif field == "id":
            if "\0" not in value:
                id_buffer = value
        elif field == "retry" and value != "" and all(digit in "0123456789" for digit in value):
            retry = int(value)
    return events, last_id, retry


# --- vectors -----------------------------------------------------------------------------------


def vectors(name):
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))["vectors"]


DECODE_VECTORS = [pytest.param(vector, id=vector["id"]) for vector in vectors("sse_decode.json")]


def bytes_of(chunk):
    return base64.b64decode(chunk["b64"]) * chunk.get("times", 1)


def text_of(data):
    return data if isinstance(data, str) else "".join(text * times for text, times in data["repeat"])


@every_path
@pytest.mark.parametrize("vector", DECODE_VECTORS)
def test_vector(vector, path):
    if not vector["bytewise_ok"] and path == "small windows":
        path = "as it is"  # megabytes, four bytes at a time
    chunks = [bytes_of(chunk) for chunk in vector["chunks"]]
    expect = vector["expect"]
    expected = (
        [(event["type"], text_of(event["data"]), event["lastEventId"]) for event in expect["events"]],
        expect["final_last_event_id"],
        expect["final_reconnection_time_ms"],
    )
    assert decode(chunks, path) == expected
    assert decode([b"".join(chunks)], path) == expected
    if vector["bytewise_ok"]:
        assert decode(bytewise(b"".join(chunks)), path) == expected


@pytest.mark.parametrize("vector", [vector for vector in DECODE_VECTORS if vector.values[0]["bytewise_ok"]])
def test_the_reference_agrees_with_the_vectors(vector):
    expect = vector["expect"]
    events = [(event["type"], event["data"], event["lastEventId"]) for event in expect["events"]]
    data = b"".join(bytes_of(chunk) for chunk in vector["chunks"])
    assert reference(data) == (events, expect["final_last_event_id"], expect["final_reconnection_time_ms"])


@pytest.mark.parametrize("vector", vectors("sse_encode.json"), ids=lambda vector: repr(vector["input"]))
def test_encode_vector(vector):
    fields = {name: value for name, value in vector["input"].items() if name != "sep"}
    event = ServerSentEvent(raw=fields.pop("data"), **fields)
    if vector["expect_b64"] is None:
        with pytest.raises(InvalidEvent):
            encode_event(event)
    else:
        frame = encode_event(event)
        assert b"\r" not in frame
        assert decode([frame]) == decode([base64.b64decode(vector["expect_b64"])])


# --- the decoder against the reference ---------------------------------------------------------

TOKENS = [
    *(b"data", b"data:", b"data: ", b"data: x", b"event:", b"event: ", b"event: n", b"event: message", b"id"),
    *(b"id:", b"id: ", b"id: 1", b"id: 2", b"retry: ", b"retry: 5", b"retry:", b"retry: 007", b":", b": c", b" "),
    *(b"x", b"1", b"0", b"a:b", b"\0", b"\n", b"\n", b"\n", b"\n\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n", b"\r\r"),
    *(b"\xef\xbb\xbf", b"\xef", b"\xbb", b"\xbf", b"\xff", b"\xc3\xa9", b"\xe2\x82", b"\xac", b"\xf0\x9f\x98\x80"),
    *(b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xc2\x85", b"\xe2\x80\xa8", b"\n\ndata: ", b"\n\ndata: y", b"\n\n\ndata: "),
]
soup = st.lists(st.sampled_from(TOKENS), max_size=60).map(b"".join)
lines = st.lists(
    st.sampled_from([token for token in TOKENS if not {10, 13} & set(token)] + [b"", b"", b"data: z", b"data: z"]),
    max_size=60,
)
one_line_end = st.builds(
    lambda parts, end: b"".join(part + end for part in parts), lines, st.sampled_from([b"\n", b"\r\n", b"\r"])
)
streams = soup | one_line_end
cuts = st.lists(st.integers(0, 300), max_size=12)


def cut(data, places):
    places = sorted(min(place, len(data)) for place in places)
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@every_path
@settings(max_examples=250, deadline=None, derandomize=True)
@given(data=streams, places=cuts)
@example(data=b"event:  \ndata: x\n\n", places=[])
@example(data=b"id: \ndata: x\n\n", places=[])
@example(data=b"id: 1\nid: \0\ndata: x\n\ndata: y\n\n", places=[])
@example(data=b"id: 1\ndata: x\nid: \0\n\ndata: y\n\n", places=[])
@example(data=b"\n\ndata: a\n\n\ndata: b\n\ndata: c\n\n\n", places=[])
def test_any_bytes_in_any_pieces_are_read_as_the_standard_says(path, data, places):
    expected = reference(data)
    assert decode(cut(data, places), path) == expected
    assert decode(bytewise(data), path) == expected


NAMES = st.none() | st.text(st.characters(blacklist_characters="\r\n", codec="utf-8"), min_size=1, max_size=5)
IDS = st.none() | st.text(st.characters(blacklist_characters="\r\n\0", codec="utf-8"), max_size=5)
EVENTS = st.builds(
    lambda raw, name, new_id, comment, retry: ServerSentEvent(
        raw=raw, event=name, id=new_id, comment=comment, retry=retry
    ),
    st.text(st.sampled_from('ab \t:{}"\n\r\x0b\x85\u2028\u00e9\U0001f600\0\ufeff'), max_size=12),
    NAMES,
    IDS,
    st.none() | st.text(st.sampled_from("c :\n\r"), max_size=4),
    st.none() | st.integers(0, 10**30),
)


@every_path
@settings(max_examples=60, deadline=None, derandomize=True)
@given(events=st.lists(EVENTS, max_size=8), places=cuts, line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_what_was_encoded_comes_back_for_every_split(path, events, places, line_end):
    expected, last_id, retry = [], "", None
    for event in events:
        last_id = last_id if event.id is None else event.id
        retry = retry if event.retry is None else event.retry
        text = event.raw.replace("\r\n", "\n").replace("\r", "\n")
        expected.append((event.event or "message", text, last_id))
    data = b"".join(map(encode_event, events))
    if line_end != b"\n":
        data = data.replace(b"\n", line_end)
    assert decode(cut(data, places), path) == (expected, last_id, retry)
    if len(data) < 200:
        for place in range(len(data)):
            assert decode([data[:place], data[place:]], path)[0] == expected


@every_path
def test_the_usual_streams_in_chunks_of_any_size(path):
    shapes = [
        "data: {i}\n\n",
        "data:{i}\n\n",
        "event: name\ndata: {i}\n\n",
        "id: {i}\ndata: {i}\n\n",
        "id: {i}\nevent: name\ndata: {i}\n\n",
        "event: name\nid: {i}\ndata: {i}\n\n",
        "event: name\ndata: {i}\nid: {i}\n\n",
        "event: name\ndata: {i}\nid: {i}\nretry: {i}\n\n",
        "data: {i}\ndata: more\ndata:more\n\n",
        ": comment\n\ndata: {i}\n\n",
        "retry: {i}\ndata: {i}\n\n",
        "data: é😀{i}\n\n",
    ]
    for shape in shapes:
        for line_end in ("\n", "\r\n", "\r"):
            data = "".join(shape.format(i=i) for i in range(120)).replace("\n", line_end).encode()
            expected = reference(data)
            assert len(expected[0]) == 120
            for size in (7, 100, 1000, len(data)):
                assert decode([data[at : at + size] for at in range(0, len(data), size)], path) == expected


# --- the moment an event is given out ----------------------------------------------------------


@every_path
def test_a_cr_at_the_end_of_a_chunk_ends_its_line_now(path):
    decoder = decoder_on(path)
    assert decoder.feed(b"data: x\r") == []
    [event] = decoder.feed(b"\n\r")
    assert event.data == "x"
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\ndata: y\r\r")[0].data == "y"  # the LF belongs to the CR before it
    assert decoder.feed(b"\n\n") == []


@every_path
def test_retry_counts_when_its_line_ends_and_an_id_when_its_block_ends(path):
    decoder = decoder_on(path)
    assert (decoder.last_event_id, decoder.retry) == ("", None)
    assert decoder.feed(b"retry: 10\nid: 7\nretry: 20") == []
    assert (decoder.last_event_id, decoder.retry) == ("", 10)
    assert decoder.feed(b"\n\n") == []
    assert (decoder.last_event_id, decoder.retry) == ("7", 20)


@every_path
def test_the_end_of_the_stream_drops_what_is_unfinished(path):
    decoder = decoder_on(path)
    decoder.feed(b"id: 1\ndata: x\n\nid: 2\nevent: lost\ndata: lost\nda")
    assert decoder.flush() == []
    assert decoder.last_event_id == "1"
    # The next stream begins anew, also with a byte order mark; the id is kept as a browser keeps it.
    [event] = decoder.feed(b"\xef\xbb\xbfdata: y\n\n")
    assert event == ServerSentEvent("y", raw="y", id="1")


def test_an_unfinished_byte_order_mark_is_no_part_of_the_next_stream():
    decoder = SSEDecoder()
    assert decoder.feed(b"\xef\xbb") == []
    assert decoder.flush() == []
    assert decoder.feed(b"data: x\n\n") == [ServerSentEvent("x", raw="x", id="")]


@every_path
def test_a_reconnection_time_may_have_any_number_of_digits(path):
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert decode([b"retry: " + b"9" * 640 + b"\n\n"], path)[2] == int("9" * 640)
        assert decode([b"retry: " + b"0" * 5000 + b"5\n\n"], path)[2] == 5
        assert decode([b"retry: 3\nretry: " + b"9" * 5000 + b"\n\n"], path)[2] == 3  # longer than a universe
    finally:
        sys.set_int_max_str_digits(limit)


def test_a_decoded_event_is_an_event_like_any_other():
    [event] = SSEDecoder().feed(b"event: a\nid: 1\nretry: 5\n: c\ndata: x\n\n")
    twin = ServerSentEvent("x", event="a", id="1", raw="x")
    assert event == twin
    assert hash(event) == hash(twin)
    assert repr(event) == repr(twin)
    assert type(event) is ServerSentEvent
    with pytest.raises(FrozenInstanceError):
        event.data = "y"
    with pytest.raises(FrozenInstanceError):
        del event.data


# --- bounds ------------------------------------------------------------------------------------


def bounded_reference(data, limit):
    """The events before the first block over the bound, and whether there is one."""
    text = data.removeprefix(b"\xef\xbb\xbf")
    size = complete = at = 0
    lines = text.splitlines(keepends=True)
    for line in lines:
        bare = line.rstrip(b"\r\n")
        if bare and size + len(bare) > limit:
            return reference(data[: complete + len(data) - len(text)])[0], True
        at += len(line)
        if line == bare:
            break
        if not bare:
            size, complete = 0, at
        elif bare[0] != ord(":"):
            size += len(bare) + 1
    return reference(data)[0], False


@every_path
@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=streams, places=cuts, limit=st.integers(1, 60))
def test_the_bound_does_not_depend_on_the_cuts(path, data, places, limit):
    expected = bounded_reference(data, limit)
    for chunks in (cut(data, places), [data], bytewise(data)):
        decoder = decoder_on(path, limit)
        events, failed = [], False
        for chunk in chunks:
            try:
                events += [(event.event or "message", event.data, event.id) for event in decoder.feed(chunk)]
            except EventTooLarge:
                failed = True
        try:
            decoder.flush()
        except EventTooLarge:
            failed = True
        assert (events, failed) == expected


@every_path
def test_the_largest_event_passes_and_the_next_byte_fails(path):
    block = b"id: 1\ndata: 12345\n"
    assert len(decode([block + b"\n"], path, len(block) - 1)[0]) == 1  # the last line end is none of its bytes
    for chunks in ([block + b"\n"], bytewise(block + b"\n")):
        with pytest.raises(EventTooLarge) as caught:
            decode(chunks, path, len(block) - 2)
        assert caught.value.limit == len(block) - 2
        assert caught.value.index is None


@every_path
def test_events_before_the_too_large_one_are_given_out_and_then_every_call_raises(path):
    decoder = decoder_on(path, 20)
    events = decoder.feed(b"data: a\n\ndata: b\n\ndata: " + b"x" * 50 + b"\n\ndata: c\n\n")
    assert [event.data for event in events] == ["a", "b"]
    for call in (lambda: decoder.feed(b"data: d\n\n"), lambda: decoder.feed(b""), decoder.flush, decoder.flush):
        with pytest.raises(EventTooLarge):
            call()


@pytest.mark.parametrize(
    "chunk",
    [b"x" * 1000, b"data: " + b"y" * 994, b":" + b"c" * 999, b"data: z\n" * 125, b"data: z\r\n" * 125, b"\xff" * 1000],
    ids=["name", "data", "comment", "many lines", "CRLF", "no UTF-8"],
)
def test_an_endless_event_takes_bounded_memory(chunk):
    decoder = SSEDecoder(100_000)
    tracemalloc.start()
    with pytest.raises(EventTooLarge):
        deque(map(decoder.feed, repeat(chunk, 10_000)), maxlen=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_the_default_bound_is_a_mebibyte():
    assert len(SSEDecoder().feed(b"data: " + b"x" * (2**20 - 6) + b"\n\n")) == 1
    with pytest.raises(EventTooLarge):
        SSEDecoder().feed(b"data: " + b"x" * (2**20 - 5) + b"\n\n")
    assert len(SSEDecoder(None).feed(b"data: " + b"x" * 2**21 + b"\n\n")) == 1


@pytest.mark.parametrize("limit", [0, -1])
def test_a_bound_that_lets_nothing_pass_is_a_mistake(limit):
    with pytest.raises(ValueError, match="above zero"):
        SSEDecoder(limit)


@every_path
def test_comments_without_blank_lines_can_go_on_for_ever(path):
    decoder = decoder_on(path, 100)
    for _ in range(50):
        assert decoder.feed(b": still here\n:\r\n: and here") == []
        assert decoder.feed(b"\r") == []
    [event] = decoder.feed(b"\ndata: x\n\n")
    assert event.data == "x"


def test_a_failed_decoder_keeps_nothing():
    decoder = SSEDecoder(10)
    with pytest.raises(EventTooLarge):
        decoder.feed(b"x" * 11)
    with pytest.raises(EventTooLarge):
        decoder.feed(b"y" * 100_000)
    assert len(decoder._held) == 0


@pytest.mark.parametrize(
    "data",
    [
        b"data: x\n" * 100_000,  # one block
        b"event: a\nevent: b\n" * 100_000 + b"\n",
        b"id: a\n\0\n" * 50_000 + b"\n",
        b"data: x\n" + b"event\n" * 100_000 + b"\n",
        b": c\n" * 500_000,
        b"\n" * 500_000,
        b"\r" * 500_000,
        b"\n\ndata: x\n" * 50_000,
    ],
    ids=["data", "names", "ids", "odd fields", "comments", "LF", "CR", "blocks"],
)
def test_hostile_streams_take_linear_time(data):
    # A path that looks at its bytes again and again would need hours here.
    events = decode([data], max_event_size=None)[0]
    assert events == decode([data[:100_003], data[100_003:]], "line by line")[0]


# --- encoding ----------------------------------------------------------------------------------


class Wait(IntEnum):
    LONG = 60_000


@pytest.mark.parametrize(
    ("event", "frame"),
    [
        (ServerSentEvent({"a": 1}), b'data: {"a":1}\n\n'),
        (ServerSentEvent("text"), b'data: "text"\n\n'),
        (ServerSentEvent(""), b'data: ""\n\n'),
        (ServerSentEvent(0), b"data: 0\n\n"),
        (ServerSentEvent("a\nb\r"), b'data: "a\\nb\\r"\n\n'),
        (ServerSentEvent(raw="text"), b"data: text\n\n"),
        (ServerSentEvent(raw=""), b"data: \n\n"),
        (ServerSentEvent(raw=" x"), b"data:  x\n\n"),
        (ServerSentEvent(raw="a\nb\r\nc\rd"), b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (ServerSentEvent(raw="a\n\nb\n"), b"data: a\ndata: \ndata: b\ndata: \n\n"),
        (ServerSentEvent(1, raw="one"), b"data: one\n\n"),
        (ServerSentEvent(1, event="n"), b"event: n\ndata: 1\n\n"),
        (ServerSentEvent(event="n"), b"event: n\ndata: null\n\n"),
        (ServerSentEvent(id="7"), b"id: 7\ndata: null\n\n"),
        (ServerSentEvent(1, id=""), b"id: \ndata: 1\n\n"),
        (
            ServerSentEvent([1], event="n", id="7", retry=5, comment="c"),
            b": c\nevent: n\nid: 7\nretry: 5\ndata: [1]\n\n",
        ),
        (ServerSentEvent(1, retry=0), b"retry: 0\ndata: 1\n\n"),
        (ServerSentEvent(1, retry=Wait.LONG), b"retry: 60000\ndata: 1\n\n"),
        (ServerSentEvent(retry=5), b"retry: 5\n\n"),
        (ServerSentEvent(comment="c"), b": c\n\n"),
        (ServerSentEvent(comment=""), b": \n\n"),
        (ServerSentEvent(comment="a\nb\r\nc\r"), b": a\n: b\n: c\n: \n\n"),
        (ServerSentEvent(comment="c", retry=5), b": c\nretry: 5\n\n"),
        (ServerSentEvent(), b"data: null\n\n"),
        (ServerSentEvent(raw="é\u2028😀"), "data: é\u2028😀\n\n".encode()),
    ],
    ids=repr,
)
def test_frame(event, frame):
    assert encode_event(event) == frame
    check_event(event)
    events = decode([frame])[0]
    assert len(events) == event.is_item


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"event": "a\nb"}, "event"),
        ({"event": "a\r"}, "event"),
        ({"event": "a\r\ndata: forged"}, "event"),
        ({"event": 5}, "event"),
        ({"event": "\ud800"}, "event"),
        ({"id": "1\n"}, "id"),
        ({"id": "\r1"}, "id"),
        ({"id": "1\0"}, "id"),
        ({"id": 1}, "id"),
        ({"id": b"1"}, "id"),
        ({"id": "\udfff"}, "id"),
        ({"retry": -1}, "retry"),
        ({"retry": True}, "retry"),
        ({"retry": 1.5}, "retry"),
        ({"retry": "5"}, "retry"),
        ({"comment": "\ud800"}, "comment"),
        ({"comment": 7}, "comment"),
        ({"raw": "\ud800"}, "raw"),
        ({"raw": b"bytes"}, "raw"),
        ({"raw": 3}, "raw"),
        ({"raw": "x", "id": "\0"}, "id"),
    ],
    ids=repr,
)
def test_an_event_that_would_forge_a_line_is_refused(fields, field):
    event = ServerSentEvent({"raw": 1}, **fields)
    for refuse in (encode_event, check_event):
        with pytest.raises(InvalidEvent) as caught:
            refuse(event)
        assert caught.value.field == field
        assert isinstance(caught.value, ValueError)
        assert caught.value.problem.extensions == {"field": field}


def outcome(function, event):
    """The field that was refused, if one was."""
    try:
        function(event)
    except InvalidEvent as error:
        return error.field
    except ItemNotEncodable:
        return None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    event=st.builds(
        ServerSentEvent,
        st.none() | st.text(),
        event=st.none() | st.text(),
        id=st.none() | st.text(),
        retry=st.none() | st.integers(),
        comment=st.none() | st.text(),
        raw=st.none() | st.text(),
    )
)
def test_an_event_is_refused_or_written_as_one_block(event):
    refused = outcome(check_event, event)
    if refused is not None:
        assert outcome(encode_event, event) == refused
        return
    try:
        frame = encode_event(event)
    except ItemNotEncodable:  # a lone surrogate in the data
        return
    assert b"\r" not in frame
    assert frame.endswith(b"\n\n")
    assert b"\n\n" not in frame[:-1]
    assert len(decode([frame])[0]) == event.is_item


def test_a_json_text_of_several_lines_forges_none():
    frame = encode_event(ServerSentEvent({"a": orjson.Fragment(b"[1,\n2,\r\n\r\n3]")}, event="n"))
    [(name, text, _)] = decode([frame])[0]
    assert (name, json.loads(text)) == ("n", {"a": [1, 2, 3]})
    assert frame.count(b"\n") == 3


def test_data_without_a_json_form_is_refused_with_its_place():
    with pytest.raises(ItemNotEncodable) as caught:
        encode_event(ServerSentEvent({"rows": [1, object()]}, event="n"))
    assert caught.value.path == "$.rows[1]"


# --- the module --------------------------------------------------------------------------------


def test_the_codec_loads_no_framework_and_no_event_loop():
    code = """
import sys
import dual_mode_streaming.sse
loaded = {name.split(".")[0] for name in sys.modules}
print(sorted(loaded & {"asyncio", "anyio", "starlette", "fastapi", "pydantic", "httpx2", "httpx", "socket"}))
"""
    # A measurement of coverage would begin in the new process as well, and load modules of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.strip() == "[]"
