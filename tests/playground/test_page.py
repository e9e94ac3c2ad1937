"""The page and its files: everything comes from here, under a strict policy, and nothing is inline."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import dual_mode_streaming.playground as package
from dual_mode_streaming.playground.app import create_app

STATIC = Path(package.__file__).with_name("static")
OURS = sorted(path for path in STATIC.iterdir() if path.suffix in (".js", ".css", ".html"))


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(create_app())


def test_the_page_has_a_strict_policy(client):
    for path in ("/", "/static/main.js", "/static/style.css", "/static/vendor/uplot/uPlot.esm.js"):
        answer = client.get(path)
        assert answer.status_code == 200
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy.pop("default-src") == "'none'"
        assert set(policy.values()) <= {"'self'", "'none'"}
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.head("/").status_code == 200


def test_nothing_is_inline(client):
    page = client.get("/").text
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", page)


def test_every_file_that_is_named_is_there(client):
    page = client.get("/").text
    linked = re.findall(r'(?:src|href)="(?!#)([^"]+)"', page)
    assert "static/main.js" in linked
    for path in linked:
        assert client.get(f"/{path}").status_code == 200, path
    scripts = [path for path in OURS if path.suffix == ".js"]
    modules = {path.name: re.findall(r'(?:from|import) "\./([^"]+)"', path.read_text("utf-8")) for path in scripts}
    for name, imported in modules.items():
        for path in imported:
            assert (STATIC / path).is_file(), f"{name} imports {path}"
    reached = {"main.js", *(path for imported in modules.values() for path in imported)}
    assert set(modules) <= reached, "a module that nobody imports"


def test_every_element_that_a_module_looks_for_is_in_the_page(client):
    page = client.get("/").text
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for path in OURS:
        for name in re.findall(r'\bfind\("([\w-]+)"\)', path.read_text("utf-8")):
            assert name in ids, f"{path.name} looks for #{name}"


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_no_other_host_is_named(path):
    hosts = set(re.findall(r"https?://[\w.:-]+", path.read_text("utf-8")))
    assert hosts <= {"http://localhost:8000", "http://www.w3.org"}  # an example, and the name of SVG


def test_what_is_brought_along_has_its_licence_and_version():
    vendor = STATIC / "vendor"
    noted = (vendor / "README.md").read_text("utf-8")
    folders = [path for path in vendor.iterdir() if path.is_dir()]
    assert len(folders) == 2
    for folder in folders:
        assert "MIT" in (folder / "LICENSE").read_text("utf-8")
        assert re.search(rf"\| `{folder.name}` \| `[\w-]+` \| \d+\.\d+\.\d+ \| MIT \|", noted)
    version = re.search(r"uPlot.*\(v([\d.]+)\)", (vendor / "uplot" / "uPlot.esm.js").read_text("utf-8"))[1]
    assert f"| `uplot` | `uplot` | {version} |" in noted


def test_modules_are_small():
    for path in OURS:
        if path.suffix == ".js":
            assert len(path.read_text("utf-8").splitlines()) <= 250, path.name
