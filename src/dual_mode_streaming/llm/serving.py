"""`DialectResponse`: what a model says, answered in the words of one vendor.

It is a `DualModeResponse` of which three things are different: the mode is chosen before, the frames and the body are
those of a dialect, and so are the errors. All else, from the watch for the client to the drain, is what it is there.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from secrets import token_hex
from time import time
from typing import Any, TypeAlias

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dual_mode_streaming.entries import Entry
from dual_mode_streaming.errors import DualModeError, Problem, RemoteError, StreamAborted, problem_from
from dual_mode_streaming.events import Outcome, ServerSentEvent
from dual_mode_streaming.exchange import READ_BEFORE_CUT, Exchange
from dual_mode_streaming.folds import Fold
from dual_mode_streaming.formats import TERMINAL_ID, Format
from dual_mode_streaming.heads import DECIDED_HEADERS
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.lifecycle import logger
from dual_mode_streaming.modes import JSON, Choice, ResponseMode
from dual_mode_streaming.options import Options
from dual_mode_streaming.sources import close_source, open_source
from dual_mode_streaming.streaming import DualModeResponse
from dual_mode_streaming.streams import registry_of
from dual_mode_streaming.tasks import runs_on_asyncio

from .dialects.base import Dialect, Renderer, Stamp
from .fold import Assembly, Completion, CompletionFold
from .requests import Request
from .timings import Meter, Timings

__all__ = ["Asking", "DialectResponse", "OnAnswer", "refusal"]

OnAnswer: TypeAlias = Callable[[Outcome, Completion, Timings], Awaitable[None] | None]
"""What is told how an answer ended, what was said, and how long it took."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One request, and all that has to be known to answer it.

    Attributes:
        dialect: In whose words.
        request: What is asked for.
        stamp: The id and the time of the answer.
        meter: Takes its times.
    """

    dialect: Dialect
    request: Request
    stamp: Stamp
    meter: Meter

    @classmethod
    def of(cls, dialect: Dialect, request: Request, model: str) -> Asking:
        """Begin to answer a request: draw the id, which cannot be guessed, and start the clock."""
        meter = Meter()
        return cls(dialect, request, Stamp(token_hex(16), int(time()), model, meter.elapsed), meter)

    @property
    def headers(self) -> dict[str, str]:
        """The headers by which clients name the answer when they report a problem."""
        identity = f"req_{self.stamp.id}"
        return {"x-request-id": identity, "request-id": identity}


class DialectResponse(DualModeResponse):
    """Answers one request.

    Args:
        asking: The request.
        events: What the model says: anything that is a source.
        options: The options of the response, with a `CompletionFold`. What concerns the mode does not count.
        on_finish: Told of the end, in both modes.
        asks_model: Whether the model works for this answer alone; otherwise it follows work that is told of elsewhere.
        renderer: Writes the stream; None for the dialect's usual one.
        most: The largest answer (see `Assembly`); None for no bound.
    """

    def __init__(
        self,
        asking: Asking,
        events: Any,
        options: Options,
        *,
        on_finish: OnAnswer | None = None,
        asks_model: bool = False,
        renderer: Renderer | None = None,
        most: int | None = None,
    ) -> None:
        dialect, request = asking.dialect, asking.request
        options = copy.copy(options)
        headers = asking.headers
        if request.stream:
            renderer = renderer or dialect.renderer(request, asking.stamp)
            renderer.assembly.bound(most)
            options.fold = _WhatWasRendered(renderer)
            headers.update(dialect.headers)
        else:
            options.fold = _Batch(asking, most)
        if on_finish is not None:
            hook = on_finish
            options.on_finish = lambda outcome, said: hook(outcome, said, asking.meter.timings(said))
        self.source = events
        self.options = options
        self.raw_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self.asking = asking
        self.renderer = renderer
        self._asks_model = asks_model

    async def _respond(self, scope: Scope, receive: Receive, send: Send, *, in_plain_form: bool = False) -> None:
        asking = self.asking
        streams = self.renderer is not None
        kind = asking.dialect.media_type if streams else JSON
        choice = Choice(ResponseMode.STREAM if streams else ResponseMode.BATCH, kind)
        entry: Entry | None = None
        try:
            registry = registry_of(scope, self.options.streams)
            if registry is not None:
                entry = registry.admit(scope, streams=streams, media_type=kind)
                if entry.observed is not None:
                    self._note_model(entry.observed.notes)
            source = open_source(self.source)
        except DualModeError as error:
            await close_source(self.source)
            await refusal(error, asking.dialect, headers=asking.headers)(scope, receive, send)
            return
        exchange = _DialectExchange(self, self.options, scope, choice, receive, send, entry)
        try:
            if in_plain_form or not runs_on_asyncio():
                await exchange.plain(source)
            elif streams:
                await exchange.stream(source)
            else:
                await exchange.batch(source)
        finally:
            if entry is not None:
                entry.leave()

    def _note_model(self, notes: dict[str, Any]) -> None:
        """Let observers know of the model, by the names of OpenTelemetry's conventions."""
        asking, hook = self.asking, self.options.on_finish
        notes["gen_ai.operation.name"] = "chat"
        notes["gen_ai.request.model"] = asking.stamp.model
        notes["dual_mode.dialect"] = asking.dialect.name
        if not self._asks_model:
            return

        def finished(outcome: Outcome, said: Completion) -> Awaitable[None] | None:
            notes.update(asking.meter.timings(said).by_name)
            if said.usage is not None:
                notes["gen_ai.usage.input_tokens"] = said.usage.input_tokens or 0
                notes["gen_ai.usage.output_tokens"] = said.usage.output_tokens or 0
            return None if hook is None else hook(outcome, said)

        self.options.on_finish = finished


