"""What tests need that no Python package brings: programs of the system, and clients in environments of their own.

Where something is missing its tests are left out, and the report says what to do. In CI that is a failure, so nothing
is left out there.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["lacking", "unmeasured"]


def lacking(what: str, remedy: str) -> NoReturn:
    """Leave out the test that is running; in CI let it fail."""
    message = f"{what} is missing; install it with: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def unmeasured() -> dict[str, str]:
    """Give the environment for a process that coverage is not to measure.

    It handles SIGTERM itself and needs memory, so it would be in the way where a test is about one of them.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
