"""What tests need that no Python package brings: programs of the system, and clients in environments of their own.

Where something is missing its tests are left out, and the report says what to do. In CI that is a failure, so nothing
is left out there.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["lacking"]


def lacking(what: str, remedy: str) -> NoReturn:
    """Leave out the test that is running; in CI let it fail."""
    message = f"{what} is missing; install it with: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
