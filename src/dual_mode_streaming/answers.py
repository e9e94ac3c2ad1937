"""What the two answers to a request share: how they send, and what keeps a silent connection alive.

`BatchAnswer` (batch.py) folds the source into one body, `StreamAnswer` (stream.py) sends it item by item. What is told
to the client after the source has ended early is decided in exchange.py, for both.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from starlette.types import Send

from .errors import ItemTooLarge
from .events import Outcome
from .inbox import Inbox
from .lifecycle import Life, logger
from .options import Options
from .pace import BURST_BYTES, Pace

__all__ = ["BURST_BYTES", "Answer", "Head", "Voice", "check_size"]

Head = Callable[[int | None], tuple[int, list[tuple[bytes, bytes]]]]
"""Gives the status and the headers of an answer, for a body of so many bytes if that is known."""


class Voice:
    """Says an answer to the server, message by message.

    Args:
        send: The way to the server.
        head: Gives the status and the headers when they are needed.
        now: The clock of the event loop, in seconds.
    """

    def __init__(self, send: Send, head: Head, now: Callable[[], float]) -> None:
        self._send = send
        self._head = head
        self._now = now
        self._last_sent = 0.0
        self.length: int | None = None
        """The size of the body in bytes, once it is known."""
        self.started = False
        """Whether headers were sent. From then on an error cannot have its own status any more."""

    async def _start(self) -> None:
        if not self.started:
            self.started = True
            status, headers = self._head(self.length)
            await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _say(self, body: bytes, *, more: bool) -> None:
        if not self.started:
            await self._start()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        self._last_sent = self._now()


class Answer(Voice, Life):
    """The life of a response that can send."""

    def __init__(self, options: Options, pace: Pace, inbox: Inbox, send: Send, head: Head) -> None:
        Life.__init__(
            self,
            inbox.client_left,
            keep_when_gone=options.on_disconnect == "finish",
            deadline=options.deadline,
            idle_timeout=options.idle_timeout,
            send_timeout=options.send_timeout,
            close_timeout=options.close_timeout,
        )
        Voice.__init__(self, send, head, self._loop.time)
        self.pace = pace
        self.options = options
        self._side: asyncio.Task[None] | None = None
        self.error: Exception | None = None
        """What broke the source, if it did not close after that."""

    @property
    def has_frames(self) -> bool:
        """Whether something is ready to be sent that no error may take away."""
        return False

    @abstractmethod
    def partial(self) -> Any:
        """Give the fold of the items so far; None if there is none."""

    # --- the source ----------------------------------------------------------------------------

    def cancelled(self) -> None:
        """Let no further item pass: a source that goes on has swallowed its cancellation."""
        self.pace.stopped = True
        if self._pump is not None:
            self._pump.stop()

    def broken(self, error: BaseException) -> None:
        """Take note that the source is being closed because of an error."""
        if self.stopped is None:
            if isinstance(error, Exception):
                self.error = error
            self.closing()

    # --- sending -------------------------------------------------------------------------------

    async def last_words(self, body: bytes, *, more: bool, within: float | None = None) -> None:
        """Send after the source has ended early. Gives up after so many seconds, and after `send_timeout`."""
        bounds = [bound for bound in (self.options.send_timeout, within) if bound is not None]
        try:
            async with asyncio.timeout(min(bounds, default=None)):
                await self._say(body, more=more)
        except (OSError, TimeoutError):
            logger.debug("the client did not take the last words of its stream", exc_info=True)

    def _begin_side(self, body: bytes) -> None:
        """Send something while the source waits, in a task beside it. Never two sends at once."""
        # With eager tasks (Python 3.12) a send may be over before its task is known here.
        if (self._side is None or self._side.done()) and not self._sending and self.stopped is None:
            self._side = self._loop.create_task(self._say_aside(body))

    async def _say_aside(self, body: bytes) -> None:
        try:
            async with asyncio.timeout(self.options.send_timeout):
                await self._say(body, more=True)
        except TimeoutError:
            self.stop(Outcome.SLOW_CLIENT)
        except OSError:
            self.stop(Outcome.CLIENT_GONE)
        except Exception as error:
            self.send_failure = error
            self.stop(Outcome.ERROR)
        finally:
            self._side = None

    async def side_ended(self, within: float | None = None) -> None:
        """Wait until nothing is being sent beside the source. Break it off after so many seconds; None for never."""
        side = self._side
        if side is not None and not (await asyncio.wait([side], timeout=within))[0]:
            side.cancel()
            await asyncio.wait([side])

    def _beat_after(self, first: float, interval: float, body: bytes, *, commits: bool) -> None:
        """Send `body` whenever nothing else was sent for `interval` seconds; look for the first time after `first`.

        Where the heart does not commit the status, it does not beat before that was sent.
        """

        def beat() -> None:
            quiet = self._loop.time() - self._last_sent if self.started else 0.0
            if quiet >= interval or (commits and not self.started):
                self._begin_side(body)
                quiet = 0.0
            self.after("beat", interval - quiet, beat)

        self.after("beat", first, beat)


def check_size(index: int, encoded: bytes, limit: int) -> None:
    """Refuse an item whose JSON is over the bound."""
    if len(encoded) > limit:
        raise ItemTooLarge(index, len(encoded), limit)
