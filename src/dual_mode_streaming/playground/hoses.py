"""Backpressure, to be watched: a producer that does not wait by itself, and one reader that may be slow.

A hose is a channel of its own with a policy, a producer with a rate, and a place for one reader. Its statistics are a
second stream.

Rules:

- The reader ends its hose by leaving. One that nobody reads is closed after `PATIENCE` seconds, any after `LONGEST`.
- There are at most `MOST` of them. Those that have ended are forgotten first.
- All tasks belong to the lifespan of the application.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Annotated, Any

import psutil  # type: ignore[import-untyped]
from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, Field

from dual_mode_streaming import Channel, DualModeResponse, Outcome, dual_mode, last
from dual_mode_streaming.channels import Policy
from dual_mode_streaming.channels.subscriptions import Subscription
from dual_mode_streaming.fastapi import DualModeRoute

__all__ = ["Hose", "HoseStats", "Hoses", "Terms", "router"]

MOST = 16
PATIENCE = 30.0
LONGEST = 900.0
TICK = 0.02
"""Seconds between two looks of the producer at what is due."""
LOOK = 0.2
"""Seconds between two statistics."""
KEYS = 50
"""How many sensors there are, for the policy `latest`."""


class Terms(BaseModel):
    """What a hose is to be."""

    policy: Policy = "drop_oldest"
    rate: int = Field(200, ge=0, le=2000, description="Items a second.")
    size: int = Field(8000, ge=0, le=64_000, description="About how many bytes each has.")
    max_items: int = Field(500, ge=1, le=5000, description="How many may wait for the reader.")
    max_bytes: int = Field(1_000_000, ge=100_000, le=16_000_000, description="How many bytes of them.")


class Rate(BaseModel):
    """How fast the producer is to be."""

    rate: int = Field(ge=0, le=2000, description="Items a second.")


class HoseStats(BaseModel):
    """How a hose fares. Of all that was published each item is delivered, dropped, conflated or still buffered."""

    seconds: float = Field(description="Since the reader came.")
    published: int
    delivered: int = Field(description="Handed to the server for its client.")
    dropped: int
    conflated: int
    buffered_items: int
    buffered_bytes: int
    server_memory: int = Field(description="What this process has in memory, in bytes.")
    ended: Outcome | None = Field(description="How the answer to the reader ended; null while it goes on.")


class Hose:
    """One channel, its producer, and its reader."""

    def __init__(self, terms: Terms) -> None:
        self.id = secrets.token_hex(8)
        self.rate = terms.rate
        self.published = 0
        self.ended: Outcome | None = None
        self.over = asyncio.Event()
        self.reader: Subscription | None = None
        self.since = monotonic()
        self._came = asyncio.Event()
        self._payload = "x" * terms.size
        self._channel = Channel(
            policy=terms.policy,
            max_items=terms.max_items,
            max_bytes=terms.max_bytes,
            key=(lambda item: item["sensor"]) if terms.policy == "latest" else None,
        )

    def attach(self) -> Subscription:
        """Let the reader in.

        Raises:
            HTTPException: 409, somebody reads it already; 410, it is over.
        """
        if self.over.is_set():
            raise HTTPException(410, "This hose is over; open another one.")
        if self.reader is not None:
            raise HTTPException(409, "This hose has a reader already; each reader opens its own.")
        self.since = monotonic()
        self.reader = self._channel.subscribe()
        self._came.set()
        return self.reader

    def end(self, outcome: Outcome, _: Any = None) -> None:
        """Take note that the answer to the reader has ended; an `on_finish`."""
        self.ended = outcome
        self.over.set()

    async def run(self) -> None:
        """Wait for the reader, and produce until it has left."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._came.wait()
            async with asyncio.timeout(LONGEST):
                await self._produce()
        except TimeoutError:
            pass  # nobody has come, or it was long enough
        finally:
            self.over.set()
            self._channel.close()

    async def _produce(self) -> None:
        due, at = 0.0, monotonic()
        while not self.over.is_set():
            await asyncio.sleep(TICK)
            now = monotonic()
            # What was missed while a publish had to wait is not made up for.
            due, at = min(due + self.rate * (now - at), max(1.0, self.rate / 10)), now
            while due >= 1 and self.reader is not None and not self.reader.ended:
                due -= 1
                number = self.published + 1
                await self._channel.publish({"number": number, "sensor": number % KEYS, "payload": self._payload})
                self.published = number

    def stats(self) -> HoseStats:
        """Say how it fares."""
        counts = None if self.reader is None else self.reader.stats
        return HoseStats(
            seconds=round(monotonic() - self.since, 3),
            published=self.published,
            delivered=counts.delivered if counts else 0,
            dropped=counts.dropped if counts else 0,
            conflated=counts.conflated if counts else 0,
            buffered_items=counts.buffered_items if counts else 0,
            buffered_bytes=counts.buffered_bytes if counts else 0,
            server_memory=psutil.Process().memory_info().rss,
            ended=self.ended,
        )


