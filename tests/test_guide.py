"""The guide for coding assistants is one text in three files, and other copies are what they are copies of."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SKILL = ROOT / "skills" / "dual-mode-streaming" / "SKILL.md"
_SPEC = importlib.util.spec_from_file_location("copies", ROOT / "docs" / "making" / "copies.py")
copies = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(copies)


def test_every_copy_is_like_its_original():
    stale = [path.name for path, text in copies.copies().items() if path.read_text("utf-8") != text]
    assert not stale, "write them anew with: make copies"


def test_the_guides_are_copies():
    assert {ROOT / "CLAUDE.md", ROOT / "AGENTS.md"} < set(copies.copies())


def test_the_head_of_the_skill_is_what_tools_load():
    """As the format asks: the name is that of the folder, and both fields keep their bounds."""
    empty, head, body = SKILL.read_text("utf-8").split("---\n", 2)
    fields = yaml.safe_load(head)
    assert empty == ""
    assert set(fields) == {"name", "description", "license"}
    assert fields["name"] == SKILL.parent.name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fields["name"])
    assert len(fields["name"]) <= 64
    assert 1 <= len(fields["description"]) <= 1024
    assert len(body.splitlines()) < 500  # what is longer belongs into files that are read when they are needed


@pytest.mark.parametrize(
    "part",
    [
        "When to use what",
        "The API by example",
        "Common mistakes and their cure",
        "Commands",
        "Project structure",
        "When users ask about …",
    ],
)
def test_the_guide_has_its_parts(part):
    assert f"\n## {part}\n" in SKILL.read_text("utf-8")


def test_what_the_guide_names_exists():
    """Files of the project, names of the library."""
    text = SKILL.read_text("utf-8")
    missing = [name for name in re.findall(r"`((?:docs|tests|src)/[\w./-]+)`", text) if not (ROOT / name).exists()]
    assert not missing
