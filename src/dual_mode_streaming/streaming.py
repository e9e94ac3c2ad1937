"""`DualModeResponse`: one source, answered as a complete JSON document or as a live stream.

The response is an ASGI application. It reads from the scope of the request which of the two is wanted, so it needs no
`request` argument, and a server, a test or any ASGI framework can call it.

What happens in which order, in both modes:

1. choose the mode and the media type; refuse what cannot be answered, before the source runs
2. run the source, in this task (`flow.py`), until it ends or something ends it (`lifecycle.py`)
3. the source is closed: its `finally` blocks have run
4. last words to the client: the body, the terminal frame, or the error
5. `on_finish`, then the background tasks

An error is the application's own affair as long as no header has been sent: it is raised, and the application's
exception handlers answer it, in both modes alike. Our own errors are answered here, unless the application handles
their class. After that an error can only be told inside the stream.
"""

from __future__ import annotations

import inspect
from asyncio import _get_running_loop as running_loop
from collections.abc import Mapping
from types import AsyncGeneratorType
from typing import Any, Unpack

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .batch import Gathering, take_items
from .entries import Entry
from .errors import DualModeError, Problem, StreamAborted
from .events import Outcome
from .exchange import ENDED, Exchange, at_first_step
from .formats import TERMINAL_ID
from .headers import check_forged
from .heads import DECIDED_HEADERS
from .jsonbytes import encode_at_once, encode_json
from .lifecycle import logger
from .modes import BATCH, JSON, STREAM, STREAM_TYPES, Choice, choose_mode, last_event_id
from .options import GivenOptions, Options
from .refusals import answer_error
from .sources import FASTAPI_WRAPPER, Asked, close_source, open_source
from .streams import STREAMS_IN_SCOPE, registry_of
from .tasks import ANYIO_SCOPES, innermost_scope, runs_on_asyncio

__all__ = ["DualModeResponse"]

_DEFAULT = Options()
_own = object.__getattribute__  # Starlette's State has a hook for attributes that it lacks, which costs for others too
_PLAIN = Choice(BATCH, JSON)
_TELLING = frozenset({b"accept", b"content-length", b"transfer-encoding"})
_ANY_OR_JSON = frozenset({b"*/*", b"application/json"})

HEAD_REQUEST = "dual_mode_streaming.head"
"""Set in a scope whose method is GET where the client's was HEAD."""


