"""A run whose connection breaks again and again, read by event sources that nobody helps: a browser's, and that of npm.

Every connection is cut after some hundred bytes, wherever that is, in the middle of an event or of a number. The work
goes on only as clients come back, so they follow a run that is live, not one that is done.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from dual_mode_streaming import DualModeResponse, Runs
from dual_mode_streaming.testing import TCPProxy, live_server
from needs import lacking
from proxies.running import nginx, recipe

NODE = Path(__file__).parents[1] / "llm" / "node"
GIVE_UP = 60
"""Seconds after which a reader that hangs is ended. None needs more than a few."""

ITEMS = 120
BYTES = 800
"""After how many bytes every connection is cut. The head of an answer has about 300 of them."""
AHEAD = 30
"""How many items the work may be ahead of the connections: more than fit into one of them."""

READ = """url => {
  const source = window.source = new EventSource(url);
  const seen = window.seen = {items: [], ids: [], opened: 0, done: null, errors: []};
  source.onopen = () => seen.opened++;
  source.onmessage = event => { seen.items.push(JSON.parse(event.data).n); seen.ids.push(event.lastEventId); };
  source.addEventListener("done", event => { seen.done = [JSON.parse(event.data), event.lastEventId]; });
  source.addEventListener("error", event => { if (event.data !== undefined) seen.errors.push(event.data); });
}"""


@dataclass
class Site:
    """A server whose every connection breaks.

    Attributes:
        url: Where clients find it.
        proxy: What breaks the connections.
        asked: The `Last-Event-ID` of each request for the run.
    """

    url: str
    proxy: TCPProxy
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture(params=["direct", "nginx"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    runs, asked = Runs(), []
    again = asyncio.Condition()

    async def work() -> AsyncIterator[dict[str, Any]]:
        for number in range(1, ITEMS + 1):
            async with again:
                await again.wait_for(lambda number=number: number <= AHEAD * len(asked))
            yield {"n": number, "text": "äöü 🎈"}

    async def answer(request: Request) -> DualModeResponse:
        async with again:
            asked.append(request.headers.get("last-event-id"))
            again.notify_all()
        return runs.answer(work(), key="one", mode="stream", retry=(1, 5))

    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse("<!doctype html><title>.</title><link rel=icon href=data:,>")

    app = Starlette(routes=[Route("/run", answer), Route("/page", page)], lifespan=runs.lifespan)
    with live_server(app) as url, TCPProxy(url) as proxy:
        if request.param == "direct":
            yield Site(proxy.url, proxy, asked)
            return
        with nginx(recipe("nginx"), int(proxy.url.rpartition(":")[2]), tmp_path) as port:
            yield Site(f"http://127.0.0.1:{port}", proxy, asked)


def check(site: Site, seen: dict[str, Any]) -> None:
    """All items came, each once, and the reader has stopped by itself."""
    assert seen["items"] == list(range(1, ITEMS + 1))
    epoch, _, last = seen["done"][1].partition("-")
    assert (seen["done"][0], last) == ({"items": ITEMS}, str(ITEMS + 1))
    assert seen["ids"] == [f"{epoch}-{number}" for number in range(1, ITEMS + 1)]
    assert seen["errors"] == []
    # It has come back more often than the work needs to get on, each time from where it was, and a last time after the
    # end, to be told to stop. What a browser asks in vain, because a connection has ended just then, it asks once more.
    numbers = [int(asked.removeprefix(f"{epoch}-")) for asked in site.asked if asked is not None]
    assert numbers == sorted(numbers)
    assert numbers[-1] == ITEMS + 1
    assert min(len(set(numbers)), seen["opened"]) > ITEMS // AHEAD


def test_the_event_source_of_a_browser_reads_a_run_that_is_cut_again_and_again(site: Site, browser: Any) -> None:
    context = browser.new_context()
    context.set_default_timeout(1000 * GIVE_UP)
    page = context.new_page()
    page.goto(f"{site.url}/page")
    site.proxy.cut_after(BYTES)
    site.proxy.cut()  # the connection of the page would not be cut otherwise
    page.evaluate(READ, "/run")
    page.wait_for_function("source.readyState === EventSource.CLOSED")
    seen = page.evaluate("seen")
    context.close()
    check(site, seen)


def test_the_event_source_of_npm_reads_a_run_that_is_cut_again_and_again(site: Site) -> None:
    if not (NODE / "node_modules" / ".installed").exists() or not (NODE / "node_modules" / "eventsource").exists():
        lacking("the event source of npm", "make node-clients")
    site.proxy.cut_after(BYTES)
    done = subprocess.run(
        [NODE / "node_modules" / ".bin" / "node", NODE / "eventsource.mjs", f"{site.url}/run"],
        capture_output=True,
        text=True,
        timeout=GIVE_UP,
        env={"PATH": os.defpath},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    check(site, json.loads(done.stdout))
