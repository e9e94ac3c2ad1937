"""All subscribers of a channel: who is served when, and what becomes of those that are slow.

Publishing schedules a round for everything that is published before it begins. A round goes over all subscribers, and
whoever has nothing else to do is given what is new: a response sends it at once, a reader in the same process is woken.
One that is busy takes it by itself when it is done.

Rules:

- A round never waits for a subscriber. It leaves the event loop to others every two milliseconds.
- Who is behind after a round is slow, and the policy is for the slow alone. A subscriber that takes whatever it is
  given loses nothing, however fast the publisher is: a publisher waits for the round before it pushes something out.
- A slow one may only need some turns of the event loop, as behind middleware, or another thread, as in some servers.
  So it has a moment to catch up, and the publisher waits that long before the policy hits it. Who is stuck costs that
  once.
- A subscription is held by whoever reads it, and not by the crowd.
- A crowd belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Literal
from weakref import WeakSet

from dual_mode_streaming.errors import SlowClient
from dual_mode_streaming.pace import TURN_SECONDS

from .sharedlog import Published, SharedLog
from .subscriptions import Subscription

__all__ = ["Crowd", "Policy"]

Policy = Literal["block", "drop_oldest", "drop_newest", "latest", "disconnect"]

LOOK_EVERY = 8
"""How many subscribers a round serves, and how many items a publisher may publish, between two looks at the clock."""

GRACE = 0.02
"""Seconds that a subscriber may be behind before it counts as slow for the policy."""


class Crowd:
    """The subscribers of a channel in one event loop.

    Args:
        log: What is published.
        policy: What becomes of the slow.
        max_items: How many items may wait for one subscriber.
        max_bytes: How many bytes of them.
        loop: The event loop, which is running.
    """

    def __init__(
        self, log: SharedLog, policy: Policy, max_items: int, max_bytes: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.loop = loop
        self.subscriptions: WeakSet[Subscription] = WeakSet()
        self._log = log
        self._policy = policy
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._slow: WeakSet[Subscription] = WeakSet()
        self._slowest = log.end
        """No slow subscriber has a position below this one."""
        self._in_grace: WeakSet[Subscription] = WeakSet()
        """The slow that are so for a moment only."""
        self._holding: WeakSet[Subscription] = WeakSet()
        self._is_scheduled = False
        self._rest: list[Subscription] = []
        """Who is still to be served in this round."""
        self._upto = self._served = log.end
        """Where the log ended when this round began, and the last one: all but the slow have got what was before."""
        self._had_turn = 0.0
        self._over: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    # --- for the publisher -----------------------------------------------------------------------

    def before(self, evicted: list[Published]) -> asyncio.Future[None] | None:
        """Give what is to be waited for before something is published that evicts these entries; None for nothing."""
        if evicted and evicted[-1].seq >= self._served:
            return self._round_over()
        if evicted and self._must_wait_for_room(evicted[-1].seq):
            if self._room is None:
                self._room = self.loop.create_future()
            return self._room
        if self._is_scheduled and not self._log.end % LOOK_EVERY and monotonic() - self._had_turn > TURN_SECONDS:
            return self._round_over()
        return None

    def _must_wait_for_room(self, upto: int) -> bool:
        if self._policy == "block":
            return any(one.cursor <= upto for one in self._slow)
        if not self._in_grace:
            return False
        now = self.loop.time()
        left = [one.slow_since + GRACE - now for one in self._in_grace if one.cursor <= upto]
        longest = max(left, default=0.0)
        if longest <= 0:
            for one in list(self._in_grace):
                if one.slow_since + GRACE <= now:
                    self._in_grace.discard(one)
            return False
        self.loop.call_later(longest, self.tidy)
        return True

    def leave_behind(self, evicted: list[Published]) -> None:
        """Do what the policy says with those who have not got what falls out of the window now."""
        if not evicted or self._policy == "drop_oldest" or evicted[-1].seq < self._slowest:
            return  # where the oldest are dropped, who has missed something sees it by the numbers
        upto = evicted[-1].seq
        for subscription in list(self._slow):
            if subscription.cursor > upto:
                continue
            if self._policy == "latest":
                subscription.lose(sum(entry.seq >= subscription.cursor for entry in evicted))
            elif self._policy == "drop_newest":
                subscription.hold()
                self._holding.add(subscription)
            else:
                full = self._log.end - subscription.cursor >= self._max_items
                bound = ("max_items", self._max_items) if full else ("max_bytes", self._max_bytes)
                subscription.evict(SlowClient(*bound))
        self._slowest = min((subscription.cursor for subscription in self._slow), default=self._log.end)

    def jump(self, seq: int) -> None:
        """Take note that what comes next has this number: what is between was lost, and everybody is told so."""
        if self._log.conflates:
            for subscription in self.subscriptions:
                subscription.lose(seq - subscription.cursor)
        self._log.begin_at(seq)
        self._slowest = min((subscription.cursor for subscription in self._slow), default=seq)

    def published(self, entry: Published) -> None:
        """Take note that something was published."""
        if self._holding:
            for subscription in list(self._holding):
                if not subscription.offer(entry):
                    self._holding.discard(subscription)
        self.schedule()

    def schedule(self) -> None:
        """Have a round soon, if there is none to come."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._had_turn = monotonic()
            self.loop.call_soon(self._go_round)

    # --- for subscriptions -----------------------------------------------------------------------

    def moved(self, subscription: Subscription) -> None:
        """Take note that a slow subscription has taken something."""
        if not subscription.is_behind:
            subscription.slow = False
            self._slow.discard(subscription)
            self._in_grace.discard(subscription)
        self.tidy()

    def left(self, subscription: Subscription) -> None:
        """Take note that a subscription takes nothing any more."""
        self.subscriptions.discard(subscription)
        self._holding.discard(subscription)
        self._slow.discard(subscription)
        self._in_grace.discard(subscription)
        if subscription.slow and not self.loop.is_closed():
            # A subscription may be given up by the garbage collector, in any thread.
            self.loop.call_soon_threadsafe(self.tidy)

    def tidy(self) -> None:
        """Let go of what nobody needs any more, and let publishers look whether there is room."""
        if not self._slow and not self._is_scheduled:
            self._log.release()
        if self._room is not None:
            room, self._room = self._room, None
            room.set_result(None)

    # --- rounds ----------------------------------------------------------------------------------

    def _go_round(self) -> None:
        """Serve all subscribers, or go on with it."""
        began, log, rest = monotonic(), self._log, self._rest
        if not rest:
            self._upto = log.end
            rest.extend(self.subscriptions)
        left = LOOK_EVERY
        while rest:
            subscription = rest.pop()
            if subscription.idle:
                subscription.wake()
            if subscription.is_behind and not subscription.slow:
                subscription.slow = True
                self._slow.add(subscription)
                subscription.slow_since = self.loop.time()
                self._in_grace.add(subscription)
                self._slowest = min(self._slowest, subscription.cursor)
            left -= 1
            if not left:
                left = LOOK_EVERY
                if monotonic() - began > TURN_SECONDS:
                    self._had_turn = monotonic()
                    self.loop.call_soon(self._go_round)
                    return
        self._served = self._upto
        self._had_turn = monotonic()
        if log.end > self._upto:
            self.loop.call_soon(self._go_round)
        else:
            self._is_scheduled = False
            if not self._slow:
                log.release()
        if self._over is not None:
            over, self._over = self._over, None
            over.set_result(None)

    def _round_over(self) -> asyncio.Future[None]:
        if self._over is None:
            self._over = self.loop.create_future()
        return self._over
