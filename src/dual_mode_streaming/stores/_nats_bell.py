"""The bell of `NATSStore`: core subscriptions to what the stream has taken, one for each run that is watched.

They share the connection of the store and cost the server next to nothing, unlike consumers, of which a stream has only
so many. A core subscription may miss messages. So every watch is rung when the connection is back, and if it stays away
for `patience` seconds, every watch fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error

from ._nats_link import NATSLink, Unreachable
from ._nats_messages import records_of
from .bells import Bell, Bells

__all__ = ["NATSBell"]


class NATSBell:
    """Hears what streams have taken, for as many watches as there are.

    Args:
        link: The connection.
        subject: Gives the subject of a run.
        patience: Seconds to try for.
    """

    def __init__(self, link: NATSLink, subject: Callable[[str], str], patience: float) -> None:
        self._link = link
        self._subject = subject
        self._patience = patience
        self._bells = Bells()
        self._hearing: dict[str, asyncio.Task[Subscription]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._giving_up: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def watch(self, run_id: str) -> AsyncIterator[Bell]:
        """Have a watch for a run while the block lasts.

        Raises:
            StoreError: The server cannot be reached.
        """
        try:
            async with self._bells.hung(run_id) as bell:
                await self._link.bounded(lambda: self._hear(run_id))
                yield bell
        finally:
            if run_id not in self._bells and (hearing := self._hearing.pop(run_id, None)) is not None:
                task = asyncio.create_task(_leave(hearing))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)

    def lost(self) -> None:
        """Take note that there is no connection: the watches fail soon if none comes."""
        if self._giving_up is None:
            loop = asyncio.get_running_loop()
            self._giving_up = loop.call_later(self._patience, self.give_up, ConnectionError())

    def returned(self) -> None:
        """Take note that there is a connection again: nobody knows what was missed."""
        self._stay()
        self._bells.ring_all()

    def give_up(self, error: Exception) -> None:
        """End all watches."""
        self._stay()
        self._bells.fail(NATSLink.failed(error))

    async def aclose(self) -> None:
        """End all watches and let go of what is left of them."""
        self.give_up(ConnectionError())
        for task in (*self._leaving, *(asyncio.create_task(_leave(task)) for task in self._hearing.values())):
            await task
        self._hearing.clear()
        self._stay()

    def _stay(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    async def _hear(self, run_id: str) -> None:
        hearing = self._hearing.get(run_id)
        if hearing is None or (hearing.done() and (hearing.cancelled() or hearing.exception() is not None)):
            hearing = self._hearing[run_id] = asyncio.create_task(self._subscribe(run_id))
        await asyncio.shield(hearing)

    async def _subscribe(self, run_id: str) -> Subscription:
        client = await self._link.client()
        subscription = await client.subscribe(self._subject(run_id), cb=partial(self._heard, run_id))
        try:
            await self._link.flush()
        except BaseException:
            with suppress(Error):
                await subscription.unsubscribe()
            raise
        return subscription

    async def _heard(self, run_id: str, message: Msg) -> None:
        _, records, more, completes = records_of(message.data)
        if completes:
            self._bells.ring(run_id)
        elif records and not more:
            self._bells.ring(run_id, records)


async def _leave(hearing: asyncio.Task[Subscription]) -> None:
    hearing.cancel()
    with suppress(Error, OSError, TimeoutError, Unreachable, asyncio.CancelledError):
        await (await hearing).unsubscribe()