class Hoses:
    """All hoses of an application."""

    def __init__(self) -> None:
        self._hoses: dict[str, Hose] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Own the tasks of the producers."""
        async with asyncio.TaskGroup() as self._tasks:
            yield
            for task in self._running:
                task.cancel()
        self._hoses.clear()

    def open(self, terms: Terms) -> Hose:
        """Open one more.

        Raises:
            HTTPException: 503, there are as many as there may be.
        """
        if len(self._hoses) >= MOST:
            self._hoses = {name: hose for name, hose in self._hoses.items() if not hose.over.is_set()}
        if len(self._hoses) >= MOST or self._tasks is None:
            raise HTTPException(503, f"{MOST} hoses are open, the most there may be.", {"Retry-After": "5"})
        hose = Hose(terms)
        self._hoses[hose.id] = hose
        task = self._tasks.create_task(hose.run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return hose

    def find(self, hose_id: str) -> Hose:
        """Give one by its id.

        Raises:
            HTTPException: 404, there is none.
        """
        hose = self._hoses.get(hose_id)
        if hose is None:
            raise HTTPException(404, "There is no such hose; perhaps the server has started anew.")
        return hose


def hoses_of(request: Request) -> Hoses:
    """Give the hoses of the application."""
    hoses: Hoses = request.app.state.hoses
    return hoses


def hose_of(hose_id: str, hoses: Annotated[Hoses, Depends(hoses_of)]) -> Hose:
    """Give the hose of a path."""
    return hoses.find(hose_id)


router = APIRouter(prefix="/hoses", route_class=DualModeRoute, include_in_schema=False)


@router.post("", status_code=201)
async def begin(terms: Terms, hoses: Annotated[Hoses, Depends(hoses_of)]) -> dict[str, str]:
    """Open a hose, and give its id."""
    return {"id": hoses.open(terms).id}


@router.get("/{hose_id}", response_class=DualModeResponse)
async def read(hose: Annotated[Hose, Depends(hose_of)]) -> DualModeResponse:
    """Be its reader."""
    # The fold is the smallest there is: nobody asks for what was read.
    return DualModeResponse(hose.attach(), fold=last, mode="stream", on_finish=hose.end)


@router.patch("/{hose_id}", status_code=204)
async def turn(hose: Annotated[Hose, Depends(hose_of)], wanted: Rate) -> None:
    """Change the rate of its producer."""
    hose.rate = wanted.rate


@router.get("/{hose_id}/stats")
@dual_mode(fold=last)
async def watch(hose: Annotated[Hose, Depends(hose_of)]) -> AsyncIterator[HoseStats]:
    """Give its statistics while it is open, and once more at the end."""
    while not hose.over.is_set():
        yield hose.stats()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await hose.over.wait()
    yield hose.stats()
