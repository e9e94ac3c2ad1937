"""What the learner gets to see. In colour where that is wanted, and all of it in words where it is not."""

from __future__ import annotations

import difflib
import linecache
import re
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from exercises.checking import Problem, Report
from exercises.course import HERE, Exercise, Task

__all__ = ["Teller"]

SAYS = {
    "syntax": "Python cannot read the file",
    "import": "The file imports something that is not there",
    "raised": "Your code raises an exception",
    "waiting": "Your code waits for ever",
    "blocking": "Your code blocks the event loop",
    "endless": "Your code does not come back",
    "check": "The check could not go on",
}
SHOWN = 12
"""Lines that are shown of what the code has printed."""


class Teller:
    """Writes to a terminal, or to wherever the output goes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        if not console.is_terminal:
            console.width = 100
        plain = console.options.ascii_only
        self._done, self._open, self._later = ("+", "x", "-") if plain else ("✓", "✗", "·")
        self._full, self._empty = ("#", ".") if plain else ("█", "░")

    def _say(self, text: str | Text = "", style: str = "", indent: int = 0) -> None:
        content = Text(text, style) if isinstance(text, str) else text
        for line in content.wrap(self._console, self._console.width - indent) or [content]:
            line.rstrip()
            self._console.print(Text(" " * indent).append(line), soft_wrap=True)

    def found(self, exercise: Exercise, report: Report) -> bool:
        """Tell the lowest task that is not solved, then the progress. Give whether all are solved."""
        lowest = report.lowest(exercise)
        self._say()
        self._say(f"Exercise {exercise.number}: {exercise.title}", "bold")
        self._say()
        if lowest is None:
            self._progress(exercise, len(exercise.tasks))
            self._say()
            self._say(exercise.learned, "green")
            self._say()
            self._say(f"Compare with ours: make solution-{exercise.number}", "dim")
            return True
        number, problem = lowest
        task = exercise.tasks[number - 1]
        self._problem(exercise, task, problem)
        self._say()
        solved = 0 if report.trouble else len(exercise.tasks) - len(report.problems)
        self._progress(exercise, solved)
        return False

    def _problem(self, exercise: Exercise, task: Task, problem: Problem) -> None:
        title = Text(f"{self._open} ", "bold red")
        if problem.kind in ("syntax", "import") or (problem.kind in SAYS and not problem.line):
            title.append(SAYS[problem.kind], "bold red")
        else:
            title.append(f"TODO {task.number}: {task.title}", "bold")
        self._say(title)
        self._say(f"{relative(exercise.file)}:{problem.line or line_of(exercise.file, task.number)}", "dim", 2)
        self._say()
        if problem.kind in SAYS and problem.line:
            self._code(exercise.file, problem)
            if problem.did:
                self._say()
        for name, value in (("checked", problem.did), ("returned", problem.got), ("expected", problem.expected)):
            if value:
                self._row(name, value, {"returned": "red", "expected": "green"}.get(name, ""))
        self._say()
        self._say(problem.why, indent=2)
        if problem.printed.strip():
            self._say()
            self._say("Your code has printed:", indent=2)
            for line in problem.printed.splitlines()[-SHOWN:]:
                self._say(line, "dim", 4)
        self._say()
        self._row("read", task.read, "cyan")
        self._row("stuck?", f"make hint-{exercise.number}", "cyan")

    def _row(self, name: str, value: str, style: str) -> None:
        self._console.print(Text(f"  {name:<10}", "dim"), end="")
        self._console.print(Text(value, style), soft_wrap=True)

    def _code(self, file: Path, problem: Problem) -> None:
        if problem.kind in SAYS:
            self._say(f"{SAYS[problem.kind]} in line {problem.line}:", indent=2)
        linecache.checkcache()
        line = linecache.getline(str(file), problem.line or 0).rstrip("\n")
        self._say(line.strip(), "yellow", 6)
        if problem.column:
            before = len(line) - len(line.lstrip())
            self._say(" " * max(0, problem.column - 1 - before) + "^", "bold red", 6)

    def _progress(self, exercise: Exercise, solved: int) -> None:
        total = len(exercise.tasks)
        bar = Text(self._full * (4 * solved), "green")
        bar.append(self._empty * (4 * (total - solved)), "dim")
        bar.append(f"  {solved} of {total} TODOs done", "bold")
        self._say(bar, indent=2)

    def all_done(self, exercises: tuple[Exercise, ...]) -> None:
        """Tell that the course is over."""
        self._say(f"\n{self._done} All {len(exercises)} exercises are solved.", "bold green")

    def overview(self, exercises: tuple[Exercise, ...], solved: int) -> None:
        """Tell how far the course is."""
        self._say()
        for place, exercise in enumerate(exercises):
            mark = self._done if place < solved else self._open if place == solved else self._later
            style = "green" if place < solved else "bold" if place == solved else "dim"
            self._say(f"{mark} exercise {exercise.number}  {exercise.title}", style, 2)

    def hints(self, exercise: Exercise, number: int, level: int) -> None:
        """Tell the hints of a task up to a level, which is the new one."""
        task = exercise.tasks[number - 1]
        self._say(f"\nExercise {exercise.number}, TODO {number}: {task.title}", "bold")
        for place, hint in enumerate(task.hints[:level], 1):
            self._say()
            self._say(f"Hint {place} of {len(task.hints)}", "cyan" if place == level else "dim", 2)
            self._say(hint, "" if place == level else "dim", 4)
        self._say()
        if level < len(task.hints):
            self._say(f"make hint-{exercise.number} says more, make check-{exercise.number} looks again.", "dim", 2)
        else:
            self._say(f"That was the last one. make solution-{exercise.number} shows our solution.", "dim", 2)

    def difference(self, exercise: Exercise) -> None:
        """Show how the learner's file differs from the solution."""
        lines = list(difference(exercise.file, exercise.solution))
        if not lines:
            self._say("Yours is the same as ours, to the letter.", "green")
        styles = {"+": "green", "-": "red", "@": "cyan"}
        for line in lines:
            self._console.print(Text(line, styles.get(line[:1], "")), soft_wrap=True)

    def note(self, text: str, style: str = "") -> None:
        """Tell something short."""
        self._say(text, style)


def difference(mine: Path, ours: Path) -> Iterator[str]:
    """Give the lines of the difference between two files, `-` for mine and `+` for ours."""
    before, after = (path.read_text("utf-8").splitlines() for path in (mine, ours))
    return difflib.unified_diff(before, after, relative(mine), relative(ours), n=2, lineterm="")


def relative(path: Path) -> str:
    """Give a path from the root of the project."""
    return path.relative_to(HERE.parent).as_posix()


def line_of(path: Path, number: int) -> int:
    """Give the line of a TODO in a file; 1 if its comment is gone, or the file."""
    if not path.exists():
        return 1
    for line, text in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        if re.match(rf"\s*# TODO {number}\b", text):
            return line
    return 1
