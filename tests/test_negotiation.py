"""`negotiate`: vectors of other projects, our own choices, hostile text, and two libraries as oracles."""

import json
import re
import time
import tracemalloc
import warnings
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from dual_mode_streaming.errors import NotAcceptable
from dual_mode_streaming.modes import OFFERS, negotiate

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # webob imports the module cgi
    from webob.acceptparse import create_accept_header

VECTORS = json.loads((Path(__file__).parent / "vectors" / "accept.json").read_text(encoding="utf-8"))["vectors"]


def of_class(name):
    return [pytest.param(vector, id=vector["id"]) for vector in VECTORS if vector["class"] == name]


def choose(accept, offers):
    """The chosen offer; None if there is none."""
    try:
        return negotiate(accept, offers)
    except NotAcceptable:
        return None


def lower(offer):
    return None if offer is None else offer.lower()


# --- vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", of_class("normative"))
def test_normative_vector(vector):
    expected = [lower(offer) for offer in vector["expect_any_of"]]
    earliest = next((offer for offer in vector["offers"] if offer.lower() in expected), None)
    assert choose(vector["accept"], vector["offers"]) == earliest
    if earliest is None:
        assert None in expected


@pytest.mark.parametrize("vector", of_class("normative"))
def test_weights_of_normative_vector(vector):
    weights = vector["rfc9110_quality"]
    for offer, weight in weights.items():
        assert choose(vector["accept"], [offer]) == (offer if weight > 0 else None)
    for one, other in permutations(weights, 2):
        if weights[one] > weights[other]:
            assert choose(vector["accept"], [other, one]) == one


@pytest.mark.parametrize("vector", of_class("policy"))
def test_policy_vector(vector):
    if "empty" in vector["flags"]:
        assert choose(vector["accept"], vector["offers"]) == vector["offers"][0]
    else:
        # Our choices are those of the weights that the vectors were given; the first of the best wins here too.
        weights = vector["rfc9110_quality"]
        best = max(vector["offers"], key=weights.__getitem__)
        assert choose(vector["accept"], vector["offers"]) == (best if weights[best] > 0 else None)


@pytest.mark.parametrize("vector", of_class("malformed"))
def test_malformed_vector_is_treated_like_every_other_mistake(vector):
    # Each of these headers is one bad member, or a bad member after a good one.
    good = [member for member in vector["accept"].split(",") if member == "text/html"]
    assert choose(vector["accept"], vector["offers"]) == choose(good or None, vector["offers"])


# --- rules -------------------------------------------------------------------------------------

BOTH = ("application/json", "text/event-stream")


@pytest.mark.parametrize("accept", [None, "", " ", "\t", ",", " , ,\t,", [], [""], ["", ","]])
def test_no_wish_means_the_first_offer(accept):
    assert negotiate(accept, BOTH) == "application/json"
    assert negotiate(accept, BOTH[::-1]) == "text/event-stream"


@pytest.mark.parametrize("accept", ["*/*", "application/json, text/event-stream", "text/*, application/*", "*/*;q=0.1"])
def test_a_tie_goes_to_the_earlier_offer(accept):
    assert negotiate(accept, BOTH) == "application/json"
    assert negotiate(accept, BOTH[::-1]) == "text/event-stream"


