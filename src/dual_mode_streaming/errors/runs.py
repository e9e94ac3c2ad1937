"""The errors of runs and of the stores that keep them. Import them from `errors`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from .root import DualModeError, Problem

__all__ = [
    "EpochChanged",
    "HistoryTrimmed",
    "ProducerLost",
    "RunCancelled",
    "RunEnded",
    "RunError",
    "RunExpired",
    "RunFailed",
    "RunNotFound",
    "ServerShutdown",
    "StoreError",
]


class RunError(DualModeError):
    """Something about a run."""

    code = "run_error"


class RunNotFound(RunError):
    """There is no such run, or it belongs to somebody else: the two look alike from outside."""

    status = HTTPStatus.NOT_FOUND
    code = "run_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such run. It may have expired.")


class RunExpired(RunError):
    """The run was there, but is not kept any more."""

    status = HTTPStatus.GONE
    code = "run_expired"

    def __init__(self) -> None:
        super().__init__("The run is not kept any more. Start it anew.")


class HistoryTrimmed(RunError):
    """The records after the client's last one are not kept any more.

    Attributes:
        first: The oldest record that is kept.
        asked: The record that the client would have needed next.
    """

    status = HTTPStatus.GONE
    code = "history_trimmed"

    def __init__(self, first: int, asked: int) -> None:
        super().__init__(f"The oldest record that is kept is {first}; asked for was {asked}.")
        self.first = first
        self.asked = asked

    @property
    def extensions(self) -> Mapping[str, Any]:
        return {"first": self.first, "asked": self.asked}


class EpochChanged(RunError):
    """The client's last id is of another life of the run: its records are not those that the client has seen."""

    status = HTTPStatus.GONE
    code = "epoch_changed"

    def __init__(self) -> None:
        super().__init__("The id belongs to another run. Read this one from the beginning, without Last-Event-ID.")


class ProducerLost(RunError):
    """The process that did the work has died: its lease ran out."""

    status = HTTPStatus.BAD_GATEWAY
    code = "producer_lost"

    def __init__(self) -> None:
        super().__init__("The process that did this work has died. Start it anew.")


class RunFailed(RunError):
    """The work of a run raised an error. It is told in the words in which the process that did the work has told it.

    Attributes:
        problem: The problem document.
        headers: Headers for an answer with this error, such as `retry-after`.
    """

    code = "run_failed"

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.detail or problem.title)
        self.status = problem.status
        self.code = problem.code
        self._problem = problem
        self._headers = dict(headers or {})

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers

    @property
    def problem(self) -> Problem:
        return self._problem


class ServerShutdown(RunError):
    """The process that did the work went down before it was done."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "server_shutdown"

    def __init__(self) -> None:
        super().__init__("The process that did this work went down before it was done. Start it anew.")


class RunCancelled(RunError):
    """Somebody cancelled the run."""

    status = HTTPStatus.GONE
    code = "run_cancelled"

    def __init__(self) -> None:
        super().__init__("The run was cancelled.")


class RunEnded(RunError):
    """A producer was given up: its run has ended, or belongs to another producer."""

    status = HTTPStatus.CONFLICT
    code = "run_ended"

    def __init__(self) -> None:
        super().__init__("The run has ended, or belongs to another producer; nothing can be added to it.")


class StoreError(DualModeError):
    """The engine of a store cannot be reached, or failed.

    Attributes:
        retry_after: Seconds after which another try makes sense.
    """

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "store_unavailable"

    def __init__(self, detail: str = "The store cannot be reached.", *, retry_after: int = 2) -> None:
        super().__init__(detail)
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        return {"retry-after": str(self.retry_after)}
