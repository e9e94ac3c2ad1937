"""The client: the batch of an endpoint, or its items as they come, over as many connections as that takes.

    async with DualModeClient("http://localhost:8000") as client:
        answer = await client.request("GET", "/countdown")
        async with client.stream("GET", "/countdown") as stream:
            async for event in stream:
                print(event.data)

`DualModeSyncClient` has the same names without `async` and `await`.

Rules of the client:

- It is a thin shell. What is done with an answer, an event, a cut is decided in `reconnecting`.
- What httpx2 does well is left to it: URLs, headers, proxies, TLS, authentication, redirects, timeouts.
- The errors are those of `errors`; none of httpx2 leaves it.
"""

from __future__ import annotations

from .async_client import DualModeClient
from .async_stream import AsyncStream
from .options import Reconnect
from .replies import Answer
from .sync_client import DualModeSyncClient
from .sync_stream import SyncStream

__all__ = ["Answer", "AsyncStream", "DualModeClient", "DualModeSyncClient", "Reconnect", "SyncStream"]
