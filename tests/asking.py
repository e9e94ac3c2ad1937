"""Waiting for what tells nobody when it happens: a port that opens, a line in another process's log, an engine's count.

Everything else in these tests waits for an event. Here there is none, so it is asked for again and again, up to a
bound.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["asked", "asked_in_vain"]

T = TypeVar("T")
PAUSE = 0.02
"""Seconds between two questions."""
BOUND = 30.0


async def asked(what: Callable[[], T | Awaitable[T]], within: float = BOUND) -> T:
    """Ask until the answer is true, and give it; TimeoutError after so many seconds."""
    async with asyncio.timeout(within):
        while True:
            answer = what()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(PAUSE)


def asked_in_vain(what: Callable[[], object], within: float = BOUND) -> bool:
    """Ask until the answer is true, without an event loop; say whether it never was."""
    end = time.monotonic() + within
    while not what():
        if time.monotonic() > end:
            return True
        time.sleep(PAUSE)
    return False
