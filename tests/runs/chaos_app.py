"""The application of the chaos: each worker serves it, with the store that the environment names."""

import os

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from dual_mode_streaming import Runs
from dual_mode_streaming.stores import NATSStore, RedisStore, SQLiteStore

from .chaos_work import work

kind, _, place = os.environ["CHAOS_STORE"].partition("=")
runs = Runs({"sqlite": SQLiteStore, "valkey": RedisStore, "nats": NATSStore}[kind](place))


async def answer(request):
    """Begin a run, or go on with the one of this key, whoever has begun it."""
    key = request.path_params["key"]
    return runs.answer(work(key), key=key)


async def pid(request):
    return JSONResponse(os.getpid())


app = Starlette(routes=[Route("/jobs/{key}", answer), Route("/pid", pid)], lifespan=runs.lifespan)
