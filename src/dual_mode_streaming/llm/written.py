"""What a model says, as JSON: so that it can be kept, and given out again in another process.

An event is an object with its `kind`, and those of its fields that are not as usual:

    {"kind": "text", "text": "Hi"}

Rules:

- What is read is what was written, for every event.
- What this version does not know is an error: an answer is not given out with a part of it left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from dual_mode_streaming.errors import ProtocolError

from .events import Event, Finish, Logprobs, Reasoning, Refusal, Text, ToolArguments, ToolCall, Usage

__all__ = ["event_from_json", "event_to_json"]

_KINDS: dict[str, type[Event]] = {
    "text": Text,
    "reasoning": Reasoning,
    "refusal": Refusal,
    "tool_call": ToolCall,
    "tool_arguments": ToolArguments,
    "logprobs": Logprobs,
    "usage": Usage,
    "finish": Finish,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_FIELDS = {kind: tuple((field.name, field.default) for field in fields(kind)) for kind in _NAMES}


def event_to_json(event: Event | str) -> dict[str, Any]:
    """Give an event as a JSON object.

    Raises:
        TypeError: It is no event.
    """
    one = Text(event) if isinstance(event, str) else event
    name = _NAMES.get(type(one))
    if name is None:
        raise TypeError(f"{event!r} is no event of a model: it must be one of those of llm.events, or a string")
    document: dict[str, Any] = {"kind": name}
    for field, usual in _FIELDS[type(one)]:
        value = getattr(one, field)
        if usual is MISSING or value != usual:
            document[field] = value
    return document


def event_from_json(document: Mapping[str, Any]) -> Event:
    """Read an event.

    Raises:
        ProtocolError: It was written by a version that knows other events.
    """
    members = dict(document)
    kind = _KINDS.get(members.pop("kind", ""))
    try:
        if kind is None:
            raise TypeError
        return kind(**members)
    except TypeError:
        raise ProtocolError(f"This version knows no such event of a model: {str(document)[:80]!r}.") from None
