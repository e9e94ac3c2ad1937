"""Which answer a request gets: one document or a stream, and in which media type.

The order of precedence (the first that speaks decides):

    1  the author    `mode=`
    2  the query     `?stream=true|1|false|0`
    3  the dialect   a switch in the request's body, such as an LLM's `stream`: the endpoint's business, not this file's
    4  `Accept`      RFC 9110, section 12.5.1, over the media types that the endpoint offers
    5  nothing       batch

Rules of this file:

- 1 and 2 choose the mode, so they cannot fail with 406; `Accept` then only picks the type of the stream.
- A tie goes to the earlier offer, and the batch is offered first. So `*/*` means batch.
- Every request comes through here, so the common ones take a short way: nothing is decoded that has no say.
- A header that is longer than `LONGEST` is refused. Its length is a stranger's choice, and the work is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl

from .errors import HeaderTooLarge, InvalidStreamFlag, NotAcceptable
from .headers import LONGEST, OWS, Preference, Preferences, parse_prefer, shortened
from .negotiation import Offer, best_offer, negotiate, read_accept, read_offer

__all__ = [
    "BATCH",
    "JSON",
    "JSON_LINES",
    "JSON_SEQ",
    "NDJSON",
    "OFFERS",
    "SSE",
    "STREAM",
    "STREAM_TYPES",
    "Choice",
    "Preference",
    "Preferences",
    "ResponseMode",
    "choose_mode",
    "detect_mode",
    "last_event_id",
    "negotiate",
    "parse_prefer",
]

JSON = "application/json"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
JSON_LINES = "application/jsonl"
JSON_SEQ = "application/json-seq"

STREAM_TYPES = (SSE, NDJSON, JSON_LINES, JSON_SEQ)
"""The media types of a stream, in the order in which the server prefers them."""
OFFERS = (JSON, *STREAM_TYPES)
"""All media types of a dual-mode endpoint, in the order in which the server prefers them."""


class ResponseMode(StrEnum):
    """How a response is sent: complete, or item by item."""

    BATCH = "batch"
    STREAM = "stream"


class Choice(NamedTuple):
    """What a request is answered with.

    Attributes:
        mode: Batch or stream.
        media_type: The media type of the answer, without parameters of its own.
    """

    mode: ResponseMode
    media_type: str


class HasScope(Protocol):
    """Anything that carries an ASGI scope, such as the requests of Starlette and FastAPI."""

    @property
    def scope(self) -> Mapping[str, Any]:
        """The ASGI scope of the request."""
        ...


# Members of an enumeration are dear to look up in Python 3.11.
BATCH = ResponseMode.BATCH
STREAM = ResponseMode.STREAM

_DEFAULT = Choice(BATCH, JSON)
_DEFAULT_STREAM = Choice(STREAM, SSE)

_FLAGS = {
    "true": STREAM,
    "1": STREAM,
    "false": BATCH,
    "0": BATCH,
}


def choose_mode(
    scope: Mapping[str, Any],
    *,
    mode: ResponseMode | str | None = None,
    stream_param: str | None = "stream",
    batch_type: str = JSON,
) -> Choice:
    """Choose how a request is answered: by its author, the query, `Accept` (RFC 9110, section 12.5.1), in this order.

    All our formats are UTF-8. So a client that accepts `application/json; charset=utf-8` accepts them, although
    they do not have the parameter, and `negotiate` alone would say no.

    Args:
        scope: The ASGI scope of the request.
        mode: The mode that the author wants, whatever the request says.
        stream_param: The name of the query parameter that chooses the mode; None if there is none.
        batch_type: The media type of the batch answer.

    Returns:
        The mode and the media type: `batch_type`, or one of `STREAM_TYPES`.

    Raises:
        NotAcceptable: `Accept` decides (RFC 9110, section 12.5.1), and allows none of our media types.
        InvalidStreamFlag: The query parameter is neither true nor false, or both.
        HeaderTooLarge: `Accept` has a say, and is longer than it is read (RFC 6585, section 5).
    """
    if mode is not None:
        wanted: ResponseMode | None = ResponseMode(mode)
    elif stream_param is not None and (query := scope.get("query_string")):
        wanted = _read_flag(query, stream_param)
    else:
        wanted = None
    if wanted is BATCH:
        return Choice(BATCH, batch_type)

    accept = b", ".join([value for name, value in scope.get("headers", ()) if name == b"accept"])
    if not accept or accept == b"*/*":
        if wanted is STREAM:
            return _DEFAULT_STREAM
        return _DEFAULT if batch_type == JSON else Choice(BATCH, batch_type)
    if len(accept) > LONGEST:
        raise HeaderTooLarge("accept", LONGEST)
    choose = _by_short_accept if len(accept) <= 256 else _by_accept
    if wanted is STREAM:
        return choose(accept, None) or _DEFAULT_STREAM
    choice = choose(accept, batch_type)
    if choice is None:
        raise NotAcceptable((batch_type, *STREAM_TYPES), accept=shortened(accept.decode("latin-1")))
    return choice


def _by_accept(accept: bytes, batch_type: str | None) -> Choice | None:
    """Let `Accept` choose among the types of a stream and, if there is one, of the batch."""
    offers = STREAM_TYPES if batch_type is None else (batch_type, *STREAM_TYPES)
    best = best_offer(read_accept(accept.decode("latin-1")), [_in_utf8(read_offer(offer)) for offer in offers])
    if best is None:
        return None
    mode = BATCH if batch_type is not None and best == 0 else STREAM
    return Choice(mode, offers[best])


# Clients send few different headers, and a short one costs little to remember. A long one is nobody's habit.
_by_short_accept = lru_cache(maxsize=256)(_by_accept)


def _in_utf8(offer: Offer) -> Offer:
    if any(name == "charset" for name, _ in offer.parameters):
        return offer
    return offer._replace(parameters=offer.parameters | {("charset", "utf-8")})


def _read_flag(query: bytes, name: str) -> ResponseMode | None:
    # Most queries do not have the flag, and it is found without decoding unless the name could be encoded.
    if name.encode() not in query and b"%" not in query and b"+" not in query:
        return None
    # As Starlette decodes it, so that both see the same parameters.
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    values = [value for key, value in pairs if key == name]
    chosen: ResponseMode | None = None
    for value in values:
        mode = _FLAGS.get(value.lower())
        if mode is None:
            raise InvalidStreamFlag(name, shortened(value))
        if chosen is not None and mode is not chosen:
            raise InvalidStreamFlag(name, shortened(", ".join(values)))
        chosen = mode
    return chosen


def detect_mode(request: HasScope, *, stream_param: str | None = "stream") -> ResponseMode:
    """Find the mode that a request asks for, for an endpoint that branches by hand.

    The query decides, then `Accept` (RFC 9110, section 12.5.1), over the media types in `OFFERS`; else it is batch.

    Args:
        request: A request of Starlette or FastAPI, or anything else with an ASGI `scope`.
        stream_param: The name of the query parameter that chooses the mode; None if there is none.

    Raises:
        NotAcceptable: `Accept` allows none of `OFFERS`.
        InvalidStreamFlag: The query parameter is neither true nor false, or both.
        HeaderTooLarge: `Accept` has a say, and is longer than it is read.
    """
    return choose_mode(request.scope, stream_param=stream_param).mode


def last_event_id(scope: Mapping[str, Any]) -> str | None:
    """Give the id of the last event that a reconnecting client has seen (WHATWG HTML, section 9.2.4).

    It is read as UTF-8, as browsers send it. If several header lines disagree they are joined as RFC 9110
    (section 5.3) says; no such id was ever given out, so it counts as unknown.

    Args:
        scope: The ASGI scope of the request.

    Returns:
        The id; None if there is none or it is empty.

    Raises:
        HeaderTooLarge: It is longer than it is read. No such id was ever given out.
    """
    lines = [value for name, value in scope.get("headers", ()) if name == b"last-event-id"]
    if not lines:
        return None
    if sum(map(len, lines)) > LONGEST:
        raise HeaderTooLarge("last-event-id", LONGEST)
    ids = dict.fromkeys(line.decode("utf-8", "replace").strip(OWS) for line in lines)
    return ", ".join(filter(None, ids)) or None
