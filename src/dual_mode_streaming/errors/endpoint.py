"""Errors of one answer: what its client asked for, what its author's source gave, and the time that it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from .root import DualModeError

__all__ = [
    "BatchTooLarge",
    "DeadlineExceeded",
    "InvalidEvent",
    "InvalidStreamFlag",
    "ItemInvalid",
    "ItemNotEncodable",
    "ItemTooLarge",
    "NotAcceptable",
    "SourceIdle",
]

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
    """One item is larger than `max_item_bytes` of a response, or `max_bytes` of a channel, allows.

    Attributes:
        index: Which item, counted from 0.
        size: Its size in bytes, as JSON.
        limit: The bound, in bytes.
    """

    code = "item_too_large"

    def __init__(self, index: int, size: int, limit: int, *, bound: str = "max_item_bytes") -> None:
        super().__init__(f"Item {index} has {size} bytes as JSON; {bound}={limit} allows no more than that.")
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
