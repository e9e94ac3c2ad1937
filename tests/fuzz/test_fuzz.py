"""The fuzzing in small: what longer runs have found worth keeping, and some bytes drawn anew."""

import random
from pathlib import Path

import pytest

from fuzz.targets import TARGETS

PIECES = [
    *(b"\n", b"\r", b"\r\n", b"\n\n", b": ", b":", b"data", b"id", b"event", b"retry", b"1", b"\xef\xbb\xbf"),
    *(b"\x1e", b"{", b"}", b"[", b"]", b'"', b"\\", b",", b";", b"=", b"q=0.5", b"*/*", b"text/html", b"wait", b"%"),
    *(b"respond-async", b"stream", b"&", b" ", b"\t", b"\0", b"\x01", b"\xff", b"null", b"error", b"[1]"),
]
"""What the formats are made of, so that more of what is drawn has a meaning."""
CORPUS = Path(__file__).parent / "corpus"
each_target = pytest.mark.parametrize("name", TARGETS)


@each_target
def test_what_was_kept_of_longer_runs(name):
    kept = sorted((CORPUS / name).iterdir())
    assert kept, "longer runs have kept something for each target"
    for path in kept:
        TARGETS[name](path.read_bytes())


@each_target
def test_bytes_drawn_at_random_and_pieces_put_together(name):
    rng = random.Random(name)
    for _ in range(150):
        TARGETS[name](rng.randbytes(rng.randint(0, 300)))
        TARGETS[name](b"".join(rng.choices(PIECES, k=rng.randint(1, 50))))
