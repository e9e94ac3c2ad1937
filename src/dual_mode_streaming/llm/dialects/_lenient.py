"""Reads answers of servers that do not keep to the letter: what is not of the expected type counts as absent."""

from __future__ import annotations

from typing import Any

__all__ = ["count_in", "dict_in", "dicts_in", "text_in"]


def dict_in(value: Any, name: str) -> dict[str, Any]:
    """Give a member that is an object; an empty one otherwise."""
    member = value.get(name) if isinstance(value, dict) else None
    return member if isinstance(member, dict) else {}


def dicts_in(value: Any, name: str) -> list[dict[str, Any]]:
    """Give the objects in a member that is an array."""
    member = value.get(name) if isinstance(value, dict) else None
    return [one for one in member if isinstance(one, dict)] if isinstance(member, list) else []


def text_in(value: Any, name: str) -> str:
    """Give a member that is a string; an empty one otherwise."""
    member = value.get(name) if isinstance(value, dict) else None
    return member if isinstance(member, str) else ""


def count_in(value: Any, name: str) -> int | None:
    """Give a member that is an integer; None otherwise."""
    member = value.get(name) if isinstance(value, dict) else None
    return member if isinstance(member, int) and not isinstance(member, bool) else None
