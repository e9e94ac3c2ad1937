"""Examines a learner's file. It runs in a process of its own, so that nothing in the file can do harm to the runner.

Called with a report to write, a module of checks, and the files to examine, one after the other. The report has one
JSON object on each line: what begins, so that the runner knows where a process was that ended early, and what was
found. Three traps are set around the learner's code:

- `time.sleep` and `input` in a coroutine are errors here. They would stop every request of a server.
- A check for which nothing can happen any more is ended, and says at which line of the file it waits.
- Code that never comes back ends this process, and a thread writes down where it stands.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import gc
import importlib.util
import inspect
import io
import json
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, TextIO

import pytest

from exercises import stillness
from exercises.checks.expecting import Broken

WORK = 1.5
"""Seconds of the processor that a step may use. A step is one check, or the import of the file."""
LOADING = 10.0
"""Seconds of the processor for what a file imports. Frameworks are large."""
REST = 6.0
"""Seconds after which a step that does not move is taken for one that sits in a call that blocks."""
MOVES = 0.05
"""Seconds of the processor that a step uses if it moves. On a busy machine it takes a while to get them."""


WAITS = "What has to wait for its items is read with `async for`, and has neither a length nor an index."
BEHIND = {
    "is not iterable": WAITS,
    "is not subscriptable": WAITS,
    "got coroutine": "A function with `async def` and without `yield` gives a coroutine, which is to be awaited.",
    "can't be used in 'await' expression": "An async generator is not awaited. Its items are read with `async for`.",
}
"""What often is behind an error, by words of its text."""


class Blocking(Exception):
    """Something that blocks was called where an event loop runs."""


class Learner:
    """The learner's module. A name that is missing in it is told as such."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(self._module, name)
        except AttributeError:
            why = f"There is no `{name}` in the file any more. The checks need it under this name."
            raise Broken(why, expected=f"something with the name {name}") from None


