"""What all commands that call a URL share: the request, as the user describes it, and how failures are told.

Rules of this file:

- The options have the names and the meaning that they have in curl.
- Whatever goes wrong between here and the server is told in one line, without a traceback.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from .failing import fail

__all__ = ["Request", "check_url", "describe"]

CONNECT = 10.0
"""Seconds to wait for a connection."""
LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Request:
    """A request that can be sent any number of times.

    Attributes:
        url: An absolute URL.
        method: Its method.
        headers: What the user adds, with names in lower case.
        body: What the user sends; None for nothing.
    """

    url: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None

    @classmethod
    def read(cls, url: str, lines: list[str] | None, method: str | None, data: str | None) -> Request:
        """Read the words of a command line. What cannot be a request ends the program.

        Args:
            url: The URL, with http:// or https:// in front.
            lines: Headers, each as `Name: value`.
            method: The method; None for GET, or POST if there is data.
            data: The body, or `@` and the name of the file that has it, where `-` is standard input.
        """
        check_url(url)
        headers: dict[str, str] = {}
        for line in lines or ():
            name, colon, value = line.partition(":")
            if not colon or not name.strip() or not line.isprintable():
                fail(f"{line!r} is no header; write it as 'Name: value'")
            headers[name.strip().lower()] = value.strip()
        body = None if data is None else _body(data)
        if body is not None:
            headers.setdefault("content-type", "application/json")
        method = (method or ("GET" if body is None else "POST")).upper()
        if not method.isalpha():
            fail(f"{method!r} is no method")
        return cls(url, method, headers, body)

    def arguments(self, **headers: str) -> dict[str, Any]:
        """Give what `httpx2` wants to know, with some more headers where the user has set none."""
        return {
            "method": self.method,
            "url": self.url,
            "headers": {**{name.replace("_", "-"): value for name, value in headers.items()}, **self.headers},
            "content": self.body,
        }

    def client(self) -> httpx2.AsyncClient:
        """Make a client that waits for answers as long as they take."""
        return httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=CONNECT),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
            follow_redirects=True,
            http2=_has_http2(),
        )


def check_url(url: str) -> None:
    """End the program if this is nothing that can be called."""
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as error:
        fail(f"{url!r} is no URL: {error}")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        fail(f"{url!r} is no URL; it begins with http:// or https://, and a host follows")
    if not 0 < (parsed.port or 1) <= LAST_PORT:
        fail(f"{url!r} is no URL; ports end at {LAST_PORT}")


def describe(error: Exception) -> str:
    """Say in one line what went wrong on the way to the server or back."""
    text = " ".join(str(error).split())
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__ or _first_of(cause)) is not None:
        cause = inner
    match error:
        case httpx2.ConnectTimeout():
            return f"no connection within {CONNECT:g} s"
        case httpx2.ConnectError() if "ssl" in type(cause).__module__ or "SSL" in text or "certificate" in text:
            return f"TLS failed: {text or cause}"
        case httpx2.ConnectError():
            return f"cannot connect: {_reason(cause) or text}"
        case httpx2.TooManyRedirects():
            return "it redirects in a circle, or too often"
        case httpx2.UnsupportedProtocol():
            return f"it redirects to something that is no URL ({text})"
        case httpx2.RemoteProtocolError() if "location header" in text:
            return f"it redirects to something that is no URL ({text})"
        case httpx2.RemoteProtocolError() if "incomplete" in text or "peer closed" in text:
            return "the connection was cut in the middle of the answer"
        case httpx2.RemoteProtocolError():
            return f"what came back is no HTTP: {text}"
        case httpx2.DecodingError():
            return f"the answer says that it is compressed, but is not: {text}"
        case httpx2.NetworkError():
            return f"the connection was lost: {_reason(cause) or text}"
    return text or type(error).__name__


def _reason(error: BaseException) -> str:
    """Say what the system says; asyncio puts a text of its own in its place."""
    if not isinstance(error, OSError):
        return ""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error)


def _first_of(error: BaseException) -> BaseException | None:
    """Give the first of several errors: of all the addresses that a name has, say."""
    return error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None


def _body(data: str) -> bytes:
    if not data.startswith("@"):
        return data.encode("utf-8", "surrogateescape")
    try:
        return sys.stdin.buffer.read() if data == "@-" else Path(data[1:]).read_bytes()
    except OSError as error:
        fail(f"cannot read {data[1:]}: {error.strerror}")


def _has_http2() -> bool:
    try:
        import h2  # noqa: F401
    except ImportError:
        return False
    return True
