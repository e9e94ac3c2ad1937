"""Answers that are worked on without their client, and kept for a while: in the memory of this process.

- The work is a task of its own. Clients come, follow it from any place, leave and come back; only `cancel` stops it.
- Everything is bounded: how many answers are kept, for how long after their end, and how many events each may have.
- An answer belongs to its owner. To anybody else it does not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

from dual_mode_streaming.errors import AnswerNotFound, DualModeError, ModelError, Problem, problem_from
from dual_mode_streaming.events import Outcome
from dual_mode_streaming.lifecycle import logger, run_on_finish
from dual_mode_streaming.sources import close_source

from .events import Event
from .fold import Assembly, Completion
from .models.base import Events
from .serving import Asking, OnAnswer

__all__ = ["Kept", "KeptAnswers"]

Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]


class Kept:
    """One answer.

    Attributes:
        asking: What it answers.
        status: How far it is.
        problem: Why it failed; None if it has not.
        over_at: When it was over, by the event loop's clock, in seconds; None while it is worked on.
    """

    def __init__(self, asking: Asking, owner: str | None, max_events: int) -> None:
        self.asking = asking
        self.owner = owner
        self.status: Status = "queued"
        self.problem: Problem | None = None
        self.over_at: float | None = None
        self._error: Exception | None = None
        self._events: list[Event | str] = []
        self._assembly = Assembly()
        self._max_events = max_events
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def completion(self) -> Completion:
        """What was said so far."""
        return self._assembly.completion()

    def start(self, events: Events, on_finish: OnAnswer | None, close_timeout: float) -> None:
        """Begin to work on it."""
        self._task = asyncio.get_running_loop().create_task(self._run(events, on_finish, close_timeout))

    async def cancel(self) -> None:
        """Stop the work, and wait until it has stopped. An answer that is over stays as it is."""
        if self._task is not None and self.over_at is None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def follow(self) -> AsyncIterator[Event | str]:
        """Give all events from the first one on, those that are still to come as well.

        Raises:
            Exception: What the work has failed with.
        """
        at = 0
        while True:
            while at < len(self._events):
                yield self._events[at]
                at += 1
            if self.over_at is not None:
                break
            await self._changed.wait()
        if self._error is not None:
            raise self._error

    async def _run(self, events: Events, on_finish: OnAnswer | None, close_timeout: float) -> None:
        self.status = "in_progress"
        outcome = Outcome.DONE
        try:
            try:
                async for event in events:
                    self.asking.meter.note(event)
                    self._assembly.take(event)
                    self._events.append(event)
                    if len(self._events) > self._max_events:
                        raise ModelError(f"The answer has more than {self._max_events} events, the most that are kept.")
                    self._tell()
            finally:
                await close_source(events)
            self._assembly.end()
            self.status = "completed"
        except asyncio.CancelledError:
            outcome = Outcome.CANCELLED
            self._fail("cancelled", ModelError("The answer was cancelled.", status=410, code="cancelled"))
        except Exception as error:
            outcome = Outcome.ERROR
            self._fail("failed", error)
            if not isinstance(error, DualModeError):
                logger.error("the model failed", exc_info=error)
        self.over_at = asyncio.get_running_loop().time()
        self._tell()
        if on_finish is not None:
            said = self._assembly.estimated()
            timings = self.asking.meter.timings(said)
            hook = on_finish

            def told(outcome: Outcome, completion: Any) -> Any:
                return hook(outcome, completion, timings)

            await run_on_finish(told, outcome, said, close_timeout)

    def _fail(self, status: Status, error: Exception) -> None:
        self.status = status
        self._error = error
        self.problem = problem_from(error)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class KeptAnswers:
    """All answers of a router that are worked on or kept.

    Args:
        most: How many there may be.
        keep_for: Seconds for which one is kept after its end.
        max_events: How many events one may have.
    """

    def __init__(self, *, most: int = 256, keep_for: float = 600.0, max_events: int = 100_000) -> None:
        self._most = most
        self._keep_for = keep_for
        self._max_events = max_events
        self._kept: dict[str, Kept] = {}

    def add(self, key: str, asking: Asking, owner: str | None) -> Kept:
        """Make room for an answer, and keep it under a key. One that had the key before is forgotten.

        Raises:
            ModelError: As many as may be are worked on (503).
        """
        self._forget_old()
        if len(self._kept) >= self._most and key not in self._kept:
            over = [(kept.over_at, name) for name, kept in self._kept.items() if kept.over_at is not None]
            if not over:
                raise ModelError(
                    f"{self._most} answers are being worked on in the background. Try again later.",
                    status=503,
                    code="server_busy",
                    headers={"retry-after": "5"},
                )
            del self._kept[min(over)[1]]
        kept = self._kept[key] = Kept(asking, owner, self._max_events)
        return kept

    def find(self, key: str, owner: str | None) -> Kept:
        """Give the answer of a key.

        Raises:
            AnswerNotFound: There is none, or it is somebody else's.
        """
        self._forget_old()
        kept = self._kept.get(key)
        if kept is None or kept.owner != owner:
            raise AnswerNotFound
        return kept

    async def cancel_all(self) -> None:
        """Stop all work: the server goes down."""
        for kept in list(self._kept.values()):
            await kept.cancel()
        self._kept.clear()

    def _forget_old(self) -> None:
        now = asyncio.get_running_loop().time()
        for key, kept in list(self._kept.items()):
            if kept.over_at is not None and now - kept.over_at > self._keep_for:
                del self._kept[key]