def refusal(
    error: Exception, dialect: Dialect, *, debug: bool = False, headers: Mapping[str, str] | None = None
) -> Response:
    """Give the answer to a request that failed before anything was said, as the vendor would write it."""
    problem = problem_from(error, debug=debug)
    own = {} if isinstance(error, RemoteError) else getattr(error, "headers", None) or {}
    return Response(encode_json(dialect.error_body(problem)), problem.status, {**(headers or {}), **own}, JSON)


class _DialectExchange(Exchange):
    """Answers with the frames and the errors of a dialect."""

    __slots__ = ("_response",)

    def __init__(self, response: DialectResponse, *rest: Any) -> None:
        super().__init__(response, *rest)
        self._response = response

    def format(self) -> Format:
        response = self._response
        assert response.renderer is not None  # noqa: S101  a stream has one
        meter = None if self._options.on_finish is None else response.asking.meter
        return _DialectFormat(response.renderer, response.asking.dialect, meter)

    def head(self, length: int | None) -> tuple[int, list[tuple[bytes, bytes]]]:
        status, headers = super().head(length)
        # A model that is elsewhere may have headers to pass on. They are known when its first event has come.
        told: Mapping[str, str] = getattr(self._response.source, "headers", {})
        more = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in told.items()]
        names = {name for name, _ in more} - DECIDED_HEADERS
        kept = [pair for pair in headers if pair[0] not in names]
        return status, kept + [pair for pair in more if pair[0] in names]

    async def refuse(self, error: Exception) -> None:
        asking = self._response.asking
        if not isinstance(error, DualModeError) and getattr(error, "status_code", None) is None:
            logger.error("the model failed", exc_info=error)
        answer = refusal(error, asking.dialect, debug=self._options.debug, headers=asking.headers)
        await answer(self._scope, self._receive, self._send)

    async def _last_words(self, answer: Any, outcome: Outcome, error: Exception | None) -> None:
        begun = answer.started or answer.has_frames
        if isinstance(error, StreamAborted) and begun and not answer.client_gone:
            # The model wants the connection to break. What it had said before is sent, as it would have been.
            if answer.has_frames:
                await answer.last_words(answer.framing.take(), more=True)
                await anyio.sleep(READ_BEFORE_CUT)
            raise error
        await super()._last_words(answer, outcome, error)


class _DialectFormat(Format):
    """The frames of a dialect."""

    opens_without_items = True

    def __init__(self, renderer: Renderer, dialect: Dialect, meter: Meter | None) -> None:
        self.content_type = dialect.media_type
        self._renderer = renderer
        self._begun = False
        if meter is None:
            # One call less for each event.
            self.item = renderer.event  # type: ignore[assignment, method-assign]
        else:
            note, event_frames = meter.note, renderer.event

            def item(item: Any) -> bytes:
                note(item)
                return event_frames(item)

            self.item = item  # type: ignore[method-assign]

    def item(self, item: Any) -> bytes:
        return self._renderer.event(item)

    def event(self, event: ServerSentEvent) -> bytes:
        raise TypeError(f"{event!r} is no event of a model: it must be one of those of llm.events, or a string")

    def control(self, event: ServerSentEvent) -> tuple[bytes, bytes]:
        return b"", self.event(event)

    def encoded(self, json: bytes, name: str | None, event_id: str) -> bytes:  # noqa: ARG002
        return self.event(ServerSentEvent(raw=json.decode()))

    def opening(self, retry: tuple[int, int] | None) -> bytes:  # noqa: ARG002  no vendor has a use for it
        if self._begun:
            return b""
        self._begun = True
        return self._renderer.start()

    def done(self, items: int, terminal_id: str = TERMINAL_ID) -> bytes:  # noqa: ARG002
        return self._renderer.finish()

    def error(self, problem: Problem) -> bytes:
        return self._renderer.error(problem)

    def heartbeat(self, lines: bool) -> bytes:  # noqa: ARG002  a dialect has one or none
        return self._renderer.heartbeat()


class _Batch(CompletionFold):
    """Folds what a model says to the batch answer of a dialect."""

    def __init__(self, asking: Asking, most: int | None) -> None:
        self._asking = asking
        self._note = asking.meter.note
        self._most = most

    def start(self) -> Assembly:
        return Assembly(self._most)

    def step(self, state: Assembly, item: Any) -> Assembly:
        self._note(item)
        state.take(item)
        return state

    def result(self, state: Assembly) -> Any:
        asking = self._asking
        return asking.dialect.batch(super().result(state), asking.request, asking.stamp)


class _WhatWasRendered(Fold[Any, Completion]):
    """Gives what a renderer has written so far. It keeps that anyway."""

    keeps_items = False

    def __init__(self, renderer: Renderer) -> None:
        self._assembly = renderer.assembly

    def start(self) -> None:
        """Have nothing of its own."""

    def step(self, state: Any, item: Any) -> Any:  # noqa: ARG002  the renderer takes it
        return state

    def result(self, state: Any) -> Completion:  # noqa: ARG002
        return self._assembly.estimated()
