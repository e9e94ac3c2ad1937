"""`check_store`: what every store promises (`stores/base.py`), promise by promise.

Each check makes runs of its own with ids that nobody has used, so the suite can be run on an engine that is in use, and
again and again. `store_records` and `store_parties` have the checks, `store_checks` what they share.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from dual_mode_streaming.errors import DualModeError
from dual_mode_streaming.stores.base import Store

from . import store_checks
from .store_parties import PartyChecks
from .store_records import RecordChecks

__all__ = ["StoreFactory", "check_store"]

StoreFactory = Callable[[], Store | Awaitable[Store]]


async def check_store(factory: StoreFactory, *, record_bytes: int = 600_000) -> list[str]:
    """Check that a store keeps its promises.

    Args:
        factory: Makes a store, or a coroutine that makes one. Each call gives fresh connections to the same engine, as
            another process would have them. A store that lives in one process gives the same object each time.
        record_bytes: The size of the largest record that is tried.

    Returns:
        What was checked, promise by promise.

    Raises:
        AssertionError: A promise is broken. The text says which, what was expected and what came.
    """
    checked: list[str] = []
    async with AsyncExitStack() as stack:
        stores: list[Store] = []
        for _ in range(2):
            made = factory()
            store = await made if inspect.isawaitable(made) else made
            assert isinstance(store, Store)  # noqa: S101
            if not any(store is other for other in stores):
                stack.push_async_callback(store.aclose)
            stores.append(store)
            await store.open()
        for checks in (RecordChecks, PartyChecks):
            checked_by = checks(*stores, record_bytes=record_bytes)
            for name, check in vars(checks).items():
                if not name.startswith("_"):
                    try:
                        async with asyncio.timeout(6 * store_checks.PATIENCE):
                            await check(checked_by)
                    except TimeoutError:
                        raise AssertionError(f"{_said(check)}: it hangs") from None
                    except DualModeError as error:
                        raise AssertionError(f"{_said(check)}: unexpectedly raised {error!r}") from error
                    checked.append(_said(check))
    return checked


def _said(check: Callable[..., object]) -> str:
    return (check.__doc__ or "").partition("\n")[0].rstrip(".")
