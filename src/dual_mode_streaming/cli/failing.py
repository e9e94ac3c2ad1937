"""How every command ends when it cannot go on: one line on standard error, and a status."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["fail"]


def fail(message: str, status: int = 2) -> NoReturn:
    """End the program: status 2 for a command line that cannot work, 1 for what does not let it work now."""
    sys.stderr.write(f"dual-mode: {message}\n")
    sys.exit(status)
