"""The application of the process tests: every worker serves it on one SQLite file.

The path of the file, the lease and the fuse of the slow work come from the environment.
"""

import asyncio
import os

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from dual_mode_streaming import Runs
from dual_mode_streaming.stores import Limits, SQLiteStore

runs = Runs(
    SQLiteStore(os.environ["RUNS_DB"], busy_timeout=2.0),
    limits=Limits(lease=float(os.environ.get("RUNS_LEASE", "10"))),
    patience=2.0,
)


async def count(items, pause):
    for number in range(items):
        yield {"n": number, "pid": os.getpid()}
        await asyncio.sleep(pause)


async def start(request):
    query = request.query_params
    source = count(int(query["items"]), float(query.get("pause", "0.002")))
    return runs.answer(source, key=request.headers.get("idempotency-key"))


async def pid(request):
    return JSONResponse(os.getpid())


app = Starlette(
    routes=[Route("/count", start, methods=["POST"]), Route("/pid", pid), runs.router()], lifespan=runs.lifespan
)
