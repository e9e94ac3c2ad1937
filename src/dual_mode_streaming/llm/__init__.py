"""Language models behind one endpoint, in the words of several vendors.

A model yields neutral events. One fold makes the batch of them, and a dialect writes both answers in its vendor's
form. The names here are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dialects import ALL, Dialect, Stamp
    from .events import Event, Finish, Logprobs, Reasoning, Refusal, Text, ToolArguments, ToolCall, Usage
    from .fold import Choice, Completion, CompletionFold
    from .requests import Image, Message, Request, Sampling, Tool

__all__ = [
    "ALL",
    "Choice",
    "Completion",
    "CompletionFold",
    "Dialect",
    "Event",
    "Finish",
    "Image",
    "Logprobs",
    "Message",
    "Reasoning",
    "Refusal",
    "Request",
    "Sampling",
    "Stamp",
    "Text",
    "Tool",
    "ToolArguments",
    "ToolCall",
    "Usage",
]

_HOMES = {
    "ALL": "dialects",
    "Choice": "fold",
    "Completion": "fold",
    "CompletionFold": "fold",
    "Dialect": "dialects",
    "Event": "events",
    "Finish": "events",
    "Image": "requests",
    "Logprobs": "events",
    "Message": "requests",
    "Reasoning": "events",
    "Refusal": "events",
    "Request": "requests",
    "Sampling": "requests",
    "Stamp": "dialects",
    "Text": "events",
    "Tool": "requests",
    "ToolArguments": "events",
    "ToolCall": "events",
    "Usage": "events",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
