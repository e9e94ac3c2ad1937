"""The race: both modes of every endpoint, their figures, the frames, and the same request in other words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.playground import SCHEMES, Playground, check_accessible, choose, playing, run_race


@pytest.fixture(scope="module")
def playground(browser: Browser) -> Iterator[Playground]:
    with playing(browser) as playground:
        playground.model.gate.open(10**9)
        yield playground


@pytest.fixture(scope="module")
def page(playground: Playground) -> Page:
    return playground.open()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_modes_race_and_are_equal(playground: Playground, scheme: str) -> None:
    page = playground.open(scheme=scheme)
    page.fill("#field-seconds", "0.6")
    page.fill("#field-interval", "0.1")

    result = run_race(page)

    expect(result).to_have_attribute("data-state", "equal")
    expect(page.locator("#race-verdict")).to_contain_text("Equal: ")
    items = int(page.locator("#stream-items").inner_text())
    assert 1 <= items <= 6
    assert page.locator("#timeline .mark.stream").count() == items
    assert page.locator("#timeline .mark.batch").count() == 1
    assert page.locator("#stream-status").inner_text() == page.locator("#batch-status").inner_text() == "200"
    assert page.locator("#timeline").get_attribute("aria-label").startswith(f"Timeline. Stream: {items} arrival")
    page.locator("summary").click()
    values = [json.loads(page.locator(f"#{mode}-value").inner_text()) for mode in ("stream", "batch")]
    assert values[0] == values[1]
    assert len(values[0]["data"]) == items
    check_accessible(page)
    page.context.close()


@pytest.mark.parametrize(
    ("endpoint", "fields", "items"),
    [
        ("search", {"q": "coroutine"}, None),
        ("chat", {}, None),
        ("run", {"topics": "12", "pace": "0"}, 12),
        ("channel", {"count": "2"}, 2),
        ("import", {}, None),
    ],
)
def test_every_endpoint_is_equal_in_both_modes(page: Page, endpoint, fields, items) -> None:
    choose(page, endpoint)
    for name, value in fields.items():
        page.fill(f"#field-{name}", value)

    result = run_race(page)

    expect(result).to_have_attribute("data-state", "equal")
    seen = int(page.locator("#stream-items").inner_text().replace(",", ""))
    assert seen > 1
    assert items in (None, seen)
    assert page.locator("#frames [role=option]").count() >= seen


@pytest.mark.parametrize(
    ("label", "begins", "explained"),
    [
        ("server-sent events", "retry: ", "How many milliseconds to wait"),
        ("lines of JSON", "{", "One item, as JSON on one line"),
        ("JSON text sequence", "␞ {", "RFC 7464"),
    ],
)
def test_the_frames_are_those_of_the_wire(page: Page, label, begins, explained) -> None:
    choose(page, "search")
    page.fill("#field-q", "coroutine")
    page.select_option("#race-format", label=label)
    expect(run_race(page)).to_have_attribute("data-state", "equal")

    assert page.locator("#frames code").first.inner_text().startswith(begins)
    page.locator("#frames").focus()
    expect(page.locator("#frames-help")).to_contain_text(explained)
    page.select_option("#race-format", label="server-sent events")


def test_a_field_is_explained_by_keyboard_and_by_pointer(page: Page) -> None:
    choose(page, "search")
    run_race(page)
    page.locator("#frames").focus()
    page.keyboard.press("End")
    expect(page.locator("#frames-help")).to_contain_text("A blank line after it ends the event")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#frames-help")).to_contain_text("The id of the end")
    assert page.locator("#frames").get_attribute("aria-activedescendant")
    page.locator("#frames [role=option]", has_text="event: done").hover()
    expect(page.locator("#frames-help")).to_contain_text("the stream is complete")


def test_the_browsers_own_event_source_reads_it_as_well(page: Page) -> None:
    choose(page, "search")
    page.select_option("#race-reader", "eventsource")
    expect(run_race(page)).to_have_attribute("data-state", "equal")
    expect(page.locator("#stream-bytes")).to_have_text("not shown")

    choose(page, "import")  # a POST
    expect(page.locator("#race-reader")).to_have_value("fetch")
    assert page.locator("#race-reader [value=eventsource]").is_disabled()


def test_a_file_is_dropped(page: Page) -> None:
    choose(page, "import")
    data = page.evaluate_handle(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["name,price\\nrose,3\\ntulip\\n"], "flowers.csv", {type: "text/csv"}));
          return data;
        }"""
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    expect(page.locator("#drop-name")).to_contain_text("flowers.csv, 24 B")

    expect(run_race(page)).to_have_attribute("data-state", "equal")
    page.locator("summary").click()
    assert json.loads(page.locator("#batch-value").inner_text())["rejected"] == 1
    assert "flowers.csv" in page.locator("#code-curl").inner_text()
    page.locator("summary").click()


