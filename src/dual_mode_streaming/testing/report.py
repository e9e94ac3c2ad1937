"""What `check_dual_mode` is given and gives: further requests to try, the law that is broken, and what was checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dual_mode_streaming.errors import DualModeError

__all__ = ["LawBroken", "Probe", "Probes", "Report", "first_difference", "shown"]


@dataclass(frozen=True, slots=True)
class Probe:
    """A further request to an endpoint. What is None is as in the request that succeeds.

    Attributes:
        path: Path and query.
        json: The body, as JSON.
        content: The body, as it is.
        headers: Further headers.
    """

    path: str | None = None
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] | None = None


Probes = Probe | str | Sequence[Probe | str] | None
"""One probe, a path in its place, several of them, or none."""


class LawBroken(DualModeError, AssertionError):
    """An endpoint does not do what every dual-mode endpoint does.

    Attributes:
        law: Which law: `law 1` to `law 5`, or `wire contract` for the choice of the mode and the headers.
    """

    code = "law_broken"

    def __init__(self, law: str, what: str, **values: object) -> None:
        width = max(map(len, values), default=0)
        lines = [f"  {name.replace('_', ' '):{width}} : {_line(value)}" for name, value in values.items()]
        super().__init__("\n".join([f"{law}: {what}", *lines]))
        self.law = law


@dataclass(slots=True)
class Report:
    """What was checked, and what could not be.

    Attributes:
        checked: What holds, in the order in which it was checked.
        skipped: What was not checked, and why.
    """

    checked: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        done = [f"checked: {name}" for name in self.checked]
        left = [f"skipped: {name} ({why})" for name, why in self.skipped.items()]
        return "\n".join(done + left)


def first_difference(one: Any, other: Any, path: str = "$") -> tuple[str, Any, Any] | None:
    """Find the first place, as a JSONPath, where two JSON values differ, and what each has there; None if they agree.

    A member that one of them lacks is shown as `(nothing)`.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for name in [*one, *(name for name in other if name not in one)]:
            step = f"{path}.{name}" if str(name).isidentifier() else f"{path}[{name!r}]"
            found = first_difference(one.get(name, NOTHING), other.get(name, NOTHING), step)
            if found is not None:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list):
        for index in range(max(len(one), len(other))):
            left, right = (items[index] if index < len(items) else NOTHING for items in (one, other))
            found = first_difference(left, right, f"{path}[{index}]")
            if found is not None:
                return found
        return None
    # True is 1 for Python and not for JSON.
    if isinstance(one, bool) != isinstance(other, bool) or one != other:
        return path, one, other
    return None


class _Nothing:
    def __repr__(self) -> str:
        return "(nothing)"


NOTHING = _Nothing()


def shown(value: object, length: int = 200) -> str:
    """Write a value for a message: short, and on one line."""
    if isinstance(value, (bytes, bytearray)):
        value = bytes(value).decode("utf-8", "backslashreplace")
    text = repr(value)
    return text if len(text) <= length else f"{text[: length // 2]} ... {text[-length // 2 :]}"


def _line(value: object) -> str:
    return value if isinstance(value, str) and "\n" not in value else shown(value)
