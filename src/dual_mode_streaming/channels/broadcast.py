"""What a subscription needs of its channel."""

from __future__ import annotations

from typing import Any, Protocol

from dual_mode_streaming.sources import Asked

from .sharedlog import SharedLog
from .tally import Tally

__all__ = ["Broadcast"]


class Broadcast(Protocol):
    """What a subscription needs of its channel."""

    log: SharedLog
    epoch: str
    closed: bool
    failure: BaseException | None
    tally: Tally
    max_items: int
    max_bytes: int

    def __dual_mode_open__(self, asked: Asked) -> Any:
        """Give the source for a request."""

    def moved(self, subscription: Any) -> None:
        """Take note that a slow subscription has taken something."""

    def left(self, subscription: Any) -> None:
        """Take note that a subscription takes nothing any more."""
