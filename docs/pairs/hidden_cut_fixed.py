"""A plain ASGI middleware lets the exception through, and the server cuts the connection."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dual_mode_streaming import dual_mode


class Tag:
    """Says which server has answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the header when the headers pass."""

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Server"] = "one"
            await send(message)

        await self.app(scope, receive, tagged)


app = FastAPI()
app.add_middleware(Tag)


@app.get("/rows")
@dual_mode
async def rows() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(0)
    raise ConnectionError("the database is gone")
