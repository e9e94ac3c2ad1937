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
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Loop", "Stuck", "run", "settle"]

PATIENCE = 300.0
"""Seconds on the loop's own clock after which a check only waits for timers that set themselves anew."""
THREADS = 0.5
"""Real seconds that a thread has to wake a loop in which nothing else can happen."""


class Stuck(Exception):
    """Nothing can happen any more, and the check is not over. Its argument says where it waits."""


class _Selector(selectors.DefaultSelector):
    """Asks its loop what to do before it waits."""

    before_waiting: Callable[[float | None], float | None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0:
            return super().select(0)
        return super().select(self.before_waiting(timeout))


class Loop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self._now = 0.0
        self._settling: list[asyncio.Future[None]] = []
        self._idle = False
        self.on_stuck: Callable[[], object] = lambda: None
        selector = _Selector()
        selector.before_waiting = self._before_waiting
        super().__init__(selector)

    def time(self) -> float:
        """Give the time on the loop's own clock, in seconds."""
        return self._now

    async def settle(self) -> None:
        """Wait until every other task can only wait."""
        future = self.create_future()
        self._settling.append(future)
        await future

    def _before_waiting(self, timeout: float | None) -> float | None:
        """Nothing is ready. Say how long to really wait, in seconds."""
        if self._settling:
            for future in self._settling:
                if not future.done():
                    future.set_result(None)
            self._settling.clear()
            return 0
        if timeout is not None and self._now + timeout <= PATIENCE:
            self._now += timeout
            return 0
        # Only a thread could still wake the loop. It is given a moment, once.
        if not self._idle:
            self._idle = True
            return THREADS
        self._idle = False
        self.call_soon(self.on_stuck)
        return 0


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
        Stuck: Nothing could happen any more. It carries what `where` gave.
    """
    found: list[int | None] = []

    async def bounded() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)  # noqa: S101
        task = asyncio.ensure_future(main)

        def give_up() -> None:
            found.append(where())
            task.cancel()

        loop.on_stuck = give_up
        await asyncio.wait({task})
        loop.on_stuck = lambda: None
        if found:
            raise Stuck(found[0])
        task.result()

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(bounded())
