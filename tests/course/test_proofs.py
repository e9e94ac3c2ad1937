"""The claims of the course: solutions pass, starters fail at every task, mistakes are recognised, and all help exists.

They are about the files that the course hands out. What a learner does in `exercises/exercise_1_dual_mode.py` and its
neighbours is no part of them, so their tests stay green.
"""

import ast
import graphlib
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from unittest import mock

import pytest

from course.merging import definitions, merged, picked, tasks
from exercises.checking import check_all
from exercises.course import HERE, load
from needs import unmeasured

ROOT = Path(__file__).parents[2]
COURSE = load()
TASKS = [(exercise, task) for exercise in COURSE for task in exercise.tasks]
MISTAKES = sorted((HERE / "mistakes").glob("*.py"))
EXPECTS = re.compile(r"# expect: TODO (\d+): (.+)")

each_exercise = pytest.mark.parametrize("exercise", COURSE, ids=lambda exercise: exercise.name)
each_task = pytest.mark.parametrize(
    ("exercise", "task"), TASKS, ids=lambda one: getattr(one, "name", None) or one.number
)


# --- what is examined ----------------------------------------------------------------------------


def of_task(exercise):
    """Give what each task has to define: the definitions behind its TODO that the solution has changed."""
    starter, solution = (path.read_text("utf-8") for path in (exercise.starter, exercise.solution))
    return {
        number: [name for name in names if picked(starter, [name]) != picked(solution, [name])]
        for number, names in tasks(solution).items()
    }


def exercise_of(mistake):
    (found,) = (one for one in COURSE if one.name.startswith(mistake.stem.partition("__")[0]))
    return found


def variants(exercise):
    """Give all texts of an exercise that the claims are about, by name."""
    starter, solution = (path.read_text("utf-8") for path in (exercise.starter, exercise.solution))
    mine = of_task(exercise)
    yield "solution", solution
    yield "starter", starter
    for number in mine:
        yield f"all but {number}", merged(solution, picked(starter, mine[number]))
        done = [name for earlier in range(1, number + 1) for name in mine[earlier]]
        yield f"up to {number}", merged(starter, picked(solution, done))
    for mistake in MISTAKES:
        if exercise_of(mistake) is exercise:
            yield mistake.stem, merged(solution, mistake.read_text("utf-8"))


@pytest.fixture(scope="module")
def examined(tmp_path_factory):
    """Give the reports of all variants of an exercise, which are made together, as that is quicker."""

    @cache
    def reports(exercise):
        folder = tmp_path_factory.mktemp(exercise.name)
        texts = dict(variants(exercise))
        files = [folder / f"{re.sub(r'[^a-z0-9]', '_', name)}.py" for name in texts]
        for file, text in zip(files, texts.values(), strict=True):
            file.write_text(text, "utf-8")
        with mock.patch.dict(os.environ, unmeasured(), clear=True):
            return dict(zip(texts, check_all(exercise, files), strict=True))

    return reports


# --- solutions -----------------------------------------------------------------------------------


@each_exercise
def test_a_solution_passes_every_check(exercise, examined):
    report = examined(exercise)["solution"]
    assert (report.trouble, report.problems) == (None, {})


@each_exercise
def test_every_check_was_run(exercise, examined):
    defined = ast.parse(exercise.checks.read_text("utf-8")).body
    numbers = [
        ast.literal_eval(mark.args[0])
        for node in defined
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("check_")
        for mark in node.decorator_list
    ]
    counted = {number: numbers.count(number) for number in numbers}
    assert examined(exercise)["solution"].checks == counted
    assert sorted(counted) == [task.number for task in exercise.tasks]


def test_the_course_has_so_many_checks(examined):
    assert sum(sum(examined(exercise)["solution"].checks.values()) for exercise in COURSE) == 56


