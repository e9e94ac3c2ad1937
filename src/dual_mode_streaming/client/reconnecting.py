"""A stream that outlives its connections: what a client does with each answer, each event and each cut.

It is sans-IO. The shells in `client` send, read and sleep; they tell it what came, what time it is and what a die
shows, and it says what to hand out, how long to wait, or which error to raise.

Rules of this file:

- Nothing is repeated in silence, and nothing lost. A request is sent again only if that cannot bring an item twice: it
  is a safe one and no item was received yet, or the last event had a place of its own, from which the server goes on.
- What was received before is dropped, as `places` knows it. Only an event that was not is progress, and lets the
  failures be counted anew.
- `retry:` takes the place of our own first wait. `Retry-After` is the least that is waited; a server that asks for more
  than the longest wait is not waited for.
- A stream is complete if the server says so: by `done`, by the `[DONE]` of LLM servers, by the clean end of a format
  that has no such frame, or by 204.
- An answer that is an error is final, if the server does not say when to come back. A gateway's is not, once the stream
  was open: the server behind it is being restarted.
"""

from __future__ import annotations

from enum import Enum
from operator import attrgetter
from typing import Any, cast

from dual_mode_streaming.errors import (
    DualModeError,
    ProtocolError,
    RequestFailed,
    StreamInterrupted,
    UnexpectedAnswer,
)
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.modes import ResponseMode

from .options import StreamOptions
from .places import Places
from .reading import CONTROL, DocumentReader, Reader, accept_header, reader_for
from .replies import Answer, problem_error, remote_error, unreadable
from .typed import Converter, convert, converter_for

__all__ = ["Session", "State"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "QUERY", "TRACE"})

MANY = 8
"""From so many events on it is worth to look at all of them together."""

_GATEWAY = frozenset({502, 503, 504})
_FINAL = frozenset({"invalid_url", "redirects", "tls"})
_DRAINING = "draining"
_LLM_END = "[DONE]"

_id_of, _name_of, _raw_of = attrgetter("id"), attrgetter("event"), attrgetter("raw")

# The events are ours, and nobody else has seen them yet.
_set = object.__setattr__


class State(Enum):
    """What there is to do with a stream."""

    OPEN = "open"
    """Read on."""
    DONE = "done"
    """Stop: the stream is complete."""
    LOST = "lost"
    """The server has broken off. `Session.lost` says whether to come back."""
    FAILED = "failed"
    """Raise `Session.failure`."""


