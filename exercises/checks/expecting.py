"""How a check says what it expects, and how it waits.

A check never waits for a time. It holds what an exercise reads with a gate, lets everything run that can run
(`settle`), and looks at what has come out by then.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from exercises.stillness import settle

__all__ = ["Broken", "collected", "equal", "expect", "raised", "settle", "source", "task"]


class Broken(AssertionError):
    """What a check has found, for the learner.

    Args:
        why: What is wrong, and why it matters.
        did: The call that was made, as code.
        got: What it gave.
        expected: What it should have given.
    """

    def __init__(self, why: str, *, did: str = "", got: str = "", expected: str = "") -> None:
        super().__init__(why)
        self.why, self.did, self.got, self.expected = why, did, got, expected


def task(number: int) -> pytest.MarkDecorator:
    """Mark a check as one of a TODO."""
    return pytest.mark.task(number)


def shown(value: Any) -> str:
    """Write a value as code, not too long."""
    if inspect.iscoroutine(value):
        value.close()
        return "a coroutine that nobody has awaited"
    if inspect.isasyncgen(value):
        return "an async generator"
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]} … {text[-80:]}"


def equal(did: str, got: Any, expected: Any, why: str) -> None:
    """Expect a value. `why` is told if another one came."""
    if type(got) is not type(expected):
        why = f"It is of the type {type(got).__name__}, and not {type(expected).__name__}. {why}"
    elif got == expected:
        return
    raise Broken(why, did=did, got=shown(got), expected=shown(expected))


def expect(holds: object, why: str, *, did: str = "", got: Any = None, expected: str = "") -> None:
    """Expect that something holds. What came instead is a value, or words that say it."""
    if not holds:
        words = got if isinstance(got, str) else "" if got is None else shown(got)
        raise Broken(why, did=did, got=words, expected=expected)


def source(did: str, given: Any) -> AsyncIterator[Any]:
    """Expect an async generator, or another async iterator.

    Returns:
        It.
    """
    if not hasattr(given, "__anext__"):
        raise Broken(
            "It has to be an async generator: a function with `async def` that has a `yield` in it.",
            did=did,
            got=shown(given),
            expected="an async generator",
        )
    iterator: AsyncIterator[Any] = given
    return iterator


async def collected(did: str, given: Any) -> list[Any]:
    """Give all items of what should be an async generator."""
    return [item async for item in source(did, given)]


async def raised(call: Callable[..., Any], *given: Any) -> Exception | None:
    """Give the exception that a call raises, or None."""
    try:
        value = call(*given)
        if inspect.isawaitable(value):
            await value
    except Exception as error:
        return error
    return None
