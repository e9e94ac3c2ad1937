"""How long a source that never waits may keep the event loop from everybody else."""

from __future__ import annotations

import asyncio
from time import monotonic

from anyio.lowlevel import checkpoint

__all__ = ["BURST_BYTES", "LOOK_EVERY", "TURN_SECONDS", "Pace"]

TURN_SECONDS = 0.002
"""How long a source that never waits may keep the event loop from everybody else."""
TURNS = 4
"""How many turns the event loop gets then. A request that has just come takes as many: to be accepted, to be read, to
run, and one to spare; a client that leaves takes three, until its stream is cancelled."""
BURST_BYTES = 65_536
"""Larger sends are not cheaper, per byte."""
LOOK_EVERY = 32
"""How many cheap items pass between two looks at the clock."""


class Pace:
    """Sees to it that a source which never waits leaves the event loop to others now and then.

    Ask `overdue` once every `step` items, and `await turn()` if it says so. A wait of the source begins a new turn, so
    this costs a source that waits next to nothing.

    The clock is the real one: an event loop may give the time of its last turn, which stands still as long as the
    source keeps it.
    """

    __slots__ = ("_began", "step", "stopped", "waited")

    def __init__(self, step: int = 1) -> None:
        self._began = 0.0
        self.step = step
        """How many items may pass until the next look at the clock: few where items are dear, many where cheap."""
        self.waited = True
        """Whether the source has waited since the last look."""
        self.stopped = False
        """Whether the source was told to stop."""

    def overdue(self) -> bool:
        """Whether the event loop is to have a turn now.

        Raises:
            asyncio.CancelledError: The source was told to stop, and has swallowed it and gone on.
        """
        if self.stopped:
            raise asyncio.CancelledError
        now = monotonic()
        if self.waited:
            self.waited = False
            self._began = now
        elif now - self._began >= TURN_SECONDS:
            return True
        if self.step < LOOK_EVERY:
            self.step *= 2
        return False

    async def turn(self) -> int:
        """Give the event loop its turns; say after how many items to look again."""
        for _ in range(TURNS):
            await checkpoint()
        self.waited = False
        self._began = monotonic()
        self.step = max(1, self.step // 2)
        return self.step
