"""`Run`: one run, as whoever has begun it holds it."""

from __future__ import annotations

from typing import Any, Protocol

from dual_mode_streaming.folds import Fold
from dual_mode_streaming.streaming import DualModeResponse

__all__ = ["Run"]


class Answering(Protocol):
    """What a run needs of `Runs`."""

    def response(self, run_id: str, *, owner: str | None = None, **options: Any) -> DualModeResponse:
        """Answer a request with a run."""
        ...

    async def partial(self, run_id: str, fold: Fold[Any, Any]) -> Any:
        """Give the fold of the items of a run so far."""


class Run:
    """One run, for whoever has begun it or found it by its key.

    Attributes:
        id: Its id.
        owner: Whose it is.
        is_new: Whether this call has begun it; otherwise it was found by its key.
    """

    def __init__(self, runs: Answering, run_id: str, owner: str | None, fold: Fold[Any, Any], *, is_new: bool) -> None:
        self.id = run_id
        self.owner = owner
        self.is_new = is_new
        self._runs = runs
        self._fold = fold

    def response(self, **options: Any) -> DualModeResponse:
        """Answer a request with it; see `Runs.response`."""
        return self._runs.response(self.id, owner=self.owner, **options)

    async def partial(self) -> Any:
        """Give the fold of the items so far, whichever process does the work.

        Raises:
            RunNotFound: The run is not there any more.
            HistoryTrimmed: Its first items are not kept any more.
            StoreError: The store does not answer.
        """
        return await self._runs.partial(self.id, self._fold)
