"""The playground for tests: the demo on a real server, with a model and a run that wait where a test wants them to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from dual_mode_streaming.playground import reports
from dual_mode_streaming.playground.app import create_app
from dual_mode_streaming.testing import live_server

BOUND = 20_000
"""Milliseconds that any one step of a page may take before the test fails."""
SCHEMES = ("light", "dark")


class Gate:
    """Lets so many through as a test has allowed, for one task that waits. It is opened in the thread of the test."""

    def __init__(self) -> None:
        self.allowed = 0
        self.passed = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None

    async def wait(self) -> None:
        self._loop = asyncio.get_running_loop()
        while self.passed >= self.allowed:
            self._changed = asyncio.Event()
            await self._changed.wait()
        self.passed += 1

    def open(self, allowed: int) -> None:
        self.allowed = allowed
        if self._loop is not None:
            self._loop.call_soon_threadsafe(lambda: self._changed and self._changed.set())


class GatedModel:
    """Says its words one by one, as the gate allows."""

    names = ("demo",)

    def __init__(self) -> None:
        self.gate = Gate()
        self.asked = 0
        self.stopped = 0
        self.words = [f"word{number} " for number in range(1, 41)]

    async def generate(self, request: Any) -> AsyncIterator[str]:
        self.asked += 1
        try:
            for word in self.words:
                await self.gate.wait()
                yield word
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped += 1
            raise


@dataclass
class Playground:
    """The demo on a server, and what a test has to do with it."""

    url: str
    app: Any
    model: GatedModel
    browser: Browser
    contexts: list[BrowserContext] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def context(self, scheme: str = "light", width: int = 1280, height: int = 900, **options: Any) -> BrowserContext:
        context = self.browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": height}, reduced_motion="reduce", **options
        )
        context.set_default_timeout(BOUND)
        self.contexts.append(context)
        return context

    def open(self, context: BrowserContext | None = None, panel: str = "race", **options: Any) -> Page:
        """Open the page, and wait until it hears from the server."""
        page = (context or self.context(**options)).new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._note)
        page.on("request", self._check_host)
        page.goto(f"{self.url}/#{panel}")
        expect(page.locator("html[data-ready=true][data-server=live]")).to_be_attached(timeout=BOUND)
        expect(page.locator(f"#{panel}")).to_be_visible()
        return page

    def _note(self, message: Any) -> None:
        if "Content Security Policy" in message.text:
            self.complaints.append(message.text)

    def _check_host(self, request: Any) -> None:
        if not request.url.startswith((self.url, "blob:")):
            self.complaints.append(f"the page asked for {request.url}")


@contextmanager
def playing(browser: Browser) -> Iterator[Playground]:
    """Run the demo, and see at the end that no page has complained."""
    model = GatedModel()
    app = create_app(model)
    with live_server(app) as url:
        playground = Playground(url, app, model, browser)
        try:
            yield playground
        finally:
            for context in playground.contexts:
                context.close()
    assert playground.complaints == []


def choose(page: Page, endpoint: str) -> None:
    page.locator(f"#endpoint-{endpoint}").check(force=True)


def run_race(page: Page) -> Locator:
    """Race, and give the result when it is there."""
    page.locator("#race-start").click()
    result = page.locator("#race-result")
    expect(result).to_have_attribute("data-state", re.compile("equal|different|failed"), timeout=BOUND)
    return result


def check_accessible(page: Page) -> None:
    """axe-core finds nothing, of whatever weight."""
    found = Axe().run(page).response["violations"]
    nodes = [(one, node) for one in found for node in one["nodes"]]
    said = [f"{one['impact']}: {one['id']}: {node['target']} {node['failureSummary']}" for one, node in nodes]
    assert said == [], "\n".join(said)


def overflow(page: Page) -> int:
    """How many pixels of the page are beyond its width."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def gated_topics(gate: Gate) -> Any:
    """The source of reports, held at each topic by a gate."""
    read = reports.read_topics

    async def gated(count: int, pace: float) -> AsyncIterator[reports.Topic]:
        async for topic in read(count, 0):
            await gate.wait()
            yield topic

    return gated
