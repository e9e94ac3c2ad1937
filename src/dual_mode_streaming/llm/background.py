"""Answers that go on without their client. Each is a run, so every process that has the store can give it out.

The first record of such a run is the question, as far as it is needed to write the answer. All others are what the
model says (`written.py`). So whoever follows renders it anew, from the beginning, in the words of the dialect.

Rules:

- A client hears of an answer when its first record is there: then it can be found, wherever it is asked for.
- An answer belongs to its owner. To anybody else it does not exist; nor does it under another dialect's address.
- Everything is bounded: how many answers are worked on in this process, and how much of each is kept. One that is
  longer fails. It is never given out with its beginning missing.
- A name has one answer at a time: the one before it is cancelled, since nobody could come back to it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from dual_mode_streaming.errors import (
    AnswerNotFound,
    AnswerTooLarge,
    DualModeError,
    HistoryTrimmed,
    ItemTooLarge,
    ModelError,
    Problem,
    RequestTooLarge,
    RunCancelled,
    RunExpired,
    RunFailed,
    RunNotFound,
    StreamAborted,
)
from dual_mode_streaming.events import Outcome
from dual_mode_streaming.folds import Fold
from dual_mode_streaming.jsonbytes import decode_json, encode_json
from dual_mode_streaming.runs import Runs
from dual_mode_streaming.runs.names import Names
from dual_mode_streaming.runs.records import failure_of
from dual_mode_streaming.sources import close_source
from dual_mode_streaming.stores.base import RunState

from .dialects import Dialect, Stamp
from .events import Event, Usage
from .fold import Assembly, Completion, fold_all
from .models.base import Events
from .serving import Asking, OnAnswer
from .timings import Meter
from .written import event_from_json, event_to_json

__all__ = ["Background", "BackgroundAnswer", "State"]

Status: TypeAlias = Literal["in_progress", "completed", "failed", "cancelled"]

ASKED = "asked"
"""The kind of the first record."""
END_BYTES = 4096
"""Room that is left for the final record."""


@dataclass(frozen=True, slots=True)
class State:
    """How far an answer is.

    Attributes:
        status: What has become of it.
        completion: What was said so far.
        problem: Why it failed; None if it has not.
    """

    status: Status
    completion: Completion
    problem: Problem | None = None


class BackgroundAnswer:
    """One answer that goes on without its client.

    Attributes:
        asking: What it answers.
    """

    def __init__(self, runs: Runs, asking: Asking, owner: str | None) -> None:
        self.asking = asking
        self._runs = runs
        self._owner = owner

    @property
    def run_id(self) -> str:
        """The id of its run, which is that of the answer."""
        return self.asking.stamp.id

    async def follow(self) -> AsyncGenerator[Event, None]:
        """Give all events from the first one on, those that are still to come as well.

        Raises:
            AnswerNotFound: It is not kept any more.
            DualModeError: What the work has failed with, or the store.
        """
        try:
            async with aclosing(self._runs.follow(self.run_id, owner=self._owner)) as records:
                async for record in records:
                    if record.data["kind"] != ASKED:
                        yield event_from_json(record.data)
        except DualModeError as error:
            raise _as_told(error) from None

    async def state(self) -> State:
        """Say how far it is.

        Raises:
            AnswerNotFound: It is not kept any more.
            StoreError: The store does not answer.
        """
        runs, run_id = self._runs, self.run_id
        try:
            head = await runs.head(run_id, owner=self._owner)
            said = _as_reported(await runs.partial(run_id, _Saying()))
            if head.state is not RunState.ENDED:
                return State("in_progress", said)
            _, (final, *_) = await runs.store.read(run_id, head.last - 1, 1)
        except DualModeError as error:
            raise _as_told(error) from None
        failure = failure_of(final)
        if failure is None:
            return State("completed", fold_all(said.events()))  # what the model has not ended, ends with it
        status: Status = "cancelled" if isinstance(failure, RunCancelled) else "failed"
        return State(status, said, _as_told(failure).problem)

    async def is_under_way(self) -> bool:
        """Whether somebody works on it.

        Raises:
            StoreError: The store does not answer.
        """
        try:
            return (await self._runs.head(self.run_id, owner=self._owner)).state is RunState.LIVE
        except RunNotFound:
            return False

    async def cancel(self) -> None:
        """Stop the work, wherever it is done. An answer that is over stays as it is.

        Raises:
            AnswerNotFound: It is not kept any more.
            StoreError: The store does not answer.
        """
        try:
            await self._runs.cancel(self.run_id, owner=self._owner)
        except RunNotFound:
            raise AnswerNotFound from None


class Background:
    """All answers of a router that go on without their clients.

    Args:
        runs: Where they are kept.
        on_finish: Told of the end of each, in the process that has worked on it.
        most: How many may be worked on in this process at a time.
    """

    def __init__(self, runs: Runs, on_finish: OnAnswer | None = None, *, most: int = 256) -> None:
        self._runs = runs
        self._names = Names(runs.store)
        self._on_finish = on_finish
        self._most = most
        self._working = 0

    async def begin(
        self, asking: Asking, events: Callable[[], Events], owner: str | None, *, name: str | None = None
    ) -> BackgroundAnswer:
        """Begin to work on an answer.

        Args:
            asking: What it answers. Its id will be that of the run.
            events: Gives what there is to say.
            owner: Whose it is.
            name: What `named` finds it by; None for nothing.

        Raises:
            ModelError: As many as may be are worked on (503).
            DualModeError: It cannot be begun: the store does not answer, or takes no more.
        """
        if self._working >= self._most:
            raise ModelError(
                f"{self._most} answers are being worked on in the background. Try again later.",
                status=503,
                code="server_busy",
                headers={"retry-after": "5"},
            )
        self._working += 1
        try:
            work = self._work(asking, events)
            run = await self._runs.start(work, fold=_Saying(), owner=owner, on_finish=self._ended(asking))
        except BaseException:
            self._working -= 1
            raise
        answer = BackgroundAnswer(self._runs, replace(asking, stamp=replace(asking.stamp, id=run.id)), owner)
        try:
            await self._asked(run.id, owner)
            before = None if name is None else await self._names.give(name, run.id, owner=owner)
        except BaseException:
            with suppress(DualModeError):
                await answer.cancel()
            raise
        if before is not None:
            with suppress(RunNotFound):
                await self._runs.cancel(before, owner=owner)
        return answer

    async def _asked(self, run_id: str, owner: str | None) -> None:
        """Wait until the first record is there."""
        try:
            async with aclosing(self._runs.follow(run_id, owner=owner)) as records:
                await anext(records)
        except RunFailed as error:
            if error.code == ItemTooLarge.code:
                raise RequestTooLarge(error.problem.extensions["limit"]) from None
            raise

    async def find(self, dialect: Dialect, run_id: str, owner: str | None) -> BackgroundAnswer:
        """Give the answer with an id.

        Raises:
            AnswerNotFound: There is none in this dialect, or it is somebody else's.
            HistoryTrimmed: Its beginning is not kept any more.
            StoreError: The store does not answer.
        """
        try:
            head, records = await self._runs.store.read(run_id, 0, 1)
        except RunNotFound:
            raise AnswerNotFound from None
        if head.owner != owner or not records:
            raise AnswerNotFound
        if records[0].seq > 1:
            raise HistoryTrimmed(records[0].seq, 1)
        asked = decode_json(records[0].data)
        if not isinstance(asked, dict) or asked.get("kind") != ASKED or asked["dialect"] != dialect.name:
            raise AnswerNotFound
        meter = Meter()
        stamp = Stamp(run_id, asked["created"], asked["model"], meter.elapsed)
        request = replace(dialect.parse_request(encode_json(asked["body"])), dialect=dialect.name)
        return BackgroundAnswer(self._runs, Asking(dialect, request, stamp, meter), owner)

    async def named(self, dialect: Dialect, name: str, owner: str | None) -> BackgroundAnswer | None:
        """Give the newest answer with a name, if it is under way; else None.

        Raises:
            StoreError: The store does not answer.
        """
        run_id = await self._names.find(name, owner=owner)
        if run_id is None:
            return None
        try:
            answer = await self.find(dialect, run_id, owner)
        except AnswerNotFound:
            return None
        return answer if await answer.is_under_way() else None

    async def _work(self, asking: Asking, events: Callable[[], Events]) -> AsyncGenerator[dict[str, Any], None]:
        dialect, stamp, limits = asking.dialect, asking.stamp, self._runs.limits
        body = dialect.outline(asking.request)
        asked = {"kind": ASKED, "dialect": dialect.name, "created": stamp.created, "model": stamp.model, "body": body}
        yield asked
        count, size = 2, len(encode_json(asked)) + END_BYTES  # the final record is one as well
        said = events()
        try:
            async for event in said:
                asking.meter.note(event)
                document = event_to_json(event)
                count, size = count + 1, size + len(encode_json(document))
                if limits.max_items is not None and count > limits.max_items:
                    raise AnswerTooLarge(f"{limits.max_items} events", "kept of one")
                if limits.max_bytes is not None and size > limits.max_bytes:
                    raise AnswerTooLarge(f"{limits.max_bytes} bytes", "kept of one")
                yield document
        finally:
            await close_source(said)

    def _ended(self, asking: Asking) -> Callable[[Outcome, Any], Any]:
        def ended(outcome: Outcome, said: Completion) -> Any:
            self._working -= 1
            return None if self._on_finish is None else self._on_finish(outcome, said, asking.meter.timings(said))

        return ended


class _Saying(Fold[dict[str, Any], Any]):
    """Folds the records of an answer to what was said so far. Its bound is that of the answer."""

    keeps_items = False

    def start(self) -> Assembly:
        return Assembly()

    def step(self, state: Assembly, item: dict[str, Any]) -> Assembly:
        if item["kind"] != ASKED:
            state.take(event_from_json(item))
        return state

    def result(self, state: Assembly) -> None:
        """Give nothing to be kept: whoever wants the answer folds the records."""
        state.end()

    def snapshot(self, state: Assembly) -> Completion:
        return state.estimated()


def _as_reported(said: Completion) -> Completion:
    """Give what was said without what was only estimated of its usage."""
    usage = said.usage
    if usage is None or not usage.estimated:
        return said
    usage = replace(usage, output_tokens=None, estimated=False)
    return replace(said, usage=None if usage == Usage() else usage)


def _as_told(error: DualModeError) -> DualModeError:
    """Give the error of a run as that of an answer."""
    if isinstance(error, (RunNotFound, RunExpired)):
        return AnswerNotFound()
    if isinstance(error, RunCancelled):
        return ModelError("The answer was cancelled.", status=410, code="cancelled")
    if error.code == StreamAborted.code:
        return StreamAborted(error.detail)
    return error
