"""Reads the answers of OpenAI Chat Completions, and of the many servers that speak like it.

They differ in details, so everything that is not of the expected type counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dual_mode_streaming.llm.events import (
    Event,
    Finish,
    Logprobs,
    Reasoning,
    Refusal,
    Text,
    ToolArguments,
    ToolCall,
    Usage,
)

from ._lenient import count_in, dicts_in, text_in
from ._openai import error_of
from .base import SSEParser

__all__ = ["ChatParser", "events_of"]


class ChatParser(SSEParser):
    """Reads a stream of chunks, of OpenAI or of one of the many servers that speak like it."""

    def __init__(self) -> None:
        super().__init__()
        self._open: set[int] = set()
        self._ended: set[int] = set()

    def _read(self, name: str | None, value: dict[str, Any], events: list[Event]) -> None:  # noqa: ARG002
        error = value.get("error")
        if error:
            raise error_of(error)
        found = events_of(value, "delta", complete=False)
        events.extend(found)
        for event in found:
            if isinstance(event, Finish):
                self._ended.add(event.choice)
            elif not isinstance(event, Usage):
                self._open.add(event.choice)
        # Some servers leave out `[DONE]`.
        self._complete = bool(self._ended) and self._open <= self._ended


def events_of(value: Mapping[str, Any], member: str, *, complete: bool) -> list[Event]:
    """Read the choices and the usage of a chunk or of a batch answer, as far as they are what they should be."""
    events: list[Event] = []
    for position, choice in enumerate(dicts_in(value, "choices")):
        index = choice.get("index")
        number = index if isinstance(index, int) else position
        message = choice.get(member)
        logprobs = choice.get("logprobs")
        if isinstance(logprobs, dict):
            for name in ("content", "refusal"):
                tokens = dicts_in(logprobs, name)
                if tokens:
                    events.append(Logprobs(tokens, name == "refusal", number))
        if isinstance(message, dict):
            events.extend(_message_events(message, number))
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            events.append(Finish("tool_calls" if reason == "function_call" else reason, number))
        elif complete:
            events.append(Finish("stop", number))
    usage = value.get("usage")
    if isinstance(usage, dict):
        events.append(_read_usage(usage))
    return events


def _message_events(message: dict[str, Any], choice: int) -> list[Event]:
    events: list[Event] = []
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        events.append(Reasoning(reasoning, choice))
    for kind, name in ((Text, "content"), (Refusal, "refusal")):
        text = message.get(name)
        if isinstance(text, str) and text:
            events.append(kind(text, choice))
    for position, call in enumerate(dicts_in(message, "tool_calls")):
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        index = call.get("index")
        number = index if isinstance(index, int) else position
        identity, name, arguments = text_in(call, "id"), text_in(function, "name"), text_in(function, "arguments")
        if identity or name:
            events.append(ToolCall(number, identity, name, arguments, choice))
        elif arguments:
            events.append(ToolArguments(number, arguments, choice))
    return events


def _read_usage(usage: dict[str, Any]) -> Usage:
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return Usage(
        count_in(usage, "prompt_tokens"),
        count_in(usage, "completion_tokens"),
        count_in(prompt, "cached_tokens"),
        count_in(completion, "reasoning_tokens"),
    )
