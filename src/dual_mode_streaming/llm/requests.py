"""What a client asks of a language model, in no vendor's words.

A dialect makes a `Request` of the body that came; a model reads it and knows no dialect. What a vendor has and the
others do not is kept as it came, in `extra`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .events import ToolCall

__all__ = ["Image", "Message", "Request", "Sampling", "Tool"]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture within a message.

    Attributes:
        url: Where it is; for a picture that came with the request a `data:` URL.
    """

    url: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: `system`, `user`, `assistant` or `tool`.
        content: Its texts and pictures, in order.
        tool_calls: The calls that an `assistant` made, with their complete arguments.
        tool_call_id: Of a `tool`: the call whose result it is.
        name: Who speaks, or which tool gave the result, if the client says.
    """

    role: str
    content: tuple[str | Image, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        """The texts of the message, joined."""
        return "".join(part for part in self.content if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call.

    Attributes:
        name: Its name.
        description: What it does, for the model.
        parameters: The JSON Schema of its arguments.
        strict: Whether the arguments must follow the schema exactly; None if the client does not say.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the answer is to be drawn. None leaves it to the model.

    Attributes:
        max_tokens: The most tokens to generate, per choice.
        temperature: From 0 (the most probable token) upwards.
        top_p: Draw from the most probable tokens that have this probability together, 0 to 1.
        top_k: Draw from so many of the most probable tokens.
        seed: Makes the drawing repeatable.
        stop: Texts before which the answer ends.
        presence_penalty: Lowers the probability of tokens that were used, -2 to 2.
        frequency_penalty: The same, by how often they were used, -2 to 2.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for.

    Attributes:
        model: The name of the model; empty where the dialect has no such field.
        messages: The conversation, oldest message first.
        stream: Whether the client wants a stream. The default of the dialect is already applied.
        tools: What the model may call.
        tool_choice: `auto`, `none`, `required`, or None if the client does not say.
        forced_tool: The one tool that the model has to call; `tool_choice` is `required` then.
        parallel_tool_calls: Whether it may make several calls at once; None if the client does not say.
        sampling: How to draw.
        n: How many choices are asked for.
        logprobs: Whether the probabilities of the tokens are asked for.
        top_logprobs: How many alternatives per token.
        include_usage: Whether the stream is to end with the usage, where the dialect makes it a choice.
        schema: The JSON Schema that the text has to follow, as JSON; `{"type": "object"}` if any object will do.
        background: Whether the work is to go on without its client (OpenAI Responses).
        extra: The fields of the body that are none of the above, as they came.
        body: The whole body, as it came.
        dialect: The name of the dialect in which it was asked; empty if nobody says.
    """

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    forced_tool: str | None = None
    parallel_tool_calls: bool | None = None
    sampling: Sampling = Sampling()
    n: int = 1
    logprobs: bool = False
    top_logprobs: int | None = None
    include_usage: bool = False
    schema: Mapping[str, Any] | None = None
    background: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    dialect: str = ""
