"""A plain ASGI middleware sees each piece as it passes, and holds back none."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dual_mode_streaming import dual_mode

gate = asyncio.Event()
waiting = asyncio.Event()
sizes: list[int] = []


class Measure:
    """Counts the bytes of each response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""
        size = 0

        async def counted(message: Message) -> None:
            nonlocal size
            size += len(message.get("body", b""))
            await send(message)

        await self.app(scope, receive, counted)
        sizes.append(size)


app = FastAPI()
app.add_middleware(Measure)


@app.get("/ticks")
@dual_mode
async def ticks() -> AsyncIterator[int]:
    yield 1
    waiting.set()
    await gate.wait()
