"""What happened to the items of a channel: for one subscriber, and added up for whoever operates it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SubscriptionStats", "Tally"]


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


@dataclass(slots=True)
class Tally:
    """Numbers of a channel, of subscribers that have left; or those of one that is there.

    Attributes:
        published: Items published.
        delivered: Items handed to readers, or to the server for its clients.
        dropped: Items that readers did not get because they were slow.
        conflated: Items in whose place a newer one with the same key came.
        evicted: Subscribers that were ended because they were slow.
        waiting: Items that wait now; under `latest` they are fewer if some are replaced.
    """

    published: int = 0
    delivered: int = 0
    dropped: int = 0
    conflated: int = 0
    evicted: int = 0
    waiting: int = 0

    def add(self, other: Tally) -> None:
        """Add the numbers of a subscriber that leaves. What waited for it, waits no more."""
        self.delivered += other.delivered
        self.dropped += other.dropped
        self.conflated += other.conflated
        self.evicted += other.evicted
