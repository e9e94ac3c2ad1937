"""Hearing of SIGTERM and SIGINT beside a server that handles them itself.

Servers tell an application too late that they stop. They wait until all open responses have ended, and only then does
the lifespan come to its shutdown. The signal is the one thing that says in time what is going to happen.

Rules:

- Nothing is taken away. What handled the signal before handles it now, and at once.
- A signal that would have ended the process ends it still, when what it set off is over. A second SIGINT does not wait
  for that: somebody sits at the keyboard. A second SIGTERM does; parent processes send it for good measure.
- A signal that is ignored stays ignored.
- Only the main thread can do this. Elsewhere nothing happens, and nothing fails.
- Handlers that were set by `loop.add_signal_handler`, of asyncio as well as of uvloop, hear of a signal by another way
  than the handler that Python calls. They go on working, whoever stands in that place.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["SHUTDOWN_SIGNALS", "Chain"]

logger = logging.getLogger("dual_mode_streaming")

SHUTDOWN_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_DEADLY = (signal.SIG_DFL, signal.default_int_handler)


class Chain:
    """Calls a function on each of some signals, before what handles them already. It is in force from its making on.

    Args:
        act: Called in the main thread, between two steps of whatever runs there. It gets a function that lets the
            signal do what it would have done, to be called when all is over; or None if the signal is handled by
            somebody else.
        numbers: The signals.
    """

    def __init__(
        self, act: Callable[[Callable[[], None] | None], None], numbers: tuple[int, ...] = SHUTDOWN_SIGNALS
    ) -> None:
        self._act: Callable[[Callable[[], None] | None], None] | None = act
        self._before: dict[int, Any] = {}
        self._came: set[int] = set()
        if threading.current_thread() is not threading.main_thread():
            logger.debug("signals are only heard in the main thread; here nothing will be drained on a signal")
            return
        for number in numbers:
            before = signal.getsignal(number)
            if before is None or before is signal.SIG_IGN:
                continue  # set by something else than Python, which cannot be called; or not wanted
            self._before[number] = before
            self._set(number, self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()

    def restore(self) -> None:
        """Put back what was there before. Whoever has come on top of this since then stays, and is passed through."""
        self._act = None
        for number, before in self._before.items():
            if signal.getsignal(number) == self._handle:
                self._set(number, before)

    def _set(self, number: int, handler: Any) -> None:
        signal.signal(number, handler)
        # As event loops do: a system call goes on after the signal.
        signal.siginterrupt(number, False)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        is_deadly = before in _DEADLY
        is_first = number not in self._came
        self._came.add(number)
        if self._act is not None and is_first:
            self._act((lambda: self._let(number)) if is_deadly else None)
            if is_deadly:
                return
        if is_deadly:
            if self._act is None or number == signal.SIGINT:
                self._let(number)
        else:
            before(number, frame)

    def _let(self, number: int) -> None:
        """Let a signal do what it would have done without this."""
        signal.signal(number, self._before[number])
        signal.raise_signal(number)
