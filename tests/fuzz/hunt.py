"""Fuzzes the targets with atheris, guided by coverage: `make fuzz`, or `make fuzz MINUTES=60`.

Each target gets its share of the CPU time, in a process of its own. It begins with what is kept in `corpus/`, and a
failure leaves the bytes that caused it in the folder that is printed. With `--keep` a few of the inputs that were found
are put into `corpus/`.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KEPT_EACH = 12
"""How many inputs are kept for each target."""
KEPT_BYTES = 400

NAMES = [
    *("sse", "lines", "sequences", "accept", "prefer", "grammar", "event_id", "flag"),
    *("llm_requests", "llm_streams", "llm_batches"),
]


def fuzz(name: str, arguments: list[str]) -> None:
    """Be the process that fuzzes one target. It does not return."""
    import atheris

    sys.path[:0] = [str(ROOT / "src"), str(HERE.parent)]
    with atheris.instrument_imports(include=["dual_mode_streaming", "fuzz"]):
        from fuzz import targets
    assert list(targets.TARGETS) == NAMES
    atheris.Setup(["hunt", *arguments], targets.TARGETS[name])
    atheris.Fuzz()


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, __file__, "--target", name, "--", *map(str, arguments)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def hunt(name: str, seconds: float, folder: Path) -> bool:
    """Fuzz one target for so many seconds of CPU time; say whether nothing was found."""
    found, artifacts = folder / name, folder / f"{name}-failures"
    found.mkdir()
    artifacts.mkdir()
    corpus = HERE / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    began, runs, failed, covered = cpu_seconds(), 0, False, 0
    while (left := seconds - (cpu_seconds() - began)) > 1 and not failed:
        options = [f"-max_total_time={max(1, int(left))}", "-timeout=10", "-max_len=600", "-rss_limit_mb=2000"]
        done = run(name, found, corpus, *options, "-print_final_stats=1", f"-artifact_prefix={artifacts}/")
        runs += sum(map(int, re.findall(r"number_of_executed_units: (\d+)", done.stderr)))
        covered = max(map(int, re.findall(r" ft: (\d+)", done.stderr)), default=0)
        failed = done.returncode != 0
        if failed:
            print(done.stdout[-3000:], done.stderr[-3000:])
            print("the input is in", artifacts)
    spent = cpu_seconds() - began
    print(f"{name:<14}{runs:>10} runs{spent:>8.0f} s of CPU{covered:>8} features  {'FAILED' if failed else 'ok'}")
    return not failed


def keep(name: str, folder: Path) -> None:
    """Put a few small inputs into the corpus, of all that were found to reach something new."""
    corpus = HERE / "corpus" / name
    found = {path.read_bytes() for place in (folder / name, corpus) for path in place.iterdir()}
    small = sorted((data for data in found if len(data) <= KEPT_BYTES), key=lambda data: (len(data), data))
    step = max(1, len(small) // KEPT_EACH)
    for path in corpus.iterdir():
        path.unlink()
    for number, data in enumerate(small[::-step][:KEPT_EACH]):
        (corpus / f"{number:02}").write_bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="CPU time for all targets together")
    parser.add_argument("--keep", action="store_true", help="renew the corpus")
    parser.add_argument("--target", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.target:
        fuzz(options.target, options.arguments)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    fine = [hunt(name, options.minutes * 60 / len(NAMES), folder) for name in NAMES]
    if options.keep:
        for name in NAMES:
            keep(name, folder)
    if all(fine):
        shutil.rmtree(folder)
    sys.exit(not all(fine))


if __name__ == "__main__":
    main()
