"""Writes what stands in several places from the one place where it is kept: `make copies`. A test compares.

- A page shows a file of the project where a comment names it: `<!-- file: docs/pairs/cleanup_fixed.py -->`. The block
  behind the comment is a copy of the file, so that it can be read wherever the page is read.
- `CLAUDE.md` and `AGENTS.md` are the text of `SKILL.md` without its front matter.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SKILL = ROOT / "skills" / "dual-mode-streaming" / "SKILL.md"
GUIDES = (ROOT / "CLAUDE.md", ROOT / "AGENTS.md")
_SHOWN = re.compile(r"^<!-- file: (\S+) -->\n(?:```\w+\n.*?^```\n)?", re.MULTILINE | re.DOTALL)


def copies() -> dict[Path, str]:
    """Give each file that holds a copy, with the text that it should have."""
    guide = SKILL.read_text("utf-8").partition("\n---\n")[2].lstrip("\n")
    pages = [path for path in (ROOT / "docs").rglob("*.md") if _SHOWN.search(path.read_text("utf-8"))]
    return dict.fromkeys(GUIDES, guide) | {path: _SHOWN.sub(_show, path.read_text("utf-8")) for path in pages}


def _show(found: re.Match[str]) -> str:
    shown = ROOT / found[1]
    language = {".py": "python", ".txt": "text"}[shown.suffix]
    return f"<!-- file: {found[1]} -->\n```{language}\n{shown.read_text('utf-8')}```\n"


if __name__ == "__main__":
    for path, text in copies().items():
        path.write_text(text, "utf-8")
