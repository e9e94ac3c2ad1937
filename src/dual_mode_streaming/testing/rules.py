"""What ASGI asks of an application (specification, HTTP and WebSocket message format), as a server would notice it.

Each rule that is broken raises `ASGIViolation` out of the application's `send`, in the line that broke it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dual_mode_streaming.errors import DualModeError

__all__ = ["ASGIViolation", "ClientGone", "SentMessages"]

START, BODY, TRAILERS = "http.response.start", "http.response.body", "http.response.trailers"


class ASGIViolation(DualModeError, RuntimeError):
    """The application breaks the ASGI protocol. The text says what it sent and what it may send."""

    code = "asgi_violation"


class ClientGone(DualModeError, OSError):
    """Raised by `send` when the client has left, where the server speaks ASGI 2.4 or newer, as the protocol says."""

    code = "client_gone"


class SentMessages:
    """Checks the messages that an application sends for one response.

    Attributes:
        started: Whether the status and the headers were sent.
        complete: Whether the response came to its proper end.
    """

    def __init__(self, method: str) -> None:
        self.started = False
        self.complete = False
        self._method = method
        self._bodiless = method == "HEAD"
        self._body_over = False
        self._trailers = False
        self._promised: int | None = None
        self._sent = 0

    def check(self, message: Mapping[str, Any]) -> None:
        """Take the next message.

        Raises:
            ASGIViolation: The application may not send it.
        """
        kind = message.get("type")
        if kind == START:
            self._check_start(message)
        elif not self.started:
            raise ASGIViolation(f"{kind!r} was sent before {START!r}")
        elif self.complete:
            raise ASGIViolation(f"{kind!r} was sent after the response was complete")
        elif kind == BODY:
            self._check_body(message)
        elif kind == TRAILERS:
            if not self._trailers:
                raise ASGIViolation(f"{kind!r} was sent, but {START!r} did not announce it with trailers=True")
            if not self._body_over:
                raise ASGIViolation(f"{kind!r} was sent before the body was complete")
            _check_headers(message)
            self.complete = not message.get("more_trailers", False)
        else:
            raise ASGIViolation(f"{kind!r} is no message of an HTTP response")

    def _check_start(self, message: Mapping[str, Any]) -> None:
        if self.started:
            raise ASGIViolation(f"{START!r} was sent twice")
        status = message.get("status")
        if type(status) is not int or not 200 <= status <= 999:
            raise ASGIViolation(f"the status of a response is a number from 200 on, not {status!r}")
        _check_headers(message)
        self._bodiless = self._bodiless or status in (204, 304)
        for name, value in message.get("headers", ()):
            if name == b"content-length":
                if not value.isdigit():
                    raise ASGIViolation(f"Content-Length is {value!r}, which is no number")
                self._promised = int(value)
        self._trailers = bool(message.get("trailers", False))
        self.started = True

    def _check_body(self, message: Mapping[str, Any]) -> None:
        if self._body_over:
            raise ASGIViolation(f"{BODY!r} was sent after the body was complete")
        body = message.get("body", b"")
        if not isinstance(body, (bytes, bytearray, memoryview)):
            raise ASGIViolation(f"the body of a message is bytes, not {type(body).__name__}")
        self._sent += len(body)
        over = not message.get("more_body", False)
        if self._bodiless:
            # What follows the headers of a HEAD is dropped by every server; to a 204 or 304 some add it, some break.
            if body and self._method != "HEAD":
                raise ASGIViolation("a response with the status 204 or 304 has no body, but one was sent")
        elif self._promised is not None:
            if self._sent > self._promised:
                raise ASGIViolation(f"the body is longer than its Content-Length of {self._promised} bytes")
            if over and self._sent < self._promised:
                raise ASGIViolation(f"the body ended after {self._sent} of the {self._promised} bytes it announced")
        self._body_over = over
        self.complete = over and not self._trailers


def _check_headers(message: Mapping[str, Any]) -> None:
    for pair in message.get("headers", ()):
        name, value = pair
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise ASGIViolation(f"a header is a pair of bytes, not {name!r}: {value!r}")
        if name != name.lower():
            raise ASGIViolation(f"the name of a header is in lower case, not {name.decode('latin-1')!r}")
        if b"\n" in name + value or b"\r" in name + value:
            raise ASGIViolation(f"the header {name.decode('latin-1')!r} holds a line break")
