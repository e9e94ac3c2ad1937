"""The page as a whole: keyboard, colours, many tabs, a server that goes and comes back, and no JavaScript."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from browser.playground import BOUND, Playground, check_accessible, playing, run_race
from dual_mode_streaming.playground import reports
from dual_mode_streaming.playground.app import create_app


@pytest.fixture(scope="module")
def playground(browser: Browser) -> Iterator[Playground]:
    with playing(browser) as playground:
        yield playground


def background(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_panels_are_tabs_for_the_keyboard(playground: Playground) -> None:
    page = playground.open()
    page.locator(".skip").focus()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.locator("#tab-race").focus()
    for panel in ("resume", "pressure", "break", "chat", "race"):
        page.keyboard.press("ArrowRight")
        expect(page.locator(f"#tab-{panel}")).to_be_focused()
        expect(page.locator("main > section:visible")).to_have_id(panel)
        assert page.url.endswith(f"#{panel}")
    page.keyboard.press("End")
    expect(page.locator("#chat")).to_be_visible()
    page.reload()
    expect(page.locator("#chat")).to_be_visible()

    # The endpoints of the race are one group of radio buttons.
    page.locator("#tab-race").click()
    page.locator("#endpoint-metrics").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#race-about")).to_contain_text("Full text")
    page.context.close()


def test_the_colours_are_those_of_the_system_or_as_chosen(playground: Playground) -> None:
    page = playground.open()
    light = background(page)
    page.emulate_media(color_scheme="dark")
    dark = background(page)
    assert light != dark

    page.locator("#theme").click()
    expect(page.locator("#theme")).to_have_text("Theme: light")
    assert background(page) == light
    page.reload()
    expect(page.locator("#theme")).to_have_text("Theme: light")
    assert background(page) == light
    page.locator("#theme").click()
    page.emulate_media(color_scheme="light")
    assert background(page) == dark
    page.locator("#theme").click()
    assert background(page) == light
    page.context.close()


def test_more_tabs_than_connections(playground: Playground, monkeypatch) -> None:
    async def one_topic(count: int, pace: float) -> AsyncIterator[reports.Topic]:
        yield reports.Topic(number=1, topic="assert", words=1, longest="assert")
        await asyncio.Event().wait()

    monkeypatch.setattr(reports, "read_topics", one_topic)
    context = playground.context()
    tabs = [playground.open(context, panel="resume") for _ in range(7)]

    # All of them are live, over one connection.
    for tab in tabs:
        expect(tab.locator("#tabs-shared")).to_have_text("7 tabs, one live connection", timeout=BOUND)
    expect(tabs[3].locator("#pulse-streams")).to_have_text("1")
    assert len(playground.app.state.pulse.subscriptions) == 1

    # The tab that holds it goes; another one takes over.
    tabs.pop(0).close()
    before = int(tabs[4].locator("html").get_attribute("data-pulses"))
    for _ in range(2):
        expect(tabs[4].locator("html")).not_to_have_attribute("data-pulses", str(before), timeout=BOUND)
        before = int(tabs[4].locator("html").get_attribute("data-pulses"))

    # With five runs beside it all connections are taken, and every tab says so.
    for tab in tabs[:5]:
        expect(tab.locator("#connections-full")).to_be_hidden()
        tab.locator("#resume-start").click()
        expect(tab.locator("#resume-cells .got")).to_have_count(1)
    for tab in tabs:
        expect(tab.locator("#connections-full")).to_be_visible()
        expect(tab.locator("#connections")).to_have_text("6")
    check_accessible(tabs[5])

    # There is none left for the request that cancels a run; so that tab gives up its own.
    with tabs[0].expect_response(lambda answer: answer.request.method == "DELETE") as cancelled:
        tabs[0].locator("#resume-cancel").click()
    assert cancelled.value.status == 204
    expect(tabs[1].locator("#connections-full")).to_be_hidden()
    context.close()


def test_it_works_where_browsers_lend_neither_locks_nor_the_clipboard(playground: Playground) -> None:
    """They keep these for https and localhost."""
    elsewhere = playground.url.replace("127.0.0.1", "demo.test")
    remote = Playground(elsewhere, playground.app, playground.model, playground.browser)
    page = remote.open()
    assert page.evaluate("[isSecureContext, 'locks' in navigator]") == [False, False]
    expect(page.locator("#tabs-shared")).to_contain_text("Each tab has a connection of its own")
    page.locator("#endpoint-search").check(force=True)
    expect(run_race(page)).to_have_attribute("data-state", "equal")
    page.locator("#code-copy").click()
    expect(page.locator("#code-copy")).to_have_text("Selected")
    assert page.evaluate("getSelection().toString()").startswith("# all at once")
    page.context.close()
    assert remote.complaints == []


@contextmanager
def serving(port: int = 0) -> Iterator[int]:
    """The demo, at the same port as before."""
    server = uvicorn.Server(uvicorn.Config(create_app(), log_level="critical", timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def test_a_server_that_starts_anew_is_told(browser: Browser) -> None:
    with serving() as port:
        playground = Playground(f"http://127.0.0.1:{port}", None, None, browser)
        page = playground.open()
        notice = page.locator("#notice")
        expect(notice).to_be_hidden()
    expect(notice).to_have_text("The server does not answer. The page tries again by itself.", timeout=BOUND)
    expect(page.locator("#server-state")).to_have_text("no answer")
    check_accessible(page)
    page.locator("#race-start").click()
    expect(page.locator("#race-verdict")).to_contain_text("the connection broke: the server is gone")

    with serving(port):
        expect(notice).to_contain_text("The server has started anew.", timeout=BOUND)
        expect(page.locator("#server-state")).to_have_text("live")
        page.fill("#field-seconds", "0.2")
        page.fill("#field-interval", "0.1")
        expect(run_race(page)).to_have_attribute("data-state", "equal")
        page.context.close()
    assert playground.complaints == []


def test_without_javascript_the_page_says_what_to_do(playground: Playground) -> None:
    page = playground.context(java_script_enabled=False).new_page()
    page.goto(playground.url)
    expect(page.locator("noscript .notice")).to_contain_text("The playground needs JavaScript")
    expect(page.locator("footer code").first).to_contain_text("curl -N")
    page.context.close()


def test_no_script_or_style_but_those_of_its_files(playground: Playground) -> None:
    """The policy is in force: what is injected does not run. (That the page itself obeys it, every test sees.)"""
    page = playground.context().new_page()
    page.goto(playground.url)
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.injected = true";
          document.body.append(script);
          document.body.setAttribute("style", "background: red");
        }"""
    )
    assert page.evaluate("window.injected") is None
    assert background(page) != "rgb(255, 0, 0)"
    page.context.close()
