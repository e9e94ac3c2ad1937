"""Proactive negotiation: the offer that an `Accept` wants most (RFC 9110, section 12.5.1).

Rules of this file:

- `Accept` is a stranger's text. It leads to an offer or to `NotAcceptable`, in time linear in its length.
- The most specific range that matches an offer gives its weight: type and subtype with the most parameters, then
  without, then `type/*`, then `*/*`. An offer of weight 0 is out.
- A tie goes to the earlier offer.

What RFC 9110 leaves open, and what is done here:

    empty, or only commas              as if there were no header: the first offer
    a member with a mistake            ignored, alone: no slash, `*/b`, a parameter without a value, white space
                                       around `=`, a weight that is no number from 0 to 1, a quote without its end
    nothing but such members           as if there were no header
    a weight in an odd form            read as the number it is: `.2`, `0.12345`, `"0.5"`. The standard client of
                                       Java sent `*; q=.2, */*; q=.2` for decades, and may not get 406 for it
    parameters after the weight        ignored, if well formed (RFC 7231 had them as accept-ext, RFC 9110 has not)
    a parameter given twice            the first counts
    one range given twice              the higher weight counts; also of two that are equally specific otherwise
    parameters on a wildcard           must be matched; `text/*;a=b` is still less specific than `text/html`
    an offer with a wildcard or a `q`  nothing special: `text/*` is matched by the ranges `text/*` and `*/*`
    an offer that is no media type     matched by `*/*` only
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .errors import NotAcceptable
from .headers import OWS, TCHARS, combine_lines, read_parameters, shortened, split_list

__all__ = ["Offer", "best_offer", "negotiate", "read_accept", "read_offer"]

# `*` is a token like any other, but alone before the slash it stands for all types, so `*/b` means nothing.
_TYPE = re.compile(rf"(?:\*/\*|(?!\*/){TCHARS}/{TCHARS})(?=[ \t;]|\Z)")
_WEIGHT = re.compile(r"0(?:\.[0-9]*+)?|1(?:\.0*+)?|\.[0-9]++")

# The parameters of a media type as a set, so that "has all of them" is one comparison.
Parameters = frozenset[tuple[str, str]]
_NONE: Parameters = frozenset()
# For each type of range (`text/html`, `text/*`, `*/*`) the weight for each set of parameters.
Ranges = dict[str, dict[Parameters, float]]


class Offer(NamedTuple):
    """A media type that the server can send, ready to be compared.

    Attributes:
        type: Type and subtype in lower case, such as `text/html`.
        wildcard: The range of all its siblings, such as `text/*`.
        parameters: Its parameters, names in lower case.
    """

    type: str
    wildcard: str
    parameters: Parameters


def negotiate(accept: str | Sequence[str] | None, offers: Sequence[str]) -> str:
    """Find the offer that a client wants most (RFC 9110, section 12.5.1).

    Args:
        accept: The header `Accept`: its only line, all its lines in order, or None if there is none.
        offers: The media types that the server can send, best first. They may have parameters: a range without
            parameters matches them, a range with parameters only if the offer has all of these.

    Returns:
        One of the offers, exactly as given. Of several that the client wants equally, the first.

    Raises:
        NotAcceptable: The client wants none of them.
        ValueError: There are no offers.
    """
    if not offers:
        raise ValueError("negotiate() needs at least one offer")
    text = combine_lines(accept)
    best = best_offer(read_accept(text), [read_offer(offer) for offer in offers])
    if best is None:
        raise NotAcceptable(offers, accept=shortened(text))
    return offers[best]


def best_offer(ranges: Ranges, offers: Sequence[Offer]) -> int | None:
    """Give the index of the offer with the highest weight; None if the client wants none of them."""
    if not ranges:
        return 0
    best, highest = None, 0.0
    for index, offer in enumerate(offers):
        weight = _weight(ranges, offer)
        if weight > highest:
            best, highest = index, weight
    return best


def _weight(ranges: Ranges, offer: Offer) -> float:
    """Give the weight of the most specific range that matches the offer; 0 if none does."""
    for kind in (offer.type, offer.wildcard, "*/*"):
        candidates = ranges.get(kind)
        if candidates is None:
            continue
        matching = [(len(own), weight) for own, weight in candidates.items() if own <= offer.parameters]
        if matching:
            return max(matching)[1]
    return 0.0


def read_accept(text: str) -> Ranges:
    """Read the ranges of an `Accept` that are well formed. If there are none, the header says nothing."""
    ranges: Ranges = {}
    for member in split_list(text):
        if (media_range := _read_range(member)) is not None:
            kind, parameters, weight = media_range
            weights = ranges.setdefault(kind, {})
            if weight >= weights.get(parameters, 0.0):
                weights[parameters] = weight
    return ranges


def _read_range(text: str) -> tuple[str, Parameters, float] | None:
    match = _TYPE.match(text)
    if match is None:
        return None
    kind = match[0].lower()
    if match.end() == len(text):
        return kind, _NONE, 1.0
    parameters = read_parameters(text, match.end())
    if parameters is None:
        return None
    weight = 1.0
    own: dict[str, str] = {}
    for name, value in parameters:
        if value is None:
            return None
        if name == "q":
            if _WEIGHT.fullmatch(value) is None:
                return None
            weight = float(value)
            break  # What follows the weight is no part of the range.
        own.setdefault(name, _normal(name, value))
    return kind, frozenset(own.items()), weight


def read_offer(text: str) -> Offer:
    """Read a media type (RFC 9110, section 8.3.1); one without a type if the text is none."""
    text = text.strip(OWS)
    match = _TYPE.match(text)
    parameters = read_parameters(text, match.end()) if match is not None else None
    if match is None or parameters is None:
        return Offer("", "", _NONE)
    kind = match[0].lower()
    own: dict[str, str] = {}
    for name, value in parameters:
        own.setdefault(name, _normal(name, value or ""))
    return Offer(kind, kind[: kind.index("/")] + "/*", frozenset(own.items()))


def _normal(name: str, value: str) -> str:
    # Only charset is known to ignore the case of its values (RFC 9110, section 8.3.2).
    return value.lower() if name == "charset" else value
