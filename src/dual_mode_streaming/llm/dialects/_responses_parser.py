"""Reads the answers of OpenAI Responses, and of servers that speak like it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dual_mode_streaming.errors import ProtocolError
from dual_mode_streaming.llm.events import Event, Finish, Reasoning, Refusal, Text, ToolArguments, ToolCall, Usage
from dual_mode_streaming.llm.fold import Completion, fold_all

from ._lenient import count_in, dict_in, dicts_in, text_in
from ._openai import error_of
from .base import SSEParser

__all__ = ["ResponsesParser", "completion_of"]

_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
_TEXTS: dict[str, type[Text | Refusal | Reasoning]] = {
    "response.output_text.delta": Text,
    "response.refusal.delta": Refusal,
    "response.reasoning_text.delta": Reasoning,
    "response.reasoning_summary_text.delta": Reasoning,
}


class ResponsesParser(SSEParser):
    """Reads a stream of events. Some servers leave out the numbers of the items, so it goes by their ids."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[str, int] = {}

    def _read(self, name: str | None, value: dict[str, Any], events: list[Event]) -> None:
        kind = text_in(value, "type") or name or ""
        if kind in _TEXTS:
            events.append(_TEXTS[kind](text_in(value, "delta")))
        elif kind == "response.output_item.added":
            item = dict_in(value, "item")
            if item.get("type") == "function_call":
                number = self._calls[text_in(item, "id")] = len(self._calls)
                events.append(_call(item, number))
        elif kind == "response.function_call_arguments.delta":
            number = self._calls.get(text_in(value, "item_id"), len(self._calls) - 1)
            events.append(ToolArguments(number, text_in(value, "delta")))
        elif kind in ("response.completed", "response.incomplete"):
            events.extend(_end(dict_in(value, "response")))
            self._complete = True
        elif kind == "response.failed":
            raise error_of(dict_in(value, "response").get("error"))
        elif kind == "error":
            raise error_of(value.get("error") or value)


def completion_of(document: Mapping[str, Any]) -> Completion:
    """Read a batch answer.

    Raises:
        ProtocolError: It has no output.
    """
    if not isinstance(document.get("output"), list):
        raise ProtocolError("The answer has no output.")
    events: list[Event] = []
    for number, item in enumerate(dicts_in(document, "output")):
        if item.get("type") == "function_call":
            events.append(_call(item, number))
        elif item.get("type") == "reasoning":
            texts = dicts_in(item, "content") or dicts_in(item, "summary")
            events.extend(Reasoning(text_in(part, "text")) for part in texts)
        else:
            for part in dicts_in(item, "content"):
                refusal = part.get("type") == "refusal"
                events.append(Refusal(text_in(part, "refusal")) if refusal else Text(text_in(part, "text")))
    return fold_all([*events, *_end(document)])


def _call(item: dict[str, Any], number: int) -> ToolCall:
    return ToolCall(number, text_in(item, "call_id"), text_in(item, "name"), text_in(item, "arguments"))


def _end(response: Mapping[str, Any]) -> list[Event]:
    """Read why the answer ended, and its usage."""
    reason = text_in(dict_in(response, "incomplete_details"), "reason")
    cut = response.get("status") == "incomplete"
    events: list[Event] = [Finish(_REASONS.get(reason, reason or "length") if cut else "stop")]
    usage = dict_in(response, "usage")
    if usage:
        events.append(
            Usage(
                count_in(usage, "input_tokens"),
                count_in(usage, "output_tokens"),
                count_in(dict_in(usage, "input_tokens_details"), "cached_tokens"),
                count_in(dict_in(usage, "output_tokens_details"), "reasoning_tokens"),
            )
        )
    return events