class Session:
    """One stream, over as many connections as it takes.

    Args:
        method: The method of its request.
        options: How it is read.
        item_type: The type of its items; None for decoded JSON.
        last_event_id: Where to begin, for a stream that was read before; empty for its beginning.
        repeatable: Whether the request can be sent more than once. Its body may be an iterator, which is used up.

    Attributes:
        state: What there is to do.
        failure: The error to raise.
        answer: The head of the newest answer; None before the first.
        places: How far the stream was read.
        count: How many items were received.
        missed: How many items the server says that it has dropped.
        alike: Whether the events that `feed` gave last are items, and none has a place of its own.
        reconnects: How often the stream was opened again.
    """

    def __init__(
        self,
        method: str,
        options: StreamOptions,
        *,
        item_type: Any = None,
        last_event_id: str = "",
        repeatable: bool = True,
    ) -> None:
        self.state = State.OPEN
        self.failure: DualModeError | None = None
        self.answer: Answer | None = None
        self.places = Places(last_event_id)
        self.count = 0
        self.missed = 0
        self.alike = False
        self.reconnects = 0
        self._method = method.upper()
        self._repeatable = repeatable
        self._options = options
        self._convert: Converter | None = None if item_type is None else converter_for(item_type)
        self._from_beginning = not last_event_id
        self._opened = False
        self._failures = 0
        self._retry: int | None = None
        self._cause: Exception | None = None
        self._reader: Reader = DocumentReader()

    @property
    def mode(self) -> ResponseMode:
        """Whether the server streams, or has sent a batch."""
        return self._reader.mode

    @property
    def complete(self) -> bool:
        """Whether the stream is complete."""
        return self.state is State.DONE

    @property
    def batch(self) -> DocumentReader | None:
        """The reader of the batch that the server has sent in place of a stream; None if it streams."""
        return self._reader if isinstance(self._reader, DocumentReader) else None

    # --- connecting ----------------------------------------------------------------------------------

    def headers(self) -> dict[str, str]:
        """Give the headers of the next request that follow from the stream. A caller's own beat the first three."""
        return {
            "Accept": accept_header(self._options.media_type),
            "Accept-Encoding": "identity",  # what compresses a stream often collects it first
            "Cache-Control": "no-store",
            **({"Last-Event-ID": self.places.last_id} if self.places.last_id else {}),
        }

    def opened(self, answer: Answer) -> bool:
        """Take the head of an answer; say whether its body is to be fed. If not, it is `refused`, or all is done."""
        self.answer = answer
        if answer.status == 204:
            self.state = State.DONE
            return False
        reader = reader_for(answer.media_type, self._options) if answer.succeeded else None
        if reader is None:
            return False
        if self._opened:
            self.reconnects += 1
            self.places.reconnected()
        self._opened = True
        self._cause = None
        self._reader = reader
        self.state = State.OPEN
        return True

    def refused(self, body: bytes, now: float, chance: float) -> float:
        """Give the seconds to wait after an answer whose body is not to be fed.

        Args:
            body: The body of the answer, or the beginning of it.
            now: Unix time.
            chance: A random number from 0 to 1.

        Raises:
            RemoteError: The answer is an error, and the request is not sent again.
            UnexpectedAnswer: The answer is neither JSON nor a stream.
        """
        answer = self.answer
        if answer is None:
            raise RuntimeError("there was no answer yet")
        if answer.succeeded:
            raise unreadable(answer)
        error = remote_error(answer, body, now)
        asks = error.retry_after is not None and (answer.status == 429 or answer.status >= 500)
        wait = error.retry_after or 0.0
        passes = asks or (self._opened and answer.status in _GATEWAY)
        if not passes or wait > self._options.reconnect.max_delay or not self._may_repeat or self._fails():
            raise error
        return max(wait, self._wait(chance))

    def unanswered(self, error: RequestFailed, chance: float) -> float:
        """Give the seconds to wait after a request that got no answer.

        Raises:
            RequestFailed: The error, if the stream was never open.
            StreamInterrupted: The stream was open and is given up.
        """
        if error.reason in _FINAL or not self._may_repeat or self._fails():
            if not self._opened:
                raise error
            raise self.interrupted(f"The connection broke, and another could not be made: {error}") from error
        return self._wait(chance)

    def broke(self, cause: Exception) -> None:
        """Take note that the connection broke."""
        self._cause = cause
        self.state = State.LOST

    def lost(self, chance: float) -> float:
        """Give the seconds to wait after a connection that ended before the stream did.

        Args:
            chance: A random number from 0 to 1.

        Raises:
            StreamInterrupted: The stream is given up.
        """
        cause = self._cause
        how = "ended without a terminal event" if cause is None else f"broke: {str(cause) or type(cause).__name__}"
        if not self._may_repeat:
            raise self.interrupted(
                f"The stream {how}. It cannot go on: {self._obstacle()}.{self._hint(cause)}"
            ) from cause
        if self._fails():
            raise self.interrupted(
                f"The stream {how}. That was failure {self._failures} in a row.{self._hint(cause)}"
            ) from cause
        return self._wait(chance)

    def interrupted(self, detail: str) -> StreamInterrupted:
        """Give the error for a stream that is given up here."""
        return StreamInterrupted(detail, last_event_id=self.places.last_id, count=self.count)

    # --- reading -------------------------------------------------------------------------------------

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes of the body; give the events to hand out. Then look at `state`."""
        reader = self._reader
        try:
            events = self._take(reader.feed(chunk))
        except ProtocolError as error:
            self._fail(error)
            return []
        if reader.retry is not None:
            self._retry = reader.retry
        if reader.last_event_id != self.places.here and self.state is State.OPEN:
            self.places.move(reader.last_event_id)  # an id without data is a place too
            self._check_places()
        return events

    def end(self) -> list[ServerSentEvent]:
        """Take the clean end of the body; give the events to hand out. Then look at `state`."""
        try:
            events = self._take(self._reader.end())
        except ProtocolError as error:
            self._fail(error)
            return []
        if self.state is State.OPEN:
            complete = self._reader.ends_cleanly or not self._options.require_done
            self.state = State.DONE if complete else State.LOST
        return events

    def _take(self, events: list[ServerSentEvent | ProtocolError]) -> list[ServerSentEvent]:
        """Sort out what the reader gave, all together if that can be."""
        self.alike = len(events) >= MANY and self._only_items(events)
        if not self.alike:
            return self._take_singly(events)
        self.count += len(events)
        self.places.unplaced += len(events)
        self._failures = 0
        return cast("list[ServerSentEvent]", events)

    def _take_singly(self, events: list[ServerSentEvent | ProtocolError]) -> list[ServerSentEvent]:
        """Sort out items for the caller, words of the server about the stream, and what was received before."""
        given: list[ServerSentEvent] = []
        places = self.places
        typed = self._convert
        for event in events:
            if isinstance(event, ProtocolError):
                self._fail(event)
                break
            new_id = event.id or ""
            if new_id != places.here:
                old = places.move(new_id)
                if not self._check_places():
                    break
                placed = True
            else:
                old, placed = places.dropping, False
            name = event.event
            if (name is not None and name in CONTROL and self._ends(event, old)) or event.raw == _LLM_END:
                if self.state is State.OPEN:
                    self.state = State.DONE
                break
            if old:
                continue
            if not new_id and places.last_id:
                _set(event, "id", places.last_id)  # an id holds until the next one, over reconnects too
            if name != "gap":
                if typed is not None and not self._make(event, typed):
                    break
                self.count += 1
                places.unplaced += not placed
            given.append(event)
        if given:
            self._failures = 0
        return given

    def _only_items(self, events: list[Any]) -> bool:
        """Whether these are items without places of their own, to be handed out as they are.

        A look at all of them together costs a third of one at each.
        """
        places, reader = self.places, self._reader
        here = places.here
        if not reader.only_events or self._convert is not None or places.dropping or (places.last_id and not here):
            return False
        if reader.alike:
            alike = events[0].id == here
        else:
            alike = set(map(_id_of, events)) == {here} and CONTROL.isdisjoint(map(_name_of, events))
        return alike and _LLM_END not in map(_raw_of, events)

    def _check_places(self) -> bool:
        if self.places.lost:
            self._fail(self.interrupted("The server began anew, and what was received is no longer remembered."))
        return not self.places.lost

    def _make(self, event: ServerSentEvent, typed: Converter) -> bool:
        """Make the data of an event of the type that was asked for; say whether it fits."""
        try:
            _set(event, "data", convert(typed, event.raw or "", self.count))
        except UnexpectedAnswer as error:
            self._fail(error)
            return False
        return True

    def _ends(self, event: ServerSentEvent, old: bool) -> bool:
        """Read what the server says about the stream; say whether that ends it, or this connection."""
        said = event.data if isinstance(event.data, dict) else {}
        if event.event == "gap":
            missed = said.get("missed")
            if not old:
                self.missed += missed if isinstance(missed, int) else 1
            return False
        if event.event == "done":
            items = said.get("items")
            counts = self._from_beginning and not self.reconnects and not self.missed
            if counts and isinstance(items, int) and items != self.count:
                self._fail(self.interrupted(f"The server sent {items} items, but {self.count} came."))
            return True
        error = problem_error(self.answer, event.data)
        if error.code == _DRAINING and self._may_repeat:
            self.state = State.LOST
        else:
            self._fail(error)
        return True

    # --- deciding ------------------------------------------------------------------------------------

    @property
    def _may_repeat(self) -> bool:
        """Whether the request can be sent again without bringing an item twice."""
        fresh = self._method in SAFE_METHODS and not self.count
        return self._repeatable and (fresh or self.places.resumable)

    def _obstacle(self) -> str:
        if not self._repeatable:
            return "the body of the request cannot be sent twice"
        if not self.places.unique:
            return "its ids come back, so they are no places"
        if self.count:
            return "its last item had no id of its own, from which a server could go on"
        return f"a {self._method} without an id is not sent again, because its work may have been done"

    def _hint(self, cause: Exception | None) -> str:
        if cause is not None or self.state is not State.LOST or self._reader.ends_cleanly:
            return ""
        return " If this server sends no terminal event, say require_done=False."

    def _fails(self) -> bool:
        """Count a failure; say whether it was the last."""
        self._failures += 1
        return self._failures >= self._options.reconnect.attempts

    def _wait(self, chance: float) -> float:
        return self._options.reconnect.wait(self._failures, self._retry, chance)

    def _fail(self, error: DualModeError) -> None:
        self.failure = error
        self.state = State.FAILED
