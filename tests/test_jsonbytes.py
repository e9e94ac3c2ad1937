"""JSON bytes: the rules at the head of `jsonbytes.py`, row by row, at the top of an item and everywhere inside it."""

import dataclasses
import datetime as dt
import enum
import functools
import json
import subprocess
import sys
import types
import uuid
from collections import ChainMap, Counter, OrderedDict, UserDict, deque, namedtuple
from decimal import Decimal
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, model_serializer

from dual_mode_streaming.errors import ItemNotEncodable
from dual_mode_streaming.jsonbytes import decode_json, encode_json

BIG = 2**70
LAW = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@dataclasses.dataclass
class Point:
    x: Any = None
    y: Any = None


@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    x: Any = None


class Model(BaseModel):
    some_name: Any = Field(None, serialization_alias="someName")


class Tree(BaseModel):
    name: str
    children: list["Tree"] = []


class Text(enum.Enum):
    A = "a"


class Number(enum.IntEnum):
    ONE = 1


class Flavour(enum.StrEnum):
    SWEET = "sweet"


class Row(NamedTuple):
    a: Any
    b: Any


Pair = namedtuple("Pair", "a b")  # noqa: PYI024  an old one, without types


class IntOfTheirs(int):
    pass


class StrOfTheirs(str):
    __slots__ = ()


UTC = dt.UTC

