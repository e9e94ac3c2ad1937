"""The other panels: cut and resume, backpressure, errors, chat. Each in both colour schemes, and with axe-core."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.playground import (
    BOUND,
    SCHEMES,
    Gate,
    Playground,
    check_accessible,
    gated_topics,
    overflow,
    playing,
    run_race,
)
from dual_mode_streaming.playground import reports

both_schemes = pytest.mark.parametrize("scheme", SCHEMES)


@pytest.fixture(scope="module")
def playground(browser: Browser) -> Iterator[Playground]:
    with playing(browser) as playground:
        yield playground


@pytest.fixture(scope="module")
def pages(playground: Playground) -> dict[str, Page]:
    """One page in each colour scheme."""
    return {scheme: playground.open(scheme=scheme) for scheme in SCHEMES}


def shown(pages: dict[str, Page], panel: str, scheme: str = "light") -> Page:
    page = pages[scheme]
    page.locator(f"#tab-{panel}").click()
    expect(page.locator(f"#{panel}")).to_be_visible()
    return page


@pytest.fixture
def gate(monkeypatch) -> Gate:
    """Holds reports back, topic by topic."""
    gate = Gate()
    monkeypatch.setattr(reports, "read_topics", gated_topics(gate))
    return gate


def number(page: Page, name: str) -> int:
    return int(re.match(r"[\d,]+", page.locator(f"#{name}").inner_text())[0].replace(",", ""))


# --- cut and resume ------------------------------------------------------------------------------


@both_schemes
def test_a_wire_is_cut_and_nothing_is_missing(pages: dict[str, Page], gate: Gate, scheme: str) -> None:
    page = shown(pages, "resume", scheme)
    page.fill("#resume-topics", "20")
    page.locator("#resume-start").click()
    gate.open(7)
    expect(page.locator("#resume-cells .got")).to_have_count(7)
    last = page.locator("#resume-last").inner_text()
    assert last.endswith("-7")

    page.locator("#resume-cut").click()
    expect(page.locator("#resume-log .cut")).to_have_text(
        f"The connection is gone after the id {last}. The work goes on."
    )
    gate.open(12)  # while nobody listens
    expect(page.locator("#resume-log .open").nth(1)).to_have_text(
        f"Connection 2: EventSource came back by itself with Last-Event-ID: {last}"
    )
    expect(page.locator("#resume-cells .got")).to_have_count(12)
    assert page.locator("#resume-cells .c1").count() == 7
    assert page.locator("#resume-cells .c2").count() == 5

    gate.open(20)
    expect(page.locator("#resume-verdict")).to_have_attribute("data-state", "equal")
    assert [number(page, f"resume-{name}") for name in ("received", "missing", "twice")] == [20, 0, 0]
    expect(page.locator("#resume-verdict")).to_contain_text('"topics": 20')
    check_accessible(page)


def test_a_run_goes_on_when_the_page_is_loaded_anew(pages: dict[str, Page], gate: Gate) -> None:
    page = shown(pages, "resume")
    page.fill("#resume-topics", "9")
    page.locator("#resume-start").click()
    gate.open(3)
    expect(page.locator("#resume-cells .got")).to_have_count(3)
    page.reload()
    expect(page.locator("#resume-cells .got")).to_have_count(3)
    expect(page.locator("#resume-log")).to_contain_text("This page was loaded anew. The run went on")
    gate.open(9)
    expect(page.locator("#resume-verdict")).to_have_attribute("data-state", "equal")


def test_a_run_is_cancelled(pages: dict[str, Page], gate: Gate) -> None:
    page = shown(pages, "resume")
    page.locator("#resume-start").click()
    gate.open(2)
    expect(page.locator("#resume-cells .got")).to_have_count(2)
    page.locator("#resume-cancel").click()
    expect(page.locator("#resume-log .failed")).to_contain_text("run_cancelled")
    expect(page.locator("#resume-start")).to_be_enabled()


# --- backpressure --------------------------------------------------------------------------------


def test_a_slow_reader_is_told_what_it_has_missed(pages: dict[str, Page]) -> None:
    page = shown(pages, "pressure")
    page.fill("#pressure-rate", "1000")
    page.locator("#pressure-start").click()
    expect(page.locator("#pressure-read")).not_to_have_text("0")
    page.fill("#pressure-speed", "0")
    expect(page.locator("#pressure-speed-value")).to_have_text("paused")
    expect(page.locator("#pressure-dropped")).not_to_have_text("0", timeout=3 * BOUND)
    check_accessible(page)
    assert number(page, "pressure-buffered") <= 125
    assert number(page, "pressure-underway") > 0
    expect(page.locator("#pressure-gaps")).to_have_text("0")  # it stands behind what is on the way

    page.fill("#pressure-rate", "50")
    page.fill("#pressure-speed", "8")
    expect(page.locator("#pressure-gaps")).not_to_have_text("0", timeout=3 * BOUND)
    page.locator("#pressure-stop").click()
    expect(page.locator("#pressure-status")).to_have_text("Stopped.")
    expect(page.locator("#pressure-start")).to_be_enabled()


def test_latest_keeps_the_newest_of_each_sensor(pages: dict[str, Page]) -> None:
    page = shown(pages, "pressure", "dark")
    page.select_option("#pressure-policy", "latest")
    expect(page.locator("#pressure-about")).to_contain_text("only the newest reading")
    page.fill("#pressure-rate", "1000")
    page.fill("#pressure-speed", "0")
    page.locator("#pressure-start").click()
    expect(page.locator("#pressure-conflated")).not_to_have_text("0", timeout=3 * BOUND)
    expect(page.locator("#pressure-dropped")).to_have_text("0")
    assert number(page, "pressure-buffered") <= 50
    check_accessible(page)
    page.locator("#pressure-stop").click()


# --- errors --------------------------------------------------------------------------------------


@both_schemes
def test_a_source_that_breaks_after_some_items(pages: dict[str, Page], scheme: str) -> None:
    page = shown(pages, "break", scheme)
    page.fill("#break-pace", "0")
    page.locator("#break-start").click()
    expect(page.locator("#break")).to_have_attribute("data-state", "done")

    assert page.locator("#break-batch-status").inner_text() == "503 Service Unavailable, application/json"
    assert page.locator("#break-sse-status").inner_text().startswith("200 OK, text/event-stream")
    sse = page.locator("#break-sse-body").inner_text()
    assert sse.count("data: {") == 3
    assert "event: error" in sse
    assert '"code":"http_error"' in sse
    assert "done" not in sse
    expect(page.locator("#break-ndjson-body")).to_contain_text("the connection was cut")
    for column in ("batch", "sse", "ndjson"):
        expect(page.locator(f"#break-{column}")).to_have_attribute("data-state", "failed")
    check_accessible(page)


def test_a_source_that_breaks_before_its_first_item_or_never(pages: dict[str, Page]) -> None:
    page = shown(pages, "break")
    page.fill("#break-pace", "0")
    page.select_option("#break-how", "bug")
    page.select_option("#break-after", "0")
    page.locator("#break-start").click()
    expect(page.locator("#break")).to_have_attribute("data-state", "done")
    for column in ("batch", "sse", "ndjson"):
        expect(page.locator(f"#break-{column}-status")).to_contain_text("500 Internal Server Error")
        expect(page.locator(f"#break-{column}-verdict")).to_contain_text("An error with a status of its own: 500")
    page.select_option("#break-after", "2")
    page.locator("#break-start").click()
    expect(page.locator("#break-sse-body")).to_contain_text("internal_error")
    expect(page.locator("#break")).to_have_attribute("data-state", "done")
    assert "swordfish" not in page.content()  # what a bug says is for nobody else

    page.select_option("#break-after", "never")
    page.locator("#break-start").click()
    for column in ("batch", "sse", "ndjson"):
        expect(page.locator(f"#break-{column}")).to_have_attribute("data-state", "complete")


# --- chat ----------------------------------------------------------------------------------------


def ask(page: Page, text: str) -> None:
    page.fill("#chat-input", text)
    page.keyboard.press("Enter")


@both_schemes
def test_an_answer_goes_on_when_the_page_is_loaded_anew(
    playground: Playground, pages: dict[str, Page], scheme: str
) -> None:
    model = playground.model
    model.gate.passed = model.gate.allowed = 0
    asked = model.asked
    page = shown(pages, "chat", scheme)
    ask(page, "Count.")
    said = page.locator("#chat-turns .assistant .said")
    model.gate.open(5)
    expect(said).to_have_text("word1 word2 word3 word4 word5")

    page.reload()
    expect(said).to_have_text("word1 word2 word3 word4 word5")
    expect(page.locator("#chat-status")).to_contain_text("loaded anew")
    model.gate.open(20)
    expect(said).to_contain_text("word20")

    model.gate.open(40)
    expect(page.locator("#chat")).to_have_attribute("data-state", "idle")
    expect(said).to_have_text("".join(model.words).strip())
    expect(page.locator("#chat-turns .assistant .note")).to_contain_text("a second")
    assert model.asked == asked + 1
    check_accessible(page)


def test_an_answer_is_stopped(playground: Playground, pages: dict[str, Page]) -> None:
    model = playground.model
    model.gate.passed = model.gate.allowed = 0
    stopped = model.stopped
    page = shown(pages, "chat")
    ask(page, "Count.")
    model.gate.open(3)
    expect(page.locator("#chat-turns .said").last).to_have_text("word1 word2 word3")
    page.locator("#chat-stop").click()
    expect(page.locator("#chat-turns .note").last).to_have_text("stopped")
    expect(page.locator("#chat-send")).to_be_enabled()
    assert model.stopped == stopped + 1

    page.reload()  # what was said is still there, and nothing goes on
    expect(page.locator("#chat-turns .said").last).to_have_text("word1 word2 word3")
    expect(page.locator("#chat")).to_have_attribute("data-state", "idle")
    page.locator("#chat-clear").click()
    expect(page.locator("#chat-turns li")).to_have_count(0)


# --- phones --------------------------------------------------------------------------------------


def test_no_panel_is_wider_than_a_phone(playground: Playground, gate: Gate) -> None:
    page = playground.open(width=360, height=740)
    page.fill("#field-seconds", "0.2")
    page.fill("#field-interval", "0.1")
    run_race(page)
    page.locator("summary").click()
    page.locator("#tab-python").click()
    assert overflow(page) == 0, "race"
    page.locator("#tab-resume").click()
    page.locator("#resume-start").click()
    gate.open(40)
    expect(page.locator("#resume-verdict")).to_have_attribute("data-state", "equal")
    assert overflow(page) == 0, "resume"
    page.locator("#tab-break").click()
    page.locator("#break-start").click()
    expect(page.locator("#break")).to_have_attribute("data-state", "done")
    assert overflow(page) == 0, "break"
    for panel in ("pressure", "chat"):
        page.locator(f"#tab-{panel}").click()
        expect(page.locator(f"#{panel}")).to_be_visible()
        assert overflow(page) == 0, panel
    check_accessible(page)