class DualModeResponse(Response):
    """Answers a request from one source, either with the fold of all items or with each item as it comes.

    Times are in seconds.

    Args:
        content: The source: an async generator, an async iterator, a sync generator (it runs in a thread), a list,
            or a callable that gives one of these. Items are dicts, dataclasses, Pydantic models, strings, anything
            with a JSON form, or `ServerSentEvent` where the event needs a name or an id. They must not be changed
            after they were yielded.
        status_code: The status of a successful answer.
        headers: Further headers. They win over the response's own. The content type cannot be set here.
        media_type: One of the stream types fixes the answer to that stream; `application/json` fixes it to a
            batch; another JSON type (`application/vnd.acme+json`) is what the batch body is called.
        background: Runs after the response, whatever its outcome, unless the application answered an error.
        fold: Makes the batch body of all items: a `Fold`, or a function from a sequence of items to a result.
        mode: Fixes the mode; otherwise the request chooses it.
        stream_param: The name of the query parameter that chooses the mode; None for no such parameter.
        heartbeat: A stream that was silent for so long gets a comment; None for never.
        commit_after: How long the headers wait for the first item or an error. Up to then an error has its own
            status; from then on the client is told that the stream is alive.
        on_disconnect: `"cancel"` ends the source when the client has left, `"finish"` lets it come to its end.
        deadline: The longest time the response may take.
        idle_timeout: The longest time the source may be silent.
        send_timeout: The longest time a client may take no byte; it is cut off then.
        close_timeout: How long the source's clean-up may take before it is left behind.
        linger: How long an item may wait for the next one if the source only gives the event loop a turn in between.
            0 sends at once; 0.0005 makes sources cheaper that do `sleep(0)` after every item. Their turns become one
            turn for all the items that wait, so everybody else waits as long, but 2 ms at the most.
        max_item_bytes: The largest item, as JSON; None for no bound.
        batch_max_items: The most items a fold may keep for a batch; None for no bound.
        batch_keepalive: Send white space before a batch body that takes longer than `commit_after`, so that no proxy
            gives up. The status is 200 then, whatever comes.
        heartbeat_lines: Send blank lines as the heartbeat of NDJSON streams.
        retry: The range of milliseconds from which each SSE client is told one to wait before it reconnects.
        validate_items: A type (`True` under `@dual_mode`: the annotated one) that every item is checked against.
        on_finish: Called once with the `Outcome` and the fold of the items so far.
        streams: The registry that limits, counts and drains open responses; None takes the one that the application
            has at `app.state.streams`, if it has one.
        debug: Tell clients the texts of unexpected errors.

    Raises:
        ValueError: An option is out of its range, or a header is one that the response decides, or would forge a line.
        TypeError: The fold is none, or what is given as `streams` is no registry.
    """

    status_code = 200
    background = None
    stand_in: Response | None = None
    """A response that stands for this one while the source runs: FastAPI's `response: Response` parameter."""
    plain_bytes: int = 0
    """The largest body for which a plain GET takes the shorter way; 0 if none does."""

    def __init__(
        self,
        content: Any,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
        **options: Unpack[GivenOptions],
    ) -> None:
        chosen = Options(**options) if options else _DEFAULT
        if media_type is not None and media_type != JSON and media_type not in STREAM_TYPES:
            _check_batch_type(media_type)
        self.source = content
        self.options = chosen
        self.status_code = status_code
        self.media_type = media_type
        self.background = background
        self.raw_headers = [] if headers is None else _raw(headers)
        self.stand_in = None
        self.plain_bytes = 0
        if (
            media_type is None
            and content.__class__ is AsyncGeneratorType
            and content.ag_code.co_name != FASTAPI_WRAPPER
        ):
            self.plain_bytes = chosen.plain_bytes

    async def __call__(  # noqa: C901  one function, for the reason that it gives
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one request."""
        # A plain request is the most common: a GET that says nothing of a mode and has no body. It gets a batch, as
        # `choose_mode` would say, and mostly one that is ready at once. Every call on the way to it is a part of what
        # the library costs, so it is all done here (docs/architecture.md, "A plain GET takes a shorter way").
        plain = (
            self.plain_bytes
            and scope["type"] == "http"
            and scope["method"] == "GET"
            and not scope.get("query_string")
            and HEAD_REQUEST not in scope
            and running_loop() is not None  # as `runs_on_asyncio`, but without a call of Python
        )
        registry = entry = None
        if plain:
            for name, value in scope["headers"]:
                if name in _TELLING and (name != b"accept" or value not in _ANY_OR_JSON):
                    plain = False
                    break
            try:
                alone = "streams" not in _own(scope["app"].state, "_state") and STREAMS_IN_SCOPE not in scope
            except (AttributeError, KeyError):  # no application of Starlette's
                alone = False
            if not alone and (registry := registry_of(scope, None)) is not None:
                plain = plain and not registry.draining and not registry.observers
        try:
            if not plain:
                await self._respond(scope, receive, send)
            else:
                source, options = self.source, self.options
                items: list[Any] = []
                late: list[Gathering] = []
                if registry is not None:
                    entry = registry.admit(scope, streams=False, media_type=JSON)
                outer = innermost_scope() if ANYIO_SCOPES else None
                work = take_items(source, items, options, late)
                body, waits_for, error = None, ENDED, None
                try:
                    waits_for = next(work.__await__(), ENDED)
                except BaseException as raised:
                    error = at_first_step(raised)
                else:
                    if waits_for is ENDED:
                        body = encode_at_once(options.fold.result(items))
                stand_in = self.stand_in
                if (
                    body is None
                    or len(body) > self.plain_bytes
                    or self.raw_headers
                    or (stand_in is not None and (stand_in.raw_headers or stand_in.status_code))
                ):
                    # It waits, has failed, or needs more than a body that is ready and a plain head.
                    gathering = late[0] if late else Gathering(source, options, items)
                    late[:] = [gathering]
                    exchange = Exchange(self, options, scope, _PLAIN, receive, send, entry)
                    await exchange.gathered(gathering, work, waits_for, error, outer)
                else:
                    if entry is not None:
                        entry.ended(Outcome.DONE, len(items))
                        send = entry.counting(send)
                    # What `head_of` would say; that call would be the dearest of all here.
                    status = self.status_code
                    if stand_in is not None:
                        status = getattr(scope.get("route"), "status_code", None) or status
                    headers = [
                        (b"content-type", b"application/json"),
                        (b"content-length", b"%d" % len(body)),
                        (b"vary", b"Accept"),
                    ]
                    try:
                        await send({"type": "http.response.start", "status": status, "headers": headers})
                        await send({"type": "http.response.body", "body": body})
                    except OSError:
                        logger.debug("the client left before it had its answer", exc_info=True)
                        if entry is not None:
                            entry.ended(Outcome.CLIENT_GONE, len(items))
        except StreamAborted:
            if self.background is not None:
                await self.background()
            raise
        finally:
            if entry is not None:
                entry.leave()
        if self.background is not None:
            await self.background()

    async def _respond(self, scope: Scope, receive: Receive, send: Send, *, in_plain_form: bool = False) -> None:
        if scope["type"] != "http":
            await close_source(self.source)
            await _refuse_websocket(scope, send)
            return
        entry: Entry | None = None
        try:
            choice = self._choose(scope)
            streams, last_id = choice.mode is STREAM, last_event_id(scope)
            if scope["method"] == "HEAD" or HEAD_REQUEST in scope or (streams and last_id == TERMINAL_ID):
                source = None
            else:
                registry = registry_of(scope, self.options.streams)
                if registry is not None:
                    entry = registry.admit(scope, streams=streams, media_type=choice.media_type)
                source = open_source(self.source, Asked(streams, last_id))
        except BaseException as error:
            if entry is not None:
                entry.ended(Outcome.ERROR, 0, error)
                entry.leave()
            await close_source(self.source)
            if not isinstance(error, DualModeError):
                raise
            await answer_error(error, scope, receive, send)
            return
        if source is None:
            await close_source(self.source)
            await self._answer_without_source(scope, choice, receive, send)
            return
        exchange = Exchange(self, self.options, scope, choice, receive, send, entry)
        try:
            if in_plain_form or not runs_on_asyncio():
                await exchange.plain(source)
            elif choice.mode is BATCH:
                await exchange.batch(source)
            else:
                await exchange.stream(source)
        finally:
            if entry is not None:
                entry.leave()

    # --- before the source runs --------------------------------------------------------------------

    def _choose(self, scope: Scope) -> Choice:
        if self.media_type is not None and (self.media_type == JSON or self.media_type in STREAM_TYPES):
            mode = BATCH if self.media_type == JSON else STREAM
            return Choice(mode, self.media_type)
        options = self.options
        return choose_mode(
            scope, mode=options.mode, stream_param=options.stream_param, batch_type=self.media_type or JSON
        )

    async def _answer_without_source(self, scope: Scope, choice: Choice, receive: Receive, send: Send) -> None:
        """Answer a HEAD, or a client that has seen the end of the stream and would only start it anew (204)."""
        if scope["method"] == "HEAD" or HEAD_REQUEST in scope:
            status, headers = Exchange(self, self.options, scope, choice, receive, send).head(None)
        else:
            status, headers = 204, [(b"vary", b"Accept")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _signature() -> inspect.Signature:
    """Give the signature of the response with every option and its default, for whoever looks it up."""
    own = list(inspect.signature(DualModeResponse.__init__).parameters.values())[1:-1]
    return inspect.Signature([*own, *inspect.signature(Options).parameters.values()])


DualModeResponse.__signature__ = _signature()  # type: ignore[attr-defined]


# --- answers that need no source ---------------------------------------------------------------------


async def _refuse_websocket(scope: Scope, send: Send) -> None:
    if scope["type"] != "websocket":
        raise TypeError(f"DualModeResponse answers HTTP requests, not {scope['type']!r}")
    problem = Problem(400, "not_a_websocket", "This endpoint answers plain HTTP requests, with JSON or a stream.")
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": problem.detail})
        return
    headers = [(b"content-type", Problem.media_type.encode())]
    await send({"type": "websocket.http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": encode_json(problem.as_dict())})


def _check_batch_type(media_type: str) -> None:
    check_forged([(b"content-type", media_type.encode("latin-1"))])
    essence = media_type.partition(";")[0].strip().lower()
    if essence != JSON and not essence.endswith("+json"):
        raise ValueError(f"media_type={media_type!r} is neither JSON nor one of {', '.join(STREAM_TYPES)}")


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    for name, _ in raw:
        if name in DECIDED_HEADERS:
            raise ValueError(f"the header {name.decode()} follows from the request; set media_type= to fix it")
    check_forged(raw)
    return raw
