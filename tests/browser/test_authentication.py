"""The code for browsers on the page about authentication, in a real browser against the application of that page."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import HTMLResponse
from playwright.sync_api import Route

from dual_mode_streaming.testing import live_server

PAGE = Path(__file__).parents[2] / "docs" / "authentication.md"
BOUND = 20_000
"""Milliseconds that any one step may take before the test fails."""


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The application of the page, on a real server, with an empty document at its root."""
    module = types.ModuleType("code_of_authentication")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(blocks("python"), PAGE, "exec", dont_inherit=True), vars(module))

    async def document() -> HTMLResponse:
        return HTMLResponse("<!doctype html><title>alerts</title>")

    module.app.get("/")(document)
    with live_server(module.app) as address:
        yield address


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    page = browser.new_page()
    page.set_default_timeout(BOUND)
    page.goto(url)
    page.evaluate("Math.random = () => 0")  # so that coming back takes the least time
    page.add_script_tag(content=f"var token = 'anna-token', seen = [];\n{blocks('javascript')}")
    yield page
    page.close()


def test_a_ticket_opens_the_stream(page: Any) -> None:
    page.evaluate("listen(item => seen.push(item))")
    page.wait_for_function("seen.length === 1")
    assert page.evaluate("seen") == ["an alert for anna"]


def test_a_connection_that_breaks_is_opened_again_with_a_new_ticket(page: Any) -> None:
    tickets: list[str] = []

    def break_the_first(route: Route) -> None:
        tickets.append(re.findall(r"ticket=([\w-]+)", route.request.url)[0])
        if len(tickets) == 1:
            route.fetch()  # the server has had it, and its answer is lost on the way
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/alerts?**", break_the_first)
    page.evaluate("listen(item => seen.push(item))")
    page.wait_for_function("seen.length === 1")
    first, again, *new = tickets
    assert again == first  # EventSource came back by itself, and was refused
    assert new
    assert first not in new


def test_without_a_token_nothing_is_opened(page: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("token = 'forged'")
    page.evaluate("listen(item => seen.push(item))")
    assert [address for address in asked if "/alerts" in address] == []
    assert len(asked) == 1
