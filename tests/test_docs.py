"""What the pages say is true: their code runs, their terminal sessions happen, their links and names exist."""

import importlib
import inspect
import re
import shlex
import subprocess
import sys
import types
from fnmatch import filter as matching
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import sync_playwright

from dual_mode_streaming import DualModeResponse, errors
from dual_mode_streaming.options import Options
from dual_mode_streaming.testing import live_server
from needs import lacking

ROOT = Path(__file__).parents[1]
CHROMIUM = Path("/usr/bin/chromium")
ABOVE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CLAUDE.md", "exercises/README.md")]
PAGES = [*ABOVE, *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?:<!-- (.*?) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A block, with the comment that stands directly above it."""
SHELLS = ("console", "bash", "sh", "shell")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


# --- code and terminal sessions ----------------------------------------------------------------


@pages
def test_the_code_of_a_page_runs_and_its_sessions_happen(page, monkeypatch):
    text = page.read_text("utf-8")
    module = types.ModuleType(f"code_of_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in FENCE.finditer(text):
        comment, language, code = block.groups()
        if reason_not_to_run(comment):
            continue
        if language == "python":
            line = text.count("\n", 0, block.start(3))
            exec(compile("\n" * line + code, page, "exec", dont_inherit=True), vars(module))
        elif language in SHELLS:
            assert code.startswith("$ curl "), f"say why this is not run, in <!-- not run: … --> above it:\n{code}"
            replay(code, module.app)


def reason_not_to_run(comment):
    """Give what a comment says about why the block under it is not run; empty if it is to run."""
    return (comment or "").partition("not run: ")[2]


@pages
def test_the_marks_of_what_is_not_run_stand_above_what_would_be_run(page):
    text = page.read_text("utf-8")
    marked = [block for block in FENCE.finditer(text) if reason_not_to_run(block[1])]
    assert len(re.findall(r"^<!-- not run:", text, re.MULTILINE)) == len(marked)
    assert {block[2] for block in marked} <= {"python", *SHELLS}


def replay(session, app):
    """Send what a terminal session sends with curl, and compare what came with what the page shows."""
    with live_server(app) as url, httpx2.Client() as client:
        for exchange in session.removeprefix("$ ").split("\n$ "):
            command, _, shown = exchange.partition("\n")
            program, *words = shlex.split(command)
            headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
            assert program == "curl"
            assert set(words) - {word for header in headers.items() for word in [": ".join(header)]} <= {
                "-N",
                "-H",
                words[-1],
            }
            came = client.get(words[-1].replace("http://localhost:8000", url), headers=headers).text
            assert masked(came) == masked(shown), command


def masked(text):
    return re.sub(r"\bretry: \d+", "retry: ####", text.rstrip("\n"))


@pages
def test_every_block_says_what_it_is(page):
    known = {"python", "console", "json", "text", "mermaid", "javascript"}
    assert {language for _, language, _ in FENCE.findall(page.read_text("utf-8"))} <= known


# --- links -------------------------------------------------------------------------------------


def anchors(page):
    """Give the anchors of a page's headings, as both the forge and the built site make them."""
    prose = FENCE.sub("", page.read_text("utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    }


@pages
def test_links_and_anchors_of_a_page_resolve(page):
    prose = FENCE.sub("", page.read_text("utf-8"))
    # A link may be broken over two lines.
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


# --- the built site ----------------------------------------------------------------------------

ELSEWHERE = re.compile(r"(https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built so that every warning is an error."""
    path = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", path]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert built.returncode == 0, built.stdout + built.stderr
    return path


def test_no_page_of_the_site_loads_anything_from_elsewhere(site):
    pages = sorted(site.glob("**/*.html"))
    assert len(pages) > len(list((ROOT / "docs").rglob("*.md")))  # one more for the changelog, one for what is missing
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text("utf-8"))
        assert loads.found
        assert [address for address in loads.found if ELSEWHERE.match(address)] == []


def test_no_style_of_the_site_loads_a_font_or_an_image_from_elsewhere(site):
    styles = sorted(site.glob("**/*.css"))
    assert styles
    inline = [match for page in site.glob("**/*.html") for match in re.findall(r"<style.*?</style>", page.read_text())]
    for text in [*(style.read_text("utf-8") for style in styles), *inline]:
        addresses = re.findall(r"url\(\s*[\"']?([^)\"']+)", text) + re.findall(r"@import\s+[\"']([^\"']+)", text)
        assert [address for address in addresses if ELSEWHERE.match(address)] == []


def test_the_site_can_be_read_and_searched_from_a_disk_without_a_network(site):
    if not CHROMIUM.exists():
        lacking(str(CHROMIUM), "apt-get update && apt-get install -y chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(offline=True)
        page, loaded, errors = context.new_page(), [], []
        page.on("request", lambda request: loaded.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((site / "concepts.html").as_uri())
        assert page.locator("figure.diagram svg").count() > 5
        page.locator("input.md-search__input").fill("heartbeat")
        page.locator("a.md-search-result__link", has_text="heartbeat").first.wait_for()
        browser.close()
    assert [address for address in loaded if address.partition(":")[0] not in ("file", "data", "blob")] == []
    assert errors == []


def test_every_diagram_is_drawn_in_the_site(site):
    for page in (ROOT / "docs").glob("*.md"):
        wanted = page.read_text("utf-8").count("```mermaid\n")
        drawn = (site / f"{page.stem}.html").read_text("utf-8")
        assert drawn.count('<figure class="diagram"><svg') == wanted


@pytest.mark.parametrize(
    ("page", "module"),
    [
        ("front", "dual_mode_streaming"),
        *((name, f"dual_mode_streaming.{name}") for name in ("client", "errors", "fastapi", "jsonlines", "llm")),
        *((name, f"dual_mode_streaming.{name}") for name in ("sse", "stores", "telemetry", "testing")),
        ("dialects", "dual_mode_streaming.llm.dialects"),
    ],
)
def test_the_reference_has_every_public_name(site, page, module):
    described = set(re.findall(r'id="([\w.]+)"', (site / "reference" / f"{page}.html").read_text("utf-8")))
    names = {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    elsewhere = {
        f"{module}.{name}" for name in ("DualModeClient", "DualModeSyncClient", "errors")
    }  # pages of their own
    assert names - described == (elsewhere if page == "front" else set())


def test_the_site_has_what_programs_read(site):
    listed = (site / "llms.txt").read_text("utf-8")
    assert listed.startswith("# dual-mode-streaming\n\n> ")
    links = re.findall(r"\]\(([^)]+)\)", listed)
    assert len(links) > len(list((ROOT / "docs").rglob("*.md")))
    assert [link for link in links if not (site / link).is_file()] == []
    assert (site / "SKILL.md").read_bytes() == (ROOT / "skills/dual-mode-streaming/SKILL.md").read_bytes()
    everything = (site / "llms-full.txt").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.read_text("utf-8").strip() in everything
    assert ":::" not in everything
    assert "negotiate(accept: str | Sequence[str] | None, offers: Sequence[str])" in everything


class Loads(HTMLParser):
    """Collects what a page loads by itself: scripts, styles, images, frames."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "link" and given.get("rel") in ("canonical", "next", "prev"):
            return
        name = "href" if tag == "link" else "src" if tag in ("script", "img", "iframe", "source", "video") else None
        if name is not None and given.get(name):
            self.found.append(given[name])


# --- names -------------------------------------------------------------------------------------


@pages
def test_the_make_targets_of_a_page_exist(page):
    text = page.read_text("utf-8")
    named = set(re.findall(r"`make ([a-z][\w-]*)", text)) | set(
        re.findall(r"^\$ make ([a-z][\w-]*)", text, re.MULTILINE)
    )
    targets = re.findall(r"^([a-z0-9%-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    unknown = {name for name in named if not any(fnmatch(name, target.replace("%", "*")) for target in targets)}
    assert unknown == set()
    for number in (name.removeprefix("example-") for name in named if name.startswith("example-")):
        assert list((ROOT / "src/dual_mode_streaming/examples").glob(f"example_{number}_*.py"))


def test_the_readme_has_every_make_target_of_the_help():
    cells = " ".join(cell for row in rows("README.md", "Development") for cell in row)
    named = " ".join(re.findall(r"`make ([^`]+)`", cells)).split()
    targets = re.findall(r"^([a-z0-9%-]+):.* ## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    missing = [target for target in targets if not matching(named, target.replace("%", "*"))]
    assert missing == ["help"]  # which the sentence above the table names


def rows(page, heading):
    """Give the cells of the tables under a heading, without their head rows."""
    text = (ROOT / page).read_text("utf-8")
    section = re.split(r"^## ", text.partition(f"## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def test_the_readme_has_every_option_with_its_default():
    listed = {option.strip("`"): default for option, default, _ in rows("README.md", "Options")}
    fields = inspect.signature(Options).parameters
    assert set(listed) == set(fields)
    of_response = inspect.signature(DualModeResponse).parameters
    for name, default in listed.items():
        if name == "fold":
            continue
        assert default == f"`{of_response[name].default!r}`".replace("'", '"'), name
        assert of_response[name].default == fields[name].default


def test_the_error_codes_of_the_wire_contract_are_those_of_the_library():
    listed = {code.strip("`"): status for code, status, _ in rows("docs/protocol.md", "Errors")}
    assert (listed.pop("http_error"), listed.pop("internal_error")) == ("its own", "500")
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.DualModeError)]
    by_code = {kind.code: str(int(kind.status)) for kind in kinds}
    assert listed == {code: by_code.get(code) for code in listed}


def test_the_architecture_has_every_module():
    listed = {name.strip("`") for name, _ in rows("docs/architecture.md", "Modules")}
    package = ROOT / "src/dual_mode_streaming"
    packages = {path.parent.name for path in package.glob("*/__init__.py")}
    assert listed - packages == {path.stem for path in package.glob("*.py") if not path.name.startswith("_")}
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    assert [name for name in packages if f"`{name}`" not in text] == []
