"""NDJSON and JSON text sequences: vectors of other projects, any bytes in any pieces, bounds; the envelope rules."""

import base64
import json
import math
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dual_mode_streaming.errors import EventTooLarge, ItemNotEncodable, ProtocolError
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.jsonbytes import decode_json, encode_json
from dual_mode_streaming.jsonlines import (
    ErrorLine,
    JSONSeqDecoder,
    NDJSONDecoder,
    encode_line,
    encode_record,
    envelope,
    open_line,
    seal,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "jsonl_jsonseq.json").read_text(encoding="utf-8"))["vectors"]
DECODERS = {"ndjson": NDJSONDecoder, "json-seq": JSONSeqDecoder}
every_format = pytest.mark.parametrize("form", DECODERS)
PROPERTY = settings(max_examples=200, deadline=None, derandomize=True)


def told(values):
    """What was given out, in a form that can be compared."""
    found = []
    for place, value in enumerate(values):
        if isinstance(value, EventTooLarge):
            assert value.index == place
            found.append(("too large", value.limit))
        elif isinstance(value, ProtocolError):
            assert value.index == place
            assert value.code == "protocol_error"
            found.append(("bad", value.value))
        else:
            found.append(("value", value))
    return found


def decode(form, chunks, limit=None):
    decoder = DECODERS[form](limit)
    values = [value for chunk in chunks for value in decoder.feed(chunk)]
    return told(values + decoder.flush())


def bytewise(data):
    return [data[at : at + 1] for at in range(len(data))]


def cut(data, places):
    places = sorted(min(place, len(data)) for place in places)
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


# --- vectors -----------------------------------------------------------------------------------

# A blank line may be a heartbeat, so it is no record. The vector's source takes it for a bad one, which the
# specification of JSON Lines leaves open.
OWN_CHOICE = {"ndjson-jl-11": [("value", 1), ("value", 2)]}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_vector(vector):
    expected = [
        ("bad", each.get("value")) if "error" in each else ("value", each["value"]) for each in vector["expect"]
    ]
    expected = OWN_CHOICE.get(vector["id"], expected)
    chunks = [base64.b64decode(chunk) for chunk in vector["chunks"]]
    data = b"".join(chunks)
    for pieces in (chunks, [data], bytewise(data)):
        assert decode(vector["format"], pieces) == expected


def test_only_vectors_that_leave_a_choice_are_decided_otherwise():
    assert {vector["class"] for vector in VECTORS if vector["id"] in OWN_CHOICE} == {"policy"}


# --- what was encoded comes back ---------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.sampled_from(["\u2028", "\x85", "\r\n", "\x1e", '"', "\\", "\ufeff"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["data", "event", "id", "error", "x", "\x1e\n"]), inner, max_size=4)
    ),
    max_leaves=8,
)
cuts = st.lists(st.integers(0, 200), max_size=8)


@every_format
@PROPERTY
@given(values=st.lists(JSON, max_size=6), places=cuts)
def test_values_come_back_for_every_split(form, values, places):
    data = b"".join(map(encode_line if form == "ndjson" else encode_record, values))
    expected = [("value", value) for value in values]
    for chunks in (cut(data, places), [data], bytewise(data)):
        assert decode(form, chunks) == expected


def test_frames():
    assert encode_line({"a": [1, "\n"]}) == b'{"a":[1,"\\n"]}\n'
    assert encode_record({"a": [1, "\n"]}) == b'\x1e{"a":[1,"\\n"]}\n'
    assert encode_line(math.nan) == b"null\n"
    assert encode_line("\u2028\x85") == '"\u2028\x85"\n'.encode()


@pytest.mark.parametrize("encode", [encode_line, encode_record])
def test_a_text_of_several_lines_becomes_one_line(encode):
    frame = encode({"a": orjson.Fragment(b'{\n "b": [1,\r\n 2]\n}')})
    assert frame.count(b"\n") == 1
    assert b"\r" not in frame
    assert json.loads(frame.strip(b"\x1e\n")) == {"a": {"b": [1, 2]}}
    with pytest.raises(ItemNotEncodable):
        encode({"a": object()})


# --- any bytes ---------------------------------------------------------------------------------

