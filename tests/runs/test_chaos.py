"""A short form of benchmarks/chaos.py, bounded by counts: two workers, twelve clients, two runs for each of them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"
CLIENTS, ROUNDS = 12, 2


@pytest.mark.parametrize("engine", ["sqlite", "valkey", "nats"])
def test_clients_that_leave_and_come_back_at_random_get_exactly_their_runs(engine):
    options = [
        "--rounds",
        str(ROUNDS),
        "--clients",
        str(CLIENTS),
        "--workers",
        "2",
        "--seed",
        "short",
        "--pause",
        "0.2",
    ]
    done = subprocess.run(
        [sys.executable, CHAOS, "--engine", engine, *options],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    counts = {name: int(count) for name, count in re.findall(r"^  ([a-z ]+): (\d+)$", done.stdout, re.MULTILINE)}
    assert counts["runs read"] == CLIENTS * ROUNDS
    assert counts["resumes"] >= CLIENTS
