"""Sees from inside which async generators an application has left open (law 5), which no client can see.

Python calls a hook when an async generator is first iterated (`sys.set_asyncgen_hooks`). The hook that the event loop
has set is called too. Generators of the frameworks themselves do not count.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Witness"]

_FRAMEWORKS = frozenset({"anyio", "contextlib", "fastapi", "httpx2", "starlette"})

_begun: ContextVar[list[AsyncGenerator[Any, Any]] | None] = ContextVar("begun", default=None)


class Witness:
    """An application around another one, which notes what that one leaves open.

    Attributes:
        left_open: The names of async generators that had begun and were not closed when a call returned.
        returned: How many calls have returned.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.left_open: list[str] = []
        self.returned = 0
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, and look when it returns."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun: list[AsyncGenerator[Any, Any]] = []
        before = sys.get_asyncgen_hooks()
        token = _begun.set(begun)

        def first(generator: AsyncGenerator[Any, Any]) -> None:
            seen = _begun.get()
            if seen is not None:
                seen.append(generator)
            if before.firstiter is not None:
                before.firstiter(generator)

        sys.set_asyncgen_hooks(firstiter=first)
        try:
            await self._app(scope, receive, send)
        finally:
            sys.set_asyncgen_hooks(firstiter=before.firstiter)
            _begun.reset(token)
            self.returned += 1
            self.left_open += [name for name in map(_name_if_open, begun) if name is not None]


def _name_if_open(generator: Any) -> str | None:
    frame = getattr(generator, "ag_frame", None)
    if frame is None or frame.f_globals.get("__name__", "").partition(".")[0] in _FRAMEWORKS:
        return None
    return str(generator.__qualname__)
