"""Has a learner's file examined, and understands the report, also that of an examination that came to no end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exercises.course import HERE, Exercise

__all__ = ["OurFault", "Problem", "Report", "check", "check_all"]

TIME = 60.0
"""Seconds for a file. Its examination ends long before that by itself, unless nothing in it can run any more."""


class OurFault(Exception):
    """The course itself is broken, and not what the learner wrote."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file.

    Attributes:
        kind: `broken` if a check expected something else. Otherwise what became of the code: `syntax`, `import`,
            `raised`, `waiting`, `blocking`, `endless`, `check`.
        why: What is wrong, and why it matters.
        did: The call that was made; empty where none is to be told.
        got: What it gave.
        expected: What it should have given.
        line: The line of the file that it is about; None if nobody knows.
        column: The place in the line, for a syntax error.
        printed: What the code has printed until then.
    """

    kind: str
    why: str
    did: str = ""
    got: str = ""
    expected: str = ""
    line: int | None = None
    column: int | None = None
    printed: str = ""


@dataclass
class Report:
    """How a file fares.

    Attributes:
        checks: How many checks each task has that was looked at.
        problems: The first problem of each task that is not solved.
        trouble: What kept the file from being imported; then there are no checks.
    """

    checks: dict[int, int] = field(default_factory=dict)
    problems: dict[int, Problem] = field(default_factory=dict)
    trouble: Problem | None = None

    def lowest(self, exercise: Exercise) -> tuple[int, Problem] | None:
        """Give the first task that is not solved, and why; None if there is none."""
        for task in exercise.tasks:
            if self.trouble is not None:
                return task.number, self.trouble
            if task.number in self.problems:
                return task.number, self.problems[task.number]
        return None


def check(exercise: Exercise, file: Path | None = None) -> Report:
    """Examine the learner's file, or another one in its place."""
    (report,) = check_all(exercise, [file or exercise.file])
    return report


def check_all(exercise: Exercise, files: Sequence[Path]) -> list[Report]:
    """Examine several files in one process, which is quicker. Where one of them ends the process, another goes on.

    Raises:
        OurFault: No checks were found, or they could not be run.
    """
    reports: list[Report] = []
    while len(reports) < len(files):
        lines, said = _examined(exercise, files[len(reports) :])
        found = _understood(exercise, lines)
        if not found or not all(one.trouble or one.checks for one in found):
            raise OurFault(f"No check of {exercise.name} was run.\n{said}".strip())
        reports += found
    return reports


def _examined(exercise: Exercise, files: Sequence[Path]) -> tuple[list[dict[str, Any]], str]:
    """Run the examiner; give the lines of its report, and what it has said besides."""
    # No plugins but our own: what is installed beside pytest is no affair of the checks.
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report")
        try:
            done = subprocess.run(  # noqa: S603  what it runs is the course, on a file of the learner
                [sys.executable, "-m", "exercises.examiner", path, exercise.checks, *files],
                cwd=HERE.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=TIME * len(files),
                check=False,
            )
            said = f"{done.stdout}{done.stderr}"
        except subprocess.TimeoutExpired:
            said = f"The checks did not end within {TIME * len(files):g} seconds."
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    return lines, said


def _understood(exercise: Exercise, lines: list[dict[str, Any]]) -> list[Report]:
    reports: list[Report] = []
    running: dict[str, Any] | None = None
    for line in lines:
        if "file" in line:
            reports.append(Report())
            running = line
        elif "began" in line or "endless" in line:
            running = {**(running or {}), **line}
        elif "check" in line:
            running = None
            problem = None if line["problem"] is None else Problem(**line["problem"])
            if line["check"] is None:
                reports[-1].trouble = problem
            else:
                _note(reports[-1], line["task"], problem)
        elif line["code"] not in (0, 1):
            raise OurFault(f"The checks of {exercise.name} could not be run.\n{line['output']}".strip())
    if running is not None:
        _note_end(exercise, reports[-1], running)
    return reports


def _note(report: Report, task: int, problem: Problem | None) -> None:
    report.checks[task] = report.checks.get(task, 0) + 1
    if problem is not None:
        report.problems.setdefault(task, problem)


def _note_end(exercise: Exercise, report: Report, running: dict[str, Any]) -> None:
    """Say what ended the process while something ran, and that nobody knows about what comes after it."""
    if "endless" not in running:
        why = "Your code ended the whole process in which the checks run, or nothing in it could run any more."
    elif running["inside"]:
        why = "Your code never comes back from here: it is a loop without an end, or one that never awaits."
    else:
        why = (
            "Your code never comes back from what it calls here. It blocks, or goes on without end. An `await` that "
            "never has to wait, as for an Event that stays set, lets nothing else run either."
        )
    problem = Problem("endless", why, running.get("began", ""), line=running.get("endless"))
    if "task" not in running:
        report.trouble = problem
        return
    _note(report, running["task"], problem)
    unknown = Problem("unknown", "It was not looked at, because the code before it did not come back.")
    for later in exercise.tasks:
        if later.number > running["task"]:
            report.problems.setdefault(later.number, unknown)
