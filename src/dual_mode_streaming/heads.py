"""The head of an answer: its status and its headers, in both modes.

What the author says wins, except where it would contradict the body that is sent.
"""

from __future__ import annotations

from typing import Protocol

from starlette.responses import Response
from starlette.types import Scope

from .formats import format_for
from .headers import check_forged
from .modes import JSON, STREAM, STREAM_TYPES, Choice

__all__ = ["DECIDED_HEADERS", "Headers", "SetByAuthor", "head_of"]

Headers = list[tuple[bytes, bytes]]

DECIDED_HEADERS = frozenset({b"content-type", b"content-length", b"transfer-encoding"})
"""What an author sets under one of these names would contradict the body that is sent."""

_CONTENT_TYPES = {
    JSON: (b"content-type", JSON.encode()),
    **{kind: (b"content-type", format_for(kind).content_type.encode()) for kind in STREAM_TYPES},
}
_VARY = (b"vary", b"Accept")
_STREAM_HEADERS = ((b"cache-control", b"no-cache, no-transform"), (b"x-accel-buffering", b"no"))


class SetByAuthor(Protocol):
    """What the author of an endpoint says about the head of its answer."""

    status_code: int
    raw_headers: Headers
    stand_in: Response | None


def head_of(author: SetByAuthor, scope: Scope, choice: Choice, length: int | None) -> tuple[int, Headers]:
    """Give the status and the headers of an answer, as they are at this moment.

    Args:
        author: What the author says.
        scope: The request.
        choice: The mode and the media type of the answer.
        length: The size of the body in bytes; None if it is not known.
    """
    status, headers, stand_in = author.status_code, author.raw_headers, author.stand_in
    if stand_in is not None:
        # FastAPI has the status of the route on the route, and what the endpoint set on the stand-in.
        status = stand_in.status_code or getattr(scope.get("route"), "status_code", None) or status
        if stand_in.raw_headers:
            check_forged(stand_in.raw_headers)
            headers = headers + [pair for pair in stand_in.raw_headers if pair[0] not in DECIDED_HEADERS]
    mode, media_type = choice
    ours = [_CONTENT_TYPES.get(media_type) or (b"content-type", media_type.encode("latin-1"))]
    if length is not None:
        ours.append((b"content-length", b"%d" % length))
    if mode is STREAM:
        names = {name for name, _ in headers}
        ours += [pair for pair in _STREAM_HEADERS if pair[0] not in names]
    if headers:
        return status, [*ours, *_with_vary(headers)]
    ours.append(_VARY)
    return status, ours


def _with_vary(headers: Headers) -> Headers:
    """Say that the answer depends on `Accept`, beside what the author says it depends on."""
    named = [value for name, value in headers if name == b"vary"]
    tokens = {token.strip().lower() for value in named for token in value.split(b",")}
    if tokens & {b"accept", b"*"}:
        return headers
    others = [pair for pair in headers if pair[0] != b"vary"]
    return [*others, (b"vary", b", ".join([*named, b"Accept"]))]
