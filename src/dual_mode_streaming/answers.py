"""The two answers to a request: `BatchAnswer` folds the source into one body, `StreamAnswer` sends it item by item.

Both run the same source in the same way and differ in what they do with an item. What is told to the client after
the source has ended early is decided in `streaming.py`, for both.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, cast

from starlette.types import Send

from .errors import BatchTooLarge, ItemTooLarge
from .events import Outcome, ServerSentEvent
from .folds import Fold, ListFold
from .formats import Format, event_value
from .inbox import Inbox
from .jsonbytes import encode_json
from .lifecycle import Life, logger
from .options import Options
from .sources import close_source

__all__ = ["Answer", "BatchAnswer", "StreamAnswer"]

Head = Callable[[int | None], tuple[int, list[tuple[bytes, bytes]]]]
"""Gives the status and the headers of an answer, for a body of so many bytes if that is known."""

BURST_BYTES = 65_536
"""Larger sends are not cheaper, per byte."""
TURN_SECONDS = 0.002
"""How long a source that never waits may keep the event loop from everybody else."""
LOOK_EVERY = 32
"""How many cheap items pass between two looks at the clock."""


class Answer(Life):
    """What both answers share: the source, the sends, and the beat that keeps a silent connection alive."""

    def __init__(self, source: Any, options: Options, inbox: Inbox, send: Send, head: Head) -> None:
        super().__init__(
            inbox.client_left,
            keep_when_gone=options.on_disconnect == "finish",
            deadline=options.deadline,
            idle_timeout=options.idle_timeout,
            send_timeout=options.send_timeout,
            close_timeout=options.close_timeout,
        )
        self._source = source
        self._options = options
        self._send = send
        self._head = head
        self._side: asyncio.Task[None] | None = None
        self._last_sent = 0.0
        self._waited = False
        self._turn_began = 0.0
        self.length: int | None = None
        """The size of the body in bytes, once it is known."""
        self.started = False
        """Whether headers were sent. From then on an error cannot have its own status any more."""
        self.error: Exception | None = None
        """What broke the source, if it did not close after that."""

    @abstractmethod
    async def work(self) -> None:
        """Take all items from the source, close it, and send the last words of a complete answer."""

    @abstractmethod
    def partial(self) -> Any:
        """Give the fold of the items so far; None if there is none."""

    # --- the source ----------------------------------------------------------------------------

    async def _take_all(self) -> None:
        """Take all items from the source and close it, whatever happens."""
        try:
            await self._take_items()
        except BaseException as error:
            if self.stopped is None:
                if isinstance(error, Exception):
                    self.error = error
                self.closing()
            raise
        finally:
            await close_source(self._source)
        self.error = None
        self.source_ended()

    @abstractmethod
    async def _take_items(self) -> None:
        """Take all items from the source."""

    async def _turn(self, step: int) -> int:
        """Give the event loop a turn if the source has kept it for too long; say when to look again, in items.

        Only a source that never waits comes here often: each wait begins a new turn.
        """
        if self.stopped is not None or self.send_failure is not None:
            # The source was told to stop and has swallowed it.
            raise asyncio.CancelledError
        now = self._loop.time()
        if self._waited:
            self._waited = False
            self._turn_began = now
        elif now - self._turn_began >= TURN_SECONDS:
            await asyncio.sleep(0)
            self._waited = False
            self._turn_began = self._loop.time()
            return max(1, step // 2)
        return min(LOOK_EVERY, step * 2)

    # --- sending -------------------------------------------------------------------------------

    async def _start(self) -> None:
        if not self.started:
            self.started = True
            status, headers = self._head(self.length)
            await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _say(self, body: bytes, *, more: bool) -> None:
        await self._start()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        self._last_sent = self._loop.time()

    async def last_words(self, body: bytes, *, more: bool) -> None:
        """Send after the source has ended early. Gives up after `send_timeout` seconds."""
        try:
            async with asyncio.timeout(self._options.send_timeout):
                await self._say(body, more=more)
        except (OSError, TimeoutError):
            logger.debug("the client did not take the last words of its stream", exc_info=True)

    def _begin_side(self, body: bytes) -> None:
        """Send something while the source waits, in a task beside it. Never two sends at once."""
        if self._side is None and not self._sending and self.stopped is None:
            self._side = self._loop.create_task(self._say_aside(body))

    async def _say_aside(self, body: bytes) -> None:
        try:
            async with asyncio.timeout(self._options.send_timeout):
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

    async def side_ended(self) -> None:
        """Wait until nothing is being sent beside the source."""
        if self._side is not None:
            await asyncio.wait([self._side])

    def _beat_after(self, first: float, interval: float, body: bytes) -> None:
        """Send `body` whenever nothing else was sent for `interval` seconds; look for the first time after `first`."""

        def beat() -> None:
            quiet = self._loop.time() - self._last_sent
            if not self.started or quiet >= interval:
                self._begin_side(body)
                quiet = 0.0
            self.after("beat", interval - quiet, beat)

        self.after("beat", first, beat)


class BatchAnswer(Answer):
    """Folds the source and sends the result as one JSON document."""

    def __init__(self, source: Any, options: Options, inbox: Inbox, send: Send, head: Head) -> None:
        super().__init__(source, options, inbox, send, head)
        self._fold = cast("Fold[Any, Any]", options.fold)
        self._state = self._fold.start()

    async def work(self) -> None:
        """Fold all items and send the body."""
        await self._take_all()
        body = encode_json(self._fold.result(self._state))
        self._check_items(body)
        self.length = len(body)
        if self._side is not None:
            await self.side_ended()
        if not self.client_gone:
            await self.sent(self._say(body, more=False))

    def partial(self) -> Any:
        """Give the fold of the items so far."""
        return self._fold.snapshot(self._state)

    def armed(self) -> None:
        """White space before a JSON text means nothing, and keeps proxies from giving up."""
        options = self._options
        if options.batch_keepalive and options.heartbeat is not None:
            self._beat_after(options.commit_after, options.heartbeat, b" ")

    def flush(self, waits_for: Any) -> None:  # noqa: ARG002  a batch has nothing to send yet
        """Take note that the source waits: its turn ends."""
        self._waited = True

    async def _take_items(self) -> None:
        fold, state, options = self._fold, self._state, self._options
        limit = options.batch_max_items if fold.keeps_items and options.batch_max_items is not None else None
        check = options.item_check
        # A fold over a list needs no call per item.
        append = state.append if type(fold).step is ListFold.step else None
        count, step, look = 0, 1, 1
        async for item in self._source:
            if item.__class__ is ServerSentEvent:
                if not item.is_item:
                    continue
                item = event_value(item)
            if check is not None:
                check(count, item)
            if append is not None:
                append(item)
            else:
                self._state = state = fold.step(state, item)
            count += 1
            self.items = count
            if count >= look:
                if limit is not None and count > limit:
                    raise BatchTooLarge("batch_max_items", limit)
                step = await self._turn(step)
                look = count + step
        if limit is not None and count > limit:
            raise BatchTooLarge("batch_max_items", limit)

    def _check_items(self, body: bytes) -> None:
        """Refuse what a stream of the same items would refuse: one that is over the bound.

        A body within the bound cannot hold an item over it, so as a rule nothing is looked at.
        """
        limit = self._options.max_item_bytes
        if limit is None or len(body) <= limit:
            return
        if isinstance(self._fold, ListFold):
            for index, item in enumerate(self._state):
                check_size(index, encode_json(item), limit)
        elif not self._fold.keeps_items:
            check_size(self.items - 1, body, limit)


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
        super().__init__(source, options, inbox, send, head)
        self.format = format
        self._buffer = bytearray()
        self._lingers_since: float | None = None
        self._opening = format.opening(options.retry)
        self._fold = cast("Fold[Any, Any]", options.fold) if options.on_finish is not None else None
        self._state = self._fold.start() if self._fold is not None else None

    async def work(self) -> None:
        """Send all items and the terminal frame."""
        await self._take_all()
        await self.side_ended()
        if not self.client_gone:
            await self.sent(self._say(self.take_frames() + self.format.done(self.items), more=False))

    def partial(self) -> Any:
        """Give the fold of the items so far; None if there were more than a batch may hold."""
        return None if self._fold is None else self._fold.snapshot(self._state)

    def armed(self) -> None:
        """Commit the status when the window closes, and let the heart beat from then on."""
        options = self._options
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
        self._waited = True
        if not self._buffer:
            return None
        linger = self._options.linger
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
        options, buffer = self._options, self._buffer
        encode, encode_event = self.format.item, self.format.event
        limit = options.max_item_bytes if options.max_item_bytes is not None else float("inf")
        check = options.item_check
        keep = self._keep if self._fold is not None else None
        count, step, look = 0, 1, 1
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
                step = await self._turn(step)
                look = count + step

    def _keep(self, value: Any) -> None:
        """Fold the items of a stream as well, for `on_finish`, within the bound of a batch."""
        fold = self._fold
        if fold is None:
            return
        self._state = fold.step(self._state, value)
        limit = self._options.batch_max_items
        if fold.keeps_items and limit is not None and self.items >= limit:
            self._fold = self._state = None


def check_size(index: int, encoded: bytes, limit: int) -> None:
    """Refuse an item whose JSON is over the bound."""
    if len(encoded) > limit:
        raise ItemTooLarge(index, len(encoded), limit)
