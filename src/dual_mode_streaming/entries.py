"""One open response as a registry knows it, and the numbers that add up from all of them.

`Streams.admit` makes an `Entry`. Whoever answers, in whatever way, uses it so:

    with registry.admit(scope) as entry:
        entry.on_drain(stop)            how to end the response politely
        ...
        entry.ended(outcome, items)     before the end of the block
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Self

from starlette.types import Message, Send

from .errors import Draining
from .events import Outcome
from .observers import Observed

__all__ = ["Counts", "Entry", "Snapshot", "retry_after"]

RETRY_AFTER = (1, 5)
"""The range of seconds from which `Retry-After` is drawn, so that clients do not come back all at once."""


@dataclass(slots=True)
class Counts:
    """What happened so far to responses of one kind.

    Attributes:
        open: How many are open now.
        opened: How many were admitted.
        refused: How many were not, for a limit or because the server is going down.
        items: How many items the sources gave, of responses that have ended.
        bytes: How many bytes of bodies were sent, of open ones too.
        left_behind: How many sources did not close in time, and were left behind.
        outcomes: How many ended in each way.
    """

    open: int = 0
    opened: int = 0
    refused: int = 0
    items: int = 0
    bytes: int = 0
    left_behind: int = 0
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All counters of a registry at one moment.

    Attributes:
        streams: The counts of streams.
        batches: The counts of batches.
        draining: Whether new responses are refused.
    """

    streams: Counts
    batches: Counts
    draining: bool


class Entry:
    """One open response, from the moment it was admitted. Use it as a context manager, or call `leave`.

    Attributes:
        counts: Where it is counted.
        key: The key under which it is limited; None if it is not.
        since: When it was admitted, by the monotonic clock, in seconds.
        patience: Seconds that it needs to leave once it was told to, beyond what its last words take.
        observed: What observers know of it; None if there are none.
    """

    __slots__ = (
        "_closes",
        "_error",
        "_items",
        "_left",
        "_left_behind",
        "_outcome",
        "_stop",
        "_told",
        "counts",
        "key",
        "observed",
        "patience",
        "since",
    )

    def __init__(
        self,
        counts: Counts,
        key: Hashable,
        closes: bool,
        left: Callable[[Entry], None],
        observed: Observed | None = None,
    ) -> None:
        self.counts = counts
        self.observed = observed
        self.key = key
        self.since = monotonic()
        self.patience = 0.0
        self._closes = closes
        self._left: Callable[[Entry], None] | None = left
        self._outcome: Outcome | None = None
        self._items = 0
        self._error: BaseException | None = None
        self._left_behind = False
        self._stop: Callable[[Draining], object] | None = None
        self._told: Draining | None = None
        counts.open += 1
        counts.opened += 1

    def on_drain(self, stop: Callable[[Draining], object], *, patience: float = 0.0) -> None:
        """Say how the response is ended politely. If it was told to end before, that is done at once.

        Args:
            stop: Called once at the most, with the error to tell the client. It only begins to end the response.
            patience: Seconds that the source and the author's hook may take to close.
        """
        self._stop = stop
        self.patience = patience
        if self._told is not None:
            stop(self._told)

    def counting(self, send: Send) -> Send:
        """Give a `send` that adds up the bytes of bodies."""
        counts, observed = self.counts, self.observed
        if observed is not None:
            return _observing(send, counts, observed)

        def counted(message: Message) -> Awaitable[None]:
            counts.bytes += len(message.get("body", b""))
            return send(message)

        return counted

    def tell(self) -> None:
        """Tell the response to end. A second time does nothing."""
        if self._told is None:
            self._told = Draining(retry_after(), closes=self._closes)
            if self._stop is not None:
                self._stop(self._told)

    def ended(
        self, outcome: Outcome, items: int = 0, error: BaseException | None = None, *, left_behind: bool = False
    ) -> None:
        """Take note of how the response ended and how many items there were. It counts once it has left.

        Args:
            outcome: How it ended.
            items: How many items there were.
            error: What it ended with, for observers.
            left_behind: Whether the source did not close in time.
        """
        self._outcome = outcome
        self._items = items
        self._error = error
        self._left_behind = left_behind

    def leave(self) -> None:
        """Be over. Without a word on its outcome the response counts as an error. A second call does nothing."""
        if self._left is None:
            return
        left, self._left, self._stop = self._left, None, None
        counts, outcome = self.counts, self._outcome or Outcome.ERROR
        counts.open -= 1
        counts.items += self._items
        counts.left_behind += self._left_behind
        counts.outcomes[outcome] += 1
        left(self)
        if self.observed is not None:
            self.observed.left_behind = self._left_behind
            self.observed.is_over(outcome, self._items, self._error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outcome is None:
            self._outcome = Outcome.DONE if error is None else Outcome.ERROR
            if error is not None and not isinstance(error, Exception):
                self._outcome = Outcome.CANCELLED
        self._error = self._error or error
        self.leave()


def _observing(send: Send, counts: Counts, observed: Observed) -> Send:
    """Give a `send` that tells more."""

    def seen(message: Message) -> Awaitable[None]:
        body = message.get("body")
        if body:
            counts.bytes += len(body)
            observed.sends(body)
        elif message["type"] == "http.response.start":
            observed.status = message["status"]
        return send(message)

    return seen


def retry_after() -> int:
    """Draw the seconds after which one client is to ask again."""
    return random.randint(*RETRY_AFTER)  # noqa: S311  no secret
