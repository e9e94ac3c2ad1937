"""What a learner sees: one thing to do, told kindly, whatever is in the file. In a copy of the exercises."""

import os
import re
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import pytest

from exercises import checking
from exercises.course import HERE, load
from needs import unmeasured

COLOURS = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7])(?:;\d+)*m")
FIRST, SECOND, *_ = load()


def environment(**more):
    kept = {name: value for name, value in unmeasured().items() if name not in ("COLUMNS", "FORCE_COLOR", "NO_COLOR")}
    return {**kept, "PYTHONIOENCODING": "utf-8", "TERM": "xterm", **more}


@pytest.fixture
def course(tmp_path):
    """A copy of the exercises as they are handed out, and what is done with it."""
    folder = tmp_path / "exercises"
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("__pycache__", ".state", "mistakes"))
    for exercise in load():
        shutil.copyfile(exercise.starter, folder / exercise.file.name)

    def run(*arguments, answer="", **more):
        done = subprocess.run(
            [sys.executable, "-m", "exercises.runner", *map(str, arguments)],
            cwd=tmp_path,
            env=environment(**more),
            input=answer,
            capture_output=True,
            encoding=more.get("PYTHONIOENCODING", "utf-8"),
            timeout=60,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout

    def solve(exercise, old="", new=""):
        text = exercise.solution.read_text("utf-8")
        assert old in text
        (folder / exercise.file.name).write_text(text.replace(old, new, 1) if old else text, "utf-8")

    return SimpleNamespace(folder=folder, mine=folder / FIRST.file.name, run=run, solve=solve)


# --- one thing to do -----------------------------------------------------------------------------


def test_a_starter_is_told_its_first_task_and_nothing_else(course):
    code, shown = course.run("check", 1)
    assert code == 1
    assert "TODO 1: A source gives its items one by one" in shown
    assert re.search(r"exercises/exercise_1_dual_mode\.py:\d+", shown)
    for row in ("checked ", "returned ", "expected ", "read      docs/concepts.md#source-and-item", "make hint-1"):
        assert f"  {row}" in shown
    assert shown.endswith("0 of 5 TODOs done\n")
    assert not re.search(r"TODO [2-5]:", shown)
    assert "\x1b" not in shown


def test_the_line_is_that_of_the_task(course):
    _, shown = course.run("check", 1)
    line = int(re.search(r"exercise_1_dual_mode\.py:(\d+)", shown)[1])
    assert course.mine.read_text("utf-8").splitlines()[line - 1].startswith("# TODO 1: ")


def test_a_solved_exercise(course):
    course.solve(FIRST)
    code, shown = course.run("check", 1)
    assert code == 0
    assert "5 of 5 TODOs done" in shown
    assert "You have written what `@dual_mode` does" in shown


def test_the_course_is_checked_up_to_the_first_exercise_that_is_not_solved(course):
    course.solve(FIRST)
    code, shown = course.run("check")
    assert code == 1
    assert "Exercise 2: A progress reporter" in shown
    assert re.findall(r"([✓✗·]) exercise (\d)", shown) == [("✓", "1"), ("✗", "2"), ("·", "3"), ("·", "4")]


def test_the_course_is_over_when_all_are_solved(course):
    for exercise in load():
        course.solve(exercise)
    code, shown = course.run("check")
    assert code == 0
    assert "All 4 exercises are solved" in shown


def test_colours_where_they_are_wanted_and_the_same_words_where_not(course):
    _, coloured = course.run("check", 1, FORCE_COLOR="1", COLUMNS="100")
    assert COLOURS.search(coloured)
    _, without = course.run("check", 1, FORCE_COLOR="1", NO_COLOR="1", COLUMNS="100")
    assert not COLOURS.search(without)
    words = re.compile(r"\x1b\[[\d;]*m")
    assert words.sub("", coloured) == words.sub("", without)


def test_a_terminal_that_knows_ascii_only(course):
    code, shown = course.run("check", 1, PYTHONIOENCODING="ascii")
    assert code == 1
    assert "x TODO 1" in shown


# --- help ----------------------------------------------------------------------------------------


def test_each_call_gives_one_hint_more_for_the_task_that_is_to_be_done(course):
    hints = FIRST.tasks[0].hints
    for level in (1, 2, 3):
        code, shown = course.run("hint", 1)
        assert code == 0
        assert re.findall(r"Hint (\d) of 3", shown) == [str(number) for number in range(1, level + 1)]
        assert hints[level - 1].split("\n")[0][:60] in shown
    assert "make solution-1" in shown
    course.solve(FIRST, "return negotiate(accept, [JSON, SSE])", "return negotiate(accept, [SSE, JSON])")
    _, shown = course.run("hint", 1)
    assert "TODO 2: Choose the mode" in shown
    assert re.findall(r"Hint (\d) of 3", shown) == ["1"]


def test_the_solution_is_shown_to_those_who_say_yes(course):
    for answer in ("\n", "n\n", ""):
        code, shown = course.run("solution", 1, answer=answer)
        assert code == 0
        assert "Not shown" in shown
        assert "async for word in spoken" not in shown
    code, shown = course.run("solution", 1, answer="y\n")
    assert code == 0
    assert "+    async for word in spoken:" in shown
    assert '-    yield {"number": 0, "word": "TODO 1"}' in shown


def test_a_reset_keeps_what_was_there(course):
    course.run("hint", 1)
    course.mine.write_text("mine = 1\n", "utf-8")
    code, shown = course.run("reset", 1)
    assert code == 0
    assert course.mine.read_bytes() == FIRST.starter.read_bytes()
    assert "exercises/.state/exercise_1_dual_mode.py" in shown
    assert (course.folder / ".state" / FIRST.file.name).read_text("utf-8") == "mine = 1\n"
    _, shown = course.run("hint", 1)
    assert "Hint 2" not in shown


def test_a_file_that_is_gone_can_be_brought_back(course):
    course.mine.unlink()
    for what in (["check", 1], ["check"], ["watch"]):
        code, shown = course.run(*what)
        assert code == 1
        assert "make reset-1 brings it back" in shown
    assert course.run("reset", 1)[0] == 0
    assert course.mine.exists()


def test_a_saved_file_is_checked_again(course):
    command = [sys.executable, "-m", "exercises.runner", "watch"]
    with subprocess.Popen(
        command, cwd=course.folder.parent, env=environment(), stdout=subprocess.PIPE, encoding="utf-8"
    ) as watching:
        assert "TODO 1: A source" in until(watching.stdout, "Ctrl-C ends this")
        course.solve(FIRST, "return negotiate(accept, [JSON, SSE])", "return SSE")
        assert "TODO 2: Choose the mode" in until(watching.stdout, "Ctrl-C ends this")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=30) == 0


