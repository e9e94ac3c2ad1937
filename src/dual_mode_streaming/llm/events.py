"""What a language model says, piece by piece, in no vendor's words.

A model yields these events; a dialect turns them into the bytes of its vendor, and the bytes of a vendor into them. A
plain string stands for `Text` of choice 0, so the smallest model is a generator of strings.

Rules of this file:

- An event says only what is new. What belongs together (a text, the arguments of a call) is joined by the fold.
- `choice` is the answer it belongs to, counted from 0, where a request asks for several (`n`). They may interleave.
- What is not known is None. Zero is a number like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = [
    "Event",
    "Finish",
    "Logprobs",
    "Reasoning",
    "Refusal",
    "Text",
    "ToolArguments",
    "ToolCall",
    "Usage",
]


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer.

    Attributes:
        text: The piece. An empty one says nothing.
        choice: Which answer.
    """

    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thinks before or between its answers, where it shows that.

    Attributes:
        text: The piece. An empty one says nothing.
        choice: Which answer.
    """

    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A piece of the model's explanation why it does not answer.

    Attributes:
        text: The piece. An empty one says nothing.
        choice: Which answer.
    """

    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model calls a tool. The arguments come with it, or follow as `ToolArguments`, or both.

    Attributes:
        index: The number of the call within its choice. The fold counts calls from 0, in the order of their begin.
        id: What the result of the call will refer to. If it is empty, the fold makes one up.
        name: The name of the tool.
        arguments: The arguments, or their beginning: the text of a JSON object.
        choice: Which answer.
    """

    index: int
    id: str
    name: str
    arguments: str = ""
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ToolArguments:
    """A piece of the arguments of a call that was begun before.

    Attributes:
        index: The number of the call, as its `ToolCall` gave it.
        text: The piece of JSON text. It need not end where a value ends.
        choice: Which answer.
    """

    index: int
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Logprobs:
    """How probable the tokens of the following piece were. It comes right before the `Text` or `Refusal` it is about.

    Attributes:
        tokens: One object per token, with the members that OpenAI gives them: `token`, `logprob`, `bytes` and
            `top_logprobs`. Others may stand beside them.
        refusal: Whether the tokens are those of a refusal.
        choice: Which answer.
    """

    tokens: Sequence[Mapping[str, Any]]
    refusal: bool = False
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """How many tokens were used so far, for all choices together. A later report replaces what it knows better.

    Attributes:
        input_tokens: The tokens of the prompt, those from a cache included.
        output_tokens: The tokens that were generated, reasoning included.
        cached_tokens: How many of the input came from a cache.
        reasoning_tokens: How many of the output were reasoning.
        estimated: Whether the numbers were counted here, because the model had reported none.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        """The tokens of the input and the output together, as far as they are known."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    def updated(self, later: Usage) -> Usage:
        """Give this report with every number that a later one knows."""
        return Usage(
            self.input_tokens if later.input_tokens is None else later.input_tokens,
            self.output_tokens if later.output_tokens is None else later.output_tokens,
            self.cached_tokens if later.cached_tokens is None else later.cached_tokens,
            self.reasoning_tokens if later.reasoning_tokens is None else later.reasoning_tokens,
            later.estimated,
        )


@dataclass(frozen=True, slots=True)
class Finish:
    """A choice is complete.

    Attributes:
        reason: Why it ends: `stop` (the model was done, or came to a stop sequence), `length` (it reached the most
            tokens it may give), `tool_calls` (it waits for results of tools) or `content_filter`. Any other reason
            of a vendor is passed on as it is.
        choice: Which answer.
        stop_sequence: The stop sequence that ended it, if it was one and the model tells.
    """

    reason: str = "stop"
    choice: int = 0
    stop_sequence: str | None = None


Event: TypeAlias = Text | Reasoning | Refusal | ToolCall | ToolArguments | Logprobs | Usage | Finish
"""Everything a model can say."""
