"""Progress of a job and its result. One route, and the batch is the last item."""

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dual_mode_streaming import DualModeResponse, ServerSentEvent, Streams, last

streams = Streams(grace=20)


async def job(name: str) -> AsyncIterator[ServerSentEvent]:
    for percent in (50, 100):
        yield ServerSentEvent({"percent": percent}, event="progress", id=str(percent))
    yield ServerSentEvent({"name": name, "rows": 7}, event="result")


async def run(request: Request) -> Response:
    return DualModeResponse(job(request.path_params["name"]), fold=last, heartbeat=15, send_timeout=30)


app = Starlette(routes=[Route("/jobs/{name}", run)], lifespan=streams.lifespan)
