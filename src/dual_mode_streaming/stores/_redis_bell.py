"""The bell of `RedisStore`: one connection for all watches of a process.

Rules:

- A watch is entered when the server has confirmed that it listens. So nothing is missed between that and a read.
- A connection that was lost is made anew, and every watch is rung then: nobody knows what was missed. If that does not
  work for `patience` seconds, every watch fails.
- A connection that is silent is asked whether it is alive, so that a cut which nobody told of is found.
- Who leaves waits for nothing. The connection is told later that a channel is of no interest any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn

from redis.exceptions import RedisError

from dual_mode_streaming.errors import StoreError
from dual_mode_streaming.tasks import cancelled

from ._frames import unpack
from .bells import Bell, Bells

__all__ = ["RedisBell", "unreachable"]

SILENCE = 5.0
"""Seconds without a message after which the connection is asked whether it is alive, and then given up."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two attempts to connect; they double."""


class RedisBell:
    """Hears what is published about runs, for as many watches as there are.

    Args:
        connect: Makes a pub/sub object of redis-py that is not connected yet.
        channel: Gives the channel of a run.
        patience: Seconds to try for.
    """

    def __init__(self, connect: Callable[[], Any], channel: Callable[[str], bytes], patience: float) -> None:
        self._connect = connect
        self._channel = channel
        self._patience = patience
        self._bells = Bells()
        self._pubsub: Any = None
        """The connection, once it has been asked for the channels that were watched when it was made."""
        self._runs: dict[bytes, str] = {}
        """The channels that the server was asked for, or will be as soon as there is a connection, and their runs."""
        self._confirmed: dict[bytes, asyncio.Future[None]] = {}
        """Of each of them, whether the server has said that it listens."""
        self._sending = asyncio.Lock()
        """Keeps requests for channels in the order in which they were decided."""
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def watch(self, run_id: str) -> AsyncIterator[Bell]:
        """Have a watch for a run while the block lasts.

        Raises:
            StoreError: The server cannot be reached.
        """
        async with self._bells.hung(run_id) as bell:
            try:
                async with asyncio.timeout(self._patience):
                    await self._ask(run_id)
            except (RedisError, OSError, TimeoutError) as error:
                raise unreachable(error) from error
            yield bell

    async def aclose(self) -> None:
        """Let go of the connection; watches that are left fail."""
        task, self._task = self._task, None
        if task is not None:
            await cancelled(task)
        self._give_up(StoreError("The store was closed."))

    async def _ask(self, run_id: str) -> None:
        """Wait until the server has confirmed that it listens for a run."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep_listening(), name="redis-bell")
        channel = self._channel(run_id)
        async with self._sending:
            confirmed = self._confirmed.get(channel)
            if confirmed is None:
                confirmed = self._confirmed[channel] = asyncio.get_running_loop().create_future()
                self._runs[channel] = run_id
                if self._pubsub is not None:
                    await self._pubsub.subscribe(channel)
        await asyncio.shield(confirmed)

    # --- in the task ---------------------------------------------------------------------------------

    async def _keep_listening(self) -> None:
        """Listen on one connection after the other, until there is none for too long."""
        loop = asyncio.get_running_loop()
        lost_at, pause = loop.time(), SHORTEST_PAUSE
        while True:
            pubsub, heard = self._connect(), asyncio.Event()
            try:
                await self._listen(pubsub, heard)
            except (RedisError, OSError, TimeoutError) as error:
                failure = unreachable(error)
            except Exception as error:
                self._give_up(unreachable(error))
                raise
            finally:
                self._pubsub = None
                with suppress(RedisError, OSError):
                    await pubsub.aclose()
            if heard.is_set():
                lost_at, pause = loop.time(), SHORTEST_PAUSE
            if not self._bells or loop.time() + pause - lost_at > self._patience:
                self._give_up(failure)
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _listen(self, pubsub: Any, heard: asyncio.Event) -> NoReturn:
        """Listen on a connection until it is lost; tell whether there was one."""
        async with asyncio.timeout(self._patience), self._sending:
            self._forget()
            if self._runs:
                await pubsub.subscribe(*self._runs)
            self._pubsub = pubsub
        asked = False
        while True:
            message = await pubsub.get_message(timeout=SILENCE)
            if message is not None:
                asked = False
                heard.set()
                self._hear(message["type"], message["channel"], message["data"])
            elif asked:
                raise TimeoutError
            else:
                asked = True
                async with asyncio.timeout(self._patience), self._sending:
                    if left := self._forget():
                        await pubsub.unsubscribe(*left)
                    await pubsub.ping()

    def _hear(self, kind: str, channel: bytes, data: bytes) -> None:
        run_id = self._runs.get(channel)
        if run_id is None:
            return
        if kind == "message":
            first, _, frames = data.partition(b":")
            self._bells.ring(run_id, unpack(frames, int(first)) if frames else ())
        elif kind == "subscribe":
            confirmed = self._confirmed[channel]
            if confirmed.done():  # it has been so before: this is another connection
                self._bells.ring(run_id)
            else:
                confirmed.set_result(None)

    def _forget(self) -> list[bytes]:
        """Forget the channels that nobody watches any more, and give them."""
        left = [channel for channel, run_id in self._runs.items() if run_id not in self._bells]
        for channel in left:
            del self._runs[channel]
            self._confirmed.pop(channel).cancel()
        return left

    def _give_up(self, error: StoreError) -> None:
        confirmed, self._confirmed = self._confirmed, {}
        self._runs = {}
        for future in confirmed.values():
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever waited for it may have left
        self._bells.fail(error)


def unreachable(error: BaseException) -> StoreError:
    """Make the error for users. Its text says what happened, and nothing of where: clients may see it."""
    return StoreError(f"Redis cannot be reached, or refuses the command ({type(error).__name__}).")
