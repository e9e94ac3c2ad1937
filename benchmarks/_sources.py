"""The sources of the streams that are measured: the same for every library.

Each gives `n` items. Where a library wants text instead of items, it gets it from a source that yields text: no library
has an `async for` around its source that it does not need.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from pydantic import BaseModel

MARK = ord("[")
"""A byte that every event has once, and that no framing has: counting it counts events."""


async def ready(n: int) -> AsyncIterator[dict]:
    """Never waits. One item is a chunk of a chat completion, 191 bytes as an event with compact JSON."""
    for _ in range(n):
        yield {
            "id": "chatcmpl-9xK2mPqR7sT1uV4wX6yZ8",
            "object": "chat.completion.chunk",
            "created": 1767225600,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "delta": {"content": " token"}, "finish_reason": None}],
        }


async def ready_as(n: int, dress: Callable[[dict], Any]) -> AsyncIterator[Any]:
    """The same, but each item is turned into what a library wants."""
    for _ in range(n):
        yield dress(
            {
                "id": "chatcmpl-9xK2mPqR7sT1uV4wX6yZ8",
                "object": "chat.completion.chunk",
                "created": 1767225600,
                "model": "gpt-4o-mini",
                "choices": [{"index": 0, "delta": {"content": " token"}, "finish_reason": None}],
            }
        )


async def turns(n: int) -> AsyncIterator[dict]:
    """Gives the event loop a turn after each item."""
    for _ in range(n):
        yield {
            "id": "chatcmpl-9xK2mPqR7sT1uV4wX6yZ8",
            "object": "chat.completion.chunk",
            "created": 1767225600,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "delta": {"content": " token"}, "finish_reason": None}],
        }
        await asyncio.sleep(0)


async def turns_as(n: int, dress: Callable[[dict], Any]) -> AsyncIterator[Any]:
    async for item in turns(n):
        yield dress(item)


async def short(n: int) -> AsyncIterator[dict]:
    """Has its first item at once and the others after a while: what a response costs, not what an event costs."""
    async for item in ready(1):
        yield item
    await asyncio.sleep(0.001)
    async for item in ready(n - 1):
        yield item


async def slow(n: int) -> AsyncIterator[dict]:
    """Gives an item every 5 ms, with the time at which it was made."""
    for _ in range(n):
        yield {"at": time.monotonic_ns(), "choices": [{"index": 0, "delta": {"content": " token"}}]}
        await asyncio.sleep(0.005)


async def bursts(n: int) -> AsyncIterator[dict]:
    """Gives its items in bursts of 300, with a turn of the event loop after each, and then is silent for 5 ms."""
    for number in range(n):
        yield {"at": time.monotonic_ns(), "choices": [{"index": 0, "delta": {"content": " token"}}]}
        await asyncio.sleep(0.005 if number % 300 == 299 else 0)


closed: dict[int, int] = {}
"""When each endless source was closed (monotonic, in nanoseconds); one record for each request."""


async def endless(n: int) -> AsyncIterator[dict]:
    """Never waits and never ends; `n` is the name of its record."""
    try:
        while True:
            yield {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": " token"}}]}
    finally:
        closed[n] = time.monotonic_ns()


SHAPES = {"ready": ready, "turns": turns, "short": short, "slow": slow, "bursts": bursts, "endless": endless}
DRESSED = {"ready": ready_as, "turns": turns_as}


def dressed(shape: str, n: int, dress: Callable[[dict], Any]) -> AsyncIterator[Any]:
    """Give a source whose items are turned into what a library wants."""
    if shape in DRESSED:
        return DRESSED[shape](n, dress)
    return _dressed(SHAPES[shape](n), dress)


async def _dressed(source: AsyncIterator[dict], dress: Callable[[dict], Any]) -> AsyncIterator[Any]:
    try:
        async for item in source:
            yield dress(item)
    finally:
        await source.aclose()


class Delta(BaseModel):
    content: str


class Part(BaseModel):
    index: int
    delta: Delta
    finish_reason: str | None


class Chunk(BaseModel):
    id: str
    object: str
    created: int
    model: str
    choices: list[Part]


async def ready_typed(n: int) -> AsyncIterator[Chunk]:
    for _ in range(n):
        yield Chunk(
            id="chatcmpl-9xK2mPqR7sT1uV4wX6yZ8",
            object="chat.completion.chunk",
            created=1767225600,
            model="gpt-4o-mini",
            choices=[Part(index=0, delta=Delta(content=" token"), finish_reason=None)],
        )