@pytest.mark.parametrize(
    ("accept", "offers", "expected"),
    [
        # specificity decides the weight, whatever the order of the ranges
        ("*/*, text/*;q=0.5, text/html;q=0.1", ["text/html", "text/plain"], "text/plain"),
        ("text/html;q=0.1, text/*;q=0.5, */*", ["text/html", "a/b", "text/plain"], "a/b"),
        ("a/b;x=1;y=2;q=0.1, a/b;x=1;q=0.9, a/b;q=0.5", ["a/b;y=2;x=1", "a/b;z=0", "a/b;x=1"], "a/b;x=1"),
        ("text/*;x=1;q=0.2, text/plain;q=0.1", ["text/plain;x=1", "text/html;x=1"], "text/html;x=1"),
        ("text/*;x=1", ["text/html;x=2"], None),
        # a weight of 0 excludes, also under a wildcard that would allow it
        ("text/event-stream;q=0, */*", BOTH[::-1], "application/json"),
        ("application/json;q=0.000, */*;q=0.001", BOTH, "text/event-stream"),
        ("*/*;q=0, application/json", BOTH[::-1], "application/json"),
        ("text/*;q=0", BOTH[1:], None),
        # the grammar of a weight
        ("application/json;q=0.999, text/event-stream;q=1.", BOTH, "text/event-stream"),
        ("application/json;q=0., text/event-stream;q=0.001", BOTH, "text/event-stream"),
        ("application/json;Q=0.2, text/event-stream ;\tq=0.3", BOTH, "text/event-stream"),
        # type, subtype, names of parameters and charsets in any letter case, other values as they are
        ("TEXT/EVENT-STREAM", BOTH, "text/event-stream"),
        ("application/json", ["text/html", "Application/JSON"], "Application/JSON"),
        ("text/html;CharSet=UTF-8", ["text/html;charset=utf-8"], "text/html;charset=utf-8"),
        ("a/b;V=X", ["a/b;v=X"], "a/b;v=X"),
        ("a/b;v=x", ["a/b;v=X"], None),
        # parameters: order, quotes, escapes, white space, empty ones
        ("a/b;x=1;y=2", ["a/b;y=2;x=1"], "a/b;y=2;x=1"),
        ('a/b;x="1"', ["a/b;x=1"], "a/b;x=1"),
        ("a/b;x=1", ['a/b; x="1"'], 'a/b; x="1"'),
        (r'a/b;x="\1\2"', ["a/b;x=12"], "a/b;x=12"),
        (r'a/b;x="say \"a, b; c\"\\"', [r'a/b;x="say \"a\, b; c\"\\"'], r'a/b;x="say \"a\, b; c\"\\"'),
        ('a/b;x="c/d, e/f;q=1", g/h', ["c/d", "e/f", "g/h"], "g/h"),
        ('a/b;x=""', ['a/b;x=""'], 'a/b;x=""'),
        ('a/b;x=""', ["a/b"], None),
        ('a/b;x=" y"', ["a/b;x=y"], None),
        ("a/b;; ;x=1;", ["a/b;x=1"], "a/b;x=1"),
        ("a/b;q=0.1;", ["a/b"], "a/b"),
        (" \t a/b \t ;\t x=1 \t;q=0.4\t, c/d;q=0.3", ["c/d", "a/b;x=1"], "a/b;x=1"),
        # an offer may have parameters that were not asked for, never the other way round
        ("text/event-stream", ["text/event-stream; charset=utf-8"], "text/event-stream; charset=utf-8"),
        ("text/event-stream; charset=utf-8", ["text/event-stream"], None),
        ("text/event-stream; charset=latin-1", ["text/event-stream; charset=utf-8"], None),
        # a suffix is no wildcard, and a type is compared as a whole
        ("application/json", ["application/problem+json"], None),
        ("application/jsonl", ["application/json"], None),
        ("application/json", ["application/jsonl"], None),
    ],
)
def test_rule_of_rfc_9110(accept, offers, expected):
    assert choose(accept, offers) == expected


def test_several_lines_are_one_list():
    assert negotiate(["text/html", "text/event-stream;q=0.5"], BOTH) == "text/event-stream"
    assert negotiate(["application/json;q=0.1", "", "text/event-stream;q=0.5"], BOTH) == "text/event-stream"
    assert negotiate(("*/*", "application/json;q=0"), BOTH) == "text/event-stream"


def test_the_offer_comes_back_as_given():
    offer = "Text/Event-Stream\t;Charset=UTF-8"
    assert negotiate("text/event-stream", ["a/b", offer]) is offer


def test_nothing_acceptable_tells_the_offers():
    with pytest.raises(NotAcceptable) as caught:
        negotiate("image/png", BOTH)
    assert caught.value.offers == BOTH
    assert "image/png" in caught.value.detail


def test_the_error_does_not_repeat_a_long_header():
    with pytest.raises(NotAcceptable) as caught:
        negotiate("image/png, " * 1000, BOTH)
    assert len(caught.value.detail) < 500


def test_no_offers_is_the_authors_mistake():
    with pytest.raises(ValueError, match="offer"):
        negotiate("*/*", [])


# --- choices, as the top of negotiation.py states them -----------------------------------------

