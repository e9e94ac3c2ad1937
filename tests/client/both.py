"""Runs the same call with the async and with the sync client, so that one table of cases is for both."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from dual_mode_streaming import DualModeClient, DualModeSyncClient, errors
from dual_mode_streaming.client import AsyncStream, Reconnect, SyncStream

AT_ONCE = Reconnect(delay=0, jitter=0, max_delay=5)
"""Reconnects without a wait."""
PLAIN = {"reconnect": AT_ONCE, "trust_env": False, "verify": False}
"""Without the proxies of the machine, and without its certificates, which take long to load."""
NEVER = Reconnect(attempts=1)


@dataclass
class Read:
    """What came of a stream."""

    events: list[Any] = field(default_factory=list)
    error: BaseException | None = None
    stream: AsyncStream | SyncStream | None = None

    @property
    def data(self) -> list[Any]:
        return [event.data for event in self.events]


class Sync:
    """The sync client, called as both are called here."""

    name = "sync"

    def read(self, url: str, path: str = "/", *, method: str = "GET", client: Any = None, **options: Any) -> Read:
        """Read a stream to its end."""
        found = Read()
        with DualModeSyncClient(url, **{**PLAIN, **(client or {})}) as made:
            try:
                with made.stream(method, path, **options) as stream:
                    found.stream = stream
                    for event in stream:
                        found.events.append(event)
            except errors.DualModeError as error:
                found.error = error
        return found

    def result(self, url: str, path: str = "/", *, method: str = "GET", client: Any = None, **options: Any) -> Any:
        """Give the result of a stream."""
        with (
            DualModeSyncClient(url, **{**PLAIN, **(client or {})}) as made,
            made.stream(method, path, **options) as stream,
        ):
            return stream.result()

    def request(self, url: str, path: str = "/", *, method: str = "GET", client: Any = None, **options: Any) -> Any:
        """Ask for a batch."""
        with DualModeSyncClient(url, **{**PLAIN, **(client or {})}) as made:
            return made.request(method, path, **options)


class Async:
    """The async client, each call in an event loop of its own."""

    name = "async"

    def read(self, url: str, path: str = "/", *, method: str = "GET", client: Any = None, **options: Any) -> Read:
        """Read a stream to its end."""
        found = Read()

        async def run() -> None:
            async with DualModeClient(url, **{**PLAIN, **(client or {})}) as made:
                try:
                    async with made.stream(method, path, **options) as stream:
                        found.stream = stream
                        async for event in stream:
                            found.events.append(event)
                except errors.DualModeError as error:
                    found.error = error

        asyncio.run(run())
        return found

    def result(self, url: str, path: str = "/", *, method: str = "GET", client: Any = None, **options: Any) -> Any:
        """Give the result of a stream."""

        async def run() -> Any:
            async with (
                DualModeClient(url, **{**PLAIN, **(client or {})}) as made,
                made.stream(method, path, **options) as stream,
            ):
                return await stream.result()

        return asyncio.run(run())

    def request(self, url: str, path: str = "/", *, method: str = "GET", client: Any = None, **options: Any) -> Any:
        """Ask for a batch."""

        async def run() -> Any:
            async with DualModeClient(url, **{**PLAIN, **(client or {})}) as made:
                return await made.request(method, path, **options)

        return asyncio.run(run())


KINDS = [Async(), Sync()]
