"""`parse_prefer`: vectors of other projects, our own choices, hostile text, and werkzeug as an oracle."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.http import parse_list_header, parse_options_header

from dual_mode_streaming.modes import Preference, Preferences, parse_prefer

VECTORS = json.loads((Path(__file__).parent / "vectors" / "prefer.json").read_text(encoding="utf-8"))["vectors"]


def as_vector(preferences):
    return [
        {"name": preference.name, "value": preference.value, "params": dict(preference.params)}
        for preference in preferences.values()
    ]


# All of them, whatever their class: for a mistake our choice is that of the vectors.
@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["id"]) for vector in VECTORS])
def test_vector(vector):
    assert as_vector(parse_prefer(vector["prefer"])) == vector["expect"]


# --- rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        ("a=1, b, A=2", [("a", "1"), ("b", None)]),
        (["a", "a=1"], [("a", None)]),
        ("Respond-ASYNC", [("respond-async", None)]),
        ("a=B", [("a", "B")]),
        (r'a="b, c; d=\"e\\"', [("a", r'b, c; d="e' + "\\")]),
        ('a=""', [("a", None)]),
        ("a \t=\t b", [("a", "b")]),
        (" ,, a ,\t, b,", [("a", None), ("b", None)]),
        ("a;;", [("a", None)]),
        ("*=%", [("*", "%")]),
        (None, []),
        ([], []),
        ("", []),
        ([" ", ","], []),
    ],
)
def test_names_and_values(prefer, expected):
    found = parse_prefer(prefer)
    assert [(preference.name, preference.value) for preference in found.values()] == expected


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        ("a; b; c=1", {"b": None, "c": "1"}),
        ("a=1; B=C", {"b": "C"}),
        ('a; b=""', {"b": None}),
        ('a; b = "c;d,e"', {"b": "c;d,e"}),
        ("a; b=1; B=2", {"b": "1"}),
        ("a;; b;", {"b": None}),
    ],
)
def test_parameters(prefer, expected):
    assert parse_prefer(prefer)["a"].params == expected


MISTAKES = [
    "=x",
    "a=",
    "a= ;b",
    "a b",
    "a=b c",
    "a=b=c",
    "a;=x",
    "a; b c",
    "a; b=",
    "a; b c=d",
    ";a",
    "a/b",
    "é",
    "a=é",
    'a="b"c',
    'a="\x00"',
    'a="\x7f"',
    "a\x0b",
    "a=b\xa0",
    "(a)",
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_its_own_member_only(mistake):
    for prefer in (f"{mistake}, wait=5", f"wait=5, {mistake}", [mistake, "wait=5", mistake]):
        assert list(parse_prefer(prefer)) == ["wait"]


def test_a_dropped_preference_leaves_its_name_to_the_next():
    assert parse_prefer("wait=, wait=5").wait == 5


@pytest.mark.parametrize(
    "prefer", ['wait=5, a="', 'a="b, wait=5', 'a="\\", wait=5', 'wait=5, a"b', ["wait=5", 'a="\\']]
)
def test_an_open_quote_makes_all_void(prefer):
    assert parse_prefer(prefer) == {}


# --- readers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=10", 10),
        ('wait="10"', 10),
        ("WAIT = 10", 10),
        ("wait=0", 0),
        ("wait=000", 0),
        ("wait=0010", 10),
        ("wait=10, wait=20", 10),
        ("wait=2147483648", 2**31),
        ("wait=9999999999", 2**31),
        ("wait=" + "9" * 100_000, 2**31),
        ("wait=" + "0" * 100_000 + "7", 7),
        ("wait", None),
        ("wait=soon", None),
        ("wait=soon, wait=5", None),
        ("wait=-1", None),
        ("wait=+1", None),
        ("wait=1.5", None),
        ('wait="1 "', None),
        ('wait="٣"', None),
        ('wait="²"', None),
        ("return=minimal", None),
        (None, None),
    ],
)
def test_wait(prefer, seconds):
    assert parse_prefer(prefer).wait == seconds


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        ("respond-async", True),
        ("Respond-Async; x=1", True),
        ("wait=10, respond-async", True),
        ('respond-async=""', True),
        ("respond-async=false", False),
        ("respond-async=true", False),
        ("respond-asynchronously", False),
        (None, False),
    ],
)
def test_respond_async(prefer, expected):
    assert parse_prefer(prefer).respond_async is expected


def test_preferences_are_a_mapping_by_name():
    preferences = parse_prefer("Return=minimal; x=1, respond-async")
    assert preferences["return"] == Preference("return", "minimal", {"x": "1"})
    assert preferences["RETURN"] is preferences["return"]
    assert "Respond-Async" in preferences
    assert "wait" not in preferences
    assert preferences.get("wait") is None
    assert list(preferences) == ["return", "respond-async"]
    assert len(preferences) == 2
    assert preferences == Preferences([Preference("return", "minimal", {"x": "1"}), Preference("respond-async")])
    assert repr(Preferences([Preference("wait", "5")])) == (
        "Preferences([Preference(name='wait', value='5', params={})])"
    )
    with pytest.raises(KeyError):
        preferences["wait"]


def test_a_preference_cannot_be_changed():
    with pytest.raises(AttributeError):
        Preference("wait").value = "5"


# --- hostile text ------------------------------------------------------------------------------

MEGABYTE = 1_000_000
HOSTILE = {
    "quotes": '"' * MEGABYTE,
    "an odd number of quotes": '"' * (MEGABYTE + 1),
    "escapes": 'a="' + "\\" * MEGABYTE,
    "quoted strings": 'a="",' * (MEGABYTE // 5),
    "semicolons": "a" + ";" * MEGABYTE,
    "parameters": "a" + ";b=1" * (MEGABYTE // 4),
    "names": ",".join(f"a{i}" for i in range(MEGABYTE // 8)),
    "mistakes": "a=," * (MEGABYTE // 3),
    "commas": "," * MEGABYTE,
    "white space": "a" + " " * MEGABYTE + "=" + " " * MEGABYTE,
    "white space around semicolons": "a" + " ; " * (MEGABYTE // 3),
    "digits": "wait=" + "1" * MEGABYTE,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_takes_well_under_a_second(name):
    started = time.process_time()
    preferences = parse_prefer(HOSTILE[name])
    assert preferences.wait in {None, 2**31}
    # 0.4 s on the slowest, three times that under coverage; anything quadratic would take minutes.
    assert time.process_time() - started < 5


# --- properties --------------------------------------------------------------------------------

some_text = st.one_of(
    st.text(), st.text(alphabet='aB=;," \t\\-1\x00é'), st.binary().map(lambda raw: raw.decode("latin-1"))
)
property_of = settings(deadline=None, max_examples=200)


@property_of
@given(st.one_of(st.none(), some_text, st.lists(some_text)))
def test_any_text_gives_preferences(value):
    preferences = parse_prefer(value)
    assert all(name == name.lower() == preference.name for name, preference in preferences.items())
    assert all(preference.value != "" for preference in preferences.values())
    assert preferences.wait is None or preferences.wait >= 0
    assert preferences.respond_async in {True, False}


@property_of
@given(st.lists(some_text, min_size=1, max_size=4))
def test_lines_and_their_joined_form_are_equal(lines):
    assert parse_prefer(lines) == parse_prefer(", ".join(lines))


names = st.sampled_from(["a", "b-c", "respond-async", "wait"])
tokens = st.text("aB1-.*%", min_size=1, max_size=4)
quoted = st.text('aB ,;="\\\t', min_size=1, max_size=6)
params = st.dictionaries(st.sampled_from(["x", "y"]), st.one_of(st.none(), tokens, quoted), max_size=2)
preference = st.builds(Preference, names, st.one_of(st.none(), tokens, quoted), params)
gap = st.text(" \t", max_size=2)


@st.composite
def written(draw, one):
    """A preference in one of the ways that the grammar allows."""

    def pair(name, value):
        name = draw(st.sampled_from([str.lower, str.upper]))(name)
        if value is None:
            return name + draw(st.sampled_from(["", '=""']))
        is_token = not set(value) & set(' ,;="\\\t')
        word = value if is_token and draw(st.booleans()) else '"' + value.translate(ESCAPES) + '"'
        return f"{name}{draw(gap)}={draw(gap)}{word}"

    rest = "".join(f"{draw(gap)};{draw(gap)}{pair(*item)}" for item in one.params.items())
    return draw(gap) + pair(one.name, one.value) + rest + draw(gap)


ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\"})


@property_of
@given(st.lists(preference, max_size=4), st.data())
def test_what_is_written_is_read(preferences, data):
    lines = [data.draw(written(one)) for one in preferences]
    assert parse_prefer(lines) == Preferences(preferences)


@property_of
@given(st.lists(st.builds(Preference, names, tokens, st.dictionaries(st.sampled_from(["x", "y"]), tokens)), max_size=4))
def test_werkzeug_agrees(preferences):
    # werkzeug has no reader for Prefer, but for its parts: a list, and one member with parameters. Values are tokens
    # here, since it keeps a list member's quotes or not depending on what else the member holds, and every parameter
    # has one, since it drops parameters without.
    text = ", ".join(
        f"{one.name}={one.value}" + "".join(f"; {name}={value}" for name, value in one.params.items())
        for one in preferences
    )
    expected = {}
    for member in parse_list_header(text):
        head, parameters = parse_options_header(member)
        name, _, value = head.partition("=")
        expected.setdefault(name, Preference(name, value, parameters))
    assert parse_prefer(text) == expected
