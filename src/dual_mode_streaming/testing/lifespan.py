"""The lifespan of an application: started before its first request, ended after its last."""

from __future__ import annotations

from typing import Any

import anyio
from starlette.types import ASGIApp, Message

from dual_mode_streaming.errors import DualModeError

from .tasks import Job, Signal

__all__ = ["Lifespan", "LifespanFailed"]


class LifespanFailed(DualModeError, RuntimeError):
    """The application could not start or stop. The text is its own; its exception is the cause."""

    code = "lifespan_failed"


class Lifespan:
    """Runs the lifespan of an application. One that does not know lifespans has none, as with most servers.

    Attributes:
        state: What the application has put into the state; every request gets a copy.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        self._signal = Signal()
        self._stopping = False
        self._received = 0
        self._answers: dict[str, str] = {}
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._job = Job(lambda: app(scope, self._receive, self._send), self._signal)

    async def start(self) -> None:
        """Start the application and wait until it is ready.

        Raises:
            LifespanFailed: It says that it failed.
        """
        self._job.start()
        await self._signal.until(lambda: self._answers or self._job.ended)
        await self._raise_if_failed("lifespan.startup.failed")

    async def stop(self, timeout: float) -> None:
        """Stop the application; cancel it if that takes more than so many seconds.

        Raises:
            LifespanFailed: It says that it failed.
        """
        self._stopping = True
        self._signal.changed()
        with anyio.move_on_after(timeout):
            await self._signal.until(lambda: self._job.ended)
        self._job.cancel()
        await self._signal.until(lambda: self._job.ended)
        await self._raise_if_failed("lifespan.shutdown.failed")

    async def _raise_if_failed(self, answer: str) -> None:
        if answer in self._answers:
            await self._signal.until(lambda: self._job.ended)
            last_line = self._answers[answer].strip().rpartition("\n")[2]
            raise LifespanFailed(f"{answer}: {last_line}") from self._job.error
        if self._job.error is not None and "lifespan.startup.complete" in self._answers:
            raise LifespanFailed(f"the lifespan raised {type(self._job.error).__name__}") from self._job.error

    async def _receive(self) -> Message:
        self._received += 1
        if self._received == 1:
            return {"type": "lifespan.startup"}
        await self._signal.until(lambda: self._stopping and self._received == 2)
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        self._answers[message["type"]] = message.get("message", "")
        self._signal.changed()