MISTAKES = [
    pytest.param("text", id="no slash"),
    pytest.param("text/", id="no subtype"),
    pytest.param("/event-stream", id="no type"),
    pytest.param("text /event-stream", id="white space before the slash"),
    pytest.param("text/event-stream json", id="two words"),
    pytest.param("text/event/stream", id="two slashes"),
    pytest.param("*", id="a lone star"),
    pytest.param("*/event-stream", id="star, subtype"),
    pytest.param("text/évent-stream", id="not ASCII"),
    pytest.param("text/event-stream\x0b", id="control character"),
    pytest.param("text/event-stream\xa0", id="white space of Unicode"),
    pytest.param("text/event-stream;x", id="parameter without a value"),
    pytest.param("text/event-stream;x=", id="parameter with an empty value"),
    pytest.param("text/event-stream;=x", id="parameter without a name"),
    pytest.param("text/event-stream;x =1", id="white space before the equals sign"),
    pytest.param("text/event-stream;x= 1", id="white space after the equals sign"),
    pytest.param("text/event-stream;x=1 y=2", id="no semicolon"),
    pytest.param("text/event-stream;x=\x19", id="control character as value"),
    pytest.param('text/event-stream;x="\x19"', id="control character in quotes"),
    pytest.param('text/event-stream;x="a"b', id="text after a quoted string"),
    *(
        pytest.param(f"text/event-stream;q={weight}", id=f"q={weight}")
        for weight in [
            "2",
            "-1",
            "+1",
            "1.1",
            "1.001",
            "11",
            "00",
            "01",
            "0..1",
            "0.5.5",
            ".",
            "1.a",
            "a",
            "inf",
            "nan",
            "1e0",
            "0x1",
            "٠",
            "0.٥",
        ]
    ),
    pytest.param("text/event-stream;q", id="q"),
    pytest.param("text/event-stream;q=", id="q="),
    pytest.param("text/event-stream;q =1", id="q =1"),
    pytest.param("text/event-stream;q=1;=", id="mistake after the weight"),
]

