"""The stream answer: each item in a frame of its own, as soon as it is there.

Taking the items and making frames of them (`Framing`) knows nothing of the life of a response, nor of sending.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from starlette.types import Send

from .answers import BURST_BYTES, Answer, Head, check_size
from .errors import Draining, Problem
from .events import ServerSentEvent
from .flow import GO_ON, Errand
from .folds import Fold
from .formats import Format, event_value
from .inbox import Inbox
from .jsonbytes import encode_json
from .options import Options
from .pace import TURN_SECONDS, Pace
from .sources import DecidingSource, Ready, close_source

__all__ = ["Framing", "StreamAnswer"]


class Framing:
    """Takes all items of a source into the frames of one format, and closes the source.

    Attributes:
        items: How many items there were so far.
    """

    def __init__(
        self,
        source: Any,
        options: Options,
        format: Format,  # noqa: A002  the field's word
    ) -> None:
        self.source = source
        self._options = options
        self.format = format
        self.items = 0
        self.pace = Pace()
        self.buffer = bytearray()
        """The frames that are not sent yet."""
        self._check = options.item_check
        self._limit = options.max_item_bytes if options.max_item_bytes is not None else float("inf")
        self._deciding = source if isinstance(source, DecidingSource) else None
        decided = None if self._deciding is None else self._deciding.commit_after
        self.commit_after = options.commit_after if decided is None else decided
        """Seconds that the headers wait for the first item."""
        self._opening = format.opening(options.retry)
        self._fold: Fold[Any, Any] | None = options.fold if options.on_finish is not None else None
        self._state = self._fold.start() if self._fold is not None else None
        self.on_first: Callable[[], None] | None = None
        """Called when there is the first item."""

    async def run(self, send: Callable[[], Awaitable[None]], on_error: Callable[[BaseException], None]) -> None:
        """Take all items, and close the source whatever happens.

        Args:
            send: Sends the frames of the buffer; called when more of them would not make a send cheaper.
            on_error: Told why the source is being closed before its end.
        """
        try:
            await self._take_items(send)
        except BaseException as error:
            on_error(error)
            raise
        finally:
            await close_source(self.source)

    def take(self) -> bytes:
        """Take the frames that are not sent yet."""
        frames = bytes(self.buffer)
        self.buffer.clear()
        return frames

    @property
    def behind(self) -> int | None:
        """How many events a client that came back has to catch up with; None if nobody knows."""
        return None if self._deciding is None else self._deciding.behind

    def at_commit(self) -> bytes:
        """Give what goes with headers that no item has come for."""
        return self._rest() if self.format.opens_without_items else b""

    def end(self) -> bytes:
        """Give what ends a complete stream, after the frames that are not sent yet."""
        deciding = self._deciding
        if deciding is None:
            return self._rest() + self.format.done(self.items)
        total = deciding.total
        return self._rest() + self.format.done(self.items if total is None else total, deciding.terminal_id)

    def failure(self, problem: Problem) -> bytes:
        """Give what ends a stream that failed, after the frames that are not sent yet."""
        if problem.code == Draining.code:
            # The client is to come back, but not in the same moment as all the others.
            self._opening = self.format.opening(self._options.retry)
        return self._rest() + self.format.error(problem)

    def from_ready(self, ready: Ready) -> bytes:
        """Look at what a source has ready-made, as at any items, and give it as it is to be sent."""
        frames = ready.frames
        if self._opening and frames:
            opening, self._opening = self._opening, b""
            frames = opening + frames
        if not self.items and self.on_first is not None and ready.items:
            self.on_first()
        if self._check is None and self._fold is None and len(frames) <= self._limit:
            self.items += len(ready.items)
            return frames
        for item in ready.items:
            if self._check is not None:
                self._check(self.items, item.item)
            if len(item.json) > self._limit:
                check_size(self.items, item.json, int(self._limit))
            if self._fold is not None:
                self._keep(item.item)
            self.items += 1
        return frames

    def partial(self) -> Any:
        """Give the fold of the items so far; None if there were more than a batch may hold."""
        return None if self._fold is None else self._fold.snapshot(self._state)

    def _rest(self) -> bytes:
        opening, self._opening = self._opening, b""
        return self.take() + opening

    async def _take_items(self, send: Callable[[], Awaitable[None]]) -> None:  # noqa: C901  a call per item would cost
        options, buffer = self._options, self.buffer
        encode, encode_event = self.format.item, self.format.event
        limit = options.max_item_bytes if options.max_item_bytes is not None else float("inf")
        check = options.item_check
        keep = self._keep if self._fold is not None else None
        count, look, pace = 0, 1, self.pace
        async for item in self.source:
            if item.__class__ is ServerSentEvent:
                if not item.is_item:
                    opening, frame = self.format.control(item)
                    self._opening = opening or self._opening
                    buffer += frame
                    look = 0
                    if len(buffer) >= BURST_BYTES:
                        await send()
                    if pace.overdue():
                        await pace.turn()
                    continue
                frame = encode_event(item)
                if item.retry is not None:
                    self._opening = b""
                value = event_value(item) if check is not None or keep is not None or len(frame) > limit else None
            else:
                frame = encode(item)
                value = item
            if check is not None:
                check(count, value)
            if len(frame) > limit:
                check_size(count, encode_json(value), int(limit))
            if keep is not None:
                keep(value)
            buffer += frame
            count += 1
            self.items = count
            if count >= look or len(buffer) >= BURST_BYTES:
                if self._opening:
                    buffer[-len(frame) : -len(frame)] = self._opening
                    self._opening = b""
                if count == 1 and self.on_first is not None:
                    self.on_first()
                if len(buffer) >= BURST_BYTES:
                    await send()
                if pace.overdue():
                    await pace.turn()
                look = count + pace.step

    def _keep(self, value: Any) -> None:
        """Fold the items of a stream as well, for `on_finish`, within the bound of a batch."""
        fold = self._fold
        if fold is None:
            return
        self._state = fold.step(self._state, value)
        limit = self._options.batch_max_items
        if fold.keeps_items and limit is not None and self.items >= limit:
            self._fold = self._state = None


class StreamAnswer(Answer):
    """Sends the items as they come, in the frames of one format."""

    framing: Framing

    def __init__(self, framing: Framing, options: Options, inbox: Inbox, send: Send, head: Head) -> None:
        super().__init__(options, framing.pace, inbox, send, head)
        self.framing = framing
        self._linger = options.linger
        self._lingers_until = 0.0
        self._turn_until = 0.0
        self._waited_at = -1

    @property
    def given(self) -> int:
        """How many items the source has given so far."""
        return self.framing.items

    @property
    def has_frames(self) -> bool:
        """Whether frames are ready that are not sent yet."""
        return bool(self.framing.buffer)

    async def work(self) -> None:
        """Send all items as they come, close the source, and send the terminal frame."""
        await self.framing.run(self._send_burst, self.broken)
        self.error = None
        self.source_ended()
        await self._no_errand()
        await self.side_ended()
        # A source that was told to stop may have swallowed it and come to an end that looks like any other.
        if self.stopped is None and not self.client_gone:
            await self.sent(self._say(self.framing.end(), more=False))

    def partial(self) -> Any:
        """Give the fold of the items so far; None if there were more than a batch may hold."""
        return self.framing.partial()

    def armed(self) -> None:
        """Commit the status when the window closes, and let the heart beat as soon as it was sent."""
        options = self.options
        if not self.started:
            self.after("commit", self.framing.commit_after, self._commit)
        frame = self.framing.format.heartbeat(options.heartbeat_lines)
        if options.heartbeat is not None and frame:
            self._beat_after(options.heartbeat, options.heartbeat, frame, commits=False)

    def flush(self, waits_for: Any) -> Errand | None:
        """Send what is ready: the source waits.

        A source that only gives the event loop a turn, item by item, costs one send and one turn per item. With
        `linger` its items wait for each other, and the turns become one, for that long at the most.
        """
        framing = self.framing
        held = False
        if waits_for is None and self._linger and framing.buffer:
            now = monotonic()  # uvloop's own clock stands still for a millisecond
            if not self._lingers_until:
                self._lingers_until = now + self._linger
            if not self._turn_until:
                self._turn_until = now + TURN_SECONDS
            held = now < self._lingers_until
            # A source that gives turns without giving items waits for somebody else to have one.
            if held and now < self._turn_until and framing.items != self._waited_at:
                self._waited_at = framing.items
                return GO_ON
        self._turn_until = 0.0
        self.pace.waited = True
        return self._send_frames() if framing.buffer and not held else None

    def _commit(self) -> None:
        if not self.started:
            self._begin_side(self.framing.at_commit())

    async def _send_burst(self) -> None:
        await self._no_errand()
        await self._send_frames()

    async def _no_errand(self) -> None:
        if self._pump is not None:
            await self._pump.errand_ended()

    async def _send_frames(self) -> None:
        self._lingers_until = 0.0
        if self._side is not None:
            await self.side_ended()
        frames = self.framing.take()
        if frames and not self.client_gone:
            if not self.started:
                await self.sent(self._start())
            await self.sent(self._send({"type": "http.response.body", "body": frames, "more_body": True}))
            self._last_sent = self._now()
