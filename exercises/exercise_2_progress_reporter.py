"""Exercise 2: a progress reporter.

A price list is imported, row by row, which takes a while. A page wants to show a bar that moves; a script wants the
result and nothing else. The library gives you both modes. You give it a source that behaves: it reports, it fails in
the right way, it stops when nobody listens any more, and it does not drown a slow reader.

`make check-2` says how far you are, `make hint-2` helps, and `make example-1` and `make example-4` show where it leads.
To see your own endpoint, run `.venv/bin/python exercises/exercise_2_progress_reporter.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dual_mode_streaming import DualModeResponse, ServerSentEvent, last


# TODO 1: report the progress.
#
# Yield one event after each row: `ServerSentEvent({"done": 1, "of": 3}, event="progress")`, and so on. An item with a
# name of its own is all that a page needs to tell progress from the rest.
#
# Read docs/concepts.md#server-sent-events
async def progress(rows: AsyncIterator[Any], total: int) -> AsyncGenerator[ServerSentEvent, None]:
    """Give an event for each row that was read, of `total` rows."""
    yield ServerSentEvent("TODO 1")


# TODO 2: end with the result, and make it the batch.
#
# `report` passes on all events of `progress`, and then yields the result:
# `ServerSentEvent({"imported": 3}, event="result")`. `respond` answers with this source in both modes. A batch is the
# result alone: give the response the fold that says so.
#
# Read docs/concepts.md#folds
async def report(rows: AsyncIterator[Any], total: int) -> AsyncGenerator[ServerSentEvent, None]:
    """Give the progress, then the result: how many rows were imported."""
    yield ServerSentEvent("TODO 2")


def respond(source: AsyncIterator[ServerSentEvent]) -> DualModeResponse:
    """Answer in both modes; a batch is the last item."""
    return DualModeResponse(source)


# TODO 3: fail with an error, not with an item.
#
# A line is "tea;250": a name and a price in cents. Yield ("tea", 250). For a line that is none, raise
# `HTTPException(422, "Line 2 is no name and price.")` with the line's number, from 1. The library makes of it what can
# still be made: a status before the first item, an error event later. Any other exception is not yours to explain:
# what `lines` itself raises passes through.
#
# Read docs/patterns.md#error-handling
async def prices(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, int]]:
    """Read lines as names and prices."""
    yield "TODO 3", 0


class Table:
    """The table into which is imported. Only one import may have it at a time."""

    def __init__(self) -> None:
        self.locked = False

    def lock(self) -> None:
        """Take the table."""
        self.locked = True

    def unlock(self) -> None:
        """Give the table back."""
        self.locked = False


# TODO 4: stop when the client has left.
#
# Take the table's lock, pass on all events, and give the lock back: at the end, after an error, and when the client
# leaves. Then the `await` or the `yield` at which you stand raises, and the rest of the function does not run, except
# for `finally`. Let the exception pass. The generator `events` has to be closed as well, at once and not some day:
# `aclosing` does it.
#
# Read docs/patterns.md#graceful-client-disconnection
async def exclusive(
    events: AsyncGenerator[ServerSentEvent, None], table: Table
) -> AsyncGenerator[ServerSentEvent, None]:
    """Pass events on while the table is locked."""
    yield ServerSentEvent("TODO 4")


# TODO 5: the newest is enough for a slow reader.
#
# A mailbox for one item. `put` replaces what nobody has taken yet: it never waits, and nothing piles up. Who reads gets
# the newest item, and waits if there is none. After `close` a reader gets what is still there, and then the end: the
# last item is never lost. An `asyncio.Event` wakes a reader that waits.
#
# Read docs/concepts.md#backpressure
class Newest:
    """Hands the newest item from a fast writer to a slow reader."""

    def __init__(self) -> None:
        pass  # TODO 5: what does it hold?

    def put(self, item: Any) -> None:
        """Put an item in the place of the one before it."""
        pass  # TODO 5

    def close(self) -> None:
        """Say that no item will follow."""
        pass  # TODO 5

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        """Give the newest item, when there is one.

        Raises:
            StopAsyncIteration: It is closed, and everything was taken.
        """
        raise StopAsyncIteration  # TODO 5


# --- from here on there is nothing to do: an application, so that you can see what you have made -----------------

TABLE = Table()
LINES = [f"article {number};{100 + number}" for number in range(1, 21)]


async def upload() -> AsyncIterator[str]:
    """Give the lines, slowly."""
    for line in LINES:
        await asyncio.sleep(0.2)
        yield line


async def begin(request: Request) -> Response:
    """Answer GET /import."""
    return respond(exclusive(report(prices(upload()), len(LINES)), TABLE))


async def watch(request: Request) -> Response:
    """Answer GET /watch: a thousand numbers in a second, of which a reader gets as many as it can take."""
    newest = Newest()

    async def count() -> None:
        for number in range(5000):
            newest.put(number)
            await asyncio.sleep(0.001)
        newest.close()

    async def watched() -> AsyncIterator[Any]:
        counting = asyncio.create_task(count())
        try:
            async for number in newest:
                yield number
                await asyncio.sleep(0.25)  # a slow reader
        finally:
            counting.cancel()

    return DualModeResponse(watched(), fold=last)


app = Starlette(routes=[Route("/import", begin), Route("/watch", watch)])


if __name__ == "__main__":
    import uvicorn

    print("Try:  curl http://localhost:8000/import")
    print("      curl -N -H 'Accept: text/event-stream' http://localhost:8000/import")
    print("      curl -N 'http://localhost:8000/watch?stream=true'")
    uvicorn.run(app, port=8000, log_level="warning")
