"""Runs the course: `python -m exercises.runner check|hint|solution|reset|watch [NUMBER]`, as `make check-1` does.

It ends with 0 if all is solved, with 1 if something is still to be done, and with 2 if the course itself is broken.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console

from exercises.checking import OurFault, check
from exercises.course import HERE, Exercise, load
from exercises.telling import Teller, relative

STATE = HERE / ".state"
"""What is remembered: the hints that were given, and files as they were before a reset. Not part of the project."""
POLL = 0.3
"""Seconds between two looks at the files."""


def check_one(teller: Teller, exercise: Exercise) -> int:
    """Check one exercise."""
    return 0 if teller.found(exercise, check(exercise)) else 1


def check_course(teller: Teller, exercises: tuple[Exercise, ...]) -> int:
    """Check all exercises, up to the first that is not solved."""
    for solved, exercise in enumerate(exercises):
        report = check(exercise)
        if report.lowest(exercise) is not None:
            teller.found(exercise, report)
            teller.overview(exercises, solved)
            return 1
    teller.all_done(exercises)
    teller.overview(exercises, len(exercises))
    return 0


def hint(teller: Teller, exercise: Exercise) -> int:
    """Give the next hint for the lowest TODO that is not solved."""
    report = check(exercise)
    lowest = report.lowest(exercise)
    if lowest is None or report.trouble is not None:
        return 0 if teller.found(exercise, report) else 1
    number, _ = lowest
    path = STATE / "hints.json"
    given: dict[str, int] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    key = f"{exercise.number}.{number}"
    given[key] = min(given.get(key, 0) + 1, len(exercise.tasks[number - 1].hints))
    STATE.mkdir(exist_ok=True)
    path.write_text(json.dumps(given), "utf-8")
    teller.hints(exercise, number, given[key])
    return 0


def solution(teller: Teller, exercise: Exercise) -> int:
    """Show the difference to the solution, after asking."""
    print(f"Show our solution of exercise {exercise.number}? It ends the fun. [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        teller.note(f"\nNot shown. make hint-{exercise.number} gives a hint.")
        return 0
    teller.difference(exercise)
    return 0


def reset(teller: Teller, exercise: Exercise) -> int:
    """Make the learner's file what it was in the beginning."""
    if exercise.file.exists() and exercise.file.read_bytes() != exercise.starter.read_bytes():
        STATE.mkdir(exist_ok=True)
        kept = STATE / exercise.file.name
        shutil.copyfile(exercise.file, kept)
        teller.note(f"What you had is kept in {relative(kept)}.")
    shutil.copyfile(exercise.starter, exercise.file)
    path = STATE / "hints.json"
    if path.exists():
        given = json.loads(path.read_text("utf-8"))
        left = {key: level for key, level in given.items() if not key.startswith(f"{exercise.number}.")}
        path.write_text(json.dumps(left), "utf-8")
    teller.note(f"{relative(exercise.file)} is as it was in the beginning.")
    return 0


def watch(teller: Teller, exercises: tuple[Exercise, ...]) -> int:
    """Check again whenever a file was saved: the exercise whose file it was."""
    seen = {exercise.file: stamp(exercise.file) for exercise in exercises}
    check_course(teller, exercises)
    while True:
        teller.note("\nWaiting for you to save a file. Ctrl-C ends this.", "dim")
        check_one(teller, next_saved(exercises, seen))


def next_saved(exercises: tuple[Exercise, ...], seen: dict[Path, tuple[int, int] | None]) -> Exercise:
    """Wait for an exercise whose file is not as it was seen."""
    while True:
        for exercise in exercises:
            now = stamp(exercise.file)
            # An editor may take the file away for a moment while it saves.
            if now is not None and now != seen[exercise.file]:
                seen[exercise.file] = now
                return exercise
        time.sleep(POLL)


def stamp(path: Path) -> tuple[int, int] | None:
    """Give what changes when a file is written; None if it is not there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def main() -> int:
    """Do what was asked."""
    parser = argparse.ArgumentParser(prog="exercises.runner")
    parser.add_argument("what", choices=["check", "hint", "solution", "reset", "watch"])
    parser.add_argument("number", nargs="?", type=int, help="of an exercise; without it, check is about all of them")
    asked = parser.parse_args()
    teller = Teller(Console(highlight=False, soft_wrap=False))
    try:
        exercises = load()
        chosen = exercises
        if asked.number is not None or asked.what not in ("check", "watch"):
            chosen = tuple(one for one in exercises if one.number == asked.number)
        if not chosen:
            teller.note(f"There is no exercise {asked.number}; they are numbered 1 to {len(exercises)}.", "red")
            return 2
        for one in chosen:
            if asked.what != "reset" and not one.file.exists():
                teller.note(f"{relative(one.file)} is gone. make reset-{one.number} brings it back.", "red")
                return 1
        if asked.what == "watch":
            return watch(teller, chosen)
        if asked.number is None:
            return check_course(teller, chosen)
        do = {"check": check_one, "hint": hint, "solution": solution, "reset": reset}[asked.what]
        return do(teller, *chosen)
    except OurFault as fault:
        teller.note(f"\nThe course is broken, and that is our fault, not yours.\n{fault}", "red")
        return 2
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
