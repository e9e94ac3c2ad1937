"""What the pages say is true: their code runs, their terminal sessions happen, their links and names exist."""

import inspect
import re
import shlex
import subprocess
import sys
import types
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import pytest

from dual_mode_streaming import DualModeResponse, errors
from dual_mode_streaming.options import Options
from dual_mode_streaming.testing import live_server

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


# --- code and terminal sessions ----------------------------------------------------------------


@pages
def test_the_code_of_a_page_runs_and_its_sessions_happen(page, monkeypatch):
    text = page.read_text("utf-8")
    module = types.ModuleType(f"code_of_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in FENCE.finditer(text):
        language, code = block.groups()
        if language == "python":
            line = text.count("\n", 0, block.start(2))
            exec(compile("\n" * line + code, page, "exec", dont_inherit=True), vars(module))
        elif language == "console" and "$ curl" in code:
            replay(code, module.app)


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
    known = {"python", "console", "json", "text"}
    assert {language for language, _ in FENCE.findall(page.read_text("utf-8"))} <= known


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


def test_the_site_builds_without_warnings_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=120)
    built = sorted(tmp_path.glob("**/*.html"))
    assert len(built) > len(list((ROOT / "docs").glob("*.md")))
    for page in built:
        loads = Loads()
        loads.feed(page.read_text("utf-8"))
        assert loads.found
        assert [address for address in loads.found if re.match(r"(https?:)?//", address)] == []


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
    assert listed == {path.stem for path in package.glob("*.py") if not path.name.startswith("_")}
