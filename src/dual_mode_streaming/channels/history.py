"""The history of a channel in a store, which all processes share: finding it, adding to it, ending it.

It is a run that many add to. Its id cannot be guessed, and is found by the name of the channel, which is its key.

Rules:

- The first process that uses a name begins its history; the store sees to it that it is one.
- The store gives the numbers, so there is one order for all.
- What is published while an addition is under way travels in the next one, together.
- A history that the store has lost is begun anew, under another epoch. So no id of the old one is taken for a new one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable

from dual_mode_streaming.errors import ChannelClosed, DualModeError, RunEnded, RunNotFound, StoreError, problem_from
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.lifecycle import logger
from dual_mode_streaming.stores.base import Head, Limits, NewRun, Record, Store

__all__ = ["DONE", "ERROR", "KEPT_SECONDS", "StoredHistory", "kept_items"]

DONE, ERROR = "done", "error"
"""The names of the final record."""

NOBODY = "\0channels"
"""The owner of all histories: one that no application has, since no request can carry it in a header."""

KEPT_SECONDS = 86_400.0
"""For how long a history is kept in which nothing happens, and which no process follows."""
KEPT_AFTER_END = 600.0
"""For how long after its end."""

BEHIND = 1000
"""How many items more than `history` are kept, for processes that are behind."""
FOR_KEYS = 10
"""How many items are kept for each one of `history` if newer ones replace older ones with the same key."""

TOGETHER_ITEMS, TOGETHER_BYTES = 512, 262_144
"""The most of one addition."""

Waiting = tuple[Record, asyncio.Future[str]]


def kept_items(history: int, *, conflates: bool) -> int:
    """Say how many items the store keeps of a channel."""
    return BEHIND + history * (FOR_KEYS if conflates else 1)


class StoredHistory:
    """The history of one channel.

    Args:
        store: Where it is.
        name: The name of the channel.
        history: How many items those who come back may get.
        conflates: Whether newer items replace older ones with the same key.
    """

    def __init__(self, store: Store, name: str, *, history: int, conflates: bool) -> None:
        self.store = store
        self._kept = kept_items(history, conflates=conflates)
        self.on_loss: Callable[[], None] | None = None
        """Called when the store does not have the history any more."""
        self._name = name
        self._found: Head | None = None
        self._finding = asyncio.Lock()
        self._waiting: deque[Waiting] = deque()
        self._adding: asyncio.Task[None] | None = None

    async def found(self) -> Head:
        """Find the history, or begin it. What the head says of records is of an earlier time.

        Raises:
            StoreError: The store does not answer.
        """
        async with self._finding:
            if self._found is None:
                limits = Limits(max_items=self._kept, ttl=KEPT_SECONDS, ttl_after=KEPT_AFTER_END, lease=KEPT_SECONDS)
                new = NewRun(secrets.token_urlsafe(16), secrets.token_hex(8), NOBODY, self._name, limits)
                self._found = await self.store.claim(new)
            return self._found

    def lost(self, head: Head) -> None:
        """Take note that the store does not have this history any more."""
        if self._found is head:
            self._found = None
            if self.on_loss is not None:
                self.on_loss()

    async def add(self, json: bytes, event: str | None) -> str:
        """Add an item; give the id of its event.

        Raises:
            ChannelClosed: The history has ended.
            StoreError: The store does not answer. Nobody knows whether the item was added.
        """
        loop = asyncio.get_running_loop()
        added: asyncio.Future[str] = loop.create_future()
        self._waiting.append((Record(0, json, event or ""), added))
        if self._adding is None:
            self._adding = loop.create_task(self._add_all())
        return await added

    async def end(self, error: BaseException | None) -> None:
        """Add a final record, after what waits to be added. If there is one already, that stays.

        Args:
            error: With what; None for a good end.

        Raises:
            StoreError: The store does not answer.
        """
        if self._adding is not None:
            await asyncio.wait([self._adding])
        event, data = DONE, b"{}"
        if error is not None:
            event, data = ERROR, encode_json(problem_from(error).as_dict())
        for _ in range(2):
            head = await self.found()
            try:
                await self.store.close(head.run_id, event, data)
            except RunNotFound:
                self.lost(head)
            else:
                return
        raise StoreError("The store loses the history of the channel faster than it can be ended.")

    async def _add_all(self) -> None:
        """Add what waits, and what comes meanwhile."""
        try:
            while self._waiting:
                group = self._together()
                try:
                    epoch, first = await self._add([record for record, _ in group])
                except DualModeError as error:
                    _refuse(group, error)
                except Exception:
                    logger.exception("the store broke")
                    _refuse(group, StoreError("The store broke."))
                else:
                    for seq, (_, added) in enumerate(group, first):
                        if not added.done():  # otherwise whoever published was cancelled
                            added.set_result(f"{epoch}-{seq}")
        finally:
            self._adding = None

    def _together(self) -> list[Waiting]:
        group: list[Waiting] = []
        size = 0
        while self._waiting and len(group) < TOGETHER_ITEMS:
            size += len(self._waiting[0][0].data)
            if group and size > TOGETHER_BYTES:
                break
            group.append(self._waiting.popleft())
        return group

    async def _add(self, records: list[Record]) -> tuple[str, int]:
        for _ in range(2):
            head = await self.found()
            try:
                return head.epoch, await self.store.add(head.run_id, head.epoch, records)
            except RunEnded:
                raise ChannelClosed from None
            except RunNotFound:
                self.lost(head)
        raise StoreError("The store loses the history of the channel faster than it can be added to.")


def _refuse(group: list[Waiting], error: DualModeError) -> None:
    for _, added in group:
        if not added.done():
            added.set_exception(error)