def test_what_is_handed_out_is_formatted_and_typed():
    folders = [HERE / name for name in ("solutions", "starters", "mistakes")]
    for command in (["ruff", "format", "--check"], ["ruff", "check"], ["mypy"]):
        paths = folders[:2] if command == ["mypy"] else folders
        done = subprocess.run(
            [sys.executable, "-m", *command, *paths], cwd=ROOT, env=unmeasured(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


# --- starters ------------------------------------------------------------------------------------


@each_task
def test_a_starter_fails_at_every_task(exercise, task, examined):
    report = examined(exercise)["starter"]
    assert report.trouble is None, "it cannot even be imported"
    assert report.problems[task.number].kind == "broken", "its message does not come from a check"


@each_task
def test_no_task_is_solved_by_the_others(exercise, task, examined):
    number, problem = examined(exercise)[f"all but {task.number}"].lowest(exercise)
    assert (number, problem.kind) == (task.number, "broken")


@each_task
def test_a_learner_who_has_solved_a_task_is_led_to_the_next(exercise, task, examined):
    lowest = examined(exercise)[f"up to {task.number}"].lowest(exercise)
    assert (lowest and lowest[0]) == (task.number + 1 if task.number < len(exercise.tasks) else None)


@each_exercise
def test_a_starter_has_every_task_with_its_text_and_its_page(exercise):
    text = exercise.starter.read_text("utf-8")
    assert sorted(tasks(text)) == [task.number for task in exercise.tasks]
    assert re.findall(r"# Read (docs/\S+)$", text, re.MULTILINE) == [task.read for task in exercise.tasks]


@each_exercise
def test_a_solution_differs_from_its_starter_in_the_tasks_alone(exercise):
    def frame(path):
        text = path.read_text("utf-8")
        lines = text.splitlines()
        for name, (first, last) in sorted(definitions(text), key=lambda one: one[1], reverse=True):
            if any(name in names for names in of_task(exercise).values()):
                lines[first - 1 : last] = [name]
        return lines

    assert frame(exercise.starter) == frame(exercise.solution)


@each_exercise
def test_a_starter_runs(exercise):
    """As a program it is a server, which begins by saying how to see it."""
    code = "import runpy, uvicorn; uvicorn.run = lambda *given, **more: None; "
    code += f"runpy.run_path({str(exercise.starter)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], env=unmeasured(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "curl" in done.stdout


@pytest.mark.skipif(not os.environ.get("CI"), reason="a learner has changed them, and may")
@each_exercise
def test_the_files_of_the_learner_are_handed_out_as_starters(exercise):
    assert exercise.file.read_bytes() == exercise.starter.read_bytes(), f"make reset-{exercise.number} mends this"


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.stem)
def test_a_mistake_is_recognised(mistake, examined):
    exercise = exercise_of(mistake)
    expected = EXPECTS.match(mistake.read_text("utf-8"))
    assert expected, "its first line does not say what is expected"
    number, problem = examined(exercise)[mistake.stem].lowest(exercise)
    assert number == int(expected[1])
    assert expected[2] in problem.why


@each_task
def test_every_task_has_a_mistake(exercise, task):
    numbers = [
        int(EXPECTS.match(mistake.read_text("utf-8"))[1]) for mistake in MISTAKES if exercise_of(mistake) is exercise
    ]
    assert task.number in numbers


# --- hints, pages, files -------------------------------------------------------------------------


def anchors(page):
    prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    }


@each_task
def test_a_task_has_three_hints_and_a_page(exercise, task):
    assert len({hint.strip() for hint in task.hints if hint.strip()}) == 3
    page, _, anchor = task.read.partition("#")
    assert anchor in anchors(ROOT / page)


def test_prerequisites_come_first_and_are_in_no_circle():
    graph = {exercise.number: exercise.requires for exercise in COURSE}
    assert set(graphlib.TopologicalSorter(graph).static_order()) == set(graph)
    assert all(required < exercise.number for exercise in COURSE for required in exercise.requires)


def test_the_names_of_exercises_are_unique_and_numbered():
    assert [int(exercise.name.split("_")[1]) for exercise in COURSE] == [exercise.number for exercise in COURSE]


def test_there_are_no_stray_files():
    modules = ("__init__", "checking", "course", "examiner", "runner", "stillness", "telling")
    known = {HERE / f"{name}.py" for name in modules} | {
        HERE / name for name in ("README.md", "course.toml", "pytest.ini")
    }
    known |= {HERE / folder / "__init__.py" for folder in ("checks", "solutions", "starters")}
    known |= {HERE / "checks" / "expecting.py", *MISTAKES}
    known |= {path for one in COURSE for path in (one.file, one.starter, one.solution, one.checks)}
    found = {
        path
        for path in HERE.rglob("*")
        if path.is_file() and not {"__pycache__", ".state"} & set(path.relative_to(HERE).parts)
    }
    assert found == known


def test_no_module_is_long():
    ours = set(HERE.rglob("*.py")) - {exercise.file for exercise in COURSE}
    assert not [path.name for path in ours if len(path.read_text("utf-8").splitlines()) > 400]


def test_the_map_has_every_exercise_with_what_belongs_to_it():
    text = (HERE / "README.md").read_text("utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| [")
    ]
    assert [re.match(r"\[(\d)\. (.+)\]\((.+)\)", row[0]).groups() for row in rows] == [
        (str(exercise.number), exercise.title, exercise.file.name) for exercise in COURSE
    ]
    for exercise, row in zip(COURSE, rows, strict=True):
        linked = set(re.findall(r"\]\(\.\./(docs/[^)]+)\)", " ".join(row)))
        assert linked == {task.read for task in exercise.tasks}, exercise.name


def test_make_knows_every_exercise():
    if shutil.which("make") is None:
        pytest.fail("make is missing")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    for exercise in COURSE:
        for what in ("check", "hint", "solution", "reset"):
            command = ["make", "--dry-run", f"{what}-{exercise.number}"]
            shown = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
            ).stdout
            assert f"exercises.runner {what} {exercise.number}" in shown
