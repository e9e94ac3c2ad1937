"""The application of the channel tests: every worker serves the same channel, on the engine of the environment."""

import os

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from dual_mode_streaming import Channel, DualModeResponse
from stores.engines import store_on

channel = Channel(store=store_on(*os.environ["CHANNEL_STORE"].split()), name="talk", history=1000)


async def talk(request):
    if request.method == "GET":
        return DualModeResponse(channel)
    if request.method == "DELETE":
        await channel.close()
        return JSONResponse(None)
    return JSONResponse(await channel.publish(await request.json()))


async def pid(request):
    return JSONResponse(os.getpid())


app = Starlette(
    routes=[Route("/talk", talk, methods=["GET", "POST", "DELETE"]), Route("/pid", pid)], lifespan=channel.lifespan
)
