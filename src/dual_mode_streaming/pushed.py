"""The stream answer of a source that has its frames ready-made and says when there are new ones (a channel).

With thousands of subscribers, to wake a task for each of them costs more than to send. So whoever publishes does the
sending: from a callback of the event loop it makes the first step of the send of each subscriber that is idle. On a
server that takes the bytes at once, that step is the whole send, and the task of the request sleeps on. A send that has
to wait is handed to that task, which finishes it, catches up by sends of its own, and becomes idle again.

Rules:

- Only an idle answer is pushed to. While its own task sends, or a heartbeat is under way, the task is woken instead.
- A push runs as if the task of the request ran it: `current_task()`, the cancel scopes of anyio and `asyncio.timeout`
  are those of the task. Its context variables are a copy, in which all steps of all pushed sends run.
- What a push raises is kept for the task, so a broken subscriber is its own affair.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from asyncio import _enter_task, _leave_task  # documented, under "Extending asyncio"
from collections.abc import Generator
from typing import Any

from starlette.types import Send

from .answers import Head
from .events import Outcome
from .inbox import Inbox
from .options import Options
from .sources import FrameSource, close_source
from .stream import Framing, StreamAnswer
from .tasks import gave_up, lay_aside, take_up

__all__ = ["PushedAnswer"]

_ENDED = object()


class PushedAnswer(StreamAnswer):
    """Sends frames that are ready-made, when the source pushes them."""

    def __init__(self, framing: Framing, options: Options, inbox: Inbox, send: Send, head: Head) -> None:
        super().__init__(framing, options, inbox, send, head)
        self._source: FrameSource = framing.source
        self._context = contextvars.copy_context()
        self._half_sent: tuple[Generator[Any, Any, Any], Any] | None = None
        self._push_failed: BaseException | None = None

    async def work(self) -> None:
        """Send all frames as they come, close the source, and send the terminal frame."""
        source, pace = self._source, self.pace
        source.attach(self.framing.format, self._push, lambda error: self.stop(Outcome.SLOW_CLIENT, error))
        try:
            while True:
                ready = source.take()
                if ready is not None or not (self.started or self.framing.commit_after):
                    frames = b"" if ready is None else self.framing.from_ready(ready)
                    await self.side_ended()
                    if not self.client_gone:
                        await self.sent(self._say(frames, more=True))
                    if pace.overdue():
                        await pace.turn()
                elif source.over:
                    source.check_end()
                    break
                else:
                    error: BaseException | None = None
                    self._waiter = self._loop.create_future()
                    source.idle = True
                    try:
                        await self._waiter
                    except asyncio.CancelledError as cancelled:
                        if self._half_sent is None:
                            raise
                        error = cancelled  # the send has begun, so it is the send's
                    finally:
                        source.idle = False
                    if self._half_sent is not None or self._push_failed is not None:
                        await self.sent(self._finish_push(error))
        except BaseException as error:
            self.broken(error)
            raise
        finally:
            await close_source(source)
        self.error = None
        self.source_ended()
        await self.side_ended()
        if not self.client_gone:
            await self.sent(self._say(self.framing.end(), more=False))

    async def _finish_push(self, error: BaseException | None) -> None:
        """Go on with what a push has begun, or raise what it has raised."""
        failure, self._push_failed = self._push_failed, None
        if failure is not None:
            raise failure
        if self._half_sent is not None:
            (send, waits_for), self._half_sent = self._half_sent, None
            await _steps(send, waits_for, error, self._context)
            self._last_sent = self._loop.time()

    def _push(self) -> None:
        """Send what is ready, from a callback of the event loop."""
        task, waiter, source, loop = self._task, self._waiter, self._source, self._loop
        if waiter.done() or task is None:
            return
        if self._side is not None or self.client_gone or not self.started:
            waiter.set_result(None)
            return
        while (ready := source.take()) is not None:
            try:
                message = {"type": "http.response.body", "body": self.framing.from_ready(ready), "more_body": True}
                _enter_task(loop, task)
                try:
                    send = self._send(message).__await__()
                    # `next` tells of the end by a value; to raise and catch StopIteration takes ten times as long.
                    waits_for = self._context.run(next, send, _ENDED)
                finally:
                    _leave_task(loop, task)
            except (Exception, asyncio.CancelledError) as error:
                self._push_failed = gave_up() if isinstance(error, asyncio.CancelledError) else error
                waiter.set_result(None)
                return
            now = self._last_sent = loop.time()
            if self._idle_timeout is not None:
                self._moved = now
            if waits_for is not _ENDED:
                self._half_sent = send, lay_aside(waits_for)
                self._sending = True
                waiter.set_result(None)
                return
        if source.over:
            waiter.set_result(None)


@types.coroutine
def _steps(
    send: Generator[Any, Any, Any], waits_for: Any, error: BaseException | None, context: contextvars.Context
) -> Generator[Any, Any, None]:
    """Go on with a send that was begun in a context, and now waits for something."""
    while True:
        if error is None:
            try:
                yield take_up(waits_for)
            except BaseException as raised:
                error = raised
        try:
            waits_for = context.run(send.send, None) if error is None else context.run(send.throw, error)
        except StopIteration:
            return
        lay_aside(waits_for)
        error = None
