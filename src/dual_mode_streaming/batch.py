"""The batch answer: all items folded into one JSON document.

Most batches are ready without ever waiting, or after a short wait. So taking the items (`Gathering`) knows nothing of
the life of a response, and the watch and the timers are only made (`LateLife`) for a batch that takes longer.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from .answers import Answer, check_size
from .errors import BatchTooLarge, ItemNotEncodable
from .events import ServerSentEvent
from .flow import Pump
from .folds import ListFold
from .formats import checked_frame, event_value
from .jsonbytes import encode_json
from .options import Options
from .pace import LOOK_EVERY, TURN_SECONDS, Pace
from .sources import close_source
from .tasks import current_task, gave_up

__all__ = ["BatchAnswer", "Gathering", "LateLife", "take_items"]

LOOK_FIRST = 8
"""After how many items to look at the clock for the first time. Most batches are shorter than a turn."""


ARM_AFTER = 0.05
"""Seconds that a batch may wait before its client is watched. Most are ready by then, and never pay for it, on a server
that is busy too."""


async def take_items(source: Any, items: list[Any], options: Options, late: list[Gathering]) -> None:
    """Take all items of a source into a list, and close the source whatever happens.

    Args:
        source: The source.
        items: Where the items go.
        options: The options of the response.
        late: Empty as long as nobody needs more than the list. Holds the gathering from then on.
    """
    try:
        left, looks, began = LOOK_FIRST, LOOK_FIRST, monotonic()
        async for item in source:
            items.append(item)
            left -= 1
            if not left:
                if monotonic() - began < TURN_SECONDS:
                    # Nobody can have waited for a turn yet. Cheap items are looked at less often.
                    left = looks = min(looks * 2, LOOK_EVERY)
                else:
                    gathering = _gathering(source, items, options, late)
                    left = gathering.look() or await gathering.pace.turn()
        bound = options.batch_max_items
        if bound is not None and len(items) > bound:
            _gathering(source, items, options, late).refuse_over(bound)
    except BaseException as error:
        _gathering(source, items, options, late).note(error)
        await close_source(source)
        raise
    if source.__class__ is not types.AsyncGeneratorType:
        # An async generator that has ended is closed; an iterator may want to be told.
        await close_source(source)


def _gathering(source: Any, items: list[Any], options: Options, late: list[Gathering]) -> Gathering:
    if not late:
        late.append(Gathering(source, options, items))
    return late[0]


class Gathering:
    """Takes all items of a source into the state of a fold, and closes the source.

    Args:
        source: The source.
        options: The options of the response.
        items: The items that were taken before; None if there are none.
    """

    def __init__(self, source: Any, options: Options, items: list[Any] | None = None) -> None:
        self.source = source
        self.options = options
        self.state: Any = options.fold.start() if items is None else items

    broken: BaseException | None = None
    """Why the source is being closed before its end."""
    _pace: Pace | None = None
    _count = 0

    @property
    def items(self) -> int:
        """How many items the source has given so far."""
        return len(self.state) if self.options.takes_list else self._count

    @property
    def pace(self) -> Pace:
        """What gives the event loop a turn if the source does not."""
        if self._pace is None:
            self._pace = Pace(LOOK_FIRST)
        return self._pace

    def note(self, error: BaseException) -> None:
        """Take note that the source is being closed because of an error."""
        self.broken = error
        self.on_error(error)

    def on_error(self, error: BaseException) -> None:
        """Hear of such an error; whoever wants to know replaces this."""

    async def run(self) -> None:
        """Take all items, and close the source whatever happens."""
        if self.options.takes_list:
            await take_items(self.source, self.state, self.options, [self])
            return
        try:
            await self._step_all(self.source)
            bound = self.options.batch_max_items
            if bound is not None and self.items > bound:
                self.refuse_over(bound)
        except BaseException as error:
            self.note(error)
            await close_source(self.source)
            raise
        await close_source(self.source)

    async def _step_all(self, source: Any) -> None:
        step, check = self.options.fold.step, self.options.item_check
        count, left = 0, LOOK_FIRST
        async for item in source:
            if not _is_control(item):
                value = _checked_value(item)
                if check is not None:
                    check(count, value)
                self.state = step(self.state, value)
                count += 1
                self._count = count
            left -= 1
            if not left:
                left = self.look() or await self.pace.turn()

    def look(self) -> int:
        """Look at the bound and at the clock; say after how many items to look again, or 0 if a turn is due."""
        bound = self.options.batch_max_items
        if bound is not None and self.items > bound:
            self.refuse_over(bound)
        pace = self.pace
        return 0 if pace.overdue() else pace.step

    def refuse_over(self, bound: int) -> None:
        """Refuse more items than a batch may have.

        Raises:
            BatchTooLarge: There are more, and the fold keeps them all.
        """
        self._open_events(_value)  # comments are no items
        if self.items > bound and self.options.fold.keeps_items:
            raise BatchTooLarge("batch_max_items", bound)

    def body(self) -> bytes:
        """Give the JSON document, once all items are taken.

        Raises:
            ItemNotEncodable: The result has no JSON form.
            ItemTooLarge: A stream of the same items would have refused one of them.
        """
        fold = self.options.fold
        self._open_events(_checked_value)
        holds_items = type(fold).step is ListFold.step
        result = fold.result(self.state)
        try:
            body = encode_json(result)
        except ItemNotEncodable:
            # A stream would name the place within its item, so the batch does as well.
            if holds_items:
                for item in self.state:
                    encode_json(item)
            raise
        limit = self.options.max_item_bytes
        # A body within the bound cannot hold an item over it, so as a rule nothing is looked at.
        if limit is not None and len(body) > limit:
            if holds_items:
                for index, item in enumerate(self.state):
                    check_size(index, encode_json(item), limit)
            elif not fold.keeps_items:
                check_size(self.items - 1, body, limit)
        return body

    def partial(self) -> Any:
        """Give the fold of the items so far."""
        self._open_events(_value)
        return self.options.fold.snapshot(self.state)

    def _open_events(self, value_of: Callable[[Any], Any]) -> None:
        """Put the values of events in their places, in a list that was gathered without a look at its items."""
        # One look at the types of all items is cheaper than a look at each.
        if self.options.takes_list and any(issubclass(kind, ServerSentEvent) for kind in set(map(type, self.state))):
            self.state[:] = [value_of(item) for item in self.state if not _is_control(item)]


def _is_control(item: Any) -> bool:
    return isinstance(item, ServerSentEvent) and not item.is_item


def _value(item: Any) -> Any:
    return event_value(item) if isinstance(item, ServerSentEvent) else item


def _checked_value(item: Any) -> Any:
    if isinstance(item, ServerSentEvent):
        checked_frame(item)  # a batch refuses the events that a stream would refuse
    return _value(item)


class BatchAnswer(Answer):
    """The life of a batch that takes its time."""

    gathering: Gathering

    @property
    def given(self) -> int:
        """How many items the source has given so far."""
        return self.gathering.items

    async def send_body(self, body: bytes) -> None:
        """Send the complete body."""
        self.length = len(body)
        await self.side_ended()
        if not self.client_gone:
            await self.sent(self._say(body, more=False))

    def partial(self) -> Any:
        """Give the fold of the items so far."""
        return self.gathering.partial()

    def armed(self) -> None:
        """Let white space flow, if it is wanted: before a JSON text it means nothing, and proxies do not give up."""
        options = self.options
        if options.batch_keepalive and options.heartbeat is not None:
            self._beat_after(options.commit_after, options.heartbeat, b" ", commits=True)

    def flush(self, waits_for: Any) -> None:  # noqa: ARG002  a batch has nothing to send yet
        """Take note that the source waits: its turn ends."""
        self.pace.waited = True


class LateLife:
    """Runs the gathering of a batch, and begins its life only if it waits for longer than `ARM_AFTER`.

    Args:
        gathering: What is to be run.
        make: Makes the answer whose life may begin.
        scope: The innermost cancel scope of anyio before the gathering began.
    """

    __slots__ = ("_began", "_gathering", "_make", "_others", "_pump", "_scope", "_task", "_timer", "answer")

    def __init__(self, gathering: Gathering, make: Callable[[], BatchAnswer], scope: object) -> None:
        self._gathering = gathering
        self._make = make
        self._scope = scope
        self._timer: asyncio.TimerHandle | None = None
        self.answer: BatchAnswer | None = None
        """The answer, if its life has begun."""

    @property
    def complete(self) -> bool:
        """Whether all items were gathered."""
        return self.answer is None or (self.answer.stopped is None and self.answer.error is None)

    async def run(self, gathering: Coroutine[Any, Any, None], waits_for: Any) -> None:
        """Go on gathering from where it waits; see `Life.run`."""
        self._task = current_task()
        self._others = self._task.cancelling()
        self._pump = Pump(self._on_wait, _nothing)
        self._gathering.on_error = self._on_error  # type: ignore[method-assign]
        try:
            await self._pump.run(gathering, waits_for)
        except BaseException as error:
            if self.answer is not None:
                self.answer.judge(error)
            elif isinstance(error, asyncio.CancelledError) and self._task.cancelling() <= self._others:
                raise gave_up() from None
            else:
                raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self.answer is not None:
                await self.answer.disarm()
            # They know each other; apart, they need no garbage collector.
            del self._pump, self._gathering.on_error

    def _on_wait(self, waits_for: Any) -> None:
        if self.answer is not None:
            self.answer.on_wait(waits_for)
            return
        self._gathering.pace.waited = True
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._began = loop.time()
            self._timer = loop.call_later(self._gathering.options.watched_after(ARM_AFTER), self._begin)

    def _on_error(self, error: BaseException) -> None:
        if self.answer is not None:
            self.answer.broken(error)

    def _begin(self) -> None:
        self.answer = self._make()
        self.answer.begin(self._task, self._pump, self._others, self._began, self._scope)
        self.answer.arm()
        if self._gathering.broken is not None:
            self.answer.broken(self._gathering.broken)


def _nothing(*_: object) -> None:
    """Nobody asked to be told."""
