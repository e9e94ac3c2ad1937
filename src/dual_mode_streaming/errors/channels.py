"""Errors of a channel, its publisher and its subscribers."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from .root import DualModeError, Problem

__all__ = ["ChannelClosed", "ChannelFailed", "SlowClient", "WrongLoop"]


class ChannelClosed(DualModeError):
    """Something was published to a channel that is closed."""

    code = "channel_closed"

    def __init__(self) -> None:
        super().__init__("The channel is closed. Nothing can be published any more; make a new one.")


class ChannelFailed(DualModeError):
    """Another process has closed the channel with an error. It is told in the words of that process.

    Attributes:
        problem: The problem document.
    """

    code = "channel_failed"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title)
        self.status = problem.status
        self.code = problem.code
        self._problem = problem

    @property
    def problem(self) -> Problem:
        return self._problem


class WrongLoop(DualModeError, RuntimeError):
    """A channel was used outside of the event loop in which its subscribers are."""

    code = "wrong_loop"


class SlowClient(DualModeError):
    """A subscriber of a channel is further behind than it may be, and the channel's policy is to end it.

    Attributes:
        bound: The name of the bound that was hit.
        limit: Its value.
    """

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "slow_client"

    def __init__(self, bound: str, limit: int) -> None:
        super().__init__(
            f"The client is further behind than {bound}={limit} allows. Reconnect, and read faster or ask for less."
        )
        self.bound = bound
        self.limit = limit

    @property
    def extensions(self) -> Mapping[str, Any]:
        return {"bound": self.bound, "limit": self.limit}
