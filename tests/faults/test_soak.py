"""The soak in small: the benchmark of that name, with 600 streams, 200 at once, of all the kinds that it has."""

import subprocess
import sys
from pathlib import Path

from needs import unmeasured

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soak.py"


def test_everything_adds_up_after_hundreds_of_streams_that_ended_in_every_way():
    command = [sys.executable, SCRIPT, "--quick"]
    done = subprocess.run(command, env=unmeasured(), capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "everything adds up"
