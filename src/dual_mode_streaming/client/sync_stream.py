"""A stream as a program without an event loop reads it. `client` says what holds for both clients."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dual_mode_streaming.errors import DualModeError, RequestFailed
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.modes import ResponseMode

from .base import (
    ERROR_BYTES,
    Call,
    StreamBase,
    answer_of,
    batch_value,
    request_failed,
    typed_value,
)
from .reconnecting import Session, State

if TYPE_CHECKING:
    import httpx2

    Send = Callable[[Call, Session], httpx2.Response]

__all__ = ["SyncStream"]


class SyncStream(StreamBase):
    """The events of a stream, in the order of the server, over as many connections as it takes.

    It is a context manager: it connects when it is entered, and closes the connection when it is left, at once. In
    it, iterate over its events, or over `items()`, or call `result()`.

    An event is a `ServerSentEvent`: `data` is the item (decoded JSON, the text if it is not JSON, or an instance of
    the type that was asked for), `raw` its text, `event` its name and `id` the newest id. Where the server says that
    it has dropped items, an event named `gap` is among them, and `missed` counts them.

    Entering and iterating raise:
        RemoteError: The server answered with an error, by its status or in the stream.
        RequestFailed: There was no answer, and the stream was never open.
        StreamInterrupted: The stream came to no end, and cannot go on.
        ProtocolError: What came cannot be read: another media type, bad JSON, an event over the bound or of
            another type.
    """

    def __init__(self, send: Send, call: Call, session: Session, fold: Any) -> None:
        super().__init__(session, fold)
        self._send = send
        self._call = call
        self._http: httpx2.Response | None = None
        self._chunks: Iterator[bytes] | None = None
        self._events: Generator[ServerSentEvent, None, None] | None = None

    def __enter__(self) -> Self:
        try:
            self._connect()
        except BaseException:
            self._close()
            raise
        self._events = self._all_events()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[ServerSentEvent]:
        """Iterate over the events that were not taken yet. A stream that has failed fails again."""
        if self._events is None:
            raise RuntimeError("the stream is not open: use it as a context manager")
        if self._error is not None:
            raise self._error
        return self._events

    def items(self) -> Generator[Any, None, None]:
        """Iterate over the data of the events: the items, without the events named `gap`."""
        for event in self:
            if event.event != "gap":
                yield event.data

    def result(self) -> Any:
        """Read the stream to its end, and give the fold of all items: what the batch would be.

        If the server has answered with a batch, that is the value.

        Raises:
            RuntimeError: Events were taken already.
            StreamInterrupted: The server has dropped items, so there is no such value.
        """
        state = self._begin()
        event = None
        for event in self:
            state = self._step(state, event)
        return self._result(state, event)

    def value(self, wanted: Any) -> Any:
        """Give the value of an answer to a request for a batch; None if it has no body."""
        if self.response.status == 204 or self._call.method.upper() == "HEAD" or self._http is None:
            return None
        if self.mode is ResponseMode.STREAM:
            return typed_value(self.result(), wanted)

        import httpx2

        try:
            body = self._http.read()
        except httpx2.RequestError as error:
            raise request_failed(error) from error
        return batch_value(body, wanted)

    def close(self) -> None:
        """Close the connection. There are no more events then."""
        events, self._events = self._events, None
        if events is not None:
            events.close()
        self._close()

    def _close(self) -> None:
        if self._http is not None:
            self._http.close()

    def _connect(self) -> None:
        """Open the stream, or find that it is complete."""
        session = self._session
        while True:
            try:
                self._http = response = self._send(self._call, session)
            except RequestFailed as failure:
                wait = session.unanswered(failure, random.random())  # noqa: S311  no secret
            else:
                if session.opened(answer_of(response)):
                    self._chunk, self._fed = b"", 0
                    self._chunks = response.iter_bytes()
                    return
                body = self._beginning(response)
                if session.complete:
                    return
                wait = session.refused(body, time.time(), random.random())  # noqa: S311
            time.sleep(wait)

    def _beginning(self, response: httpx2.Response) -> bytes:
        """Read the beginning of the body of an answer that is no stream, and close it."""
        import httpx2

        body = b""
        try:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) >= ERROR_BYTES:
                    break
        except httpx2.RequestError:
            pass  # The status says enough.
        finally:
            response.close()
        return body

    def _all_events(self) -> Generator[ServerSentEvent, None, None]:
        """Give the events of all connections."""
        session = self._session
        self._begun = True
        try:
            while not session.complete:
                events = self._read()
                if session.alike:
                    yield from events  # no place has to be noted, and this is the fastest loop there is
                else:
                    for event in events:
                        self._at = event
                        yield event
                    self._at = None
                if session.state is State.OPEN:
                    continue
                self._close()
                if session.failure is not None:
                    raise session.failure
                if session.state is State.LOST:
                    time.sleep(session.lost(random.random()))  # noqa: S311
                    self._connect()
        except DualModeError as error:
            self._error = error
            raise

    def _read(self) -> list[ServerSentEvent]:
        """Read once; give the events that are complete now."""
        import httpx2

        if self._chunks is None:
            raise RuntimeError("the stream is closed")
        if self._chunk:
            return self._feed()
        try:
            chunk = next(self._chunks, None)
        except httpx2.RequestError as error:
            self._session.broke(error)
            return []
        if chunk is None:
            return self._session.end()
        self._chunk = chunk
        return self._feed()
