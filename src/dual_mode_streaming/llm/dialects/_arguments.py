"""The arguments of a call: text that a model writes piece by piece, and that some dialects send as an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dual_mode_streaming.jsonbytes import decode_json, encode_json

__all__ = ["arguments_object", "arguments_text"]


def arguments_object(text: str) -> dict[str, Any]:
    """Read the arguments of a call, for dialects that send them as an object.

    Arguments that were cut short are read up to the last value that is certainly complete. What is no object at all
    is an empty one.
    """
    for candidate in (text, *_beginnings(text)):
        try:
            value = decode_json(candidate)
        except ValueError:
            continue
        if isinstance(value, dict):
            return value
    return {}


def arguments_text(value: object) -> str:
    """Write the arguments of a call, which some dialects send as an object and others as text."""
    if isinstance(value, str):
        return value
    return encode_json(value if isinstance(value, Mapping) else {}).decode()


def _beginnings(text: str) -> Iterator[str]:
    """Cut a JSON text behind its last complete value, and close what is open there."""
    open_brackets: list[str] = []
    cut: tuple[int, str] | None = None
    in_string = escaped = False
    for at, sign in enumerate(text):
        if in_string:
            in_string = escaped or sign != '"'
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            in_string = True
        elif sign in "{[":
            open_brackets.append("}" if sign == "{" else "]")
            cut = at + 1, "".join(reversed(open_brackets))
        elif sign in "}]" and open_brackets:
            open_brackets.pop()
            cut = at + 1, "".join(reversed(open_brackets))
            if not open_brackets:
                break
        elif sign == ",":
            cut = at, "".join(reversed(open_brackets))
    if cut is not None:
        yield text[: cut[0]] + cut[1]
