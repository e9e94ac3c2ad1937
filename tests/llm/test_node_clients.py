"""Clients of Node, unmodified, against `llm_router` on a real server. `node/` has a script for each of them.

A script asks its client the same questions in all of its modes, and prints what the client reported. What is the same for
all clients is asserted here. What differs, such as the names of their errors, is kept for the page: see `client_table.py`.
"""

import asyncio
import json
import os
import queue
import subprocess
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fastapi import FastAPI, Response

from dual_mode_streaming.examples._server import running
from dual_mode_streaming.llm import Script, Simulator, llm_router
from dual_mode_streaming.llm.requests import Tool
from llm.client_table import Report, keep

NODE = Path(__file__).parent / "node"
PROGRAM = NODE / "node_modules" / ".bin" / "node"
INSTALLED = NODE / "node_modules" / ".installed"
GIVE_UP = 60.0
"""Seconds after which a script that hangs is ended. None needs more than a few."""

SCRIPTS = {
    "limited": Script(fail_at=0, failure="rate_limit"),
    "breaks": Script(text="one two three four", fail_at=2),
    "cut": Script(text="one two three four", fail_at=2, failure="cut"),
    "leaves": Script(text="one two three four"),
    "waits": Script(text="one two three four"),
    "stops": Script(text="one two three four"),
}
WEATHER = Tool(
    "weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    },
)


class Model(Simulator):
    """A simulator that can be held after two words, until somebody leaves, stops it, or opens the gate."""

    def __init__(self):
        super().__init__(script=lambda request: SCRIPTS.get(request.messages[-1].text))
        self.held = asyncio.Semaphore(0)
        self.gate = asyncio.Event()
        self.left = queue.Queue()

    async def generate(self, request):
        prompt, given = request.messages[-1].text, 0
        if request.dialect == "ai_sdk" and prompt == "tools":
            request = replace(request, tools=(WEATHER,))  # there, tools are the application's
        async with aclosing(super().generate(request)) as events:
            async for event in events:
                yield event
                given += 1
                if given == 2 and prompt in ("leaves", "waits", "stops"):
                    await self._hold(request.dialect, prompt)

    async def _hold(self, dialect, prompt):
        self.held.release()
        try:
            await (self.gate.wait() if prompt == "waits" else asyncio.Event().wait())
        except asyncio.CancelledError:
            self.left.put((dialect, prompt))
            raise


@dataclass
class Server:
    url: str
    left: queue.Queue


@contextmanager
def serving():
    model, app = Model(), FastAPI()
    app.include_router(llm_router(model, resumable_chats=True))

    @app.get("/held")
    async def held():
        await model.held.acquire()

    @app.post("/open")
    async def opened():
        model.gate.set()

    with running(app) as url:
        yield Server(url, model.left)
