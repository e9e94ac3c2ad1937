"""sse-starlette."""

import asyncio
import json

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route


async def events(request: Request) -> EventSourceResponse:
    async def source():
        for number in range(3):
            yield {"event": "tick", "id": str(number), "data": json.dumps({"n": number})}
            await asyncio.sleep(0.05)

    return EventSourceResponse(source())


app = Starlette(routes=[Route("/events", events)])
