"""The pulse of the server: one channel that every page listens to.

It is published whether anybody listens or not, so that its history is there for a batch, and for who comes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import anyio
import anyio.to_thread
import psutil  # type: ignore[import-untyped]
from fastapi import APIRouter
from pydantic import BaseModel, Field

from dual_mode_streaming import Channel, DualModeResponse, Streams

from .metrics import difference, read_machine

__all__ = ["Pulse", "beating", "live_routes", "make_channel"]

INTERVAL = 0.5
"""Seconds between two pulses."""
HISTORY = 120
"""How many pulses are kept: those of a minute."""


class Pulse(BaseModel):
    """How the server fares at one time."""

    time: datetime
    cpu: float = Field(description="How busy the machine is, in percent.")
    memory: float = Field(description="How much of its memory is taken, in percent.")
    server_memory: int = Field(description="What this process has in memory, in bytes.")
    open_streams: int = Field(description="Streams that are open now.")
    opened: int = Field(description="Streams that were opened so far.")


def make_channel() -> Channel:
    """Make the channel. Who is slow gets the newest pulses."""
    return Channel(history=HISTORY, max_items=20, policy="drop_oldest")


@asynccontextmanager
async def beating(channel: Channel, streams: Streams) -> AsyncIterator[None]:
    """Publish pulses while the `with` block lasts.

    Args:
        channel: Where to.
        streams: What knows the open streams.
    """
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_beat(channel, streams))
        yield
        task.cancel()


async def _beat(channel: Channel, streams: Streams) -> None:
    process = psutil.Process()
    before = await anyio.to_thread.run_sync(read_machine)
    while True:
        await anyio.sleep(INTERVAL)
        after = await anyio.to_thread.run_sync(read_machine)
        machine = difference(before, after)
        before = after
        await channel.publish(
            Pulse(
                time=machine.time,
                cpu=machine.cpu.percent,
                memory=machine.memory.percent,
                server_memory=process.memory_info().rss,
                open_streams=streams.open,
                opened=streams.opened,
            )
        )


def live_routes(channel: Channel) -> APIRouter:
    """Give the endpoint: a stream is live, a batch is the history."""
    router = APIRouter()

    @router.get("/live", include_in_schema=False, response_class=DualModeResponse)
    async def live() -> DualModeResponse:
        """Listen to the channel."""
        return DualModeResponse(channel)

    return router
