"""Anthropic Messages: `POST /v1/messages`.

- The answer is a row of blocks: thinking, text, uses of tools. They have numbers, and each ends before the next begins.
- Every event has a name, which its data repeats as `type`. There is no `[DONE]`: the last event is `message_stop`.
- The usage of `message_delta` is that of the whole message, so it replaces what `message_start` said.
- The input of a tool is an object in the batch, and the text of one in the stream.
- The tokens of a cache are not part of `input_tokens` here.
- Nobody signs a thinking block here, so its `signature` is empty. A refusal is a text.
- The heartbeat is the event `ping`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dual_mode_streaming.errors import Problem, ProtocolError, RemoteError
from dual_mode_streaming.llm.events import Event, Finish, Reasoning, Text, ToolArguments, ToolCall, Usage
from dual_mode_streaming.llm.fold import Completion, OpenChoice, fold_all
from dual_mode_streaming.llm.requests import Request

from ._anthropic_request import request_of
from ._arguments import arguments_object, arguments_text
from ._blocks import Block, BlockRenderer, blocks_of
from ._lenient import count_in, dict_in, dicts_in, text_in
from .base import Dialect, SSEParser, Stamp, message_of, named_frame, remote_error

__all__ = ["Anthropic", "AnthropicParser", "AnthropicRenderer"]

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STATUSES = {kind: status for status, kind in _ERRORS.items()}
_PING = b'event: ping\ndata: {"type":"ping"}\n\n'


class Anthropic(Dialect):
    """The contract of Messages."""

    name = "anthropic"
    path = "/v1/messages"

    def parse_request(self, body: bytes) -> Request:
        """Read the body of a request."""
        return request_of(body)

    def batch(self, completion: Completion, request: Request, stamp: Stamp) -> dict[str, Any]:
        """Give the batch answer."""
        choice = completion.first
        return {
            **_message(request, stamp),
            "content": [_block(block) for block in blocks_of(choice)],
            "stop_reason": _stop_reason(choice.finish, choice.stop_sequence),
            "stop_sequence": choice.stop_sequence,
            "usage": _usage(completion.usage or Usage()),
        }

    def renderer(self, request: Request, stamp: Stamp) -> AnthropicRenderer:
        """Give what writes the stream."""
        return AnthropicRenderer(request, stamp)

    def error_body(self, problem: Problem) -> dict[str, Any]:
        """Give the body of an error, which is also the data of the error's event."""
        kind = _ERRORS.get(problem.status) or ("api_error" if problem.status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message_of(problem)}}

    def parser(self) -> AnthropicParser:
        """Give what reads a stream."""
        return AnthropicParser()

    def parse_batch(self, document: Mapping[str, Any]) -> Completion:
        """Read a batch answer."""
        if document.get("type") == "error":
            raise _error_of(document)
        if not isinstance(document.get("content"), list):
            raise ProtocolError("The answer has no content.")
        events: list[Event] = []
        for number, block in enumerate(dicts_in(document, "content")):
            events.extend(_block_of(block, number, arguments_text(block.get("input"))))
        return fold_all([*events, _finish_of(document), _usage_of(dict_in(document, "usage"))])


# --- the answer ----------------------------------------------------------------------------------


def _message(request: Request, stamp: Stamp) -> dict[str, Any]:
    model = stamp.model or request.model
    return {"id": f"msg_{stamp.id}", "type": "message", "role": "assistant", "model": model}


def _block(block: Block) -> dict[str, Any]:
    if block.call is not None:
        call = block.call
        return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments_object(block.text)}
    if block.kind is Reasoning:
        return {"type": "thinking", "thinking": block.text, "signature": ""}
    return {"type": "text", "text": block.text}


def _stop_reason(finish: str | None, stop_sequence: str | None) -> str | None:
    if finish == "stop" and stop_sequence is not None:
        return "stop_sequence"
    return None if finish is None else _STOP_REASONS.get(finish, finish)


def _usage(usage: Usage) -> dict[str, Any]:
    cached = usage.cached_tokens or 0
    document = {"input_tokens": max(0, (usage.input_tokens or 0) - cached), "output_tokens": usage.output_tokens or 0}
    if usage.cached_tokens is not None:
        document["cache_read_input_tokens"] = cached
    return document


