"""The answer to a request about a run: its result, its events, or that it is not done yet.

What a response decides when it knows its source, a run can only decide when the store was asked: whether it is there,
whose it is, whether `Last-Event-ID` names a place in it, whether anything is left after that place. So the store is
asked before the source is opened, and what is wrong has a status of its own, in every mode.

Rules:

- A run of somebody else is answered like one that is not there.
- `Prefer` (RFC 7240) is a hint for batches. It is followed only where the status can be asked for, at a route of ours.
- `respond-async` alone means: do not wait. With `wait`, and with `wait` alone, it means: wait for so long at the most.
- What is there already is always given.
- A HEAD begins no run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dual_mode_streaming.entries import retry_after
from dual_mode_streaming.errors import DualModeError
from dual_mode_streaming.folds import last
from dual_mode_streaming.headers import LONGEST, Preferences, parse_prefer
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.modes import Choice, ResponseMode, last_event_id
from dual_mode_streaming.refusals import answer_error
from dual_mode_streaming.sources import close_source
from dual_mode_streaming.streaming import HEAD_REQUEST, DualModeResponse

from .feeds import Feed
from .followers import Follower, ResultReader

__all__ = ["Followed", "RunResponse"]


class Followed(Protocol):
    """What a response needs of `Runs`."""

    prefix: str | None
    """Where the routes of runs are; None if there are none."""

    async def joined(self, run_id: str, owner: str | None, after: str | None) -> Feed:
        """Give the feed of a run, for one more user."""
        ...


class RunResponse(DualModeResponse):
    """Answers a request with a run.

    Args:
        runs: Who knows the runs.
        begin: Gives the id and the owner of the run when the request is there.
        source: What `begin` begins, to be closed if it is never called; None if there is no such thing.
        options: Options of `DualModeResponse` about the answer, such as `heartbeat` and `send_timeout`.

    Raises:
        TypeError: An option is about the work.
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        runs: Followed,
        begin: Callable[[], Awaitable[tuple[str, str | None]]],
        source: Any = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        given = options or {}
        for name in ("fold", "max_item_bytes", "on_finish", "validate_items"):
            if name in given:
                raise TypeError(
                    f"{name}= is not for the answer of a run: it is about the work; see Runs and Runs.start"
                )
        # The items were checked against their bounds when they were written.
        super().__init__(source, fold=last, max_item_bytes=None, **given)
        self._runs = runs
        self._begin = begin

    async def _respond(self, scope: Scope, receive: Receive, send: Send, *, in_plain_form: bool = False) -> None:
        try:
            if scope["type"] == "http" and not (self.source is not None and _is_head(scope)):
                choice = self._choose(scope)
                # From here on the source is the run's.
                source, self.source = self.source, None
                try:
                    run_id, owner = await self._begin()
                except BaseException:
                    await close_source(source)
                    raise
                other = await self._open(scope, choice, run_id, owner)
                if other is not None:
                    await other(scope, receive, send)
                    return
        except DualModeError as error:
            await close_source(self.source)
            await answer_error(error, scope, receive, send)
            return
        await super()._respond(scope, receive, send, in_plain_form=in_plain_form)

    async def _open(self, scope: Scope, choice: Choice, run_id: str, owner: str | None) -> Response | None:
        """Make what gives the items of this answer; or give another answer, if nothing is left to tell."""
        if choice.mode is ResponseMode.BATCH:
            feed = await self._runs.joined(run_id, owner, None)
            wait, applied, location = self._patience(scope, run_id)
            self.source = ResultReader(feed, wait, lambda: _not_yet(feed, applied, location))
            if self._runs.prefix is not None:
                self.raw_headers = [*self.raw_headers, (b"vary", b"Prefer")]
            return None
        after = last_event_id(scope)
        feed = await self._runs.joined(run_id, owner, after or "")
        self.source = follower = Follower(feed)
        if await follower.begin(after):
            return None
        await follower.aclose()
        return Response(status_code=204, headers={"vary": "Accept"})

    def _patience(self, scope: Scope, run_id: str) -> tuple[float | None, str, str]:
        """Say how long to wait for the result, which preferences ask for that, and where to ask later."""
        prefix = self._runs.prefix
        if prefix is None:
            return None, "", ""
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"prefer"]
        # A hint of a stranger's length is no hint.
        asked = parse_prefer(lines) if sum(map(len, lines)) <= LONGEST else Preferences()
        applied = ["respond-async"] if asked.respond_async else []
        wait: float | None = 0.0 if asked.respond_async else None
        if asked.wait is not None:
            applied.append(f"wait={asked.wait}")
            wait = float(asked.wait)
        root = scope.get("app_root_path", scope.get("root_path", ""))
        return wait, ", ".join(applied), f"{root}{prefix}/{run_id}"


def _is_head(scope: Scope) -> bool:
    return scope["method"] == "HEAD" or HEAD_REQUEST in scope


def _not_yet(feed: Feed, applied: str, location: str) -> Response:
    """Say that the run is not done, and where to ask for it (RFC 7240, section 4.1)."""
    status = {"id": feed.run_id, "state": "running", "records": feed.known, "url": location}
    headers = {
        "location": location,
        "retry-after": str(retry_after()),
        "preference-applied": applied,
        "vary": "Prefer, Accept",
        "cache-control": "no-store",
    }
    return Response(encode_json(status), 202, headers, "application/json")
