"""Diagrams: written as mermaid in a page, and drawn once, so that the built site needs no script to show them.

- A diagram is a mermaid block below a comment with its name: `<!-- diagram: modes -->`. A forge draws it by itself.
- `make diagrams` draws each that is new or was changed, in a Chromium without a window, into `docs/diagrams`.
- The site gets the drawing in the place of the block. Its colours are those of the site, light or dark.
- A drawing begins with a digest of what it was made of. One that is not up to date stops the build.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
DRAWINGS = DOCS / "diagrams"
CHROMIUM = Path("/usr/bin/chromium")
_BLOCK = re.compile(r"^<!-- diagram: ([\w-]+) -->\n```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Mermaid computes with colours, so it is given real ones. Those of the site take their place in the drawing.
_COLOURS = {
    "#010203": "var(--md-default-fg-color)",
    "#040506": "var(--md-default-fg-color--light)",
    "#070809": "var(--md-default-bg-color)",
    "#0a0b0c": "var(--md-code-bg-color)",
    "#0d0e0f": "var(--md-typeset-a-color)",
}
_INK, _LINE, _PAPER, _BOX, _ACCENT = _COLOURS
_THEME = {
    "startOnLoad": False,
    "theme": "base",
    "htmlLabels": False,
    "flowchart": {"htmlLabels": False, "curve": "basis", "padding": 12, "nodeSpacing": 30, "rankSpacing": 45},
    "sequence": {"mirrorActors": False, "actorMargin": 40, "width": 110},
    "themeCSS": ".edgeLabel rect { opacity: 1; }",
    "fontFamily": "sans-serif",
    "themeVariables": {
        "fontFamily": "sans-serif",
        "fontSize": "14px",
        "background": _PAPER,
        "useGradient": False,
        "dropShadow": "none",
        "primaryColor": _BOX,
        "primaryTextColor": _INK,
        "primaryBorderColor": _ACCENT,
        "secondaryColor": _BOX,
        "tertiaryColor": _BOX,
        "lineColor": _LINE,
        "textColor": _INK,
        "nodeTextColor": _INK,
        "edgeLabelBackground": _PAPER,
        "actorBkg": _BOX,
        "actorBorder": _ACCENT,
        "actorTextColor": _INK,
        "actorLineColor": _LINE,
        "signalColor": _LINE,
        "signalTextColor": _INK,
        "noteBkgColor": _PAPER,
        "noteBorderColor": _LINE,
        "noteTextColor": _INK,
        "activationBkgColor": _BOX,
        "activationBorderColor": _ACCENT,
    },
}


def diagrams(markdown: str) -> dict[str, str]:
    """Give the diagrams of a page by their names."""
    return dict(_BLOCK.findall(markdown))


def stamp(source: str) -> str:
    """Give the first line of a drawing: of what it was made."""
    return f"<!-- drawn by mermaid (MIT licence) from {hashlib.sha256(source.encode()).hexdigest()[:16]} -->\n"


def is_drawn(name: str, source: str) -> bool:
    """Whether the drawing of a diagram is there and up to date."""
    path = DRAWINGS / f"{name}.svg"
    return path.is_file() and path.read_text("utf-8").startswith(stamp(source))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the drawings into a page (a hook of mkdocs)."""

    def drawn(found: re.Match[str]) -> str:
        name, source = found.groups()
        if not is_drawn(name, source):
            raise SystemExit(f"the diagram {name!r} is not drawn yet, or was changed; draw it with: make diagrams")
        drawing = (DRAWINGS / f"{name}.svg").read_text("utf-8").removeprefix(stamp(source))
        return f'<figure class="diagram">{drawing.strip()}</figure>'

    return _BLOCK.sub(drawn, markdown)


def draw(library: Path) -> None:
    """Draw what is new or was changed, and remove what no page has any more."""
    from playwright.sync_api import sync_playwright

    wanted = {name: source for page in DOCS.rglob("*.md") for name, source in diagrams(page.read_text("utf-8")).items()}
    DRAWINGS.mkdir(exist_ok=True)
    for path in DRAWINGS.glob("*.svg"):
        if path.stem not in wanted:
            path.unlink()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_content("<!doctype html><body></body>")
        page.add_script_tag(path=library)
        page.evaluate("theme => mermaid.initialize(theme)", _THEME)
        for name, source in wanted.items():
            if not is_drawn(name, source):
                script = "async ([name, source]) => (await mermaid.render(name, source)).svg"
                svg = page.evaluate(script, [f"diagram-{name}", source])
                (DRAWINGS / f"{name}.svg").write_text(stamp(source) + _in_colours_of_the_site(svg) + "\n", "utf-8")
        browser.close()


def _in_colours_of_the_site(svg: str) -> str:
    for given, wanted in _COLOURS.items():
        red, green, blue = (int(given[at : at + 2], 16) for at in (1, 3, 5))
        svg = re.sub(rf"{given}|rgb\({red}, ?{green}, ?{blue}\)", wanted, svg, flags=re.IGNORECASE)
    return re.sub(r"\n\s*\n", "\n", svg)  # a blank line would end the block of HTML


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
