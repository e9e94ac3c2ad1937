"""Sources that fail on purpose, at an exact item, and sources that a test leads by the hand.

Nothing here knows the time. A test waits for an event (`until_waiting`, `until_closed`) instead of sleeping and hoping.
They belong to the event loop of the test, so the endpoint has to run there too, as in `StreamingASGITransport`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio

from dual_mode_streaming.sources import close_source, open_source

from .tasks import Signal

__all__ = ["Crash", "ManualSource", "WatchedSource", "crash_after", "hang_after"]


class Crash(Exception):
    """What a source raises that crashes on purpose."""


class WatchedSource(AsyncIterator[Any]):
    """A source that can be looked at while an endpoint uses it.

    Args:
        source: Anything that is accepted as a source.

    Attributes:
        given: How many items it has given.
        closed: Whether it has come to its end, has raised, or was closed: its `finally` blocks have run.
        waiting: Whether the endpoint waits for its next item now.
        error: What it has raised; a cancellation too.
    """

    def __init__(self, source: Any) -> None:
        self.given = 0
        self.closed = False
        self.waiting = False
        self.error: BaseException | None = None
        self._source = open_source(source)
        self._signal = Signal()

    async def __anext__(self) -> Any:
        """Give the next item."""
        self.waiting = True
        self._signal.changed()
        try:
            item = await self._source.__anext__()
        except BaseException as error:
            self.error = None if isinstance(error, StopAsyncIteration) else error
            # A generator is over once it has raised; what `aclose` does then is nothing.
            self.closed = getattr(self._source, "ag_frame", None) is None
            raise
        finally:
            self.waiting = False
            self._signal.changed()
        self.given += 1
        return item

    async def aclose(self) -> None:
        """Close the source."""
        try:
            await close_source(self._source)
        finally:
            self.closed = True
            self._signal.changed()

    async def until_waiting(self) -> None:
        """Wait until the endpoint has taken all items that are ready and waits for more."""
        await self._signal.until(lambda: self.waiting)

    async def until_given(self, count: int) -> None:
        """Wait until the endpoint has taken so many items."""
        await self._signal.until(lambda: self.given >= count)

    async def until_closed(self) -> None:
        """Wait until the source is closed."""
        await self._signal.until(lambda: self.closed)


class ManualSource(WatchedSource):
    """A source that gives what the test tells it to, when the test tells it."""

    def __init__(self) -> None:
        self._ready: deque[Any] = deque()
        self._over = False
        self._crash: BaseException | None = None
        super().__init__(self._run())

    def give(self, *items: Any) -> None:
        """Give these items, behind those that were not taken yet."""
        self._ready.extend(items)
        self._signal.changed()

    def end(self) -> None:
        """End, once all items are taken."""
        self._over = True
        self._signal.changed()

    def crash(self, error: BaseException | None = None) -> None:
        """Raise this error (a `Crash` if none is given), once all items are taken."""
        self._crash = Crash("on purpose") if error is None else error
        self._signal.changed()

    async def until_waiting(self) -> None:
        """Wait until the endpoint has taken all items and waits for more."""
        await self._signal.until(lambda: self.waiting and not self._ready)

    async def _run(self) -> AsyncIterator[Any]:
        while True:
            await self._signal.until(lambda: self._ready or self._over or self._crash)
            if self._ready:
                yield self._ready.popleft()
            elif self._crash is not None:
                raise self._crash
            else:
                return


def crash_after(source: Any, count: int, error: BaseException | None = None) -> WatchedSource:
    """Make a source that raises in place of the item after `count` items.

    Args:
        source: Anything that is accepted as a source.
        count: How many items come before the error; 0 for an error before the first item. A source with fewer items
            raises at its end.
        error: What is raised; a `Crash` if none is given.
    """
    failure = Crash(f"on purpose, after {count} items") if error is None else error

    async def crash() -> None:
        raise failure

    return WatchedSource(_interrupted(source, count, crash))


def hang_after(source: Any, count: int, gate: anyio.Event | None = None) -> WatchedSource:
    """Make a source that gives `count` items and then nothing, until the gate is opened.

    Args:
        source: Anything that is accepted as a source.
        count: How many items come before the silence.
        gate: Set it, and the rest of the items follow. None: the silence has no end.
    """
    opened = anyio.Event() if gate is None else gate
    return WatchedSource(_interrupted(source, count, opened.wait))


async def _interrupted(source: Any, count: int, happens: Callable[[], Awaitable[None]]) -> AsyncIterator[Any]:
    """Give the items of a source; after `count` of them, or at its end if it has fewer, something happens."""
    items = open_source(source)
    given = 0
    try:
        while given != count:
            try:
                item = await items.__anext__()
            except StopAsyncIteration:
                break
            given += 1
            yield item
        await happens()
        async for item in items:
            yield item
    finally:
        await close_source(items)
