"""What all dialects have in common, so that whoever serves them can treat them alike.

A dialect is the contract of one vendor's endpoint: how a request looks, how an answer looks in both modes, how an error
looks. It is pure. It knows no clock and draws no ids: both come in a `Stamp`.

Rules for every dialect:

- The stream and the batch are written from one `Assembly`, so the stream folds to the batch.
- A renderer gives the bytes of an event at once. It waits only where the vendor's form leaves no choice, for a call to
  be complete.
- An error before the first frame is a status with `error_body`; after it, the last frame. The frames that tell of a
  complete answer never follow it.
- A parser does not depend on how the bytes are cut. What came before a mistake is given out first.
- Where the vendor knows one choice only, it is choice 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dual_mode_streaming.errors import DualModeError, Problem, ProtocolError, RemoteError, StreamInterrupted
from dual_mode_streaming.jsonbytes import decode_json, encode_json
from dual_mode_streaming.llm.events import Event
from dual_mode_streaming.llm.fold import Assembly, Completion
from dual_mode_streaming.llm.requests import Request
from dual_mode_streaming.modes import SSE
from dual_mode_streaming.sse import SSEDecoder

__all__ = [
    "SSE_TYPE",
    "Dialect",
    "Parser",
    "Renderer",
    "SSEParser",
    "Stamp",
    "data_frame",
    "message_of",
    "named_frame",
    "remote_error",
]

SSE_TYPE = f"{SSE}; charset=utf-8"


def _no_time() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an answer needs and cannot know by itself.

    Attributes:
        id: What tells this answer from all others. Without a prefix: each dialect sets its own in front of it.
        created: When the answer was begun, in Unix seconds.
        model: The name of the model that answers; None for the name in the request.
        elapsed: Gives the nanoseconds since the answer was begun. Ollama tells them; without it they are 0.
    """

    id: str
    created: int = 0
    model: str | None = None
    elapsed: Callable[[], int] = field(default=_no_time, compare=False)


class Renderer(ABC):
    """Writes one answer as a stream: neutral events in, frames out. It sends nothing itself.

    The order is `start`, any number of `event`, then `finish` or `error`; `heartbeat` fits in anywhere after `start`.

    Attributes:
        assembly: What was said so far.
    """

    def __init__(self) -> None:
        self.assembly = Assembly()

    def start(self) -> bytes:
        """Give what opens the stream; empty where the first event does."""
        return b""

    @abstractmethod
    def event(self, event: Event | str) -> bytes:
        """Give the frames of an event; empty if it says nothing in this dialect, or not yet.

        Raises:
            ItemNotEncodable: A text that UTF-8 cannot carry.
            TypeError: It is no event.
        """

    @abstractmethod
    def finish(self) -> bytes:
        """Give what ends a stream that is complete. A choice that has not ended, ends with `stop`."""

    @abstractmethod
    def error(self, problem: Problem) -> bytes:
        """Give the last frame of a stream that failed."""

    def heartbeat(self) -> bytes:
        """Give the frame that says nothing; empty where there is none."""
        return b": \n\n"


