"""What the built site has for programs that read it: `llms.txt`, `llms-full.txt`, each page as text, and the guide.

`llms.txt` is the map: a title, a summary, and a link with a line for each page, as proposed. `llms-full.txt` is
all pages in one file, in the order of the navigation. A page `x.html` has its text beside it as `x.md`.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
SKILL = "skills/dual-mode-streaming/SKILL.md"
_DIRECTIVE = re.compile(r"^::: ([\w.]+)\n((?: {4}.*\n)*)", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Let the changelog be a page, without a copy of it."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    files.append(File.generated(config, "changelog.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Keep the text of each page, before it becomes HTML."""
    page.meta["text"] = _DIRECTIVE.sub(_described, markdown)
    return markdown


def on_nav(nav: Navigation, config: MkDocsConfig, **_: Any) -> Navigation:
    """Note the order of the pages."""
    config.extra["reading_order"] = [page.file.src_uri for page in nav.pages]
    return nav


def on_env(env: Any, config: MkDocsConfig, files: Files) -> Any:
    """Write the files when all pages have been read and none has been written."""
    by_name = {file.src_uri: file.page for file in files.documentation_pages() if file.page}
    pages = [by_name[name] for name in config.extra["reading_order"]]
    site = Path(config.site_dir)
    for page in pages:
        _write(site / _text_of(page), page.meta["text"])
    lines = [f"- [{page.title}]({_text_of(page)}): {_summary(page)}" for page in pages]
    intro = f"# {config.site_name}\n\n> {config.site_description}\n"
    guide = "- [SKILL.md](SKILL.md): the guide for coding assistants, with the API by example"
    everything = "- [llms-full.txt](llms-full.txt): all pages in one file"
    _write(site / "llms.txt", "\n".join([intro, "## Guide\n", guide, everything, "\n## Pages\n", *lines, ""]))
    texts = [f"<!-- {page.file.src_uri} -->\n\n{page.meta['text'].strip()}\n" for page in pages]
    _write(site / "llms-full.txt", "\n".join([intro, *texts]))
    _write(site / "SKILL.md", (ROOT / SKILL).read_text("utf-8"))
    return env


@cache
def _library() -> Any:
    return griffe.load("dual_mode_streaming", search_paths=[ROOT / "src"], resolve_aliases=True)


def _described(found: re.Match[str]) -> str:
    """Give the docstrings that a page of the reference is made of, as text."""
    path, options = found[1].partition(".")[2], found[2]
    subject = _library()[path] if path else _library()
    if not subject.is_module:
        return _of_name(subject)
    names = re.findall(r"^ +- (\w+)$", options, re.MULTILINE) or subject.exports
    return "\n\n".join([_docstring(subject), *(_of_name(subject[name]) for name in names)]) + "\n"


def _of_name(named: Any) -> str:
    if not (named.is_class or named.is_function):
        return f"## {named.name}\n\n{_docstring(named)}"
    methods = [
        f"### {named.name}.{member.name}\n\n```python\n{member.signature()}\n```\n\n{_docstring(member)}"
        for member in named.members.values()
        if named.is_class and member.is_function and member.docstring and member.is_public
    ]
    return "\n\n".join([f"## {named.name}\n\n```python\n{_signature(named)}\n```\n\n{_docstring(named)}", *methods])


def _signature(named: Any) -> str:
    if named.is_function:
        return named.signature()
    created = named.all_members.get("__init__")
    return created.signature().replace("__init__", named.name, 1) if created else f"class {named.name}"


def _docstring(named: Any) -> str:
    return named.docstring.value if named.docstring else ""


def _text_of(page: Page) -> str:
    return page.file.dest_uri.removesuffix(".html") + ".md"


def _summary(page: Page) -> str:
    """Give the first sentence of a page, on one line and without marks."""
    body = re.sub(r"^(#|<!--|:::|```).*$", "", page.meta["text"], flags=re.MULTILINE).strip()
    paragraph = " ".join(body.partition("\n\n")[0].split())
    plain = re.sub(r"\[([^\]]+)\]\([^)]*\)|[*`]", r"\1", paragraph)
    return re.split(r"(?<=[.:?]) (?=[A-Z`])", plain)[0].rstrip(":") or page.title


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
