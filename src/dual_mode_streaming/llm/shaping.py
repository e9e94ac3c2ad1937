"""What stands between a model and every dialect: operators that take events and give events.

An operator is a function of the events and the request. It works in both modes and for all dialects, because it comes
before the fold and before anything is written. `guard` refuses what may not be said, `smooth` paces bursts.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any, TypeAlias

from .events import Event, Finish, Reasoning, Refusal, Text, ToolArguments, ToolCall, Usage
from .models.base import Events
from .requests import Request

__all__ = ["Shape", "guard", "shaped", "smooth"]

Shape: TypeAlias = Callable[[Events, Request], Events]
"""An operator: gives what is to be said in the place of what a model says."""

Check: TypeAlias = Callable[[str], bool | Awaitable[bool]]

_WORD = re.compile(r"\s*\S+(?:\s+$)?|\s+$")


def shaped(events: Events, request: Request, shapes: Sequence[Shape]) -> Events:
    """Apply operators, the first one first."""
    for shape in shapes:
        events = shape(events, request)
    return events


def guard(check: Check, *, hold_back: int | None = 0) -> Shape:
    """Make an operator that ends an answer before something is said that may not be said.

    The answer ends with the reason `content_filter`, in every dialect. Texts, reasoning, refusals and the arguments of
    calls are checked.

    Args:
        check: Is given a text and says whether it may be said: the new piece, behind the `hold_back` characters or more
            that came before it in the same choice. It may be an async function.
        hold_back: How many characters are kept back until more has come. What is forbidden may come in pieces: with
            as many characters as the longest forbidden phrase has, nothing of it is sent. None keeps everything back
            until the end of the choice, and checks it once.

    Raises:
        ValueError: `hold_back` is negative.
    """
    if hold_back is not None and hold_back < 0:
        raise ValueError(f"hold_back={hold_back} must not be negative; None holds back everything")

    async def guarded(events: Events, request: Request) -> AsyncIterator[Event | str]:  # noqa: ARG001  an operator
        choices: dict[int, _Held] = {}
        async with _closing(events):
            async for given in events:
                event = Text(given) if isinstance(given, str) else given
                if isinstance(event, Usage):
                    yield event
                    continue
                held = choices.setdefault(event.choice, _Held(check, hold_back))
                if held.over:
                    continue
                for released in await held.take(event):
                    yield released
        for number, held in choices.items():
            for released in await held.rest(number):
                yield released

    return guarded


def smooth(milliseconds: float) -> Shape:
    """Make an operator that gives texts word by word, with a pause after each, so that they read like typing.

    Models and networks give in bursts, which jump on a screen. Everything but text goes on at once. In a batch
    nothing waits, because nobody would see it.

    Args:
        milliseconds: The pause after a word.

    Raises:
        ValueError: The pause is negative.
    """
    if not milliseconds >= 0:
        raise ValueError(f"a pause of {milliseconds} ms must not be negative")

    async def smoothed(events: Events, request: Request) -> AsyncIterator[Event | str]:
        async with _closing(events):
            async for given in events:
                event = Text(given) if isinstance(given, str) else given
                if not request.stream or not isinstance(event, (Text, Reasoning)):
                    yield event
                    continue
                for word in _WORD.findall(event.text):
                    yield type(event)(word, event.choice)
                    await asyncio.sleep(milliseconds / 1000)

    return smoothed


class _Held:
    """What one choice has not said yet.

    Args:
        check: Says whether a text may be said.
        hold_back: How many characters wait; None for all.
    """

    def __init__(self, check: Check, hold_back: int | None) -> None:
        self._check = check
        self._bound = hold_back
        self._waiting: deque[Event] = deque()
        self._length = 0
        self.over = False

    async def take(self, event: Event) -> list[Event]:
        """Take an event; give those that may be said now."""
        if isinstance(event, Finish):
            return [*await self.rest(event.choice), *([] if self.over else [event])]
        text = _text_of(event)
        self._waiting.append(event)
        self._length += len(text)
        if self._bound is None:
            return []
        if text and not await self._may(self._text()):
            return self._refused(event)
        released: list[Event] = []
        while self._waiting and self._length - len(_text_of(self._waiting[0])) >= self._bound:
            self._say(released)
        return released

    async def rest(self, choice: int) -> list[Event]:
        """Give all that waits, if it may be said."""
        if self.over or not self._waiting:
            return []
        if self._bound is None and not await self._may(self._text()):
            return self._refused(Finish("content_filter", choice))
        released: list[Event] = []
        while self._waiting:
            self._say(released)
        return released

    def _say(self, released: list[Event]) -> None:
        event = self._waiting.popleft()
        self._length -= len(_text_of(event))
        released.append(event)

    def _refused(self, event: Any) -> list[Event]:
        self.over = True
        self._waiting.clear()
        return [Finish("content_filter", event.choice)]

    def _text(self) -> str:
        return "".join([_text_of(event) for event in self._waiting])

    async def _may(self, text: str) -> bool:
        given = self._check(text)
        return bool(await given if inspect.isawaitable(given) else given)


def _text_of(event: Event) -> str:
    if isinstance(event, (Text, Reasoning, Refusal, ToolArguments)):
        return event.text
    return event.arguments if isinstance(event, ToolCall) else ""


def _closing(events: Any) -> AbstractAsyncContextManager[Any]:
    """Close what can be closed, whatever happens."""
    return aclosing(events) if hasattr(events, "aclose") else nullcontext()