def until(lines, last):
    shown = ""
    while last not in shown:
        line = lines.readline()
        assert line, shown
        shown += line
    return shown


# --- what goes wrong in a file -------------------------------------------------------------------

BEGIN = "    number = 0\n    async for word in spoken:\n"
SSE = 'SSE = "text/event-stream"\n'
STUBBORN = """\
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
"""


@pytest.mark.parametrize(
    ("old", "new", "said", "line"),
    [
        (BEGIN, BEGIN.replace("spoken:", "spoken"), "Python cannot read the file", "async for word in spoken"),
        (BEGIN, f"    while True: pass\n{BEGIN}", "never comes back from here", "while True: pass"),
        (BEGIN, f"    import time; time.sleep(1)\n{BEGIN}", "stops the whole event loop", "import time; time.sleep(1)"),
        (BEGIN, f"    print('here I am')\n    raise KeyError(1)\n{BEGIN}", "KeyError: 1", "raise KeyError(1)"),
    ],
    ids=["syntax", "endless", "blocking", "raised"],
)
def test_what_is_wrong_is_shown_with_its_line(course, old, new, said, line):
    course.solve(FIRST, old, new)
    code, shown = course.run("check", 1)
    assert code == 1
    assert said in " ".join(shown.split())
    assert "Traceback" not in shown
    number = int(re.search(r"exercise_1_dual_mode\.py:(\d+)", shown)[1])
    assert course.mine.read_text("utf-8").splitlines()[number - 1].strip() == line
    assert f"      {line}\n" in shown
    assert ("Your code has printed:\n    here I am\n" in shown) == ("print" in new)