# Each row: the rule, a value, its JSON.
RULES = [
    ("null", None, "null"),
    ("true", True, "true"),
    ("a number", 1.5, "1.5"),
    ("the largest of 64 bits", 2**64 - 1, "18446744073709551615"),
    ("the smallest of 64 bits", -(2**63), "-9223372036854775808"),
    ("text in UTF-8", "grün 🌱", '"grün 🌱"'),
    ("text with quotes", 'a"b\\', r'"a\"b\\"'),
    ("text with line breaks", "a\nb\r\0", r'"a\nb\r\u0000"'),
    ("empty text", "", '""'),
    ("compact object", {"a": 1, "b": [1, 2]}, '{"a":1,"b":[1,2]}'),
    ("no items", [], "[]"),
    ("no members", {}, "{}"),
    # NaN and the infinities
    ("NaN", float("nan"), "null"),
    ("infinity", float("inf"), "null"),
    ("minus infinity", float("-inf"), "null"),
    # keys
    ("int key", {1: "a"}, '{"1":"a"}'),
    ("negative int key", {-1: "a"}, '{"-1":"a"}'),
    ("long int key", {BIG: "a"}, '{"1180591620717411303424":"a"}'),
    ("float key", {1.5: "a"}, '{"1.5":"a"}'),
    ("bool keys", {True: "a", False: "b"}, '{"true":"a","false":"b"}'),
    ("date key", {dt.date(2020, 1, 2): "a"}, '{"2020-01-02":"a"}'),
    ("datetime key", {dt.datetime(2020, 1, 2, 3, tzinfo=UTC): "a"}, '{"2020-01-02T03:00:00+00:00":"a"}'),
    ("uuid key", {uuid.UUID(int=1): "a"}, '{"00000000-0000-0000-0000-000000000001":"a"}'),
    ("enum key", {Text.A: "a"}, '{"a":"a"}'),
    ("keys of two kinds", {1: "a", "b": 2}, '{"1":"a","b":2}'),
    # what orjson writes
    ("dataclass", Point(1, [2]), '{"x":1,"y":[2]}'),
    ("dataclass with slots", Slotted("a"), '{"x":"a"}'),
    ("dataclass in a dataclass", Point(Point(1)), '{"x":{"x":1,"y":null},"y":null}'),
    ("enum", Text.A, '"a"'),
    ("int enum", Number.ONE, "1"),
    ("str enum", Flavour.SWEET, '"sweet"'),
    ("date", dt.date(2020, 1, 2), '"2020-01-02"'),
    (
        "datetime",
        dt.datetime(2020, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001  also one that knows no zone
        '"2020-01-02T03:04:05.000006"',
    ),
    ("datetime with a zone", dt.datetime(2020, 1, 2, tzinfo=UTC), '"2020-01-02T00:00:00+00:00"'),
    ("time", dt.time(1, 2, 3), '"01:02:03"'),
    ("uuid", uuid.UUID(int=255), '"00000000-0000-0000-0000-0000000000ff"'),
    ("int of another class", IntOfTheirs(7), "7"),
    ("str of another class", StrOfTheirs("a"), '"a"'),
    # Pydantic
    ("model by alias", Model(some_name=1), '{"someName":1}'),
    (
        "model in a model",
        Tree(name="a", children=[Tree(name="b")]),
        '{"name":"a","children":[{"name":"b","children":[]}]}',
    ),
    ("root model", RootModel[list[int]]([1, 2]), "[1,2]"),
    ("model with what orjson cannot", Model(some_name={1, b"a".decode()} - {1}), '{"someName":["a"]}'),
    ("model with NaN", Model(some_name=float("nan")), '{"someName":null}'),
    ("model with a long integer", Model(some_name=BIG), '{"someName":1180591620717411303424}'),
    ("model with Decimal", Model(some_name=Decimal("1.50")), '{"someName":"1.50"}'),
    # ours
    ("Decimal", Decimal("1.10"), '"1.10"'),
    ("Decimal with more digits than a float", Decimal("0.1234567890123456789012"), '"0.1234567890123456789012"'),
    ("named tuple", Pair(1, "b"), '[1,"b"]'),
    ("typed named tuple", Row(1, [2]), "[1,[2]]"),
    ("tuple", (1, 2), "[1,2]"),
    ("set", {1}, "[1]"),
    ("frozen set", frozenset({"a"}), '["a"]'),
    ("deque", deque([1, 2]), "[1,2]"),
    ("path", PurePosixPath("/a/b"), '"/a/b"'),
    ("path of the other kind", PureWindowsPath("a\\b"), r'"a\\b"'),
    ("ordered dict", OrderedDict(a=1), '{"a":1}'),
    ("counter", Counter("a"), '{"a":1}'),
    ("mapping", UserDict({"a": 1}), '{"a":1}'),
    ("read-only mapping", types.MappingProxyType({"a": 1}), '{"a":1}'),
    ("chained mapping", ChainMap({"a": 1}), '{"a":1}'),
    # integers over 64 bits
    ("over 64 bits", 2**64, "18446744073709551616"),
    ("below 64 bits", -(2**63) - 1, "-9223372036854775809"),
    ("long integer of another class", IntOfTheirs(BIG), "1180591620717411303424"),
    ("long integer in a list", [1, BIG], "[1,1180591620717411303424]"),
    ("long integer in a dataclass", Point(BIG), '{"x":1180591620717411303424,"y":null}'),
    ("long integer in a set", {BIG}, "[1180591620717411303424]"),
    ("long integer in a named tuple", Pair(BIG, 1), "[1180591620717411303424,1]"),
    ("long integer in a deque", deque([BIG]), "[1180591620717411303424]"),
    ("long integer in a mapping", UserDict({"a": BIG}), '{"a":1180591620717411303424}'),
    ("long integer beside all else", [BIG, Text.A, Decimal(1), dt.date(2020, 1, 2), Model()], None),
]

# Where the value stands: (the item, the JSON around it)
PLACES = {
    "top": (lambda value: value, "%s"),
    "in a list": (lambda value: [0, value], "[0,%s]"),
    "in a tuple": (lambda value: (value,), "[%s]"),
    "deep in objects": (lambda value: {"a": {"b": [value]}}, '{"a":{"b":[%s]}}'),
    "in a dataclass": (lambda value: Slotted(value), '{"x":%s}'),
    "in a deque": (lambda value: deque([value]), "[%s]"),
    "under an int key": (lambda value: {1: value}, '{"1":%s}'),
    "beside a long integer": (lambda value: [BIG, {"a": value}], f'[{BIG},{{"a":%s}}]'),
    "beside a long integer, under an int key": (lambda value: [BIG, {1: value}], f'[{BIG},{{"1":%s}}]'),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("value", "expected"), [pytest.param(*row[1:], id=row[0]) for row in RULES if row[2]])
def test_rule(value, expected, place):
    put, around = PLACES[place]
    encoded = encode_json(put(value))
    assert encoded.decode() == around.replace("%s", expected)
    json.loads(encoded, parse_constant=pytest.fail)


def test_one_item_of_many_kinds():
    (value,) = [row[1] for row in RULES if row[2] is None]
    assert encode_json(value) == b'[1180591620717411303424,"a","1","2020-01-02",{"someName":null}]'


class Bad:
    pass


class Failing(BaseModel):
    some: int = 1

    @model_serializer
    def fail(self) -> Any:
        raise ZeroDivisionError("secret")


def looped_list():
    value = []
    value.append(value)
    return value


def looped_model():
    value = Model()
    value.some_name = value
    return value


BYTES = "bytes have no one text form; decode them or use base64"
UNKNOWN = "the type has no JSON form"
SURROGATE = "the text holds a lone surrogate, which UTF-8 cannot carry"

# (value, path below the value, name of the type, part of the reason)
REFUSED = [
    (Bad(), "", "Bad", UNKNOWN),
    (Bad, "", "type", UNKNOWN),
    (len, "", "builtin_function_or_method", UNKNOWN),
    (1j, "", "complex", UNKNOWN),
    (dt.timedelta(1), "", "timedelta", UNKNOWN),
    (range(3), "", "range", UNKNOWN),
    (b"a", "", "bytes", BYTES),
    (bytearray(b"a"), "", "bytearray", BYTES),
    (memoryview(b"a"), "", "memoryview", BYTES),
    ("a\ud800", "", "str", SURROGATE),
    ({"a": [1, {"b": Bad()}]}, ".a[1].b", "Bad", UNKNOWN),
    ({"two words": b"a"}, "['two words']", "bytes", BYTES),
    ({1: Bad()}, "['1']", "Bad", UNKNOWN),
    (Point(Point([Bad()])), ".x.x[0]", "Bad", UNKNOWN),
    (Pair(1, Bad()), "[1]", "Bad", UNKNOWN),
    (deque([Bad()]), "[0]", "Bad", UNKNOWN),
    ({Bad()}, "[0]", "Bad", UNKNOWN),
    (UserDict({"a": Bad()}), ".a", "Bad", UNKNOWN),
    ({b"a": 1}, "", "bytes", f"as a key of an object {BYTES}"),
    ({"a": {(1, 2): 1}}, ".a", "tuple", f"as a key of an object {UNKNOWN}"),
    ({"\ud800": 1}, "", "str", f"as a key of an object {SURROGATE}"),
    ({1: 1, "\ud800": 1}, "", "str", f"as a key of an object {SURROGATE}"),
    (Model(some_name=Bad()), "", "Model", "its serializer failed with PydanticSerializationError"),
    (Model(some_name="\ud800"), "", "Model", "its serializer failed with PydanticSerializationError"),
    (looped_model(), "", "Model", "its serializer failed with PydanticSerializationError"),
    ([1, Failing()], "[1]", "Failing", "its serializer failed with PydanticSerializationError"),
]

PATHS = {
    "top": (lambda value: value, "$"),
    "in a list": (lambda value: [0, value], "$[1]"),
    "deep in objects": (lambda value: {"a": {"b": [value]}}, "$.a.b[0]"),
    "in a dataclass": (lambda value: Slotted(value), "$.x"),
    "after a long integer": (lambda value: [BIG, value], "$[1]"),
}


@pytest.mark.parametrize("place", PATHS)
@pytest.mark.parametrize(("value", "path", "type_name", "reason"), REFUSED)
def test_what_has_no_json_form_is_refused_with_its_place(value, path, type_name, reason, place):
    put, above = PATHS[place]
    with pytest.raises(ItemNotEncodable) as caught:
        encode_json(put(value))
    assert (caught.value.path, caught.value.type_name) == (above + path, type_name)
    assert reason in caught.value.detail
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize(
    "value", [looped_list(), Point(looped_list()), {"a": looped_list()}], ids=["list", "dc", "dict"]
)
def test_an_item_that_holds_itself_is_refused(value):
    with pytest.raises(ItemNotEncodable, match="nested too deeply, or holds itself") as caught:
        encode_json(value)
    assert len(caught.value.path) < 100, "the path of an endless item is shortened"


@pytest.mark.parametrize("depth", [300, 5000])
@pytest.mark.parametrize("core", [1, BIG, Bad()], ids=["int", "long", "bad"])
def test_an_item_that_is_nested_too_deeply_is_refused(core, depth):
    value = core
    for _ in range(depth):
        value = [value]
    with pytest.raises(ItemNotEncodable, match="nested too deeply"):
        encode_json(value)


def test_an_item_may_be_nested_as_deeply_as_data_ever_is():
    value = BIG
    for _ in range(100):
        value = {"a": [value]}
    assert encode_json(value) == b'{"a":[' * 100 + str(BIG).encode() + b"]}" * 100


def test_the_error_names_the_first_bad_value_only():
    with pytest.raises(ItemNotEncodable) as caught:
        encode_json([{"a": 1}, {"a": Bad()}, {"a": Bad()}])
    assert caught.value.path == "$[1].a"
    assert caught.value.__suppress_context__, "the way to the error is noise in a log"


def test_a_long_key_is_shortened_in_the_path():
    with pytest.raises(ItemNotEncodable) as caught:
        encode_json({"k " * 100: Bad()})
    assert len(caught.value.path) < 60


def test_an_integer_of_more_digits_than_python_prints_is_refused():
    with pytest.raises(ItemNotEncodable):
        encode_json({"a": [10**5000]})


def test_an_integer_over_the_range_of_floats_is_read_back():
    assert decode_json(encode_json([10**400])) == [10**400]


# --- one line, and JSON in any case --------------------------------------------------------------


def test_a_ready_made_fragment_cannot_break_the_line():
    """A line break inside the JSON would end an SSE field or an NDJSON line, and forge the next one."""
    item = {"cached": orjson.Fragment(b'{\n"a": 1\r\n}')}
    try:
        encoded = encode_json(item)
    except ItemNotEncodable:
        return
    assert b"\n" not in encoded
    assert b"\r" not in encoded


class Constants(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")

    x: float


def test_a_model_that_writes_nan_as_a_constant_does_not_make_invalid_json():
    try:
        encoded = encode_json([Constants(x=float("nan"))])
    except ItemNotEncodable:
        return
    assert json.loads(encoded, parse_constant=pytest.fail) == [{"x": None}]


@dataclasses.dataclass
class Cached:
    x: Any

    @functools.cached_property
    def doubled(self) -> Any:
        return self.x * 2


@pytest.mark.parametrize("x", [1, BIG])
def test_what_a_dataclass_caches_is_no_field_of_it(x):
    item = Cached(x)
    assert item.doubled == 2 * x
    assert encode_json(item) == b'{"x":%d}' % x


def test_numpy_is_not_needed():
    code = (
        "import sys; sys.modules['numpy'] = None;"  # an import of it fails
        "from dual_mode_streaming.jsonbytes import encode_json; encode_json([1, {2}]);"
        "assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


# --- any JSON value ------------------------------------------------------------------------------

NUMBERS = st.integers() | st.integers(-(10**300), 10**300) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@LAW
@given(VALUES)
def test_what_is_decoded_is_what_was_encoded(value):
    encoded = encode_json(value)
    assert same(decode_json(encoded), value)
    assert same(decode_json(encoded.decode()), value)


@LAW
@given(VALUES)
def test_the_json_is_one_line_and_the_same_to_the_standard_library(value):
    encoded = encode_json(value)
    assert not set(b"\n\r") & set(encoded), encoded
    assert same(json.loads(encoded), value)


def same(one, other):
    """Equal, and of the same types: 1, 1.0 and True are not the same JSON."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return one == other


ODD = st.sampled_from([row[1] for row in RULES]) | st.floats() | SCALARS


@LAW
@given(
    st.recursive(ODD, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner), max_leaves=8)
)
def test_whatever_is_encoded_is_json_on_one_line(value):
    encoded = encode_json(value)
    assert not set(b"\n\r") & set(encoded), encoded
    json.loads(encoded, parse_constant=pytest.fail)


# --- decoding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b" [1, 2]\n", [1, 2]),
        ("\t{}", {}),
        (b'"\\u00fc\\ud83c\\udf31"', "ü🌱"),
        (b"18446744073709551616", 2**64),
        (b"-9223372036854775809", -(2**63) - 1),
        (b"[1.0, 12345678901234567890123]", [1.0, 12345678901234567890123]),
        (b'["12345678901234567890"]', ["12345678901234567890"]),
        (b"0.12345678901234567890", 0.12345678901234568),
        (b'{"a":1,"a":12345678901234567890123}', {"a": 12345678901234567890123}),
    ],
)
def test_decoding(text, expected):
    assert same(decode_json(text), expected)


@pytest.mark.parametrize(
    "text",
    [
        b"", b" ", b"{", b"[1,]", b"'a'", b"01", b"+1", b".5", b"NaN", b"Infinity", b"-Infinity",
        b"[12345678901234567890, NaN]", b"1 2", b"\xef\xbb\xbf1", b'"\xff"', b'"a\nb"', b'"\\ud800"', '"\ud800"', "ü",
    ],
)  # fmt: skip
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        decode_json(text)


@pytest.mark.parametrize("core", [b"1", b"12345678901234567890"], ids=["short", "long"])
@pytest.mark.parametrize("depth", [1000, 100_000])
def test_text_that_is_nested_deeply_is_a_value_or_a_value_error(core, depth):
    """It comes from a peer: a recursion error would pass all who expect a ValueError."""
    try:
        value = decode_json(b"[" * depth + core + b"]" * depth)
    except ValueError:
        return
    for _ in range(depth):
        (value,) = value
    assert value == int(core)
