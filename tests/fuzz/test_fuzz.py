"""The fuzzing in small: what longer runs have found worth keeping, and some bytes drawn anew."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
each_target = pytest.mark.parametrize("name", TARGETS)


@each_target
def test_what_was_kept_of_longer_runs(name):
    kept = sorted((CORPUS / name).iterdir())
    assert kept, "longer runs have kept something for each target"
    for path in kept:
        TARGETS[name](path.read_bytes())


@each_target
def test_any_bytes(name):
    @settings(max_examples=80, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=400))
    def one(data):
        TARGETS[name](data)

    one()
