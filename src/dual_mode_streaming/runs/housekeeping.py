"""The store of an application while that runs: opened, freed of old runs, and closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dual_mode_streaming.errors import StoreError
from dual_mode_streaming.lifecycle import logger
from dual_mode_streaming.stores.base import Limits, Store
from dual_mode_streaming.tasks import cancelled
from dual_mode_streaming.workers import several_workers

__all__ = ["kept_tidy"]


@asynccontextmanager
async def kept_tidy(store: Store, limits: Limits, *, in_memory: bool) -> AsyncIterator[None]:
    """Have a store open, and delete old runs now and then. One in memory is for one process, so warn if there are more.

    Raises:
        StoreError: The store does not answer.
    """
    if in_memory and (sign := several_workers()):
        logger.warning(
            "runs are kept in the memory of one process, but %s: a client that comes back may reach a process that "
            "does not know its run. Use SQLiteStore on one machine, or RedisStore on several.",
            sign,
        )
    await store.open()
    janitor = asyncio.get_running_loop().create_task(_clean_up(store, limits))
    try:
        yield
    finally:
        await cancelled(janitor)
        await store.aclose()


async def _clean_up(store: Store, limits: Limits) -> None:
    while True:
        try:
            await store.expire()
        except StoreError as error:
            logger.warning("old runs could not be deleted: %s", error)
        await asyncio.sleep(min(60.0, max(1.0, limits.ttl_after / 4)))
