"""Every error of the library, split by whose fault it is.

DualModeError
    NotAcceptable           406  the client accepts none of the offered media types
    InvalidStreamFlag       422  the client's `?stream=` is neither true nor false
    BatchTooLarge           413  the batch body would break its bound; the client can ask for a stream
    InvalidEvent            500  the author's event would forge a line on the wire (also a ValueError)
    ItemNotEncodable        500  the author's item has no JSON form (also a TypeError)
    ItemTooLarge            500  the author's item is over the bound
    ItemInvalid             500  the author's item is not of the annotated type
    DeadlineExceeded        504  the response took longer than its deadline
    SourceIdle              504  the source was silent for too long
    StreamAborted                raised out of the ASGI call, so that the server cuts the connection
    ProtocolError                the peer sent bytes that break the wire format
        EventTooLarge            ... or more of them in one event or line than the bound allows

Rules of this file:

- Every error carries its data as attributes, so that nobody has to parse its text.
- `code` is stable and meant for programs; `detail` is for people and safe to send to a client.
- `Problem` (RFC 9457) is the one form in which an error travels, in every mode.
- The text of an exception that is not ours never enters a problem, unless the author asked for `debug`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar

__all__ = [
    "BatchTooLarge",
    "DeadlineExceeded",
    "DualModeError",
    "EventTooLarge",
    "InvalidEvent",
    "InvalidStreamFlag",
    "ItemInvalid",
    "ItemNotEncodable",
    "ItemTooLarge",
    "NotAcceptable",
    "Problem",
    "ProtocolError",
    "SourceIdle",
    "StreamAborted",
    "problem_from",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document (RFC 9457): what went wrong, in a form that a program can read.

    Attributes:
        status: The HTTP status code. It is repeated in the document, because a late error travels under a 200.
        code: A stable name for programs, such as `not_acceptable`. An extension member (RFC 9457, section 3.2).
        detail: What happened this time and what to do about it.
        extensions: Further members with the data of the error. They cannot replace the standard ones.
    """

    status: int
    code: str
    detail: str | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict)

    media_type: ClassVar[str] = "application/problem+json"

    @property
    def title(self) -> str:
        """The phrase of the status code, as RFC 9457 (section 4.2.1) asks for the type `about:blank`."""
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return "Error"

    def as_dict(self) -> dict[str, Any]:
        """Give the members of the document, ready to be encoded as JSON."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "code": self.code,
        }
        if self.detail is not None:
            document["detail"] = self.detail
        return {**self.extensions, **document}


class DualModeError(Exception):
    """The root of all errors of this library.

    Attributes:
        status: The HTTP status the error is answered with if nothing was sent yet.
        code: A stable name for programs.
        detail: What happened this time. Safe to send to a client.
    """

    status: ClassVar[int] = HTTPStatus.INTERNAL_SERVER_ERROR
    code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def extensions(self) -> Mapping[str, Any]:
        """The data of the error, as further members of its problem document."""
        return {}

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that belong to an answer with this error."""
        return {}

    @property
    def problem(self) -> Problem:
        """The error as a problem document."""
        return Problem(int(self.status), self.code, self.detail, self.extensions)


# --- the client's fault ------------------------------------------------------------------------


class NotAcceptable(DualModeError):
    """None of the offered media types satisfies the request's `Accept` (RFC 9110, section 15.5.7).

    Attributes:
        offers: What the server can send, best first.
    """

    status = HTTPStatus.NOT_ACCEPTABLE
    code = "not_acceptable"

    def __init__(self, offers: Sequence[str], *, accept: str | None = None) -> None:
        asked = f"Accept: {accept} allows" if accept is not None else "The request accepts"
        super().__init__(f"{asked} none of the media types on offer: {', '.join(offers)}.")
        self.offers = tuple(offers)

    @property
    def extensions(self) -> Mapping[str, Any]:
        return {"offers": list(self.offers)}


class InvalidStreamFlag(DualModeError):
    """The query parameter that chooses the mode is neither true nor false.

    Attributes:
        name: The name of the query parameter.
        value: What the client sent.
    """

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "invalid_stream_flag"

    def __init__(self, name: str, value: str) -> None:
        super().__init__(f"{name}={value!r} is not a mode. Use {name}=true for a stream or {name}=false for a batch.")
        self.name = name
        self.value = value

    @property
    def extensions(self) -> Mapping[str, Any]:
        return {"parameter": self.name, "value": self.value}


