"""The stream answer: each item in a frame of its own, as soon as it is there."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from starlette.types import Send

from .answers import BURST_BYTES, Answer, Head, check_size
from .events import ServerSentEvent
from .flow import Pace
from .folds import Fold
from .formats import Format, event_value
from .inbox import Inbox
from .jsonbytes import encode_json
from .options import Options
from .sources import close_source

__all__ = ["StreamAnswer"]


class StreamAnswer(Answer):
    """Sends the items as they come, in the frames of one format."""

    def __init__(
        self,
        source: Any,
        options: Options,
        inbox: Inbox,
        send: Send,
        head: Head,
        format: Format,  # noqa: A002  the field's word
    ) -> None:
        super().__init__(options, Pace(), inbox, send, head)
        self._source = source
        self.format = format
        self.items = 0
        self._buffer = bytearray()
        self._lingers_since: float | None = None
        self._opening = format.opening(options.retry)
        self._fold: Fold[Any, Any] | None = options.fold if options.on_finish is not None else None
        self._state = self._fold.start() if self._fold is not None else None

    @property
    def given(self) -> int:
        """How many items the source has given so far."""
        return self.items

    @property
    def has_frames(self) -> bool:
        """Whether frames are ready that are not sent yet."""
        return bool(self._buffer)

    async def work(self) -> None:
        """Send all items as they come, close the source, and send the terminal frame."""
        try:
            await self._take_items()
        except BaseException as error:
            self.broken(error)
            raise
        finally:
            await close_source(self._source)
        self.error = None
        self.source_ended()
        await self.side_ended()
        if not self.client_gone:
            await self.sent(self._say(self.take_frames() + self.format.done(self.items), more=False))

    def partial(self) -> Any:
        """Give the fold of the items so far; None if there were more than a batch may hold."""
        return None if self._fold is None else self._fold.snapshot(self._state)

    def armed(self) -> None:
        """Commit the status when the window closes, and let the heart beat from then on."""
        options = self.options
        if not self.started:
            self.after("commit", options.commit_after, self._commit)
        frame = self.format.heartbeat(options.heartbeat_lines)
        if options.heartbeat is not None and frame:
            self._beat_after(options.commit_after + options.heartbeat, options.heartbeat, frame)

    def flush(self, waits_for: Any) -> Coroutine[Any, Any, None] | None:
        """Send what is ready: the source waits.

        A source that only gives the event loop a turn, item by item, costs one send per item. With `linger` its
        items wait for each other, for that long at the most.
        """
        self.pace.waited = True
        if not self._buffer:
            return None
        linger = self.options.linger
        if linger and waits_for is None:
            now = self._loop.time()
            if self._lingers_since is None:
                self._lingers_since = now
            if now - self._lingers_since < linger:
                return None
        self._lingers_since = None
        return self._send_frames()

    def take_frames(self) -> bytes:
        """Take the frames that are not sent yet; what opens the next frame comes last."""
        frames = bytes(self._buffer)
        self._buffer.clear()
        frames, self._opening = frames + self._opening, b""
        return frames

    def _commit(self) -> None:
        if not self.started:
            self._begin_side(b"")

    async def _send_frames(self) -> None:
        await self.side_ended()
        frames = bytes(self._buffer)
        self._buffer.clear()
        if frames and not self.client_gone:
            await self.sent(self._say(frames, more=True))

    async def _take_items(self) -> None:
        options, buffer = self.options, self._buffer
        encode, encode_event = self.format.item, self.format.event
        limit = options.max_item_bytes if options.max_item_bytes is not None else float("inf")
        check = options.item_check
        keep = self._keep if self._fold is not None else None
        count, look, pace = 0, 1, self.pace
        async for item in self._source:
            if item.__class__ is ServerSentEvent:
                if not item.is_item:
                    opening, frame = self.format.control(item)
                    self._opening = opening or self._opening
                    buffer += frame
                    look = 0
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
                if len(buffer) >= BURST_BYTES:
                    await self._send_frames()
                if pace.overdue():
                    await pace.turn()
                look = count + pace.step

    def _keep(self, value: Any) -> None:
        """Fold the items of a stream as well, for `on_finish`, within the bound of a batch."""
        fold = self._fold
        if fold is None:
            return
        self._state = fold.step(self._state, value)
        limit = self.options.batch_max_items
        if fold.keeps_items and limit is not None and self.items >= limit:
            self._fold = self._state = None
