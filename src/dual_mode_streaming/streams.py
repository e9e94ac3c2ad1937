"""`Streams`: the open responses of an application: how many there may be, how they ended, and how to end them all.

Rules:

- It is an object that the author makes and puts on the application, or gives to a response. Nothing here is global, so
  two applications in one process know nothing of each other.
- A response is admitted before its source runs, and leaves when its source is closed and `on_finish` has run. Whoever
  was admitted leaves exactly once, so `opened` is at all times the sum of `outcomes` and `open`.
- Nothing costs anything per item. Items are added up when a response leaves, bytes when they are sent.
- The limits are for streams. A batch is counted and drained, but there is no bound for batches.
- To drain is to tell. What a response does when it is told is its own affair; it says when it has left.
- A registry serves one event loop at a time, and as many as one likes one after another.

How the grace of a drain is shared out:

    now          new responses are refused; streams that are older than half the grace get the farewell
    later        any other stream, as soon as it is as old as half the grace
    the end      batches that still run
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import Any

import anyio
from starlette.requests import Request
from starlette.types import Scope

from .entries import Counts, Entry, Snapshot, retry_after
from .errors import Draining, TooManyStreams
from .events import Outcome
from .lifecycle import logger
from .observers import Observed, Observer, tell
from .signals import Chain

__all__ = ["STREAMS_IN_SCOPE", "Streams", "registry_of"]

STREAMS_IN_SCOPE = "dual_mode_streaming.streams"
"""Where a scope has the registry for responses that find none at the application; see `drained.py`."""

FLUSHING = 0.5
"""Seconds between a drain and the death by the signal that set it off: the server has last words to write."""

LEAVING = 2.0
"""Seconds that a response may take to leave beyond its `close_timeout`s: for its last words to a slow client."""


class Streams:
    """Limits and counts the open streams of an application, and ends them when the server goes down.

    Put it on the application, as `app.state.streams`, or give it to responses as `streams=`. With
    `FastAPI(lifespan=streams.lifespan)` both is done: it is on the application, and SIGTERM ends its streams.

    Args:
        max_streams: The most open streams in all; None for no bound. Above it a request is answered with 503.
        max_per_key: The most open streams for one key; None for no bound. Above it a request is answered with 429.
        key: Gives the key of a request, such as the user or the tenant; None as a key is not limited. By default it
            is the client's address, which behind a proxy is the proxy's unless the server is told to trust it.
        grace: Seconds that a drain may take: the default of `drain`, and what signals use.
        observers: Who is told of each response, such as those of `dual_mode_streaming.telemetry`.

    Raises:
        ValueError: A bound is not above zero, or the grace is negative.
    """

    def __init__(
        self,
        max_streams: int | None = None,
        max_per_key: int | None = None,
        key: Callable[[Request], Hashable] | None = None,
        *,
        grace: float = 10.0,
        observers: Sequence[Observer] = (),
    ) -> None:
        for name, bound in (("max_streams", max_streams), ("max_per_key", max_per_key)):
            if bound is not None and not bound > 0:
                raise ValueError(f"{name}={bound!r} must be above zero; None switches it off")
        self.max_streams = max_streams
        self.max_per_key = max_per_key
        self.grace = _checked(grace)
        self.observers = tuple(observers)
        """Who is told of each response, in this order."""
        self.batches = Counts()
        """The counts of batches. Those of streams are attributes of the registry itself."""
        self.draining = False
        """Whether new responses are refused. Who tells a load balancer whether to send requests here can ask this."""
        self._key = key
        self._streams = Counts()
        self._keys: dict[Hashable, int] = {}
        self._entries: set[Entry] = set()
        self._waiting: list[anyio.Event] = []
        self._drains: set[asyncio.Task[None]] = set()

    # --- counters ------------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """How many streams are open now."""
        return self._streams.open

    @property
    def opened(self) -> int:
        """How many streams were admitted so far."""
        return self._streams.opened

    @property
    def refused(self) -> int:
        """How many streams were refused so far, for a limit or because the server is going down."""
        return self._streams.refused

    @property
    def items(self) -> int:
        """How many items the streams had that have ended."""
        return self._streams.items

    @property
    def bytes(self) -> int:
        """How many bytes of stream were sent."""
        return self._streams.bytes

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """How many streams ended in each way."""
        return self._streams.outcomes

    def snapshot(self) -> Snapshot:
        """Give all counters as they are now, in objects of their own."""
        streams, batches = (replace(c, outcomes=dict(c.outcomes)) for c in (self._streams, self.batches))
        return Snapshot(streams, batches, self.draining)

    # --- responses -----------------------------------------------------------------------------

    def admit(self, scope: Scope, *, streams: bool = True, media_type: str = "") -> Entry:
        """Let a response begin. It must `leave`, so the entry is best used as a context manager.

        Args:
            scope: The request.
            streams: Whether it will be a stream; a batch has no limit.
            media_type: What it will be, for observers.

        Raises:
            TooManyStreams: A limit is reached.
            Draining: The server is going down.
            Exception: What the function for keys raised.
        """
        counts = self._streams if streams else self.batches
        closes = scope.get("http_version", "1.1").startswith("1")  # later versions have no such header
        key: Hashable = None
        if self.draining:
            raise self._refused(scope, counts, Draining(retry_after(), closes=closes))
        if streams:
            if self.max_per_key is not None:
                key = self._key_of(scope)
                if key is not None and self._keys.get(key, 0) >= self.max_per_key:
                    raise self._refused(scope, counts, _too_many(self.max_per_key, per_key=True))
            if self.max_streams is not None and counts.open >= self.max_streams:
                raise self._refused(scope, counts, _too_many(self.max_streams, per_key=False))
        if key is not None:
            self._keys[key] = self._keys.get(key, 0) + 1
        observed = Observed(scope, self.observers, streams=streams, media_type=media_type) if self.observers else None
        entry = Entry(counts, key, closes, self._leave, observed)
        self._entries.add(entry)
        return entry

    def _key_of(self, scope: Scope) -> Hashable:
        if self._key is not None:
            return self._key(Request(scope))
        client = scope.get("client")
        return None if client is None else client[0]

    def _refused(self, scope: Scope, counts: Counts, error: Exception) -> Exception:
        counts.refused += 1
        tell(self.observers, "refused", scope, error)
        return error

    def _leave(self, entry: Entry) -> None:
        self._entries.remove(entry)
        if entry.key is not None:
            left = self._keys.pop(entry.key) - 1
            if left:
                self._keys[entry.key] = left
        if not self._entries:
            for event in self._waiting:
                event.set()

    # --- going down ----------------------------------------------------------------------------

    async def drain(self, grace: float | None = None) -> None:
        """Refuse new responses from now on, end the open ones politely, and return when all have left.

        A stream may go on until its age is half the grace. So the endless ones, which have mostly been open for longer,
        are told at once, and an answer that has just begun may come to its end. A batch has the whole grace. Then each
        has its `close_timeout` to close its source; a source that takes longer is left behind.

        A second call drains beside the first; what is told first counts.

        Args:
            grace: Seconds; None for the registry's own. 0 ends everything at once.
        """
        grace = self.grace if grace is None else _checked(grace)
        self.draining = True
        began = monotonic()
        due = [
            (max(began, entry.since + grace / 2) if entry.counts is self._streams else began + grace, entry)
            for entry in self._entries
        ]
        for moment, entry in sorted(due, key=lambda pair: pair[0]):
            if entry in self._entries and not await self._empty_within(moment - monotonic()):
                entry.tell()
        patience = max((entry.patience for entry in self._entries), default=0.0)
        if not await self._empty_within(patience + LEAVING):
            logger.error("%d responses did not end when they were drained", len(self._entries))

    async def _empty_within(self, seconds: float) -> bool:
        """Wait for so long until no response is open; say whether that is so."""
        if self._entries and seconds > 0:
            event = anyio.Event()
            self._waiting.append(event)
            try:
                with anyio.move_on_after(seconds):
                    await event.wait()
            finally:
                self._waiting.remove(event)
        return not self._entries

    def drain_on_signals(self, grace: float | None = None) -> Chain:
        """Drain when SIGTERM or SIGINT comes, beside what handles them already; see `signals.py`.

        It is in force from the call on, until `restore` is called on what it gives, which is a context manager too.
        Outside the main thread, and under trio, it does nothing.

        Args:
            grace: Seconds; None for the registry's own.
        """
        grace = self.grace if grace is None else _checked(grace)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return Chain(_nothing, ())

        async def drain(then: Callable[[], None] | None) -> None:
            await self.drain(grace)
            if then is not None:
                await asyncio.sleep(FLUSHING)
                then()

        def begin(then: Callable[[], None] | None) -> None:
            task = loop.create_task(drain(then))
            self._drains.add(task)
            task.add_done_callback(self._drains.discard)

        def act(then: Callable[[], None] | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(begin, then)
            elif then is not None:
                then()

        return Chain(act)

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """Be the lifespan of an application, or a part of it: drain on signals, and at the shutdown.

        The registry is put at `app.state.streams`, if there is nothing. It begins anew: what was drained takes
        responses again. Enter it after what the sources need, so that they are closed before that is.

        Args:
            app: The application, if it has a `state`.
        """
        state = getattr(app, "state", None)
        if state is not None and getattr(state, "streams", None) is None:
            state.streams = self
        self.draining = False
        with self.drain_on_signals():
            yield
            await self.drain()


def registry_of(scope: Scope, given: Streams | None) -> Streams | None:
    """Give the registry of a response: the one it was given, or the application's; None if there is none.

    Args:
        scope: The request.
        given: The option `streams`.
    """
    if given is not None:
        return given
    app = scope.get("app")
    if app is not None:
        state = getattr(app, "state", None)
        # For an attribute that is not there, Starlette's State makes an error with a message. That is dear.
        known = getattr(state, "_state", None)
        found = getattr(state, "streams", None) if known is None else known.get("streams")
        if isinstance(found, Streams):
            return found
    found = scope.get(STREAMS_IN_SCOPE)
    return found if isinstance(found, Streams) else None


def _too_many(limit: int, *, per_key: bool) -> TooManyStreams:
    return TooManyStreams(limit, per_key=per_key, retry_after=retry_after())


def _nothing(then: Callable[[], None] | None) -> None:
    """Nobody listens."""


def _checked(grace: float) -> float:
    if not grace >= 0:
        raise ValueError(f"grace={grace!r} must not be negative")
    return grace
