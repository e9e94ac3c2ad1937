"""Work for runs, and ways to look at them, that the tests of this folder share."""

import asyncio
import json
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route

from asgi import Call
from dual_mode_streaming.errors import StoreError
from dual_mode_streaming.sse import SSEDecoder
from dual_mode_streaming.stores import MemoryStore

SSE = {"accept": "text/event-stream"}


class Steps:
    """A source whose every item is let through by the test."""

    def __init__(self):
        self.gate = asyncio.Semaphore(0)
        self.closed = asyncio.Event()
        self.begun = 0

    def let(self, count=1):
        for _ in range(count):
            self.gate.release()

    async def items(self, count):
        self.begun += 1
        try:
            for number in range(count):
                await self.gate.acquire()
                yield {"n": number}
        finally:
            self.closed.set()


async def numbers(count):
    for number in range(count):
        yield {"n": number}


class Shaky(MemoryStore):
    """A store that can be switched off."""

    def __init__(self):
        super().__init__()
        self.down = False
        self.refused = 0

    def check(self):
        if self.down:
            self.refused += 1
            raise StoreError

    async def claim(self, run):
        self.check()
        return await super().claim(run)

    async def append(self, run_id, epoch, records):
        self.check()
        return await super().append(run_id, epoch, records)

    async def add(self, run_id, epoch, records):
        self.check()
        return await super().add(run_id, epoch, records)

    async def renew(self, run_id, epoch):
        self.check()
        return await super().renew(run_id, epoch)

    async def read(self, run_id, after=0, limit=1000):
        self.check()
        return await super().read(run_id, after, limit)

    async def close(self, run_id, event, data, *, if_lost=False):
        self.check()
        return await super().close(run_id, event, data, if_lost=if_lost)

    @asynccontextmanager
    async def watch(self, run_id):
        self.check()
        async with super().watch(run_id) as bell:
            yield bell

    def cut(self):
        """Break what is open, and refuse what comes."""
        self.down = True
        self._bells.fail(StoreError())


def app_of(runs, *, owner=None, **routes):
    return Starlette(
        routes=[
            *(Route(f"/{name}", endpoint, methods=["GET", "POST"]) for name, endpoint in routes.items()),
            runs.router(owner=owner),
        ]
    )


async def get(app, path, **headers):
    call = Call(app, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return await call.run()


async def stream(app, path, last_id=None):
    return await Call(app, path, headers={**SSE, **({} if last_id is None else {"last-event-id": last_id})}).run()


def problem(call):
    assert call.headers["content-type"] == "application/problem+json"
    document = json.loads(call.body)
    assert document["status"] == call.status
    return call.status, document["code"]


def events(body):
    return [(event.event, json.loads(event.data), event.id) for event in SSEDecoder().feed(body)]


async def until(true):
    """Wait for what the event loop will make true, without a clock."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0)


async def followed(runs, run_id, **options):
    return [event async for event in runs.follow(run_id, **options)]
