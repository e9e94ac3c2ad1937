"""What a look at a stream from outside tells: `doctor`'s judgement, from observations to findings.

Rules of this file:

- It is a pure function of what was seen. It knows no network and no clock, and prints nothing.
- A finding is something to mend, and comes with the lines that mend it. A note is something to know.
- What cannot be known from one place is not claimed. A source that gives all its items at the end and a hop that holds
  them back look the same; only the server without the hop tells them apart. But a frame that arrives in two halves is a
  proof: no server writes half a frame and then waits.
- A hop that hides a header from us is not taken for a server that does not send it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .observation import FEW, End, Observation

__all__ = ["HALVES", "Finding", "judge"]

HALVES = 0.1
"""Seconds between two halves of a frame that no network is slow enough for, and the lag that a reader notices."""
SILENCE = 16.0
"""Seconds of silence in which a heartbeat should have come: usual is one in 15, and proxies cut after 50 or 60."""
TIMEOUT = 1.0
"""Seconds of silence before a cut that make a timeout of it."""

HIDES_ACCEL = ("nginx", "openresty", "tengine")
"""What the `Server` header begins with where X-Accel-Buffering is obeyed and not passed on."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found.

    Attributes:
        code: A stable name for programs.
        text: What was seen and what it means, in a sentence or two.
        mend: Where to put which line: pairs of a place such as `nginx` and the line.
        is_note: Whether there is nothing to mend.
    """

    code: str
    text: str
    mend: tuple[tuple[str, str], ...] = ()
    is_note: bool = False


def judge(
    seen: Observation, direct: Observation | None = None, *, has_two_modes: bool | None = None, is_get: bool = True
) -> list[Finding]:
    """Say what is to be mended about a stream.

    Args:
        seen: The stream as its users get it.
        direct: The same stream from the server itself, without what lies between; None if nobody looked.
        has_two_modes: Whether the endpoint has another media type for another `Accept`; None if it is not known.
        is_get: Whether the request was one whose answer a cache may keep.
    """
    if not 200 <= seen.status < 300 or seen.status == 204:
        return [_status(seen)]
    if not seen.is_stream:
        return [_no_stream(seen)]
    found: list[Finding] = []
    for look in LOOKS:
        found += look(seen, direct)
    found += _vary(seen, has_two_modes if is_get else False)
    return sorted(found, key=lambda finding: finding.is_note)


# --- no stream at all --------------------------------------------------------------------------

_TIMEOUTS = (("nginx", "proxy_read_timeout 1h;"), ("haproxy", "timeout server 1h"))


def _status(seen: Observation) -> Finding:
    kind = f" ({seen.media_type})" if seen.media_type else ""
    match seen.status:
        case 204:
            text = (
                "204: there is nothing to stream. It is what ends the reconnecting of a client that has seen the end."
            )
            return Finding("status", text)
        case 504:
            text = f"504{kind}: a hop gave up after {_seconds(seen.headers_at)} without an answer."
            return Finding("status", text, (*_TIMEOUTS, ("application", "commit_after= below the timeout of the hop")))
        case 502 | 503:
            return Finding("status", f"{seen.status}{kind}: a hop has nobody to ask. Does the server behind it run?")
        case 401 | 403:
            return Finding("status", f"{seen.status}{kind}: not allowed. -H 'Authorization: …' adds a header.")
        case 405 | 422:
            return Finding("status", f"{seen.status}{kind}: the request does not fit. -X and -d change it.")
    return Finding("status", f"The answer is {seen.status}{kind}, and so no stream.")


def _no_stream(seen: Observation) -> Finding:
    kind = seen.media_type or "an answer without a Content-Type"
    text = f"A stream was asked for by Accept, and {kind} came."
    return Finding("no_stream", text, (("application", "return a DualModeResponse, or use @dual_mode"),))


# --- how it arrives ----------------------------------------------------------------------------

_UNBUFFERED = (
    ("application", "X-Accel-Buffering: no"),
    ("nginx", "proxy_buffering off;"),
    ("nginx", "proxy_http_version 1.1;"),
)
_NO_DELAY = (
    ("nginx", "proxy_buffering off;"),
    ("haproxy", "option http-no-delay"),
)
_UNCOMPRESSED = (
    ("nginx", "gzip off;"),
    ("haproxy", "compression type text/html text/css  (what to compress, without streams)"),
)


def _arrival(seen: Observation, direct: Observation | None) -> Iterator[Finding]:
    count = len(seen.items)
    if seen.halves and max(seen.halves) >= HALVES:
        text = (
            f"Frames arrive in halves, up to {_seconds(max(seen.halves))} apart. A hop collects bytes until a buffer "
            "is full: it buffers the stream."
        )
        yield Finding("buffered", text, _UNBUFFERED)
    elif seen.came_at_once and direct is not None and not direct.came_at_once:
        text = (
            f"All {count} items arrive at once, after {_seconds(seen.items[0])}; from the server itself they come one "
            "by one. A hop buffers the stream."
        )
        yield Finding("buffered", text, _UNBUFFERED)
    elif seen.came_at_once and direct is None:
        text = (
            f"All {count} items arrive at once, after {_seconds(seen.items[0])}. Either a hop buffers the stream, or "
            "the source gives everything at its end. --direct with the address of the server itself tells which."
        )
        yield Finding("at_once", text, _UNBUFFERED)
    elif direct is not None and (late := _late(seen, direct)):
        text = f"Items arrive up to {_seconds(late)} later than from the server itself. A hop holds them back."
        yield Finding("delayed", text, _NO_DELAY)
    elif seen.came_at_once:
        yield Finding("source_at_once", "The server itself gives all items at the end. No hop is to blame.", (), True)
    elif count < FEW and seen.problem is None:
        text = f"{_count(count, 'item')} too few to judge how they are spaced."
        yield Finding("few_items", text, (), True)
    if (length := seen.headers.get("content-length")) is not None:
        text = f"The stream has a Content-Length ({length}), so somebody has gathered all of it before sending it."
        yield Finding("gathered", text, (("application", "no middleware that collects bodies"), *_UNBUFFERED))


def _late(seen: Observation, direct: Observation) -> float:
    """How much later items come at most, if that is not just one or the other of them; else 0."""
    lags = sorted(late - early for late, early in zip(seen.items, direct.items, strict=False))
    # haproxy holds every second item back where it holds back any, so the median would not tell.
    return lags[-1] if len(lags) >= FEW and lags[len(lags) * 2 // 3] >= HALVES else 0.0


def _compression(seen: Observation, direct: Observation | None) -> Iterator[Finding]:
    encoding = seen.headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return
    whose = ""
    if direct is not None:
        whose = "the server does it" if direct.headers.get("content-encoding") else "a hop does it, not the server"
        whose = f" ({whose})"
    text = f"The stream is compressed with {encoding}{whose}. A compressor waits for more to compress."
    # haproxy obeys no-transform, nginx does not.
    obeyed = seen.says("cache-control", "no-transform")
    mend = () if obeyed else (("application", "Cache-Control: no-cache, no-transform"),)
    yield Finding("compressed", text, (*mend, *_UNCOMPRESSED))


def _silence(seen: Observation, direct: Observation | None) -> Iterator[Finding]:  # noqa: ARG001  all looks are alike
    silence = seen.longest_silence
    if silence >= SILENCE:
        text = f"No byte came for {_seconds(silence)}, not even a heartbeat. nginx cuts after 60 s, haproxy as told."
        if silence == seen.headers_at:
            mend = ("application", "commit_after=10  (sends the headers before the first item)")
        elif seen.media_type == "application/json-seq":
            mend = ("application", "another format: JSON text sequences have no heartbeat")
        else:
            extra = "" if seen.media_type == "text/event-stream" else ", heartbeat_lines=True"
            mend = ("application", f"heartbeat=15{extra}")
        yield Finding("no_heartbeat", text, (mend, *_TIMEOUTS))
    elif not seen.heartbeats and seen.end is not End.CUT:
        text = f"No heartbeat was due: the longest silence was {_seconds(silence)}."
        yield Finding("never_silent", text, (), True)


# --- how it ends -------------------------------------------------------------------------------


def _end(seen: Observation, direct: Observation | None) -> Iterator[Finding]:  # noqa: ARG001
    if seen.problem is not None:
        if seen.items:
            yield Finding("failed", f"The stream ended with an error: {seen.problem}")
        else:
            text = f"An error before the first item came under status {seen.status}: {seen.problem}"
            mend = ("application", "fetch the first item before the status, as DualModeResponse does; commit_after=")
            yield Finding("early_error", text, (mend,))
        return
    silence = seen.ended_at - max((seen.headers_at, *seen.chunks[-1:]))
    if seen.too_large is not None:
        text = f"One event has more than {seen.too_large} bytes. Readers bound it, and so stop here."
        yield Finding("too_large", text, (("application", "smaller items, or max_item_bytes="),))
    elif seen.end is End.OPEN:
        yield Finding("still_open", f"Still open after {_seconds(seen.ended_at)}: its end was not seen.", (), True)
    elif seen.end is End.CUT and silence >= TIMEOUT:
        text = f"The connection was cut after {_seconds(silence)} of silence: a timeout on the way."
        yield Finding("timeout", text, (*_TIMEOUTS, ("application", "heartbeat= below the timeout of the hop")))
    elif seen.end is End.CUT:
        yield Finding("cut", "The connection was cut in the middle of the body. The log of the server may say why.")
    elif seen.terminal is None and seen.media_type == "text/event-stream":
        text = "The stream ends without an event that says so. To a client this looks like a lost connection."
        yield Finding("no_end", text, (("application", "a last event, such as DualModeResponse's `done`"),))


def _bytes(seen: Observation, direct: Observation | None) -> Iterator[Finding]:  # noqa: ARG001
    if not seen.is_utf8:
        text = "The body is not UTF-8. Readers put U+FFFD in the place of each wrong byte."
        yield Finding("not_utf8", text, (("application", "encode text as UTF-8"),))
    charset = _charset(seen.headers.get("content-type", ""))
    if charset not in (None, "utf-8", "utf8"):
        text = f"The Content-Type says charset={charset}. A stream is always UTF-8, and readers do not look."
        yield Finding("charset", text, (("application", f"Content-Type: {seen.media_type}; charset=utf-8"),))
    if seen.bad:
        yield Finding("bad_records", f"{_count(seen.bad, 'record')} no JSON.")
    if seen.http_version in ("HTTP/1.0", "HTTP/0.9"):
        text = f"{seen.http_version}: the end of the body is the end of the connection, so a cut looks like an end."
        yield Finding("http_version", text, (("nginx", "proxy_http_version 1.1;"),))


def _charset(content_type: str) -> str | None:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return None


# --- headers -----------------------------------------------------------------------------------


def _headers(seen: Observation, direct: Observation | None) -> Iterator[Finding]:
    kept = not seen.says("cache-control", "no-cache", "no-store")
    changed = not seen.says("cache-control", "no-transform")
    if kept or changed:
        has = seen.headers.get("cache-control")
        text = f"Cache-Control is {has!r}" if has else "There is no Cache-Control"
        if direct is not None and direct.says("cache-control", "no-transform"):
            text += ", but the server sends another one: a hop has replaced it"
        text += f".{' A cache may keep the stream.' * kept}"
        text += " Hops may compress it, and hold it back for that." * changed
        mend = (
            ("application", "Cache-Control: no-cache, no-transform"),
            ("nginx", 'add_header Cache-Control "no-cache, no-transform";'),
            ("haproxy", 'http-response set-header Cache-Control "no-cache, no-transform"'),
        )
        yield Finding("cache_control", text, mend)
    # nginx obeys this header and does not pass it on, so that behind it only the server itself can be asked.
    origin = direct or seen
    hidden = origin.headers.get("server", "").lower().startswith(HIDES_ACCEL)
    if not hidden and origin.headers.get("x-accel-buffering", "").lower() != "no":
        text = "There is no X-Accel-Buffering: no. An nginx with its defaults would buffer the stream."
        yield Finding("accel_buffering", text, (("application", "X-Accel-Buffering: no"), *_UNBUFFERED[1:]))


def _vary(seen: Observation, has_two_modes: bool | None) -> Iterator[Finding]:
    if has_two_modes and not seen.says("vary", "accept", "*"):
        text = "The answer depends on Accept, but Vary does not say so. A cache may give the stream to who wants JSON."
        yield Finding("vary", text, (("application", "Vary: Accept"),))


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def _count(count: int, what: str) -> str:
    return f"{count} {what} is" if count == 1 else f"{count} {what}s are"


LOOKS: tuple[Callable[[Observation, Observation | None], Iterator[Finding]], ...] = (
    _arrival,
    _compression,
    _silence,
    _end,
    _bytes,
    _headers,
)
