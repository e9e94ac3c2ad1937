"""The plain form of a response: both modes by a plain `async for`, on nothing but anyio.

The pump and the life of a response speak asyncio's own protocol between a task and its event loop. Under trio this
module answers in their place. It is written to be simple, not to be fast, and tests show that it does the same. What is
sent, it does not decide: the frames, the body, the head and the last words come from where the other form has them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from anyio import sleep
from starlette.types import Send

from .answers import Head
from .batch import Gathering
from .formats import Format
from .inbox import Inbox
from .options import Options
from .plain_life import PlainAnswer, Steps
from .stream import Framing

__all__ = ["PlainBatch", "PlainStream"]


class PlainStream(PlainAnswer):
    """Sends each item as it comes."""

    def __init__(
        self,
        source: AsyncIterator[Any],
        options: Options,
        inbox: Inbox,
        send: Send,
        head: Head,
        format: Format,  # noqa: A002  the field's word
    ) -> None:
        super().__init__(options, inbox, send, head)
        self.framing = Framing(source, options, format)
        self.framing.source = Steps(self, source)

    @property
    def given(self) -> int:
        """How many items the source has given so far."""
        return self.framing.items

    @property
    def has_frames(self) -> bool:
        """Whether frames are ready that are not sent yet."""
        return bool(self.framing.buffer)

    def partial(self) -> Any:
        """Give the fold of the items so far; None if there were more than a batch may hold."""
        return self.framing.partial()

    async def flush(self) -> None:
        """Send the frames that are ready."""
        if self.framing.buffer and not self.client_gone:
            await self._deliver(self.framing.take, more=True)
        self.framing.buffer.clear()  # nobody is there to take them

    async def _take_all(self) -> Callable[[], bytes]:
        await self.framing.run(self.flush, self.broken)
        return self.framing.end

    def _keep_alive(self) -> None:
        """Commit the status when the window closes, and let the heart beat as soon as it was sent."""
        self._beside.start_soon(self._commit)
        options = self._options
        frame = self.framing.format.heartbeat(options.heartbeat_lines)
        if options.heartbeat is not None and frame:
            beat = partial(self._beat, commits=False)
            self._beside.start_soon(beat, options.heartbeat, options.heartbeat, frame)

    async def _commit(self) -> None:
        await sleep(self.framing.commit_after)
        if not self.started:
            await self._say_aside(self.framing.at_commit)


class PlainBatch(PlainAnswer):
    """Folds all items into one body."""

    def __init__(self, source: AsyncIterator[Any], options: Options, inbox: Inbox, send: Send, head: Head) -> None:
        super().__init__(options, inbox, send, head)
        self._gathering = Gathering(Steps(self, source), options)
        self._gathering.on_error = self.broken  # type: ignore[method-assign]

    @property
    def given(self) -> int:
        """How many items the source has given so far."""
        return self._gathering.items

    def partial(self) -> Any:
        """Give the fold of the items so far."""
        return self._gathering.partial()

    async def _take_all(self) -> Callable[[], bytes]:
        await self._gathering.run()
        body = self._gathering.body()

        def complete() -> bytes:
            self.length = len(body)
            return body

        return complete

    def _keep_alive(self) -> None:
        options = self._options
        if options.batch_keepalive and options.heartbeat is not None:
            beat = partial(self._beat, commits=True)
            self._beside.start_soon(beat, options.commit_after, options.heartbeat, b" ")