class Watchdog:
    """A thread that ends the process when a step does not come back."""

    def __init__(self, path: Path, report: TextIO) -> None:
        self._path, self._report = path, report
        self._watched = threading.main_thread().ident
        self._over = threading.Event()

    @contextlib.contextmanager
    def watch(self, work: float) -> Iterator[None]:
        """Watch one step."""
        self._over = threading.Event()
        thread = threading.Thread(target=self._wait, args=(self._over, work), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _wait(self, over: threading.Event, work: float) -> None:
        began = moved = time.process_time()
        since = time.monotonic()
        while not over.wait(0.1):
            now, line, inside = time.process_time(), *self._place()
            if now - moved > MOVES:
                moved, since = now, time.monotonic()
            if now - began > (WORK if inside else work) or time.monotonic() - since > REST:
                write(self._report, endless=line, inside=inside)
                os._exit(1)

    def _place(self) -> tuple[int | None, bool]:
        """Give the line of the file that runs, and whether it runs itself and not something that it calls."""
        frame: FrameType | None = sys._current_frames().get(self._watched or 0)  # noqa: SLF001  there is no other way
        inside = frame is not None and frame.f_code.co_filename == str(self._path)
        while frame is not None and frame.f_code.co_filename != str(self._path):
            frame = frame.f_back
        return (None if frame is None else frame.f_lineno), inside


class Examination:
    """A plugin for pytest that gives checks the learner's module, runs them, and reports."""

    def __init__(self, path: Path, module: ModuleType, report: TextIO, watchdog: Watchdog) -> None:
        self._path, self._module, self._report, self._watchdog = path, module, report, watchdog
        self._warnings: list[warnings.WarningMessage] | None = []

    @pytest.fixture
    def exercise(self) -> Learner:
        """The learner's module."""
        return Learner(self._module)

    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        """Run a check, and bound it."""
        given = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
        with self._watchdog.watch(WORK), warnings.catch_warnings(record=True, action="always") as self._warnings:
            made = pyfuncitem.obj(**given)
            if inspect.iscoroutine(made):
                stillness.run(made, lambda: waiting_line(self._path))
        return True

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Report which check begins."""
        write(self._report, began=in_words(item), task=task_of(item))

    def _not_awaited(self) -> set[str]:
        """Give what was said of coroutines that nobody has awaited."""
        return {str(one.message) for one in self._warnings or () if "was never awaited" in str(one.message)}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        """Report how a check has ended."""
        report = yield
        if call.when == "call" or call.excinfo is not None:
            problem = None if call.excinfo is None else problem_of(call.excinfo.value, self._path)
            if problem is not None:
                problem["printed"] = report.capstdout
                problem["why"] += "".join(f" Besides: {text}; an `await` is missing." for text in self._not_awaited())
                problem.setdefault("did", in_words(item))
            write(self._report, check=in_words(item), task=task_of(item), problem=problem)
        return report


def in_words(check: pytest.Item) -> str:
    """Give the name of a check as a sentence."""
    return check.name.removeprefix("check_").replace("_", " ")


def task_of(check: pytest.Item) -> int:
    """Give the number of the TODO that a check is about."""
    marker = check.get_closest_marker("task")
    if marker is None:
        raise TypeError(f"{check.name} does not say which TODO it is about")
    return int(marker.args[0])


def problem_of(error: BaseException, path: Path) -> dict[str, Any]:
    """Say what an exception means for the learner."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, Broken):
        return {"kind": "broken", "why": error.why, "did": error.did, "got": error.got, "expected": error.expected}
    if isinstance(error, stillness.Stuck):
        whose = "Your code waits" if error.where else "The check waits for your code, which waits"
        why = f"{whose} for something that never comes."
        if error.stubborn:
            why += " It was cancelled, and goes on: let `asyncio.CancelledError` pass, and clean up in `finally`."
        return {"kind": "waiting", "why": why, "line": error.where}
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return {"kind": "syntax", "why": error.msg, "line": error.lineno, "column": error.offset}
    frames = traceback.extract_tb(error.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
    if isinstance(error, Blocking):
        why = f"{error} stops the whole event loop: no other request of the server can go on meanwhile."
        return {"kind": "blocking", "why": why, "line": line}
    what = f"{type(error).__name__}: {error}".removesuffix(": ")
    what += next((f". {cause}" for words, cause in BEHIND.items() if words in what), "")
    if line is not None:
        kind = "import" if isinstance(error, ImportError) else "raised"
        return {"kind": kind, "why": what, "line": line}
    return {"kind": "check", "why": what, "line": None}


def waiting_line(path: Path) -> int | None:
    """Find the line of a file at which a task of the loop waits: the innermost one, of the task that began first."""
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        lines = []
        awaited: Any = task.get_coro()
        while awaited is not None:
            frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
            if frame is not None and frame.f_code.co_filename == str(path):
                lines.append(frame.f_lineno)
            following = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
            if following is None:
                # What `anext` and `async for` wait on does not say for which generator it stands.
                inner = [one for one in gc.get_referents(awaited) if inspect.isasyncgen(one)] if frame is None else []
                following = inner[0] if inner else None
            awaited = following
        if lines:
            return int(lines[-1])
    return None


def guard(module: ModuleType, name: str, instead: str) -> None:
    """Make a function that blocks an error where an event loop runs."""
    function = getattr(module, name)

    def guarded(*given: Any) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return function(*given)
        raise Blocking(f"`{name}`{instead}")

    setattr(module, name, guarded)


def loaded(path: Path) -> ModuleType:
    """Import a file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # noqa: S101  for checkers: the file is one of Python
    assert spec.loader is not None  # noqa: S101
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(report: TextIO, **found: Any) -> None:
    """Write a line of the report at once."""
    report.write(json.dumps(found) + "\n")
    report.flush()


def examine(checks: Path, path: Path, report: TextIO) -> None:
    """Import a file and run all checks on it."""
    write(report, file=str(path))
    watchdog = Watchdog(path, report)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), watchdog.watch(LOADING):
            module = loaded(path)
    except BaseException as error:
        write(report, check=None, task=None, problem={**problem_of(error, path), "printed": printed.getvalue()})
        return
    ini = Path(__file__).with_name("pytest.ini")
    arguments = [
        str(checks),
        "-c",
        str(ini),
        "--rootdir",
        str(ini.parent),
        "-q",
        "--assert=plain",
        "--tb=native",
        "-W",
        "ignore",
    ]
    plugins = (
        "-p",
        "no:cacheprovider",
        "-p",
        "no:faulthandler",
        "-p",
        "no:unraisableexception",
        "--import-mode=importlib",
    )
    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = pytest.main([*arguments, *plugins], plugins=[Examination(path, module, report, watchdog)])
    write(report, code=int(code), output="" if code in (0, 1) else output.getvalue())


def main() -> None:
    """Examine the files that were named."""
    report, checks, *files = sys.argv[1:]
    guard(time, "sleep", " (here `await asyncio.sleep(...)` is wanted, which stops only this coroutine)")
    guard(builtins, "input", "")
    with Path(report).open("w", encoding="utf-8") as lines:
        for file in files:
            examine(Path(checks), Path(file), lines)


if __name__ == "__main__":
    main()
