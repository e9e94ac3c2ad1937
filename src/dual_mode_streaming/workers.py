"""Guesses whether a server runs an application in several processes. Nobody tells an application, so it is a guess.

What is looked at: the environment variables by which servers are told, and the command line, which the workers of
uvicorn, gunicorn, granian and hypercorn inherit. What a program says by itself, such as `uvicorn.run(workers=4)`, is
not seen.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

__all__ = ["several_workers"]

_VARIABLES = ("WEB_CONCURRENCY", "UVICORN_WORKERS", "GRANIAN_WORKERS")
_OPTIONS = ("--workers", "-w")


def several_workers(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> str | None:
    """Give the sign that there are several worker processes; None if there is none.

    Args:
        arguments: The command line; None for this process's own.
        environment: The environment variables; None for this process's own.
    """
    arguments = sys.argv if arguments is None else arguments
    environment = os.environ if environment is None else environment
    for position, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in _OPTIONS and not value:
            value = arguments[position + 1] if position + 1 < len(arguments) else ""
        elif argument.startswith("-w") and argument[2:].isdigit():
            name, value = "-w", argument[2:]
        if name in _OPTIONS and _is_several(value):
            return f"{name} {value} is on the command line"
    for name in _VARIABLES:
        if _is_several(environment.get(name, "")):
            return f"{name} is {environment[name]}"
    return None


def _is_several(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text[:9]) > 1
