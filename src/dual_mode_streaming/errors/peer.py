"""The errors that concern the other end of a connection. `errors` has the list and the rules."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from .root import DualModeError, Problem

__all__ = [
    "EventTooLarge",
    "HeaderTooLarge",
    "InvalidRequest",
    "ProtocolError",
    "RemoteError",
    "RequestFailed",
    "StreamAborted",
    "StreamInterrupted",
    "UnexpectedAnswer",
]

_STANDARD = frozenset({"type", "title", "status", "code", "detail"})


class InvalidRequest(DualModeError):
    """The body of a request is not what the endpoint reads, or asks for what it does not offer.

    Attributes:
        parameter: Which field is wrong, as a path such as `messages[0].content`; None for the body as a whole.
    """

    status = HTTPStatus.BAD_REQUEST
    code = "invalid_request"

    def __init__(self, detail: str, parameter: str | None = None) -> None:
        super().__init__(detail)
        self.parameter = parameter

    @property
    def extensions(self) -> Mapping[str, Any]:
        """Which field it is, if it is one."""
        return {} if self.parameter is None else {"parameter": self.parameter}


class HeaderTooLarge(DualModeError):
    """A header of a request is longer than it is read (RFC 6585, section 5).

    Attributes:
        name: The header.
        limit: The most bytes that are read of it.
    """

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    code = "header_too_large"

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(f"The header {name} is longer than {limit} bytes.")
        self.name = name
        self.limit = limit

    @property
    def extensions(self) -> Mapping[str, Any]:
        """Which header it is, and the bound."""
        return {"header": self.name, "limit": self.limit}


class StreamAborted(DualModeError):
    """Raised out of the ASGI call, so that the server cuts the connection and the client sees a broken stream.

    Servers log it as an error of the application. That is the price of a stream that cannot look complete.
    """

    code = "stream_aborted"


class ProtocolError(DualModeError):
    """The peer sent bytes that break the wire format.

    Attributes:
        index: Which record of the stream, counted from 0; None where records are not counted.
        value: What could be read of the record all the same. A JSON text that may have been cut short
            (RFC 7464, section 2.4) has its value here; otherwise None.
    """

    code = "protocol_error"

    def __init__(self, detail: str, *, index: int | None = None, value: Any = None) -> None:
        super().__init__(detail)
        self.index = index
        self.value = value

    @property
    def extensions(self) -> Mapping[str, Any]:
        """Which record it was, if records are counted."""
        return {} if self.index is None else {"index": self.index}


class EventTooLarge(ProtocolError):
    """The peer sent more bytes in one event, line or record than the decoder's bound allows.

    Attributes:
        limit: The bound, in bytes.
    """

    code = "event_too_large"

    def __init__(self, limit: int, *, index: int | None = None) -> None:
        super().__init__(f"One event is larger than the bound of {limit} bytes.", index=index)
        self.limit = limit

    @property
    def extensions(self) -> Mapping[str, Any]:
        """The bound that was hit."""
        return {**super().extensions, "limit": self.limit}


class UnexpectedAnswer(ProtocolError):
    """The server answered, without an error, but with something that the client did not ask for and cannot read.

    That is another media type than JSON or a stream, or a value that is not of the type the caller asked for (then
    `index` says which item it was, and `__cause__` what is wrong with it).
    """

    code = "unexpected_answer"


class RemoteError(DualModeError):
    """The server answered with an error, as a status or as the last frame of a stream.

    A server that lets it pass answers with the same status and problem, without the headers.

    Attributes:
        status: The HTTP status. For the last frame of a stream that of its problem document, or else 500.
        code: The code of the problem document; `remote_error` if the server sent none.
        document: What the server sent: the members of the problem document or of another JSON object, or a dict
            with nothing but `detail`, the beginning of the text.
        retry_after: How many seconds the server asks to wait before the next try; None if it does not say.
    """

    code = "remote_error"

    def __init__(
        self,
        status: int,
        document: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        *,
        retry_after: float | None = None,
    ) -> None:
        self.status = int(status)
        self.document = dict(document)
        self.retry_after = retry_after
        self._headers = {} if headers is None else headers
        code, detail = self.document.get("code"), self.document.get("detail")
        if isinstance(code, str):
            self.code = code
        title = self.document.get("title")
        said = detail if isinstance(detail, str) else title if isinstance(title, str) else None
        super().__init__(f"The server answered {self.status} ({self.code}){'' if said is None else f': {said}'}")

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the server's answer. Names in any letter case."""
        return self._headers

    @property
    def extensions(self) -> Mapping[str, Any]:
        """The members of the document that are not standard ones."""
        return {name: value for name, value in self.document.items() if name not in _STANDARD}

    @property
    def problem(self) -> Problem:
        """The problem document that the server sent, as far as it sent one."""
        detail = self.document.get("detail")
        return Problem(self.status, self.code, detail if isinstance(detail, str) else None, self.extensions)


class RequestFailed(DualModeError):
    """The client got no answer: the request could not be sent, or the connection broke before the headers came.

    `__cause__` has the error of the HTTP library, if there was one.

    Attributes:
        reason: Why, for programs: `invalid_url`, `connect`, `tls`, `timeout`, `redirects`, `proxy` or `broken`.
    """

    status = HTTPStatus.BAD_GATEWAY
    code = "request_failed"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason

    @property
    def extensions(self) -> Mapping[str, Any]:
        """The reason."""
        return {"reason": self.reason}


class StreamInterrupted(DualModeError):
    """A stream ended before it was complete, and reading on would not be safe, or was tried in vain.

    `__cause__` has what broke the connection; None if it came to a clean end without the frame that says so.

    Attributes:
        last_event_id: The id from which the stream can be resumed with `stream(..., last_event_id=...)`; empty if
            it had none.
        count: How many items were received.
    """

    status = HTTPStatus.BAD_GATEWAY
    code = "stream_interrupted"

    def __init__(self, detail: str, *, last_event_id: str = "", count: int = 0) -> None:
        super().__init__(detail)
        self.last_event_id = last_event_id
        self.count = count

    @property
    def extensions(self) -> Mapping[str, Any]:
        """The place that was reached."""
        return {"last_event_id": self.last_event_id, "count": self.count}
