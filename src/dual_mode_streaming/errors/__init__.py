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
    ChannelFailed           500  another process has closed it with an error, which gives the status and the code
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
    AnswerTooLarge          502  a model has said more than one answer may have
    InvalidKey              401  the API key is missing or wrong
    RequestTooLarge         413  the body of the client's request is larger than the endpoint reads

The modules are split by where an error arises; import every error from here.

Rules of these files:

- Every error carries its data as attributes, so that nobody has to parse its text.
- `code` is stable and meant for programs; `detail` is for people and safe to send to a client.
- `Problem` (RFC 9457) is the one form in which an error travels, in every mode.
- The text of an exception that is not ours never enters a problem, unless the author asked for `debug`.
"""

from __future__ import annotations

from .capacity import Draining, TooManyStreams
from .channels import ChannelClosed, ChannelFailed, SlowClient, WrongLoop
from .endpoint import (
    BatchTooLarge,
    DeadlineExceeded,
    InvalidEvent,
    InvalidStreamFlag,
    ItemInvalid,
    ItemNotEncodable,
    ItemTooLarge,
    NotAcceptable,
    SourceIdle,
)
from .models import AnswerNotFound, AnswerTooLarge, InvalidKey, ModelError, ModelNotFound, RequestTooLarge
from .peer import (
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
from .root import DualModeError, Problem, problem_from
from .runs import (
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
    "AnswerTooLarge",
    "BatchTooLarge",
    "ChannelClosed",
    "ChannelFailed",
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