OPEN_QUOTES = [
    pytest.param('text/event-stream;x="a', id="open quote"),
    pytest.param('text/event-stream;x="a\\"', id="open quote, escaped"),
    pytest.param('text/event-stream;x="a\\', id="open quote, lone backslash"),
    pytest.param('te"xt/event-stream', id="open quote in a name"),
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_its_own_member_only(mistake):
    assert choose(f"application/json, {mistake}", BOTH[1:]) is None
    assert choose(f"application/json;q=0.1, {mistake}", BOTH) == "application/json"
    assert choose(f"{mistake}, application/json;q=0.1", BOTH[::-1]) == "application/json"
    assert choose(["a/b", mistake, "application/json;q=0.1"], BOTH[::-1]) == "application/json"


@pytest.mark.parametrize("mistake", [*MISTAKES, *OPEN_QUOTES])
def test_nothing_but_mistakes_is_no_header(mistake):
    assert negotiate(mistake, BOTH) == "application/json"
    assert negotiate([mistake, mistake], BOTH[::-1]) == "text/event-stream"


@pytest.mark.parametrize("mistake", OPEN_QUOTES)
def test_an_open_quote_hides_what_follows_and_nothing_else(mistake):
    assert choose(f"a/b, {mistake}, application/json", BOTH) is None
    assert choose(["a/b", mistake, "application/json"], BOTH) is None
    assert choose(f"application/json;q=0.1, {mistake}, text/event-stream", BOTH[::-1]) == "application/json"
    assert choose(f"a/b, {mistake}, application/json, \\", BOTH) is None


@pytest.mark.parametrize(
    ("weight", "is_zero"), [(".2", False), ("0.1234", False), ('"0.5"', False), ("1.0000", False), ("0.0000", True)]
)
def test_a_weight_in_an_odd_form_is_still_a_number(weight, is_zero):
    assert choose(f"text/event-stream;q={weight}", BOTH[1:]) == (None if is_zero else "text/event-stream")
    assert choose(f"text/event-stream;q={weight}, application/json;q=0.11", BOTH) == (
        "application/json" if is_zero else "text/event-stream"
    )


def test_javas_standard_client_is_served():
    assert negotiate("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", BOTH) == "application/json"


@pytest.mark.parametrize("extension", [";level=1", ";level", ';x="a,b"', ";q=0", ";"])
def test_what_follows_the_weight_is_ignored(extension):
    accept = f"application/json;q=0.4, text/event-stream;q=0.5{extension}"
    assert negotiate(accept, BOTH) == "text/event-stream"


def test_the_first_of_two_parameters_counts():
    assert choose("a/b;x=1;X=2", ["a/b;x=2"]) is None
    assert choose("a/b;x=1;X=2", ["a/b;x=1"]) == "a/b;x=1"
    assert choose("a/b;x=1", ["a/b;x=1;x=2"]) == "a/b;x=1;x=2"


@pytest.mark.parametrize("accept", ["a/b;q=0, a/b;q=0.3, c/d;q=0.2", "a/b;q=0.3, c/d;q=0.2, A/B;q=0"])
def test_of_one_range_given_twice_the_higher_weight_counts(accept):
    assert negotiate(accept, ["c/d", "a/b"]) == "a/b"


def test_of_equally_specific_ranges_the_higher_weight_counts():
    for accept in ("a/b;x=1;q=0.1, a/b;y=2;q=0.9, c/d;q=0.5", "a/b;y=2;q=0.9, c/d;q=0.5, a/b;x=1;q=0.1"):
        assert negotiate(accept, ["c/d", "a/b;x=1;y=2"]) == "a/b;x=1;y=2"


def test_an_offer_with_a_wildcard_is_nothing_special():
    assert choose("text/html", ["text/*"]) is None
    assert choose("text/*", ["text/*"]) == "text/*"
    assert choose("text/*", ["*/*"]) is None
    assert choose("*/*", ["*/*"]) == "*/*"


def test_a_weight_in_an_offer_is_nothing_special():
    assert negotiate("*/*", ["a/b;q=0.1", "c/d;q=0.9"]) == "a/b;q=0.1"
    assert choose("a/b;q=0.5", ["a/b;q=0"]) == "a/b;q=0"


@pytest.mark.parametrize("offer", ["json", "", "*/json", "a/b;x", "a/b;x y", "/"])
def test_an_offer_that_is_no_media_type_is_matched_by_the_widest_range_only(offer):
    assert choose(None, [offer]) == offer
    assert choose("*/*;q=0.1", [offer]) == offer
    assert choose("a/b, text/*", [offer]) is None or offer == "a/b;x"


# --- hostile text ------------------------------------------------------------------------------

MEGABYTE = 1_000_000
HOSTILE = {
    "quotes": '"' * MEGABYTE,
    "an odd number of quotes": '"' * (MEGABYTE + 1),
    "escapes": 'a/b;x="' + "\\" * MEGABYTE,
    "escaped quotes": 'a/b;x="' + '\\"' * (MEGABYTE // 2),
    "quoted strings": 'a/b;x="";' * (MEGABYTE // 9),
    "closed and open": '"a",' * (MEGABYTE // 4) + '"',
    "semicolons": "a/b" + ";" * MEGABYTE,
    "parameters": "a/b" + ";x=1" * (MEGABYTE // 4),
    "many parameters": "a/b" + "".join(f";x{i}=1" for i in range(MEGABYTE // 9)),
    "many sets of parameters": ",".join(f"application/json;x{i}=1" for i in range(MEGABYTE // 26)),
    "ranges": ",".join(f"a/b{i}" for i in range(MEGABYTE // 9)),
    "one range": "*/*," * (MEGABYTE // 4),
    "weights": ",".join(f"*/*;q=0.{i}" for i in range(MEGABYTE // 13)),
    "a long weight": "*/*;q=0." + "1" * MEGABYTE,
    "a weight near nothing": "*/*;q=0." + "0" * MEGABYTE + "1",
    "commas": "," * MEGABYTE,
    "white space": " " * MEGABYTE,
    "white space inside": "a/b" + " " * MEGABYTE + "x",
    "white space around semicolons": "a/b" + " ; " * (MEGABYTE // 3),
    "white space around an equals sign": "a/b;x" + "\t" * MEGABYTE + "=" + " " * 1000,
    "letters": "a" * MEGABYTE,
    "stars": "*" * MEGABYTE,
    "slashes": "/" * MEGABYTE,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_takes_well_under_a_second(name):
    started = time.process_time()
    assert choose(HOSTILE[name], OFFERS) in {*OFFERS, None}
    # 0.3 s on the slowest, three times that under coverage; anything quadratic would take minutes.
    assert time.process_time() - started < 5


def test_memory_stays_in_proportion():
    accept = HOSTILE["quoted strings"]
    tracemalloc.start()
    choose(accept, OFFERS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * len(accept)


# --- properties --------------------------------------------------------------------------------

ALPHABET = 'ab/*;=",\\ \tq01.x\x00\x19\x7fé\u2026'
some_text = st.one_of(st.text(), st.text(alphabet=ALPHABET), st.binary().map(lambda raw: raw.decode("latin-1")))
property_of = settings(deadline=None, max_examples=200)


@property_of
@given(st.one_of(st.none(), some_text, st.lists(some_text)), st.lists(some_text, min_size=1))
def test_any_text_leads_to_an_offer_or_to_not_acceptable(accept, offers):
    chosen = choose(accept, offers)
    assert chosen is None or chosen in offers


@property_of
@given(st.lists(some_text, min_size=1, max_size=4))
def test_lines_and_their_joined_form_are_equal(lines):
    expected = choose(lines, OFFERS)
    assert choose(", ".join(lines), OFFERS) == expected
    for cut in range(1, len(lines)):
        assert choose([", ".join(lines[:cut]), *lines[cut:]], OFFERS) == expected


TYPES = ["a/x", "a/y", "b/x", "B/X"]
kinds = st.sampled_from([*TYPES, "a/*", "b/*", "*/*", "c/z"])
weights = st.sampled_from(["", ";q=0", ";q=0.0", " ; q=0.25", ";Q=0.5", ";q=0.500", "\t;q=0.75", ";q=1", "; q=1.000"])
plain_ranges = st.builds("".join, st.tuples(kinds, weights))
plain_lists = st.lists(plain_ranges, min_size=1, max_size=6)
plain_offers = st.lists(st.sampled_from(["a/x", "a/y", "b/x", "b/w", "d/d"]), min_size=1, unique=True)


@property_of
@given(plain_lists, plain_offers, st.randoms(use_true_random=False))
def test_the_order_of_ranges_means_nothing(ranges, offers, random):
    shuffled = random.sample(ranges, len(ranges))
    assert choose(shuffled, offers) == choose(ranges, offers)


@property_of
@given(
    plain_lists,
    plain_offers,
    st.sampled_from([mistake.values[0] for mistake in MISTAKES]),
    st.sampled_from([mistake.values[0] for mistake in OPEN_QUOTES]),
    st.data(),
)
def test_mistakes_change_nothing(ranges, offers, mistake, open_quote, data):
    place = data.draw(st.integers(0, len(ranges)))
    assert choose([*ranges[:place], mistake, *ranges[place:], open_quote], offers) == choose(ranges, offers)


def earliest_of_the_best(weights, offers):
    best = max(offers, key=lambda offer: weights.get(offer, 0))
    return best if weights.get(best, 0) > 0 else None


@property_of
@given(plain_lists, plain_offers)
def test_werkzeug_agrees_on_types_and_weights(ranges, offers):
    # Asked for the weight of each offer only: in a tie `best_match` looks at the specificity of ranges, where we
    # take the earlier offer. Without parameters: werkzeug lets `a/x` not match the offer `a/x;y=z`, though RFC 9110
    # has parameters restrict a range, not the offer. And one type once: given twice, it takes the first.
    ranges = list({text.split(";")[0].strip().lower(): text for text in ranges}.values())
    accept = parse_accept_header(", ".join(ranges), MIMEAccept)
    assert choose(", ".join(ranges), offers) == earliest_of_the_best({o: accept.quality(o) for o in offers}, offers)


@property_of
@given(plain_lists, plain_offers)
def test_webob_agrees_on_types_and_weights(ranges, offers):
    # For the weights only: in a tie webob goes by the order of the ranges, we by that of the offers. And it counts
    # 0 if one range is given both with 0 and with another weight: RFC 9110 does not say; we take the higher one.
    ranges = list({text.split(";")[0].strip().lower(): text for text in ranges}.values())
    found = dict(create_accept_header(", ".join(ranges)).acceptable_offers(offers))
    assert choose(", ".join(ranges), offers) == earliest_of_the_best(found, offers)


values = st.one_of(st.none(), st.text("ab1-.*", min_size=1, max_size=2), st.text('a ,;="\\', max_size=3))
spellings = st.sampled_from([str.lower, str.upper, str.title])


@st.composite
def spelled(draw, kind, value):
    """A media type with the parameter `x`, written in one of the ways that mean the same."""
    kind = draw(spellings)(kind)
    if value is None:
        return kind
    word = value if re.fullmatch("[ab1.*-]+", value) and draw(st.booleans()) else json.dumps(value)
    return f"{kind}{draw(st.sampled_from([';', ' ; ']))}{draw(spellings)('x')}={word}"


@property_of
@given(
    st.dictionaries(st.tuples(st.sampled_from(["a/x", "b/x"]), values), weights, min_size=1, max_size=5),
    st.lists(st.tuples(st.sampled_from(["a/x", "b/x"]), values), min_size=1, max_size=4, unique=True),
    st.data(),
)
def test_webob_agrees_on_parameters(ranges, offers, data):
    # One parameter at most: webob wants the parameters of a range and of an offer to be equal, where RFC 9110 wants
    # those of the range to be among those of the offer; with one these are the same. No charset: webob minds its case.
    accept = ", ".join(data.draw(spelled(*key)) + weight for key, weight in ranges.items())
    offers = [data.draw(spelled(*key)) for key in offers]
    found = dict(create_accept_header(accept).acceptable_offers(offers))
    assert choose(accept, offers) == earliest_of_the_best(found, offers)
