"""How long to wait before a store that does not answer is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["pauses"]


def pauses() -> Callable[[], float]:
    """Give what gives the pauses between tries of a store that does not answer: growing, up to a second."""
    pause = 0.025

    def following() -> float:
        nonlocal pause
        pause = min(2 * pause, 1.0)
        return pause * random.uniform(0.5, 1)  # noqa: S311  no secret

    return following
