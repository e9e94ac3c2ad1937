"""What is told of a subscription: how its reader fares."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SubscriptionStats"]


@dataclass(frozen=True, slots=True)
class SubscriptionStats:
    """What happened so far to the items published since somebody subscribed, and to the history given to them.

    Attributes:
        delivered: Items that were handed to the reader, or to the server for its client.
        dropped: Items that the reader did not get, and was told so.
        conflated: Items that the reader did not get because a newer one with the same key took their place.
        buffered_items: Items that wait for the reader.
        buffered_bytes: Their size, as JSON.
    """

    delivered: int
    dropped: int
    conflated: int
    buffered_items: int
    buffered_bytes: int
