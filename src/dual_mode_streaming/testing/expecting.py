"""What `check_store` says when a promise is broken: what was expected, and what came instead."""

from __future__ import annotations

from collections.abc import Awaitable

__all__ = ["expect", "refused"]


def expect(what: str, got: object, expected: object) -> None:
    """See that two values are equal.

    Raises:
        AssertionError: They are not.
    """
    if got != expected:
        raise AssertionError(f"{what}: expected {_shown(expected)}, got {_shown(got)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:400]}..."


async def refused(what: str, kinds: type[Exception] | tuple[type[Exception], ...], verb: Awaitable[object]) -> None:
    """See that a verb raises one of these errors.

    Raises:
        AssertionError: It does not.
    """
    try:
        got = await verb
    except kinds:
        return
    except Exception as error:
        raise AssertionError(f"{what}: expected {kinds}, but {type(error).__name__} was raised: {error}") from error
    raise AssertionError(f"{what}: expected {kinds}, but it gave {_shown(got)}")