TROUBLES = {
    "a module that is not there": (
        "import json\n",
        "import jsonn\n",
        "import",
        "No module named 'jsonn'",
        "import jsonn",
    ),
    "an error at import": (SSE, f"{SSE}1 / 0\n", "raised", "ZeroDivisionError", "1 / 0"),
    "no end at import": (SSE, f"{SSE}while True: pass\n", "endless", "never comes back", "while True: pass"),
    "an end at import": (SSE, f"{SSE}raise SystemExit\n", "raised", "SystemExit", "raise SystemExit"),
    "a wait in vain": (
        BEGIN,
        f"    await asyncio.Event().wait()\n{BEGIN}",
        "waiting",
        "waits for something that never comes",
        "await asyncio.Event().wait()",
    ),
    "a poll": (
        BEGIN,
        f"    while True: await asyncio.sleep(1)\n{BEGIN}",
        "waiting",
        "waits for something that never comes",
        "while True: await asyncio.sleep(1)",
    ),
    "a question": (BEGIN, f"    input()\n{BEGIN}", "blocking", "`input` stops the whole event loop", "input()"),
    "an end of everything": (
        BEGIN,
        f"    __import__('os')._exit(0)\n{BEGIN}",
        "endless",
        "ended the whole process",
        None,
    ),
    "an end": (BEGIN, f"    raise SystemExit\n{BEGIN}", "raised", "SystemExit", "raise SystemExit"),
    "no function": ("async def items(", "async def my_items(", "broken", "There is no `items` in the file", None),
    "no cancellation": (
        BEGIN,
        STUBBORN + BEGIN,
        "waiting",
        "something that never comes",
        "await asyncio.Event().wait()",
    ),
}


@pytest.fixture(scope="module")
def troubles(tmp_path_factory):
    """The first problem of each file, and the file."""
    folder, text = tmp_path_factory.mktemp("troubles"), FIRST.solution.read_text("utf-8")
    files = [folder / f"{name.replace(' ', '_')}.py" for name in TROUBLES]
    for file, (old, new, *_) in zip(files, TROUBLES.values(), strict=True):
        assert old in text
        file.write_text(text.replace(old, new, 1), "utf-8")
    with mock.patch.dict(os.environ, environment(), clear=True):
        reports = checking.check_all(FIRST, files)
    return {name: (report, file) for name, report, file in zip(TROUBLES, reports, files, strict=True)}


@pytest.mark.parametrize("name", TROUBLES)
def test_what_is_wrong_is_known_with_its_line(troubles, name):
    _, _, kind, said, line = TROUBLES[name]
    report, file = troubles[name]
    number, problem = report.lowest(FIRST)
    assert (number, problem.kind) == (1, kind)
    assert said in problem.why
    if line is None:
        assert problem.line is None
    else:
        assert file.read_text("utf-8").splitlines()[problem.line - 1].strip() == line


def test_what_comes_after_code_without_an_end_is_not_called_solved(troubles):
    report, _ = troubles["an end of everything"]
    assert sorted(report.problems) == [1, 2, 3, 4, 5]


# --- what is wrong with the course ---------------------------------------------------------------


@pytest.mark.parametrize(
    "checks", ["", "def check_x(exercise):\n    pass\n", "def broken(:\n"], ids=["none", "of no task", "unreadable"]
)
def test_a_course_without_checks_is_our_fault(course, checks):
    (course.folder / "checks" / FIRST.checks.name).write_text(checks, "utf-8")
    code, shown = course.run("check", 1)
    assert code == 2
    assert "our fault, not yours" in shown


def test_an_examination_that_does_not_end_is_our_fault(monkeypatch):
    monkeypatch.setattr(checking, "TIME", 0.01)
    with pytest.raises(checking.OurFault, match=r"did not end within 0\.01 seconds"):
        checking.check(FIRST, FIRST.solution)


def test_an_exercise_that_does_not_exist(course):
    code, shown = course.run("check", 5)
    assert code == 2
    assert "they are numbered 1 to 4" in shown


def test_settings_of_the_learner_for_pytest_do_not_count(course):
    course.solve(FIRST)
    code, _ = course.run("check", 1, PYTEST_ADDOPTS="-k nothing")
    assert code == 0