class Parser(ABC):
    """Reads a vendor's stream: bytes in, neutral events out. It reads nothing itself: feed it."""

    def __init__(self) -> None:
        self._failure: DualModeError | None = None
        self._complete = False
        self._given = 0

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and give the events that they complete.

        Raises:
            RemoteError: The server told of an error. Events before it are given first, and the next call raises.
            ProtocolError: The bytes are not of this dialect. The same holds.
        """
        events: list[Event] = []
        if self._failure is None:
            try:
                self._feed(data, events)
            except DualModeError as error:
                self._failure = error
        if self._failure is not None and not events:
            raise self._failure
        self._given += len(events)
        return events

    def flush(self) -> list[Event]:
        """Say that the stream has ended, and give the events that were not certain before.

        Raises:
            StreamInterrupted: It was not complete.
            RemoteError, ProtocolError: As `feed` does.
        """
        events = self.feed(b"")
        if not self._complete:
            raise StreamInterrupted(
                "The stream ended without the frame that says that it is complete.", count=self._given
            )
        return events

    @abstractmethod
    def _feed(self, data: bytes, events: list[Event]) -> None:
        """Read the next bytes; add the events."""


class SSEParser(Parser):
    """Reads the stream of a vendor that sends server-sent events with JSON in them."""

    def __init__(self) -> None:
        super().__init__()
        self._decoder = SSEDecoder()

    def _feed(self, data: bytes, events: list[Event]) -> None:
        for event in self._decoder.feed(data):
            text = event.raw or ""
            if not text.strip():
                continue
            if text.strip() == "[DONE]":
                self._complete = True
                continue
            try:
                value = decode_json(text)
            except ValueError:
                raise ProtocolError(f"A frame of the stream holds no JSON: {text[:80]!r}.") from None
            if not isinstance(value, dict):
                raise ProtocolError("A frame of the stream holds no JSON object.")
            self._read(event.event, value, events)

    @abstractmethod
    def _read(self, name: str | None, value: dict[str, Any], events: list[Event]) -> None:
        """Read the data of one frame."""


class Dialect(ABC):
    """The contract of one vendor's endpoint.

    Attributes:
        name: What a user calls it. Several endpoints of one vendor share it.
        path: Where the vendor's clients post their requests.
        media_type: The content type of a stream.
        headers: Further headers of a stream.
        streams_by_default: Whether a request that does not say gets a stream.
    """

    name: ClassVar[str]
    path: ClassVar[str]
    media_type: ClassVar[str] = SSE_TYPE
    headers: ClassVar[Mapping[str, str]] = {}
    streams_by_default: ClassVar[bool] = False

    @abstractmethod
    def parse_request(self, body: bytes) -> Request:
        """Read the body of a request.

        Raises:
            InvalidRequest: It is not what the vendor accepts, or asks for what is not offered here.
        """

    def immediate(self, request: Request) -> Completion | None:  # noqa: ARG002  few vendors have one
        """Give the answer to a request that needs no model; None if it needs one."""
        return None

    def outline(self, request: Request) -> Mapping[str, Any]:
        """Give the body of a request without what only the model needs: enough to write the answer once more."""
        return request.body

    @abstractmethod
    def batch(self, completion: Completion, request: Request, stamp: Stamp) -> dict[str, Any]:
        """Give the batch answer, ready to be encoded as JSON."""

    @abstractmethod
    def renderer(self, request: Request, stamp: Stamp) -> Renderer:
        """Give what writes the answer to a request as a stream."""

    @abstractmethod
    def error_body(self, problem: Problem) -> dict[str, Any]:
        """Give the body of an error that is answered with its own status."""

    @abstractmethod
    def parser(self) -> Parser:
        """Give what reads a stream of this vendor."""

    @abstractmethod
    def parse_batch(self, document: Mapping[str, Any]) -> Completion:
        """Read a batch answer of this vendor.

        Raises:
            RemoteError: It tells of an error.
            ProtocolError: It is not of this dialect.
        """


def data_frame(value: Any) -> bytes:
    """Write an event without a name: its JSON as data."""
    return b"data: %b\n\n" % encode_json(value)


def named_frame(name: str, value: Any) -> bytes:
    """Write an event with a name that needs no check."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode_json(value))


def message_of(problem: Problem) -> str:
    """Give the sentence that tells people what happened."""
    return problem.detail or problem.title


def remote_error(status: int, message: object, code: object = None, **more: Any) -> RemoteError:
    """Make the error that a vendor's error frame or body tells of."""
    document: dict[str, Any] = {"detail": message if isinstance(message, str) else "The server gave no reason.", **more}
    if isinstance(code, str) and code:
        document["code"] = code
    return RemoteError(status, document)
