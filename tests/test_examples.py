"""The examples run offline, end well, and print what the golden texts say.

After a wanted change of their output, write the golden texts anew: `.venv/bin/python tests/test_examples.py`, and the
page that shows them: `make copies`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dual_mode_streaming.examples import __main__ as all_of_them
from needs import unmeasured

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "src/dual_mode_streaming/examples").glob("example_*.py"))
PAGE = ROOT / "docs" / "examples.md"
COLOURS = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7])(?:;\d+)*m")


def run(*arguments, **environment):
    inherited = unmeasured()
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        inherited.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        env={**inherited, "PYTHONIOENCODING": "utf-8", "TERM": "xterm", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def masked(text):
    text = re.sub(r"\b\d+\.\d s\b", "#.# s", text)
    text = re.sub(r"\bretry: \d+", "retry: ####", text)
    text = re.sub(r"\b\d+ ms\b", "## ms", text)
    # What a real model says depends on the processor, and whether it is there at all on the machine.
    text = re.sub(r"(?s)(?<=\n4\. A real model on this machine).*", "\n", text)
    text = re.sub(r"\b\d+\.\d MiB\b", "##.# MiB", text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def golden(example):
    return ROOT / "tests" / "golden" / f"example_{example.stem.split('_')[1]}.txt"


def test_there_is_a_golden_text_for_each_example_and_no_other():
    assert sorted(golden(example) for example in EXAMPLES) == sorted((ROOT / "tests" / "golden").glob("example_*.txt"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_a_file_prints_its_golden_text_without_colour_where_no_terminal_is(example):
    output = run(example)
    assert "\x1b" not in output
    assert masked(output) == golden(example).read_text("utf-8")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_a_module_prints_the_same_in_colour_on_a_terminal(example):
    output = run("-m", f"dual_mode_streaming.examples.{example.stem}", FORCE_COLOR="1", COLUMNS="124")
    assert COLOURS.search(output)
    assert masked(re.sub(r"\x1b\[[\d;]*m", "", output)) == golden(example).read_text("utf-8")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_a_terminal_that_wants_no_colour_gets_none(example):
    output = run(example, FORCE_COLOR="1", NO_COLOR="1", COLUMNS="124")
    assert not COLOURS.search(output)
    assert masked(re.sub(r"\x1b\[[\d;]*m", "", output)) == golden(example).read_text("utf-8")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_make_runs_it_by_its_number(example):
    number = example.stem.split("_")[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--dry-run", "--always-make", f"example-{number}"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert f"examples/example_{number}_" in shown


def test_the_page_of_the_examples_shows_what_they_print():
    shown = re.findall(
        r"^<!-- file: (\S+) -->$", PAGE.read_text("utf-8"), re.MULTILINE
    )  # that they are copies is tested
    assert shown == [golden(example).relative_to(ROOT).as_posix() for example in EXAMPLES]


@pytest.mark.parametrize(("code", "how"), [(0, "ok"), (3, "failed, status 3")])
def test_all_of_them_are_run_and_summed_up(code, how, tmp_path, monkeypatch, capfd):
    for number, ends in ((1, code), (2, 0)):
        text = (
            f'"""Example {number}: thing {number}. And more."""\nimport sys\nprint("said {number}")\nsys.exit({ends})\n'
        )
        (tmp_path / f"example_{number}_thing.py").write_text(text, "utf-8")
    monkeypatch.setattr(all_of_them, "FOLDER", tmp_path)
    assert all_of_them.main() == (1 if code else 0)
    shown = capfd.readouterr().out
    assert re.search(r"Example 1: thing 1.*said 1.*Example 2: thing 2.*said 2.*Summary", shown, re.DOTALL)
    assert re.search(rf"1 +thing 1 +\d+\.\d s +{how}\b", shown)
    assert re.search(r"2 +thing 2 +\d+\.\d s +ok\b", shown)


if __name__ == "__main__":
    for each in EXAMPLES:
        golden(each).write_text(masked(run(each)), "utf-8")
