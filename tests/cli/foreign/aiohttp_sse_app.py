"""aiohttp-sse, on aiohttp's own server. The first argument is the number of an open socket."""

import asyncio
import json
import socket
import sys

from aiohttp import web
from aiohttp_sse import sse_response


async def events(request: web.Request) -> web.StreamResponse:
    async with sse_response(request) as response:
        for number in range(3):
            await response.send(json.dumps({"n": number}), event="tick", id=str(number))
            await asyncio.sleep(0.05)
    return response


app = web.Application()
app.router.add_get("/events", events)
web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])), print=None)
