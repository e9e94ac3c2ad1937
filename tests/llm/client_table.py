"""docs/llm-clients.md: what real clients report when a real server answers them.

Each client has a report, a file in `reports/`. The tests of the clients run them, and call `keep`: it compares what a
client reported with its file, so that what is on the page is what happens. The page is made of the files. After a
wanted change, as that of a version, `make client-table` lets the tests write files and page anew.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

REPORTS = Path(__file__).parent / "reports"
PAGE = Path(__file__).parents[2] / "docs" / "llm-clients.md"
REWRITES = os.environ.get("REWRITE_CLIENT_TABLE") == "1"

CASES = {
    "batch": "Batch",
    "stream": "Stream",
    "tools": "Tools",
    "usage": "Usage",
    "refused": "400",
    "limited": "429",
    "breaks": "Error in the middle",
    "cut": "Connection cut",
}
"""The cases that every client runs, and the heads of their columns."""

INTRODUCTION = """\
# Clients of language models

Existing clients, unmodified, and what they report when `llm_router(Simulator(...))` answers them on a real server. The
tests run them and compare; this page is made of what they found.

- **Batch**, **Stream**, **Tools**, **Usage**: `ok` means that the client gave the whole text, the same call of a tool
  with its arguments, and the same numbers of tokens in both modes. `-` means that the client has no such thing.
- **400**, **429**: the error came before anything was said. It has its status in both modes, so all clients raise the
  error that they have for it.
- **Error in the middle**: after two of four words. A batch is then a 500. Of a stream the client gave the two words,
  and then the error that is named.
- **Connection cut**: after two of four words. A batch had sent nothing, and is a 500. No client takes what it has of
  the stream for a complete answer. Several would if the stream ended in good order, so one that failed never does.

Where the modes differ, each is given. The number at an error is the status that it tells; None is an error without one.
"""


@dataclass(frozen=True)
class Report:
    """What one client reported.

    Attributes:
        client: Its name, and which of its interfaces if it has several.
        version: The package that was run, and its version, as in `openai 3.54.0`.
        language: `Python` or `Node`.
        cases: For each of `CASES` a short text, or one for each mode: `{"batch": ..., "stream": ...}`.
        more: What else was tried, and what the client reported.
        faults: What the client does wrong with right answers, each in one sentence.
    """

    client: str
    version: str
    language: str
    cases: dict[str, str | dict[str, str]]
    more: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """Give where the report is kept."""
        name = "".join(char if char.isalnum() else "-" for char in f"{self.language} {self.client}".lower())
        return REPORTS / f"{name}.json"


def keep(report: Report) -> None:
    """Compare a report with its file; or write it, and the page, if that is wanted."""
    assert list(report.cases) == list(CASES), "a report has all cases, in the order of the table"
    found = asdict(report)
    if REWRITES:
        report.file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
        PAGE.write_text(page(), "utf-8")
    before = json.loads(report.file.read_text("utf-8")) if report.file.exists() else None
    assert found == before, f"{report.client} now reports something else; if that is wanted: make client-table"


def kept(language: str, package: str) -> set[str]:
    """Give the clients of a package whose reports are kept."""
    reports = [report for report in _reports() if report.language == language]
    return {report.client for report in reports if report.version.split()[0] == package}


def page() -> str:
    """Give the page, as the files of all reports make it."""
    reports = sorted(_reports(), key=lambda report: (report.language != "Python", report.client))
    parts = [INTRODUCTION]
    for language in dict.fromkeys(report.language for report in reports):
        own = [report for report in reports if report.language == language]
        head = ["Client", *CASES.values()]
        rows = [[f"**{one.client}**<br>{one.version}", *map(_cell, one.cases.values())] for one in own]
        parts.append(f"## {language}\n\n{_table([head, ['---'] * len(head), *rows])}")
        more = [(one.client, f", {what}: {found}") for one in own for what, found in one.more.items()]
        if more:
            parts.append(f"Beside these:\n\n{_list(more)}")
        faults = [(one.client, f": {fault}") for one in own for fault in one.faults]
        if faults:
            parts.append(f"What these clients do wrong with right answers:\n\n{_list(faults)}")
    return "\n".join(parts)


def _reports() -> list[Report]:
    return [Report(**json.loads(path.read_text("utf-8"))) for path in REPORTS.glob("*.json")]


def _list(facts: list[tuple[str, str]]) -> str:
    """Give a line for each fact, with all clients of which it is true."""
    clients: dict[str, list[str]] = {}
    for client, fact in facts:
        clients.setdefault(fact, []).append(client)
    return "".join(f"- **{'; '.join(names)}**{fact}\n" for fact, names in clients.items())


def _cell(found: str | dict[str, str]) -> str:
    if isinstance(found, str):
        return found
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return "<br>".join(f"{mode}: {what}" for mode, what in found.items())


def _table(rows: list[list[str]]) -> str:
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)
