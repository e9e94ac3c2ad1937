"""Workers die under load, by SIGKILL and by SIGTERM, one after another until none of the first is left.

They share one port. Clients that follow runs must come to the end through whoever is there, without a missing or a
repeated item. Clients of what cannot be resumed must be told: by the farewell, or by `StreamInterrupted`.
"""

import asyncio
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from dual_mode_streaming import DualModeClient
from dual_mode_streaming.client import Reconnect
from dual_mode_streaming.errors import RemoteError, StreamInterrupted
from needs import unmeasured
from stores.engines import VALKEY, redis_like

APP = Path(__file__).with_name("workers_app.py")
BOUND = 60.0
HALF = 60
"""Items before the gate, and as many behind it."""
WORKERS, RUNS, CLIENTS_EACH, STREAMS_EACH = 3, 4, 5, 4
PATIENT = Reconnect(attempts=100, delay=0.02)


class Worker:
    """A process that listens on the common port and on one of its own."""

    def __init__(self, process, own_port):
        self.process = process
        self.url = f"http://127.0.0.1:{own_port}"

    async def end(self, number):
        self.process.send_signal(number)
        return await self.process.wait()


async def started(common, environment):
    with socket.create_server(("127.0.0.1", 0), backlog=200) as own:
        numbers = [own.fileno(), *([common.fileno()] if common else [])]
        process = await asyncio.create_subprocess_exec(
            sys.executable, APP, *map(str, numbers), pass_fds=numbers, env=environment
        )
        worker = Worker(process, own.getsockname()[1])
    async with DualModeClient(worker.url) as client:
        assert await client.request("GET", "/pid") == process.pid
    return worker


@asynccontextmanager
async def workers(store, gate):
    """Give a port, the workers behind it, a worker alone, and a function that starts one more."""
    paths = [str(APP.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **unmeasured(),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "WORKERS_STORE": store,
        "WORKERS_GATE": str(gate),
        "WORKERS_HALF": str(HALF),
    }
    began = []

    async def start(common):
        began.append(await started(common, environment))
        return began[-1]

    with socket.create_server(("127.0.0.1", 0), backlog=200) as common:
        try:
            alone = await start(None)
            first = await asyncio.gather(*(start(common) for _ in range(WORKERS)))
            yield f"http://127.0.0.1:{common.getsockname()[1]}", first, alone, lambda: start(common)
        finally:
            for worker in began:
                if worker.process.returncode is None:
                    await worker.end(signal.SIGKILL)


class Half:
    """Counts the clients that have come to the gate."""

    def __init__(self, count):
        self._left = count
        self.all = asyncio.Event()

    def reached(self):
        self._left -= 1
        if not self._left:
            self.all.set()


async def follow(client, path, half):
    """Read a run to its end; give the items, and how often the connection was made anew."""
    async with client.stream("GET", path, reconnect=PATIENT) as stream:
        found = []
        async for item in stream.items():
            found.append(item["number"])
            if len(found) == HALF:
                half.reached()
        return found, stream.reconnects


async def told(client, ready):
    """Read what cannot be resumed; give who sent it, and what its reader is told at the end."""
    async with client.stream("GET", "/endless", reconnect=PATIENT) as stream:
        pid = None
        try:
            async for item in stream.items():
                pid = item["pid"]
                ready.reached()
        except (RemoteError, StreamInterrupted) as error:
            return pid, error
    return pid, None


@pytest.fixture(params=["sqlite", "valkey"])
def store(request, tmp_path):
    if request.param == "sqlite":
        yield str(tmp_path / "runs.db")
        return
    (tmp_path / "valkey").mkdir()
    engine = redis_like(VALKEY, tmp_path / "valkey")
    yield f"redis://{engine.address}"
    engine.stop()


@pytest.mark.asyncio
async def test_all_workers_die_and_nothing_is_lost_that_can_be_resumed(store, tmp_path):
    gate = tmp_path / "gate"
    async with asyncio.timeout(BOUND), AsyncExitStack() as stack:
        url, first, alone, one_more = await stack.enter_async_context(workers(store, gate))
        client = await stack.enter_async_context(DualModeClient(url))
        at_work = await stack.enter_async_context(DualModeClient(alone.url))
        # The work is done by a process that lives on. What becomes of it otherwise: tests/runs/test_processes.py.
        paths = []
        for _ in range(RUNS):
            begun = await at_work.request("POST", "/work", headers={"prefer": "respond-async"})
            paths.append(f"/follow/{begun['id']}")
        half, ready = Half(RUNS * CLIENTS_EACH), Half(WORKERS * STREAMS_EACH)
        followers = [asyncio.create_task(follow(client, path, half)) for path in paths for _ in range(CLIENTS_EACH)]
        readers = []
        for worker in first:
            own = await stack.enter_async_context(DualModeClient(worker.url))
            readers += [asyncio.create_task(told(own, ready)) for _ in range(STREAMS_EACH)]
        await half.all.wait()
        await ready.all.wait()

        killed, terminated, killed_too = first
        await killed.end(signal.SIGKILL)
        await one_more()
        await terminated.end(signal.SIGTERM)
        await killed_too.end(signal.SIGKILL)
        gate.touch()

        for numbers, reconnects in await asyncio.gather(*followers):
            assert numbers == list(range(2 * HALF))
            assert reconnects >= 1
        ends = await asyncio.gather(*readers)
        assert sorted(pid for pid, _ in ends) == sorted([one.process.pid for one in first] * STREAMS_EACH)
        for pid, error in ends:
            if pid == terminated.process.pid:
                assert isinstance(error, RemoteError), error
                assert (error.status, error.code) == (503, "draining")
            else:
                assert isinstance(error, StreamInterrupted), error
                assert error.count == 1
