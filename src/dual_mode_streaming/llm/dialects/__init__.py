"""The dialects: one vendor's contract each. `base` has what they have in common, and the rules.

`ALL` has one of each; `dialects_named` finds them by the names that users give.
"""

from __future__ import annotations

from collections.abc import Iterable

from .ai_sdk import AISDK
from .anthropic import Anthropic
from .base import Dialect, Parser, Renderer, Stamp
from .ollama import OllamaChat, OllamaGenerate
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses

__all__ = [
    "AISDK",
    "ALL",
    "Anthropic",
    "Dialect",
    "OllamaChat",
    "OllamaGenerate",
    "OpenAIChat",
    "OpenAIResponses",
    "Parser",
    "Renderer",
    "Stamp",
    "dialects_named",
]

ALL: tuple[Dialect, ...] = (
    OpenAIChat(),
    OpenAIResponses(),
    Anthropic(),
    OllamaChat(),
    OllamaGenerate(),
    AISDK(),
)
"""Every dialect. They have no state, so one of each is enough."""


def dialects_named(names: Iterable[str]) -> tuple[Dialect, ...]:
    """Give the dialects of these names: `openai_chat`, `openai_responses`, `anthropic`, `ollama`, `ai_sdk`.

    Raises:
        ValueError: There is none of a name.
    """
    wanted = list(names)
    known = {dialect.name for dialect in ALL}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"there is no dialect {unknown[0]!r}; the dialects are {', '.join(sorted(known))}")
    return tuple(dialect for dialect in ALL if dialect.name in wanted)
