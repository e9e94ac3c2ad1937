"""An event loop that knows when nothing can happen any more, and in which time is free.

The checks run on it. A real loop would have to be waited for, and a busy machine would decide what is too long. Here

- `settle` returns at the moment in which every task can only wait;
- a timer that everything waits for is due at once: the clock of the loop jumps there (`asyncio.sleep` costs nothing,
  and `loop.time` tells how long it would have taken);
- a check for which nothing is left to happen is told so, instead of being waited for.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Loop", "Stuck", "run", "settle"]

PATIENCE = 300.0
"""Seconds on the loop's own clock after which a check only waits for timers that set themselves anew."""
THREADS = 0.3
"""Real seconds that threads have to wake a loop in which nothing else can happen now."""


class Stuck(Exception):
    """Nothing can happen any more, and the check is not over.

    Args:
        where: What `run` was told to look for at that moment.
        stubborn: Whether the check was then cancelled, and goes on waiting all the same.
    """

    def __init__(self, where: int | None, *, stubborn: bool = False) -> None:
        super().__init__(where)
        self.where, self.stubborn = where, stubborn


class _Selector(selectors.DefaultSelector):
    """Tells its loop that nothing is ready, in the place of waiting."""

    nothing_is_ready: Callable[[float | None], None]

    def __init__(self) -> None:
        super().__init__()
        self._threads = threading.active_count()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # Threads may be about to wake the loop. If there are any, they are given a moment.
        real = THREADS if timeout != 0 and threading.active_count() > self._threads else 0
        events = super().select(real)
        if not events and timeout != 0:
            self.nothing_is_ready(timeout)
        return events


class Loop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self._now = 0.0
        self._settling: list[asyncio.Future[None]] = []
        self.on_stuck: Callable[[], object] = lambda: None
        selector = _Selector()
        selector.nothing_is_ready = self._go_on
        super().__init__(selector)

    def time(self) -> float:
        """Give the time on the loop's own clock, in seconds."""
        return self._now

    async def settle(self) -> None:
        """Wait until every other task can only wait."""
        future = self.create_future()
        self._settling.append(future)
        await future

    def _go_on(self, timeout: float | None) -> None:
        """Nothing is ready for `timeout` seconds, or for ever. See to it that something happens."""
        if self._settling:
            for future in self._settling:
                if not future.done():
                    future.set_result(None)
            self._settling.clear()
        elif timeout is not None and self._now + timeout <= PATIENCE:
            self._now += timeout
        else:
            self.on_stuck()


async def settle() -> None:
    """Wait until every other task can only wait. Timers are not waited for."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)  # noqa: S101  for checkers: checks run nowhere else
    await loop.settle()


def run(main: Coroutine[Any, Any, None], where: Callable[[], int | None]) -> None:
    """Run a check to its end.

    Args:
        main: The check.
        where: Called when nothing can happen any more, with all tasks still in their places.

    Raises:
        Stuck: Nothing could happen any more.
    """
    found: list[int | None] = []

    async def bounded() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)  # noqa: S101
        task = asyncio.ensure_future(main)

        def give_up() -> None:
            if found:
                raise Stuck(found[0], stubborn=True)  # out of the loop: it has nothing else to do
            found.append(where())
            task.cancel()

        loop.on_stuck = give_up
        await asyncio.wait({task})
        if found:
            raise Stuck(found[0])
        task.result()

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(bounded())