class AnthropicRenderer(BlockRenderer):
    """Writes one stream of events."""

    def __init__(self, request: Request, stamp: Stamp) -> None:
        super().__init__()
        self._dialect = Anthropic()
        self._message = _message(request, stamp)
        self.back = b"}}\n\n"

    def start(self) -> bytes:
        """Give the event that opens the message."""
        usage = _usage(self.assembly.usage or Usage())
        message = {**self._message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        return named_frame("message_start", {"type": "message_start", "message": message})

    def opened(self, block: Block) -> bytes:
        """Give the event that begins a block."""
        kind, member = ("text_delta", "text")
        if block.call is not None:
            kind, member = "input_json_delta", "partial_json"
        elif block.kind is Reasoning:
            kind, member = "thinking_delta", "thinking"
        self.front = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
        ) % (block.number, kind.encode(), member.encode())
        start = {"type": "content_block_start", "index": block.number, "content_block": _block(block)}
        return named_frame("content_block_start", start)

    def closed(self, block: Block) -> bytes:
        """Give the event that ends a block."""
        return named_frame("content_block_stop", {"type": "content_block_stop", "index": block.number})

    def ended(self, choice: OpenChoice) -> bytes:
        """Give the events that end the message."""
        finish = choice.finish or Finish()
        reason = _stop_reason(finish.reason, finish.stop_sequence)
        usage = _usage(self.assembly.usage or Usage())
        delta = {"stop_reason": reason, "stop_sequence": finish.stop_sequence}
        return named_frame("message_delta", {"type": "message_delta", "delta": delta, "usage": usage}) + named_frame(
            "message_stop", {"type": "message_stop"}
        )

    def error(self, problem: Problem) -> bytes:
        """Give the last event of a stream that failed."""
        return named_frame("error", self._dialect.error_body(problem))

    def heartbeat(self) -> bytes:
        """Give the event `ping`."""
        return _PING


# --- reading an answer ---------------------------------------------------------------------------


class AnthropicParser(SSEParser):
    """Reads a stream of events."""

    def _read(self, name: str | None, value: dict[str, Any], events: list[Event]) -> None:
        kind = text_in(value, "type") or name
        if kind == "content_block_delta":
            events.extend(_delta_of(dict_in(value, "delta"), count_in(value, "index") or 0))
        elif kind == "content_block_start":
            block = dict_in(value, "content_block")
            # The input of a call follows in pieces; the object that stands for it here is empty.
            arguments = arguments_text(block["input"]) if block.get("input") else ""
            events.extend(_block_of(block, count_in(value, "index") or 0, arguments))
        elif kind == "message_start":
            events.append(_usage_of(dict_in(dict_in(value, "message"), "usage")))
        elif kind == "message_delta":
            delta = dict_in(value, "delta")
            if delta.get("stop_reason") is not None:
                events.append(_finish_of(delta))
            events.append(_usage_of(dict_in(value, "usage")))
        elif kind == "message_stop":
            self._complete = True
        elif kind == "error":
            raise _error_of(value)


def _delta_of(delta: dict[str, Any], index: int) -> list[Event]:
    kind = delta.get("type")
    if kind == "text_delta":
        return [Text(text_in(delta, "text"))]
    if kind == "thinking_delta":
        return [Reasoning(text_in(delta, "thinking"))]
    return [ToolArguments(index, text_in(delta, "partial_json"))] if kind == "input_json_delta" else []


def _block_of(block: dict[str, Any], index: int, arguments: str) -> list[Event]:
    kind = block.get("type")
    if kind == "text":
        return [Text(text_in(block, "text"))]
    if kind == "thinking":
        return [Reasoning(text_in(block, "thinking"))]
    return [ToolCall(index, text_in(block, "id"), text_in(block, "name"), arguments)] if kind == "tool_use" else []


def _finish_of(document: Mapping[str, Any]) -> Finish:
    reason = text_in(document, "stop_reason")
    return Finish(_REASONS.get(reason, reason) or "stop", 0, text_in(document, "stop_sequence") or None)


def _usage_of(usage: dict[str, Any]) -> Usage:
    fresh = count_in(usage, "input_tokens")
    read, written = count_in(usage, "cache_read_input_tokens"), count_in(usage, "cache_creation_input_tokens")
    total = None if fresh is None else fresh + (read or 0) + (written or 0)
    return Usage(total, count_in(usage, "output_tokens"), read)


def _error_of(document: Mapping[str, Any]) -> RemoteError:
    error = dict_in(document, "error")
    kind = text_in(error, "type")
    return remote_error(_STATUSES.get(kind, 500), error.get("message"), kind)
