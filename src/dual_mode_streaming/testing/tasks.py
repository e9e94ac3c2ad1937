"""Two tools for things that run beside a test, on asyncio and on trio: a signal, and a task.

A task group would be the usual way. It has to be left by the task that entered it, and the setup and the teardown of a
fixture are often two tasks. So a task here belongs to nobody; whoever starts it keeps it, and ends it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

__all__ = ["Job", "Signal"]


class Signal:
    """Wakes those who wait for a condition whenever something has changed."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def changed(self) -> None:
        """Let everybody who waits look at their condition again."""
        self._event.set()
        self._event = anyio.Event()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until the condition is true. It is looked at now, and after each change."""
        while not condition():
            await self._event.wait()


class Job:
    """A function that runs in a task of its own.

    Attributes:
        ended: Whether it has returned or raised.
        error: What it has raised; None if it returned, or was ended by `cancel`.
    """

    def __init__(self, run: Callable[[], Awaitable[None]], signal: Signal) -> None:
        self.ended = False
        self.error: BaseException | None = None
        self._function = run
        self._signal = signal
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task, in a copy of the caller's context."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            import trio

            trio.lowlevel.spawn_system_task(self._run, name=self._function, context=contextvars.copy_context())
        else:
            self._task = loop.create_task(self._run())  # the event loop itself holds tasks only weakly

    def cancel(self) -> None:
        """Ask the function to end by cancelling it, until it has ended."""
        self._scope.cancel()

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._function()
        except Exception as error:
            self.error = error
        except BaseException as error:  # the whole event loop is being ended
            self.error = error
            raise
        finally:
            self.ended = True
            self._signal.changed()