class BatchTooLarge(DualModeError):
    """The batch body would hold more than it may; the same data is available as a stream.

    Attributes:
        bound: The name of the bound that was hit.
        limit: Its value.
    """

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "batch_too_large"

    def __init__(self, bound: str, limit: int) -> None:
        super().__init__(
            f"The complete answer is larger than {bound}={limit} allows. "
            "Ask for it as a stream, for example with the header Accept: text/event-stream."
        )
        self.bound = bound
        self.limit = limit

    @property
    def extensions(self) -> Mapping[str, Any]:
        return {"bound": self.bound, "limit": self.limit}


# --- the author's fault ------------------------------------------------------------------------


class InvalidEvent(DualModeError, ValueError):
    """An event cannot be written without forging a line, or uses a name that belongs to the library.

    Attributes:
        field: The field of the event that is wrong.
    """

    code = "invalid_event"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"The event's {field} {reason}.")
        self.field = field

    @property
    def extensions(self) -> Mapping[str, Any]:
        return {"field": self.field}


class ItemNotEncodable(DualModeError, TypeError):
    """An item holds something that has no JSON form.

    Attributes:
        path: Where it is, as a JSONPath: `$` is the item, `$.rows[3].price` a value inside it.
        type_name: The Python type that has no JSON form.
    """

    code = "item_not_encodable"

    def __init__(self, path: str, type_name: str, reason: str) -> None:
        super().__init__(f"The value at {path} ({type_name}) cannot be written as JSON: {reason}.")
        self.path = path
        self.type_name = type_name

    @property
    def extensions(self) -> Mapping[str, Any]:
        return {"path": self.path}


class ItemTooLarge(DualModeError):
    """One item is larger than `max_item_bytes` allows.

    Attributes:
        index: Which item, counted from 0.
        size: Its size in bytes, as JSON.
        limit: The bound, in bytes.
    """

    code = "item_too_large"

    def __init__(self, index: int, size: int, limit: int) -> None:
        super().__init__(f"Item {index} has {size} bytes as JSON; max_item_bytes={limit} allows no more than that.")
        self.index = index
        self.size = size
        self.limit = limit

    @property
    def extensions(self) -> Mapping[str, Any]:
        return {"index": self.index, "size": self.size, "limit": self.limit}


class ItemInvalid(DualModeError):
    """An item is not of the type the endpoint promises (`validate_items=True`).

    Attributes:
        index: Which item, counted from 0.
    """

    code = "item_invalid"

    def __init__(self, index: int) -> None:
        super().__init__(f"Item {index} is not of the type that this endpoint promises.")
        self.index = index

    @property
    def extensions(self) -> Mapping[str, Any]:
        return {"index": self.index}


# --- time ran out ------------------------------------------------------------------------------


class DeadlineExceeded(DualModeError):
    """The response took longer than its `deadline`.

    Attributes:
        seconds: The deadline.
    """

    status = HTTPStatus.GATEWAY_TIMEOUT
    code = "deadline_exceeded"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The answer was not complete after {seconds:g} seconds.")
        self.seconds = seconds


class SourceIdle(DualModeError):
    """The source gave nothing for `idle_timeout` seconds.

    Attributes:
        seconds: The idle timeout.
    """

    status = HTTPStatus.GATEWAY_TIMEOUT
    code = "idle_timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The source was silent for {seconds:g} seconds.")
        self.seconds = seconds


# --- the connection ----------------------------------------------------------------------------


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
        return {**super().extensions, "limit": self.limit}


# --- errors of others --------------------------------------------------------------------------


def problem_from(error: BaseException, *, debug: bool = False) -> Problem:
    """Describe any error as a problem document, for a stream whose status line is already sent.

    An error that says of itself what a client may know (ours, or one with `status_code` and `detail` as
    Starlette's `HTTPException` has them) keeps it. Of any other nothing is told but that it happened.

    Args:
        error: What ended the source.
        debug: Tell the type and the text of unexpected errors too. Never in production.
    """
    if isinstance(error, DualModeError):
        return error.problem
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status <= 599:
        detail = getattr(error, "detail", None)
        if isinstance(detail, str):
            return Problem(status, "http_error", detail)
        return Problem(status, "http_error", extensions={} if detail is None else {"data": detail})
    return Problem(
        int(HTTPStatus.INTERNAL_SERVER_ERROR),
        "internal_error",
        f"{type(error).__name__}: {error}" if debug else None,
    )
