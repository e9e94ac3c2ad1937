"""Exercise 4: cut and continue.

A build writes its log, and connections break: a train goes into a tunnel, a proxy loses patience. Whoever comes back
must get every line once: none missing, none twice. That takes both sides. The server numbers its events, keeps the last
ones, and goes on after the id that a client brings. The client remembers that id, drops what it has, and notices what
is missing.

`make check-4` says how far you are, `make hint-4` helps, and `make example-5` shows where it leads. To see your own
log, run `.venv/bin/python exercises/exercise_4_resume.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from dual_mode_streaming import ServerSentEvent
from dual_mode_streaming.sse import encode_event


class Gap(Exception):
    """Some events are missing, and nobody can give them any more."""


# TODO 1: give events ids.
#
# An id is an epoch, a hyphen and a number: "b7-1", "b7-2" and so on. The epoch is another one after each start of the
# server, so that an id of yesterday is not taken for one of today. `id_of` makes an id. `place_of` reads it: it gives
# the number, or None if the id is of another epoch or is none at all. Ids come from strangers: "b7-", "b7-x", "7" and
# "" are none.
#
# Read docs/protocol.md#reconnecting
def id_of(epoch: str, number: int) -> str:
    """Make the id of an event."""
    return f"{epoch}-{number}"


def place_of(event_id: str, epoch: str) -> int | None:
    """Give the number in an id; None if it is no id of this epoch."""
    own, _, number = event_id.rpartition("-")
    return int(number) if own == epoch and number.isdecimal() else None


class Bell:
    """Wakes all who wait. This one is done."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake them."""
        rung, self._event = self._event, asyncio.Event()
        rung.set()

    async def wait(self) -> None:
        """Wait for the next time that it is rung."""
        await self._event.wait()


class History:
    """The log: all events there were, of which the last `limit` are kept."""

    def __init__(self, epoch: str, limit: int) -> None:
        self.epoch = epoch
        self.limit = limit
        self.count = 0  # how many events there were in all
        self.kept: deque[ServerSentEvent] = deque()  # the last of them, the oldest first
        self.over = False
        self.bell = Bell()

    # TODO 2: keep a bounded history.
    #
    # Count the event, give it its id, keep it, and let go of the oldest if there are more than `limit`. The numbers go
    # on all the same. Then ring the bell, for those who wait. Use `ServerSentEvent(data, event=name, id=...)`.
    #
    # Read docs/patterns.md#fan-out
    def append(self, data: Any, name: str | None = None) -> None:
        """Add an event to the log."""
        self.count += 1
        self.kept.append(ServerSentEvent(data, event=name, id=id_of(self.epoch, self.count)))
        while len(self.kept) > self.limit:
            self.kept.popleft()
        self.bell.ring()

    # TODO 3: go on after a place.
    #
    # `number` is that of the last event that a client has; 0 if it has none. Give the kept events behind it, in order.
    # If an event that it needs is not kept any more, raise Gap: to begin with what is left would lose events in
    # silence. A number that is higher than `count` is of the future, and no place either: raise Gap.
    #
    # Read docs/protocol.md#gaps
    def after(self, number: int) -> list[ServerSentEvent]:
        """Give all events after a number.

        Raises:
            Gap: They are not all there.
        """
        if not self.count - len(self.kept) <= number <= self.count:
            raise Gap(f"after event {number}")
        return list(self.kept)[len(self.kept) - (self.count - number) :]

    def finish(self) -> None:
        """End the log, with an event that says so. It has an id like all others. This one is done."""
        self.over = True
        self.append({"items": self.count}, "done")

    async def follow(self, number: int) -> AsyncIterator[bytes]:
        """Give what there is after a number, then what is new, up to the end. This one is done.

        Between the look at the history and the wait for the bell nothing is awaited, so no event can come in between:
        with an `await` there it would be missed.
        """
        while True:
            events = self.after(number)
            for event in events:
                number += 1
                yield encode_event(event)
            if not events:
                if self.over:
                    return
                await self.bell.wait()


# TODO 4: answer a client that comes back.
#
# `last_event_id` is its header Last-Event-ID; None for a client that is new. Choose:
#
# - It has seen the last event of a log that is over: `Response(status_code=204)`. A browser's EventSource comes back
#   after every end, and 204 is what makes it stop.
# - Its id is no place of this log, or `after` raises Gap: status 410, while there still is a status to say it with.
# - Otherwise a `StreamingResponse` of `history.follow(number)`, with media_type="text/event-stream".
#
# Read docs/protocol.md#the-end-of-a-stream
def answer(history: History, last_event_id: str | None) -> Response:
    """Answer a request for the log, from the place that the client has reached."""
    number = 0 if last_event_id is None else place_of(last_event_id, history.epoch)
    try:
        if number is None:
            raise Gap(f"{last_event_id} is an id of another log")
        history.after(number)
    except Gap as gap:
        return JSONResponse({"missing": str(gap)}, 410)
    if history.over and number == history.count:
        return Response(status_code=204)
    return StreamingResponse(history.follow(number), media_type="text/event-stream")


class Follower:
    """The client's side: what it has, and up to where."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.number = 0  # of the last event that it has
        self.items: list[Any] = []
        self.complete = False

    # TODO 5: take each event once, and notice what is missing.
    #
    # `take` is given every event that arrives, over as many connections as it takes. One whose number it has already
    # seen is dropped. One that leaves a number out, or has no id of this epoch (`event.id` may be None), means that
    # something is missing: raise Gap, and keep what there was. The others are taken: remember the number, and keep the
    # data in `items`. The event with the name "done" is no item; it makes the follower `complete`.
    #
    # Read docs/client.md#when-a-stream-breaks
    def take(self, event: ServerSentEvent) -> None:
        """Take an event.

        Raises:
            Gap: Events before this one are missing.
        """
        number = place_of(event.id or "", self.epoch)
        if number is None or number > self.number + 1:
            raise Gap(f"event {event.id} after number {self.number}")
        if number <= self.number:
            return
        self.number = number
        if event.event == "done":
            self.complete = True
        else:
            self.items.append(event.data)


# --- from here on there is nothing to do: an application, so that you can see what you have made -----------------

LOG = History("b7", limit=1000)


async def build() -> None:
    """Write a log, slowly."""
    for step in range(1, 61):
        await asyncio.sleep(1)
        LOG.append(f"step {step} of 60")
    LOG.finish()


@asynccontextmanager
async def building(app: Starlette) -> AsyncIterator[None]:
    """Build while the application runs."""
    work = asyncio.create_task(build())
    yield
    work.cancel()


async def show(request: Request) -> Response:
    """Answer GET /log."""
    return answer(LOG, request.headers.get("last-event-id"))


app = Starlette(routes=[Route("/log", show)], lifespan=building)


if __name__ == "__main__":
    import uvicorn

    print("Try:  curl -N http://localhost:8000/log")
    print("      (break it off with Ctrl-C, then go on where you were)")
    print("      curl -N -H 'Last-Event-ID: b7-5' http://localhost:8000/log")
    uvicorn.run(app, port=8000, log_level="warning")
