"""`Drained`: any ASGI application, with a registry and the way down that belongs to it.

For servers that start applications they have not written, such as `dual-mode serve`. Who writes the application uses
`Streams.lifespan`.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .lifecycle import logger
from .streams import STREAMS_IN_SCOPE, Streams

__all__ = ["Drained"]


class Drained:
    """The application as it is, but drained on SIGTERM and SIGINT, and before its own shutdown.

    The registry is what the application has at `app.state.streams`, or a new one, which every response finds that has
    no other: also in mounted applications, and in applications that have no `state` or no lifespan.

    Args:
        app: The application.
        grace: Seconds; None for those of the registry.
    """

    def __init__(self, app: ASGIApp, *, grace: float | None = None) -> None:
        found = getattr(getattr(app, "state", None), "streams", None)
        self.app = app
        self.streams = found if isinstance(found, Streams) else Streams()
        self.grace = self.streams.grace if grace is None else grace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does."""
        scope.setdefault(STREAMS_IN_SCOPE, self.streams)
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        self.streams.draining = False
        with self.streams.drain_on_signals(self.grace):
            await self._live(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = told = False

        async def hear() -> Message:
            nonlocal asked
            message = await receive()
            asked = True
            if message["type"] == "lifespan.shutdown":
                await self.streams.drain(self.grace)
            return message

        async def tell(message: Message) -> None:
            nonlocal told
            told = True
            await send(message)

        try:
            await self.app(scope, hear, tell)
        except Exception:
            if told:
                raise
            logger.debug("the application has no lifespan", exc_info=True)
        if not told:
            if not asked:
                await hear()
            await send({"type": "lifespan.startup.complete"})
            await hear()
            await send({"type": "lifespan.shutdown.complete"})
