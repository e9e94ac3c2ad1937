"""`Channel`: what is published once, for many subscribers, each of them bounded.

What is published is kept once, in a log that all subscribers share (`sharedlog.py`). Each of them has a position in it
(`subscriptions.py`), and all are served together (`crowd.py`). With a store the log is a mirror of the history that all
processes share (`history.py`), and is filled by the link to it (`link.py`).

Rules:

- What cannot be published is refused before anybody gets anything.
- A channel is used in one event loop at a time. When that has ended, another one may take the channel over.
- With a store nothing enters the log but by the link, also what this process publishes. So the order is that of the
  store, in every process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Hashable
from contextlib import asynccontextmanager, suppress
from typing import Any, get_args

from dual_mode_streaming.entries import retry_after
from dual_mode_streaming.errors import ChannelClosed, Draining, ItemTooLarge, StoreError
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.formats import RESERVED_NAMES, reserved
from dual_mode_streaming.jsonbytes import decode_json, encode_json
from dual_mode_streaming.lifecycle import logger
from dual_mode_streaming.sources import Asked
from dual_mode_streaming.sse import check_event
from dual_mode_streaming.stores.base import Store
from dual_mode_streaming.stores.memory import MemoryStore
from dual_mode_streaming.workers import several_workers

from .crowd import Policy
from .history import StoredHistory, kept_items
from .hub import Hub
from .link import Link
from .subscriptions import Subscription

__all__ = ["Channel", "Policy"]


class Channel(Hub):
    """Gives every published item to every subscriber.

    Give it to `DualModeResponse`, or return it from an endpoint under `@dual_mode`: each client that asks for a stream
    becomes a subscriber, and each that asks for a batch gets the fold of the history. Or read it in the same process:
    `async for event in channel.subscribe()`.

    Events have ids, `<epoch>-<number>`: the epoch is random and of this channel alone, the numbers are 1, 2, 3 and so
    on. A client that reconnects with `Last-Event-ID` gets what came after it, from the history, and then what is new.

    With a store the channel is the same in all processes that have the store: what one publishes reaches the
    subscribers of all, and a client may come back to any of them. Items are then what their JSON says, for `key` too.

    Args:
        history: How many of the newest items to keep for those who come back, and for batches. They are bounded by
            this number alone, and in a store by 64 MiB. Under `latest` they are the newest item of each key; a store
            knows the keys of its newest `10 * history + 1000` items.
        max_items: How many items may wait for one subscriber. History for one who comes back is not counted.
        max_bytes: How many bytes of them, as JSON. No single item may be larger.
        policy: What happens to a subscriber for whom more would have to wait: `"disconnect"` ends it with `SlowClient`,
            `"drop_oldest"` and `"drop_newest"` leave items out, `"latest"` leaves out what a newer item with the same
            key replaces (always, not only when it is full; keys beyond the bounds are dropped, oldest first), and
            `"block"` lets `publish` wait. A subscriber that items were dropped for gets a `gap` event in their place.
            `"block"` is not for a channel with a store: nobody waits for subscribers elsewhere.
        key: Gives what an item is conflated by, for `latest`: anything that can be a key of a dict.
        store: Where the history is, for a channel that several processes share. None for one of this process alone.
        name: What the channel is called in the store. All channels of one store and name are one. It is kept for a day
            without items and followers, and for ten minutes after it was closed.

    Raises:
        ValueError: A bound is out of its range, the policy is unknown, or two options do not go together.
    """

    def __init__(
        self,
        *,
        history: int = 0,
        max_items: int = 256,
        max_bytes: int = 1_048_576,
        policy: Policy = "disconnect",
        key: Callable[[Any], Hashable] | None = None,
        store: Store | None = None,
        name: str | None = None,
    ) -> None:
        _check(history, max_items, max_bytes, policy, key)
        _check_store(store, name, policy)
        # What the store has let go this process lets go too, so that all processes have the same history.
        reach = kept_items(history, conflates=True) if store is not None and key is not None else None
        super().__init__(history=history, max_items=max_items, max_bytes=max_bytes, policy=policy, key=key, reach=reach)
        self._keeps = history
        self._store = store
        self._name = name or ""
        self._shared: tuple[StoredHistory, Link] | None = None
        self._closing: asyncio.Task[None] | None = None

    # --- publishing ------------------------------------------------------------------------------

    async def publish(self, item: Any, *, event: str | None = None) -> str:
        """Give an item to all subscribers.

        Without slow subscribers this does not wait, but for a turn of the event loop now and then. Under `block` it
        waits until every subscriber has room. If it is cancelled while it waits, nothing was published.

        With a store it waits until the store has the item. If it is cancelled meanwhile, the item may be published.

        Args:
            item: Anything with a JSON form. It must not be changed afterwards.
            event: The name of its event.

        Returns:
            The id of its event.

        Raises:
            ItemNotEncodable: The item has no JSON form.
            ItemTooLarge: Its JSON is larger than `max_bytes`, or than a record of the store may be.
            InvalidEvent: The name would forge a line, or is the library's own.
            TypeError: The item is a `ServerSentEvent`; or the key that `key` gave cannot be a key of a dict.
            ChannelClosed: The channel is closed, or was closed while this waited.
            StoreError: The store does not answer. Nobody knows then whether the item was published.
            WrongLoop: The subscribers are in another event loop.
        """
        self._here()
        json, key = self._checked(item, event)
        if self._store is None:
            event_id = await self.append(json, key, item, event)
            self.tally.published += 1
            return event_id
        history, link = self._linked()
        if self.closed or self._closing is not None:
            raise ChannelClosed
        if link.is_opening:
            await link.open()  # who has subscribed before this must not miss it
        event_id = await history.add(json, event)
        self.tally.published += 1
        if not link.is_open:
            self.epoch = event_id.rpartition("-")[0]
        return event_id

    def close(self, error: BaseException | None = None) -> Awaitable[None]:
        """End the channel. Subscribers get everything that was published, and then their end.

        With a store the channel ends in all processes. To know that the store has taken the end, await what this gives;
        otherwise it is only begun.

        Args:
            error: End them with this error instead of a clean end: readers in the same process raise it, and clients
                are told as of any error of a source. Other processes get it as `ChannelFailed`.

        Returns:
            What can be awaited. Without a store there is no need to: the channel is closed when this returns.

        Raises:
            WrongLoop: The subscribers are in another event loop; or there is a store, and this is called from no
                coroutine.
            StoreError: The store does not answer. Raised by what is awaited.
        """
        if self._store is not None:
            if self._closing is None:
                self._closing = self._here().loop.create_task(self._close_all(error))
            return self._closing
        if not self.closed:
            self._check_loop()
            self.finish(error)
        return _Done()

    def snapshot(self) -> list[Any]:
        """Give the items of the history, oldest first. With a store they are those that this process has heard of.

        Raises:
            StoreError: The channel has a store, and is not open.
        """
        if self._store is not None and not self.closed and (self._shared is None or not self._shared[1].is_open):
            raise StoreError("This process does not follow the channel yet: await channel.open() first.")
        return [entry.item for entry in self.log.history.values()]

    # --- subscribing -----------------------------------------------------------------------------

    def subscribe(self, *, last_event_id: str | None = None) -> Subscription:
        """Give the events of this channel to one more reader, from now on.

        What is published after this call reaches the reader, even if it begins to read later. Between `snapshot()`
        and `subscribe()` nothing is lost if there is no `await`.

        Args:
            last_event_id: Begin with what came after the event with this id. If the history does not reach back to it,
                or the id is not one of this channel, the reader gets a `gap` event, and then the whole history.

        Raises:
            WrongLoop: This is not called from a coroutine, or the subscribers are in another event loop.
        """
        self._here()
        asked_for = last_event_id is not None
        if self._store is not None and not self.closed:
            _, link = self._linked()
            if not link.is_open or self._seq_of(last_event_id) >= self.log.end:
                waiting = Subscription(self, None, asked_for=asked_for)
                link.admit(waiting, last_event_id)
                return waiting
        subscription = Subscription(self, [], asked_for=asked_for)
        self.place(subscription, last_event_id)
        return subscription

    def __dual_mode_open__(self, asked: Asked) -> Any:
        """Give the source for one request: a subscription for a stream, the history for a batch."""
        if asked.streams:
            return self.subscribe(last_event_id=asked.last_event_id)
        return self.snapshot() if self._store is None else self._newest()

    async def _newest(self) -> AsyncGenerator[Any, None]:
        """Give the items of the history as the store has it now."""
        self._here()
        if not self.closed:
            await self.open()
            await self._linked()[1].look()
        for item in self.snapshot():
            yield item

    # --- with a store ------------------------------------------------------------------------------

    async def open(self) -> None:
        """Begin to follow the channel in this process, or wait until that has begun. Without a store do nothing.

        The first subscriber does it too. But a store that cannot be reached is better known at the start.

        Raises:
            StoreError: The store does not answer.
            WrongLoop: The subscribers are in another event loop.
        """
        self._here()
        if self._store is not None and not self.closed:
            await self._linked()[1].open()

    async def aclose(self) -> None:
        """Follow the channel in this process no more. Subscribers are told to come back, to wherever they are sent.

        Without a store this does nothing, and neither does it close the store: that belongs to whoever has made it.
        """
        if self._shared is not None:
            await self._shared[1].aclose(Draining(retry_after(), closes=False))

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:  # noqa: ARG002  the signature of a lifespan
        """Be the lifespan of an application, or a part of it: open the store and the channel, and close both.

        Args:
            app: The application.

        Raises:
            StoreError: The store does not answer.
        """
        if isinstance(self._store, MemoryStore) and (sign := several_workers()):
            logger.warning(
                "a channel is shared through the memory of one process, but %s: what is published in one process does "
                "not reach the others. Use SQLiteStore on one machine, or RedisStore on several.",
                sign,
            )
        if self._store is not None:
            await self._store.open()
        await self.open()
        try:
            yield
        finally:
            await self.aclose()
            if self._store is not None:
                await self._store.aclose()

    async def _close_all(self, error: BaseException | None) -> None:
        history, link = self._linked()
        if link.is_opening:
            with suppress(StoreError):
                await link.open()  # as whoever has published before this does
        try:
            await history.end(error)
        except BaseException:
            self._closing = None
            raise
        if link.is_open:
            with suppress(StoreError):  # the end is there: the link goes on trying to hear of it
                await link.look()
        else:
            self.finish(error)
        if error is not None and self.failure is not None:
            self.finish(error)  # here it is told as it is, and not in the words for other processes

    def _linked(self) -> tuple[StoredHistory, Link]:
        """Give the history, and the link to it in the running event loop."""
        assert self._store is not None  # noqa: S101  all callers have looked
        shared = self._shared
        if shared is None or shared[1].loop is not self._here().loop:
            conflates = self._key is not None
            history = StoredHistory(self._store, self._name, history=self._keeps, conflates=conflates)
            shared = self._shared = history, Link(self, history, None if conflates and self._keeps else self._keeps)
        return shared

    # --- checks ------------------------------------------------------------------------------------

    def _checked(self, item: Any, event: str | None) -> tuple[bytes, Hashable]:
        """Give the JSON and the key of an item, having refused what cannot be published."""
        if isinstance(item, ServerSentEvent):
            raise TypeError("a channel makes the events itself: publish the data, with the name as event=")
        if event is not None:
            if event in RESERVED_NAMES:
                raise reserved(event)
            check_event(ServerSentEvent(event=event))
        json = encode_json(item)
        if len(json) > self.max_bytes:
            raise ItemTooLarge(self.log.end - 1, len(json), self.max_bytes, bound="max_bytes")
        if self._store is not None:
            most = self._store.max_record_bytes
            if most is not None and len(json) > most:
                raise ItemTooLarge(self.log.end - 1, len(json), most, bound="max_record_bytes")
            if self._key is not None:
                item = decode_json(json)
        key = None if self._key is None else self._key(item)
        hash(key)
        return json, key


def _check(history: object, max_items: object, max_bytes: object, policy: object, key: object) -> None:
    for name, value, least in (("history", history, 0), ("max_items", max_items, 1), ("max_bytes", max_bytes, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}={value!r} must be a whole number, at least {least}")
    known = get_args(Policy)
    if policy not in known:
        raise ValueError(f"policy={policy!r} is unknown; the policies are {', '.join(known)}")
    if policy == "latest" and key is None:
        raise ValueError("policy='latest' needs key=, a function that says which items replace each other")
    if policy != "latest" and key is not None:
        raise ValueError(f"key= is for policy='latest', not for policy={policy!r}")


def _check_store(store: object, name: object, policy: object) -> None:
    if (store is None) != (name is None):
        raise ValueError("store= and name= go together: the name is that of the channel in the store")
    if name is not None and (not isinstance(name, str) or not name):
        raise ValueError(f"name={name!r} must be a text that is not empty")
    if store is not None and policy == "block":
        raise ValueError("policy='block' is for readers of one process; with a store nobody waits for the others")


class _Done:
    """What can be awaited, and is there already."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()
