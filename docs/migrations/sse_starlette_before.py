"""Progress of a job and its result, with sse-starlette."""

import json
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


async def job(name: str) -> AsyncIterator[ServerSentEvent]:
    for percent in (50, 100):
        yield ServerSentEvent(json.dumps({"percent": percent}), event="progress", id=str(percent))
    yield ServerSentEvent(json.dumps({"name": name, "rows": 7}), event="result")


async def stream(request: Request) -> Response:
    return EventSourceResponse(job(request.path_params["name"]), ping=15, send_timeout=30)


async def batch(request: Request) -> Response:
    return JSONResponse({"name": request.path_params["name"], "rows": 7})


app = Starlette(routes=[Route("/jobs/{name}/events", stream), Route("/jobs/{name}", batch)])
