"""Every error of the library, split by whose fault it is.

DualModeError
    NotAcceptable           406  the client accepts none of the offered media types
    InvalidStreamFlag       422  the client's `?stream=` is neither true nor false
    HeaderTooLarge          431  a header of the client's request is longer than it is read
    InvalidRequest          400  the body of the client's request is not what the endpoint reads
    BatchTooLarge           413  the batch body would break its bound; the client can ask for a stream
    InvalidEvent            500  the author's event would forge a line on the wire (also a ValueError)
    ItemNotEncodable        500  the author's item has no JSON form (also a TypeError)
    ItemTooLarge            500  the author's item is over the bound
    ItemInvalid             500  the author's item is not of the annotated type
    DeadlineExceeded        504  the response took longer than its deadline
    SourceIdle              504  the source was silent for too long
    ChannelClosed           500  something was published to a channel that is closed
    WrongLoop               500  a channel was used outside of the event loop of its subscribers
    SlowClient              503  a subscriber was further behind than it may be
    TooManyStreams          503  as many streams are open as may be; 429 if it is the bound for one client
    Draining                503  the server is going down: it takes no new responses and ends the open ones
    StreamAborted                raised out of the ASGI call, so that the server cuts the connection
    ProtocolError                the peer sent bytes that break the wire format
        EventTooLarge            ... or more of them in one event or line than the bound allows
        UnexpectedAnswer         ... or an answer of a kind that the client cannot read
    RemoteError                  the server answered with an error: its problem document
    RequestFailed           502  the client got no answer at all
    StreamInterrupted       502  the stream that the client reads ended before it was complete
    RunError                500  something about a run
        RunNotFound         404  there is no such run, or it is somebody else's
        RunExpired          410  it is not kept any more
        HistoryTrimmed      410  the records after the client's last one are not kept any more
        EpochChanged        410  the client's last id is of another run
        ProducerLost        502  the process that did the work has died
        RunFailed           500  the work raised an error, which gives the status and the code
        ServerShutdown      503  the process that did the work went down
        RunCancelled        410  somebody cancelled it
        RunEnded            409  nothing can be added to it any more
    StoreError              503  the engine of a store cannot be reached, or failed
    ModelError              502  a language model cannot answer; it says with which status
    ModelNotFound           404  there is no language model of this name
    AnswerNotFound          404  an answer that was given in the background is not there
    InvalidKey              401  the API key is missing or wrong
    RequestTooLarge         413  the body of the client's request is larger than the endpoint reads

The root and the problem document are written in `_errors_root.py`, what concerns the other end of a connection in
`_errors_peer.py`, the open responses of a server in `_errors_capacity.py`, runs in `_errors_runs.py`, and language
models in `_errors_models.py`. Import them from here.

Rules of these files:

- Every error carries its data as attributes, so that nobody has to parse its text.
- `code` is stable and meant for programs; `detail` is for people and safe to send to a client.
- `Problem` (RFC 9457) is the one form in which an error travels, in every mode.
- The text of an exception that is not ours never enters a problem, unless the author asked for `debug`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from ._errors_capacity import Draining, TooManyStreams
from ._errors_models import AnswerNotFound, InvalidKey, ModelError, ModelNotFound, RequestTooLarge
from ._errors_peer import (
    EventTooLarge,
    HeaderTooLarge,
    InvalidRequest,
    ProtocolError,
    RemoteError,
    RequestFailed,
    StreamAborted,
    StreamInterrupted,
    UnexpectedAnswer,
)
from ._errors_root import DualModeError, Problem
from ._errors_runs import (
    EpochChanged,
    HistoryTrimmed,
    ProducerLost,
    RunCancelled,
    RunEnded,
    RunError,
    RunExpired,
    RunFailed,
    RunNotFound,
    ServerShutdown,
    StoreError,
)

__all__ = [
    "AnswerNotFound",
    "BatchTooLarge",
    "ChannelClosed",
    "DeadlineExceeded",
    "Draining",
    "DualModeError",
    "EpochChanged",
    "EventTooLarge",
    "HeaderTooLarge",
    "HistoryTrimmed",
    "InvalidEvent",
    "InvalidKey",
    "InvalidRequest",
    "InvalidStreamFlag",
    "ItemInvalid",
    "ItemNotEncodable",
    "ItemTooLarge",
    "ModelError",
    "ModelNotFound",
    "NotAcceptable",
    "Problem",
    "ProducerLost",
    "ProtocolError",
    "RemoteError",
    "RequestFailed",
    "RequestTooLarge",
    "RunCancelled",
    "RunEnded",
    "RunError",
    "RunExpired",
    "RunFailed",
    "RunNotFound",
    "ServerShutdown",
    "SlowClient",
    "SourceIdle",
    "StoreError",
    "StreamAborted",
    "StreamInterrupted",
    "TooManyStreams",
    "UnexpectedAnswer",
    "WrongLoop",
    "problem_from",
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


# --- channels ----------------------------------------------------------------------------------


class ChannelClosed(DualModeError):
    """Something was published to a channel that is closed."""

    code = "channel_closed"

    def __init__(self) -> None:
        super().__init__("The channel is closed. Nothing can be published any more; make a new one.")


class WrongLoop(DualModeError, RuntimeError):
    """A channel was used outside of the event loop in which its subscribers are."""

    code = "wrong_loop"


class SlowClient(DualModeError):
    """A subscriber of a channel is further behind than it may be, and the channel's policy is to end it.

    Attributes:
        bound: The name of the bound that was hit.
        limit: Its value.
    """

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "slow_client"

    def __init__(self, bound: str, limit: int) -> None:
        super().__init__(
            f"The client is further behind than {bound}={limit} allows. Reconnect, and read faster or ask for less."
        )
        self.bound = bound
        self.limit = limit

    @property
    def extensions(self) -> Mapping[str, Any]:
        return {"bound": self.bound, "limit": self.limit}


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