def test_an_error_before_the_first_item_is_the_same_in_both_modes(page: Page) -> None:
    choose(page, "search")
    page.fill("#field-q", "?!")
    expect(run_race(page)).to_have_attribute("data-state", "failed")
    expect(page.locator("#race-verdict")).to_contain_text("Both modes answer 422: The query '?!' holds no word")


def test_a_race_is_stopped(page: Page) -> None:
    choose(page, "metrics")
    page.fill("#field-seconds", "60")
    page.locator("#race-start").click()
    expect(page.locator("#stream-items")).not_to_have_text("–")
    page.locator("#race-stop").click()
    expect(page.locator("#race-result")).to_have_attribute("data-state", "failed")
    expect(page.locator("#race-verdict")).to_contain_text("stopped")
    expect(page.locator("#race-start")).to_be_enabled()


def test_different_values_are_told(page: Page) -> None:
    """The tick is computed: if the batch is another one, the page sees it."""

    def falsify(route) -> None:
        if route.request.headers["accept"] == "application/json":
            answer = route.fetch()
            route.fulfill(response=answer, body=answer.text().replace('"score":', '"score":1'))
        else:
            route.continue_()

    page.route("**/search?*", falsify)
    choose(page, "search")
    expect(run_race(page)).to_have_attribute("data-state", "different")
    expect(page.locator("#race-verdict")).to_contain_text("Not equal")
    page.unroute("**/search?*")


@pytest.fixture(scope="module")
def fresh(playground: Playground) -> Page:
    return playground.open()


@pytest.fixture(scope="module")
def shown(fresh: Page) -> dict[tuple[str, str], str]:
    """The request of each endpoint in all languages."""
    page, found = fresh, {}
    for endpoint in ("search", "import", "chat", "run"):
        choose(page, endpoint)
        if endpoint == "run":
            page.fill("#field-pace", "0")
            run_race(page)  # so that there is a run for curl to ask for
        for language in ("curl", "python", "javascript"):
            found[endpoint, language] = page.locator(f"#code-{language}").text_content()
    return found


PROOF = {"search": '"count"', "import": '"rows_per_second"', "chat": "word40", "run": "annotated_assignment_stmt"}


def test_the_commands_and_programs_run_as_they_are_shown(shown, tmp_path) -> None:
    (tmp_path / "data.csv").write_text("name,price\nrose,3\n")
    running = []
    for (endpoint, language), text in shown.items():
        if language != "javascript":
            shell = ["bash", "-ec", f"{text.replace('curl ', 'curl -sS ')}"]
            command = shell if language == "curl" else [sys.executable, "-c", text]
            pipe = subprocess.PIPE
            running.append(
                (endpoint, language, subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True))
            )
    ended = [(endpoint, language, process, *process.communicate(timeout=60)) for endpoint, language, process in running]
    for endpoint, language, process, output, errors in ended:
        assert process.returncode == 0, (endpoint, language, errors)
        assert PROOF[endpoint].strip('"') in output, (endpoint, language)
        if language == "curl":
            assert re.search(r"^event: done$|\[DONE\]", output, re.MULTILINE), endpoint


def test_the_javascript_runs_as_it_is_shown(fresh: Page, shown) -> None:
    for endpoint in ("search", "chat", "run"):
        said = fresh.evaluate(
            """async code => {
              const said = [];
              const console = {log: value => said.push(JSON.stringify(value))};
              const run = new (async () => {}).constructor("console", code);
              await run(console);
              for (let wait = 0; said.length < 2 && wait < 200; wait++) await new Promise(r => setTimeout(r, 25));
              return said.join("\\n");
            }""",
            shown[endpoint, "javascript"],
        )
        assert PROOF[endpoint].strip('"') in said
        assert said.count("\n") >= 1


def test_a_request_is_copied(playground: Playground) -> None:
    page = playground.open(permissions=["clipboard-read", "clipboard-write"])
    page.locator("#tab-python").click()
    page.locator("#code-copy").click()
    expect(page.locator("#code-copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#code-python").text_content()
    page.context.close()
