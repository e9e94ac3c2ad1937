"""What can be known of responses, runs and stores while they work, and who is told.

An `Observer` is given to `Streams` or to `Runs`. It is told of few moments, each of them once: a response is opened,
has its first item, is over; a run begins and ends; a verb of a store has returned. What grows in between (items, bytes,
silence) stands in the `Observed` of the response, to be read at any time.

Rules:

- Nothing is global. An observer hears of what it was given to, and of nothing else.
- Nobody is told of an item. What is counted per item is counted for other reasons anyway.
- An observer is called from the event loop and must not wait. What it raises is logged, and changes nothing.
- Where nobody observes, there is no `Observed`, and nothing of this runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, MutableMapping
from time import monotonic
from typing import Any, Protocol

from starlette.types import Scope

from .events import Outcome, ServerSentEvent
from .modes import last_event_id
from .sources import close_source

__all__ = ["FirstNoted", "Observed", "ObservedRun", "Observer", "notes_of", "route_of", "tell"]

_logger = logging.getLogger("dual_mode_streaming")

_NOTES = "dual_mode_streaming.notes"


class Observer:
    """Hears of responses, runs and stores. Override what you want to hear of; the rest does nothing."""

    def opened(self, response: Observed) -> None:
        """A response was admitted. Its source has not run yet. The task is that of the request."""

    def first_item(self, response: Observed) -> None:
        """The source of a response has given its first item."""

    def ended(self, response: Observed) -> None:
        """A response is over: its source is closed, and it has its outcome."""

    def refused(self, scope: Scope, error: Exception) -> None:
        """A request was refused for a limit, or because the server is going down: `TooManyStreams`, `Draining`."""

    def run_began(self, run: ObservedRun) -> None:
        """A run has begun in this process. The task is that of whoever has begun it."""

    def run_ended(self, run: ObservedRun) -> None:
        """A run of this process is over."""

    def store_answered(self, store: str, verb: str, seconds: float, error: Exception | None) -> None:
        """A verb of a store has returned after so many seconds, or has raised."""


def tell(observers: Iterable[Observer], moment: str, *facts: Any) -> None:
    """Tell all observers of a moment, whatever one of them makes of it."""
    for observer in observers:
        try:
            getattr(observer, moment)(*facts)
        except Exception:
            _logger.exception("%s raised in %s", type(observer).__name__, moment)


def notes_of(scope: MutableMapping[str, Any]) -> dict[str, Any]:
    """Give what the author has noted of a request, to be added to.

    Notes become attributes of the span and fields of the log line: `notes_of(request.scope)["tenant.id"] = "t1"`.

    Args:
        scope: The ASGI scope of the request.
    """
    notes: dict[str, Any] = scope.setdefault(_NOTES, {})
    return notes


def route_of(scope: Scope) -> str:
    """Give the path of the route that a request has come to, with the names of its parameters in place of the values.

    Args:
        scope: The ASGI scope of the request.

    Returns:
        The path; `""` if the framework does not tell. There are as many as there are routes, not as there are requests.
    """
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    if not isinstance(path, str):
        return ""
    # A framework puts the path of a mount, as it was requested, in front of the application's own root.
    prefix: str = scope.get("root_path", "").removeprefix(scope.get("app_root_path", ""))
    for name, value in scope.get("path_params", {}).items() if prefix else ():
        if f"{{{name}" not in path:
            prefix = f"{prefix}/".replace(f"/{value}/", f"/{{{name}}}/").removesuffix("/")
    return prefix + path


class _HasItems(Protocol):
    @property
    def items(self) -> int: ...


class Observed:
    """One response, as observers know it. Times are in seconds.

    Attributes:
        scope: The ASGI scope of the request.
        streams: Whether it is a stream; otherwise it is a batch.
        media_type: Of the answer, if nothing goes wrong.
        last_event_id: What a client that comes back to a stream has named as the last event; None if it named none.
        since: When it was opened, by the monotonic clock.
        behind: How many events a client that came back was behind; None if nobody knows.
        heartbeat: The frame that says nothing, by which silence is known; `b""` if there is none.
        taken: What takes the items of a stream, with their number as `items`; None for a batch, and at the end.
        bytes: How many bytes of body were sent so far.
        heartbeats: How many of the sends were heartbeats.
        status: The status that was sent; None if none was yet, or another sends it.
        first_after: How long it took to the first item; None if there is none yet.
        duration: How long it took in all; None while it is open.
        outcome: How it ended; None while it is open.
        error: What it ended with; None if that is nothing.
        left_behind: Whether the source did not close in time, and was left behind.
        trace_id: The trace that an observer has made a span in; None if none has.
        span_id: That span.
    """

    __slots__ = (
        "_items",
        "_observers",
        "_quiet_since",
        "_sent_at",
        "_silence",
        "behind",
        "bytes",
        "duration",
        "error",
        "first_after",
        "heartbeat",
        "heartbeats",
        "last_event_id",
        "left_behind",
        "media_type",
        "outcome",
        "scope",
        "since",
        "span_id",
        "status",
        "streams",
        "taken",
        "trace_id",
    )

    def __init__(self, scope: Scope, observers: Iterable[Observer], *, streams: bool, media_type: str) -> None:
        self.scope = scope
        self.streams = streams
        self.media_type = media_type
        self.last_event_id = last_event_id(scope) if streams else None
        self.since = self._sent_at = monotonic()
        self.behind: int | None = None
        self.heartbeat = b""
        self.taken: _HasItems | None = None
        self.bytes = self.heartbeats = self._items = 0
        self.status: int | None = None
        self.first_after: float | None = None
        self.duration: float | None = None
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.left_behind = False
        self.trace_id: str | None = None
        self.span_id: str | None = None
        self._silence = 0.0
        self._quiet_since: float | None = None
        self._observers = observers
        tell(observers, "opened", self)

    @property
    def route(self) -> str:
        """The path of the route; see `route_of`."""
        return route_of(self.scope)

    @property
    def notes(self) -> dict[str, Any]:
        """What the author has noted; see `notes_of`."""
        return notes_of(self.scope)

    @property
    def items(self) -> int:
        """How many items there are so far; of a batch once it is over."""
        return self._items if self.taken is None else self.taken.items

    @property
    def status_code(self) -> int | None:
        """The status that was sent; or what the application will make of the error, if nothing was sent."""
        if self.status is not None or not isinstance(self.error, Exception):
            return self.status
        status = getattr(self.error, "status", None) or getattr(self.error, "status_code", None)
        return int(status) if isinstance(status, int) else 500

    @property
    def silence(self) -> float:
        """For how long the client has heard nothing but heartbeats, in all."""
        quiet = self._quiet_since
        return self._silence if quiet is None else self._silence + monotonic() - quiet

    def sends(self, body: bytes) -> None:
        """Take note of a part of the body that is being sent."""
        self.bytes += len(body)
        if body == self.heartbeat:
            self.heartbeats += 1
            if self._quiet_since is None:
                self._quiet_since = self._sent_at
        else:
            self._silence, self._quiet_since = self.silence, None
            self._sent_at = monotonic()

    def has_first_item(self) -> None:
        """Take note of the first item."""
        self.first_after = monotonic() - self.since
        tell(self._observers, "first_item", self)

    def is_over(self, outcome: Outcome, items: int, error: BaseException | None) -> None:
        """Take note of the end."""
        self._items, self.taken = items, None
        self._silence, self._quiet_since = self.silence, None
        self.duration = monotonic() - self.since
        self.outcome, self.error = outcome, error
        tell(self._observers, "ended", self)


class ObservedRun:
    """One run, as observers know it, in the process that does its work. Times are in seconds.

    Attributes:
        run_id: Its id. It is as good as a password where runs have no owner.
        since: When it began, by the monotonic clock.
        items: How many items it had, once it has ended.
        duration: How long it took; None while it is under way.
        outcome: How it ended; None while it is under way.
    """

    __slots__ = ("_observers", "duration", "items", "outcome", "run_id", "since")

    def __init__(self, run_id: str, observers: Iterable[Observer]) -> None:
        self.run_id = run_id
        self.since = monotonic()
        self.items = 0
        self.duration: float | None = None
        self.outcome: Outcome | None = None
        self._observers = observers
        tell(observers, "run_began", self)

    def is_over(self, outcome: Outcome, items: int) -> None:
        """Take note of the end."""
        self.items, self.outcome = items, outcome
        self.duration = monotonic() - self.since
        tell(self._observers, "run_ended", self)


class FirstNoted:
    """The source of a batch, with a note of its first item.

    Args:
        source: The opened source.
        note: Called when there is an item.
    """

    __slots__ = ("_note", "_source", "_step")

    def __init__(self, source: Any, note: Callable[[], None]) -> None:
        self._source = source
        self._step = source.__anext__
        self._note: Callable[[], None] | None = note

    def __aiter__(self) -> FirstNoted:
        return self

    def __anext__(self) -> Any:
        # No coroutine of its own after the first item: what the source gives is awaited as it is.
        return self._step() if self._note is None else self._first(self._note)

    async def _first(self, note: Callable[[], None]) -> Any:
        item = await self._step()
        if not isinstance(item, ServerSentEvent) or item.is_item:
            self._note = None
            note()
        return item

    async def aclose(self) -> None:
        """Close the source."""
        await close_source(self._source)
