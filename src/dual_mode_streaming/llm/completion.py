"""What a model has answered, as a value: what the fold (`fold.py`) makes of its events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from .events import Event, Finish, Logprobs, Reasoning, Refusal, Text, ToolCall, Usage

__all__ = ["Choice", "Completion", "Part"]

Part: TypeAlias = Text | Reasoning | Refusal | ToolCall
"""A complete part of an answer: the events that made it, joined to one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer.

    Attributes:
        index: Which one.
        parts: What it consists of, in the order of its begin; no two texts of one kind stand side by side.
        finish: Why it ended; None if it has not.
        stop_sequence: The stop sequence that ended it, if it was one.
        logprobs: The tokens of its text, if they were given.
        refusal_logprobs: The tokens of its refusal, if they were given.
    """

    index: int = 0
    parts: tuple[Part, ...] = ()
    finish: str | None = None
    stop_sequence: str | None = None
    logprobs: tuple[Mapping[str, Any], ...] | None = None
    refusal_logprobs: tuple[Mapping[str, Any], ...] | None = None

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join([part.text for part in self.parts if isinstance(part, Text)])

    @property
    def reasoning(self) -> str:
        """The whole reasoning."""
        return "".join([part.text for part in self.parts if isinstance(part, Reasoning)])

    @property
    def refusal(self) -> str:
        """The whole refusal."""
        return "".join([part.text for part in self.parts if isinstance(part, Refusal)])

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls, in the order of their begin, with their arguments."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model has answered.

    Attributes:
        choices: The answers, by index.
        usage: The tokens used; None if nobody has said.
    """

    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None

    @property
    def first(self) -> Choice:
        """Choice 0, which is the only one in most dialects. It is empty if nothing was said in it."""
        return next((choice for choice in self.choices if choice.index == 0), Choice())

    def events(self) -> Iterator[Event]:
        """Give events that fold to this completion, for an answer that is known and wanted as a stream."""
        for choice in self.choices:
            if choice.logprobs is not None:
                yield Logprobs(choice.logprobs, choice=choice.index)
            if choice.refusal_logprobs is not None:
                yield Logprobs(choice.refusal_logprobs, refusal=True, choice=choice.index)
            yield from choice.parts
            if choice.finish is not None:
                yield Finish(choice.finish, choice.index, choice.stop_sequence)
        if self.usage is not None:
            yield self.usage
