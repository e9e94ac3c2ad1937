"""One application for several worker processes: runs on a common store, and streams that cannot be resumed.

Started as a program, with the descriptors of the sockets to listen on. `WORKERS_STORE` is the path of an SQLite file,
or the address of a Redis or Valkey. Runs have twice `WORKERS_HALF` items, and stop half way until the file
`WORKERS_GATE` is there.
"""

import asyncio
import os
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from asking import asked
from dual_mode_streaming import DualModeResponse, Runs, Streams
from dual_mode_streaming.stores import RedisStore, SQLiteStore

address = os.environ["WORKERS_STORE"]
half = int(os.environ["WORKERS_HALF"])
gate = Path(os.environ["WORKERS_GATE"])
streams = Streams(grace=0)
runs = Runs(RedisStore(address) if address.startswith("redis:") else SQLiteStore(address))


async def work():
    for number in range(2 * half):
        if number >= half:
            await asked(gate.exists, within=120)
        yield {"number": number}
        await asyncio.sleep(0.002)


async def begin(request):
    return runs.answer(work())


async def follow(request):
    return runs.response(request.path_params["run_id"], retry=(10, 50))


async def endless(request):
    async def source():
        yield {"pid": os.getpid()}
        await asyncio.Event().wait()

    return DualModeResponse(source(), retry=(10, 50))


async def pid(request):
    return JSONResponse(os.getpid())


@asynccontextmanager
async def lifespan(app):
    async with streams.lifespan(app), runs.lifespan(app):
        yield


app = Starlette(
    routes=[
        Route("/work", begin, methods=["POST"]),
        Route("/follow/{run_id}", follow),
        Route("/endless", endless),
        Route("/pid", pid),
        runs.router(),
    ],
    lifespan=lifespan,
)


def main():
    sockets = [socket.socket(fileno=int(number)) for number in sys.argv[1:]]
    uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)).run(sockets)


if __name__ == "__main__":
    main()
