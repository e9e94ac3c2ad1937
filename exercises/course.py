"""What the course consists of, as `course.toml` says it: exercises, their tasks, and where their files are."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Exercise", "Task", "load"]

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Task:
    """One TODO of an exercise.

    Attributes:
        number: Its number in the exercise, from 1.
        title: What is to be done, in a few words.
        read: A page with an anchor, from the root of the project, where it is explained.
        hints: Three hints, each of which says more than the one before.
    """

    number: int
    title: str
    read: str
    hints: tuple[str, ...]


@dataclass(frozen=True)
class Exercise:
    """One exercise and its files.

    Attributes:
        number: Its number, from 1.
        name: The name of its file, without the ending.
        title: What it is about, in a few words.
        learned: What its solution has shown. Told when all its tasks are done.
        requires: The numbers of the exercises that come before it.
        tasks: Its tasks, in order.
    """

    number: int
    name: str
    title: str
    learned: str
    requires: tuple[int, ...]
    tasks: tuple[Task, ...]

    @property
    def file(self) -> Path:
        """The file in which the learner works."""
        return HERE / f"{self.name}.py"

    @property
    def starter(self) -> Path:
        """The file as it is before anything is solved. `reset` restores from it."""
        return HERE / "starters" / f"{self.name}.py"

    @property
    def solution(self) -> Path:
        """The file with all tasks solved."""
        return HERE / "solutions" / f"{self.name}.py"

    @property
    def checks(self) -> Path:
        """The checks of its tasks."""
        return HERE / "checks" / f"check_{self.name.removeprefix('exercise_')}.py"


def load(path: Path = HERE / "course.toml") -> tuple[Exercise, ...]:
    """Read the table of contents."""
    table = tomllib.loads(path.read_text("utf-8"))
    return tuple(
        Exercise(
            number=number,
            name=one["name"],
            title=one["title"],
            learned=one["learned"].strip(),
            requires=tuple(one["requires"]),
            tasks=tuple(
                Task(place, task["title"], task["read"], tuple(task["hints"]))
                for place, task in enumerate(one["task"], 1)
            ),
        )
        for number, one in enumerate(table["exercise"], 1)
    )