TOKENS = [
    *(
        b"\n",
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b"\t",
        b"1",
        b"-",
        b"0",
        b"1e5",
        b"true",
        b"null",
        b"nul",
        b'"',
        b'"a"',
    ),
    *(b"{", b"}", b"[", b"]", b",", b":", b'{"a":1}', b'{"a":[1,\n2]}', b"\\", b'"\\"', b"\xff", b"\xc3", b"\xa9"),
    *(b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b", b"\x00", b"[" * 30, b"NaN", b"9" * 30),
]
soup = {
    "ndjson": st.lists(st.sampled_from(TOKENS), max_size=25).map(b"".join),
    "json-seq": st.lists(st.sampled_from([*TOKENS, *([b"\x1e"] * 6)]), max_size=25).map(b"".join),
}


@every_format
@PROPERTY
@given(data=st.data(), places=cuts, limit=st.none() | st.integers(1, 40))
def test_nothing_is_raised_and_the_cuts_make_no_difference(form, data, places, limit):
    stream = data.draw(soup[form])
    expected = decode(form, [stream], limit)
    assert decode(form, cut(stream, places), limit) == expected
    assert decode(form, bytewise(stream), limit) == expected


@PROPERTY
@given(stream=soup["ndjson"], limit=st.integers(1, 40))
@example(stream=b"12345\n1\n", limit=4)
def test_each_line_stands_for_itself(stream, limit):
    """The oracle: each line alone, read by the standard library."""
    expected = []
    for line in stream.split(b"\n"):
        bare = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > limit:
            expected.append(("too large", limit))
        elif bare.strip(b" \t\r"):
            try:
                expected.append(("value", json.loads(bare.decode(), parse_constant=lambda _: 1 / 0)))
            except (ValueError, ZeroDivisionError):
                expected.append(("bad", None))
    assert decode("ndjson", [stream], limit) == expected


# --- NDJSON ------------------------------------------------------------------------------------


def test_lines_end_at_lf_and_nowhere_else():
    text = '"a\u2028b\u2029c\x85d\x7fe"\r\n[1,\r2]\n'.encode()
    assert decode("ndjson", [text]) == [("value", "a\u2028b\u2029c\x85d\x7fe"), ("value", [1, 2])]


def test_a_line_is_given_at_its_lf_and_the_last_one_at_the_end():
    decoder = NDJSONDecoder()
    assert decoder.feed(b"1") == []
    assert decoder.feed(b"2\n3") == [12]
    assert decoder.feed(b"") == []
    assert decoder.flush() == [3]
    assert decoder.flush() == []


def test_blank_lines_are_no_records():
    assert decode("ndjson", [b"\n \r\n\t\n1\n\n\xef\xbb\xbf\n2\n"]) == [("value", 1), ("value", 2)]


def test_a_bad_line_has_its_place_and_spoils_no_other():
    decoder = NDJSONDecoder()
    first = decoder.feed(b'1\n{"a":\n2\n"\xff"\n')
    rest = decoder.feed(b"3\nnope")
    last = decoder.flush()
    values = first + rest + last
    assert [value for value in values if not isinstance(value, ProtocolError)] == [1, 2, 3]
    assert [value.index for value in values if isinstance(value, ProtocolError)] == [1, 3, 5]
    assert values[1].problem.extensions == {"index": 1}


# --- JSON text sequences -----------------------------------------------------------------------


def test_a_record_is_given_at_its_lf_and_does_not_wait_for_the_next():
    decoder = JSONSeqDecoder()
    assert decoder.feed(b'\x1e{"a":1}') == []
    assert decoder.feed(b"\n") == [{"a": 1}]
    assert decoder.feed(b'\x1e{"a":\n[1,\n') == []
    assert decoder.feed(b"2]}\n") == [{"a": [1, 2]}]
    assert decoder.feed(b"\x1e\x1e\x1e12") == []
    assert decoder.feed(b"\n") == [12]
    assert decoder.flush() == []


@pytest.mark.parametrize("text", [b"12", b"-1", b"1e5", b"true", b"false", b"null"])
def test_what_may_have_been_cut_short_is_told_with_what_was_read(text):
    value = json.loads(text)
    for end in (b"\x1e", b""):
        assert decode("json-seq", [b"\x1e" + text + end]) == [("bad", value)]
    for space in (b"\n", b" ", b"\t", b"\r"):
        assert decode("json-seq", [b"\x1e" + text + space + b"\x1e"]) == [("value", value)]


@pytest.mark.parametrize("text", [b'"a"', b"[1]", b'{"a":1}', b'""', b"[]"])
def test_a_text_with_an_end_of_its_own_is_never_cut_short(text):
    for end in (b"", b"\x1e", b"\n"):
        assert decode("json-seq", [b"\x1e" + text + end]) == [("value", json.loads(text))]


def test_a_bad_record_has_its_place_and_spoils_no_other():
    data = b'lost\n\x1e1\n\x1e{"a":\n\x1e2\n\x1e"\xff"\n\x1e\n\x1e3\n'
    kinds = [kind for kind, _ in decode("json-seq", [data])]
    assert kinds == ["bad", "value", "bad", "value", "bad", "bad", "value"]


@pytest.mark.parametrize("rest", [b"2\n", b"\n\n2", b" \n[", b"\xff", b'"x"\n\n'])
@pytest.mark.parametrize("limit", [None, 12])
def test_what_stands_behind_the_text_of_a_record_is_told(rest, limit):
    data = b'\x1e{"a":\n1}\n' + rest + b"\x1e3\n"
    for chunks in ([data], bytewise(data), [data[:11], data[11:]]):
        found = decode("json-seq", chunks, limit)
        assert found == [("value", {"a": 1}), ("bad", None), ("value", 3)]


@pytest.mark.parametrize("rest", [b"", b" \t\r\n", b"\n" * 100])
def test_white_space_behind_the_text_of_a_record_is_nothing(rest):
    data = b"\x1e[1]\n" + rest + b"\x1e3\n" + rest
    for chunks in ([data], bytewise(data)):
        assert decode("json-seq", chunks) == [("value", [1]), ("value", 3)]


# --- bounds ------------------------------------------------------------------------------------


@every_format
def test_a_record_over_the_bound_has_its_place_and_spoils_no_other(form):
    before = b"\x1e" if form == "json-seq" else b""
    records = [b"1", b'"' + b"x" * 18 + b'"', b'"' + b"x" * 19 + b'"', b'"' + b"x" * 5000 + b'"', b"2"]
    data = b"".join(before + record + b"\n" for record in records)
    limit = 21 if form == "json-seq" else 20  # the LF is part of a record, but not of a line
    expected = [("value", 1), ("value", "x" * 18), ("too large", limit), ("too large", limit), ("value", 2)]
    for chunks in ([data], bytewise(data)):
        assert decode(form, chunks, limit) == expected


@every_format
def test_a_record_over_the_bound_is_told_before_it_ends(form):
    decoder = DECODERS[form](10)
    [error] = decoder.feed(b"\x1e[" + b"1," * 10 if form == "json-seq" else b"[" + b"1," * 10)
    assert isinstance(error, EventTooLarge)
    assert (error.limit, error.index) == (10, 0)
    assert decoder.feed(b"1," * 1000) == []
    assert decoder.flush() == []


@every_format
def test_an_endless_record_takes_bounded_memory(form):
    decoder = DECODERS[form](100_000)
    tracemalloc.start()
    given_out = decoder.feed(b'\x1e"' if form == "json-seq" else b'"')
    for _ in range(3000):
        given_out += decoder.feed(b"x" * 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(given_out) == 1
    assert peak < 1_000_000


@every_format
def test_the_default_bound_is_a_mebibyte(form):
    before = b"\x1e" if form == "json-seq" else b""
    good, bad = (before + b'"' + b"x" * length + b'"\n' for length in (2**20 - 3, 2**20 + 1))
    kinds = [type(value) for value in DECODERS[form]().feed(good + bad)]
    assert kinds == [str, EventTooLarge]
    assert len(DECODERS[form](None).feed(before + b'"' + b"x" * 2**21 + b'"\n')) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x1e[" + b"[]\n," * 200_000 + b"[]]\n",
        b"\x1e[\n" * 30_000,
        b"\x1e[\n" + b'"\\"' * 200_000 + b"\n",
        b"\x1e" * 100_000,
        b"\x1e[" + b"\n" * 1_000_000 + b"]\n",
    ],
    ids=["brackets", "records", "quotes", "RS", "LF"],
)
def test_hostile_sequences_take_linear_time(data):
    # A decoder that reads its bytes anew with each line or chunk would need hours here.
    whole = decode("json-seq", [data])
    assert decode("json-seq", [data[at : at + 4096] for at in range(0, len(data), 4096)]) == whole


@every_format
@pytest.mark.parametrize("limit", [0, -1])
def test_a_bound_that_lets_nothing_pass_is_a_mistake(form, limit):
    with pytest.raises(ValueError, match="above zero"):
        DECODERS[form](limit)


@every_format
def test_deep_nesting_is_a_bad_record(form):
    before = b"\x1e" if form == "json-seq" else b""
    deep = before + b"[" * 100_000 + b"]" * 100_000 + b"\n"
    numbers = before + b"[" * 900 + b"9" * 40 + b"]" * 900 + b"\n"
    (kind, _), *rest = decode(form, [deep + before + b"1\n"])
    assert (kind, rest) == ("bad", [("value", 1)])
    assert len(decode(form, [numbers])) == 1
    assert len(decode(form, [before + b"9" * 100_000 + b"\n"])) == 1


# --- items and envelopes -----------------------------------------------------------------------

MISTAKABLE = [
    b'{"error":1}',
    b'{"error":{}}',
    b'{"data":1}',
    b'{"data":1,"id":"a"}',
    b'{"id":"a","data":{}}',
    b'{"event":"a","id":"b","data":null}',
    b'{"id":5,"event":[],"data":1}',
    b'{"id":{"a":1},"data":1}',
    b' {"data":1}',
    b'\n{\t"error" : 1 }',
    b'{ "data":1}',
    b'{"\\u0064ata":1}',
    b'{"err\\u006fr":1}',
    b'{"id":1,"d\\u0061ta":2}',
    b'{"id":"\\"","data":2}',
    b'{"data":1,"data":2}',
]
CLEAR = [
    b"1",
    b'"data"',
    b"null",
    b"[]",
    b'[{"data":1}]',
    b"{}",
    b"{ }",
    b'{"a":1}',
    b'{"id":1}',
    b'{"event":"a"}',
    b'{"id":"a","event":"b"}',
    b'{"data":1,"x":2}',
    b'{"error":1,"x":2}',
    b'{"error":1,"data":2}',
    b'{"id":1,"x":2,"data":3}',
    b'{"id":1.5,"x":2,"data":3}',
    b'{"event":"","y":2,"data":3}',
    b'{"":1,"data":2}',
    b'{"dat":1}',
    b'{"Data":1}',
    b'{"x":{"data":1}}',
]


@pytest.mark.parametrize("item", MISTAKABLE, ids=bytes.decode)
def test_an_item_that_could_be_mistaken_is_sealed(item):
    assert seal(item) == b'{"data":' + item + b"}"
    assert open_line(decode_json(seal(item))) == ServerSentEvent(json.loads(item))


@pytest.mark.parametrize("item", CLEAR, ids=bytes.decode)
def test_any_other_item_stays_as_it_is(item):
    assert seal(item) is item
    assert open_line(decode_json(item)) == ServerSentEvent(json.loads(item))


@PROPERTY
@given(item=JSON, indent=st.none() | st.integers(0, 1))
def test_what_was_sealed_comes_back(item, indent):
    assert open_line(decode_json(seal(encode_json(item)))) == ServerSentEvent(item)
    written = json.dumps(item, indent=indent).encode()
    assert open_line(decode_json(seal(written))) == ServerSentEvent(item)


TEXT = st.none() | st.text(st.characters(codec="utf-8"), max_size=6)


@PROPERTY
@given(item=JSON, name=TEXT, new_id=TEXT)
def test_what_was_put_into_an_envelope_comes_back(item, name, new_id):
    event = ServerSentEvent(item, event=name, id=new_id)
    assert open_line(decode_json(envelope(event, encode_json(item)))) == event


def test_an_envelope_has_the_fields_that_are_set():
    assert envelope(ServerSentEvent(event="n", id="1"), b"[]") == b'{"event":"n","id":"1","data":[]}'
    assert envelope(ServerSentEvent(id=""), b"1") == b'{"id":"","data":1}'
    assert envelope(ServerSentEvent(event='"\n'), b"1") == b'{"event":"\\"\\n","data":1}'
    assert envelope(ServerSentEvent(), b"1") == b'{"data":1}'


def test_the_last_line_of_a_failed_stream_is_told_apart():
    problem = {"status": 500, "code": "internal_error"}
    assert open_line({"error": problem}) == ErrorLine(problem)
    assert open_line(decode_json(seal(encode_json({"error": problem})))) == ServerSentEvent({"error": problem})


# --- the module --------------------------------------------------------------------------------


def test_the_codec_loads_no_framework_and_no_event_loop():
    code = """
import sys
import dual_mode_streaming.jsonlines
loaded = {name.split(".")[0] for name in sys.modules}
print(sorted(loaded & {"asyncio", "anyio", "starlette", "fastapi", "pydantic", "httpx2", "httpx", "socket"}))
"""
    # A measurement of coverage would begin in the new process as well, and load modules of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.strip() == "[]"
