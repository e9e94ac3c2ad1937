"""Channels: one producer, many subscribers.

    prices = Channel(history=100, policy="latest", key=lambda price: price["symbol"])
    await prices.publish({"symbol": "ABC", "price": 12.5})
    async for event in prices.subscribe():
        print(event.data)

`channel` is what users hold, and `hub` what it is in one process: `sharedlog` keeps what was published once for all,
`subscriptions` is one subscriber, `tally` is their numbers, and `crowd` decides who is served when, and what becomes of
the slow; `broadcast` is what a subscription needs of it. A channel that several processes share has a `history` in a
store, and a `link` in each process that follows it.
"""

from __future__ import annotations

from .channel import Channel
from .crowd import Policy
from .subscriptions import Subscription
from .tally import SubscriptionStats

__all__ = ["Channel", "Policy", "Subscription", "SubscriptionStats"]
