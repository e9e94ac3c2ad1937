"""The application of the tests with several workers: a model that can be held, and answers kept in a common store.

The store comes from the environment. What holds the model is opened where the model runs.
"""

import asyncio
import os

from fastapi import FastAPI

from dual_mode_streaming import Runs
from dual_mode_streaming.llm import Script, Simulator, llm_router
from dual_mode_streaming.stores import Limits, RedisStore, SQLiteStore

kind, _, place = os.environ["LLM_STORE"].partition("=")
store = SQLiteStore(place) if kind == "sqlite" else RedisStore(place)
runs = Runs(store, limits=Limits(lease=float(os.environ.get("LLM_LEASE", "10"))))


class Model:
    """Says two words, waits until it is let go, and says two more."""

    names = ("simulator",)

    def __init__(self):
        self.held = asyncio.Semaphore(0)
        self.gate = asyncio.Semaphore(0)
        self.stopped = asyncio.Semaphore(0)
        self.breaking = Simulator(script=Script(text="one two three four", fail_at=2))

    async def generate(self, request):
        if request.messages[-1].text == "breaks":
            async for event in self.breaking.generate(request):
                yield event
            return
        try:
            for word in ("one ", "two "):
                yield word
            self.held.release()
            await self.gate.acquire()
            for word in ("three ", "four"):
                yield word
        except asyncio.CancelledError:
            self.stopped.release()
            raise


model = Model()
app = FastAPI()
app.include_router(llm_router(model, runs=runs, resumable_chats=True))


@app.get("/pid")
async def pid():
    return os.getpid()


@app.post("/held")
async def held():
    await model.held.acquire()


@app.post("/open")
async def opened():
    model.gate.release()


@app.post("/stopped")
async def stopped():
    await model.stopped.acquire()
