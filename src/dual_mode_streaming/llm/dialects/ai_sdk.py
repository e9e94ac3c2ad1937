"""Vercel AI SDK, the UI message stream that `useChat` reads: `POST /api/chat/ui`.

- The vendor leaves the path to the application. This one is a default that no other dialect has.
- Every frame is a part with a `type`; there are no event names. The end marker is `[DONE]`.
- Texts and reasoning have a beginning, pieces and an end, and an id each. A call is begun, its input comes as pieces of
  text, and then as a value. An input that is no JSON is an error of that call, not of the stream.
- A stream is the default. The batch is the `UIMessage` that the client makes of the stream.
- Why the answer ended, and its usage, are `metadata` of the message: the stream has them in its last part.
- A refusal is a text. An answer that was cancelled is aborted, which is no error for the client.
- An answer to a message of the assistant goes on with it, and has its id: the client adds the parts to that message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dual_mode_streaming.errors import Problem, ProtocolError
from dual_mode_streaming.jsonbytes import decode_json, encode_json
from dual_mode_streaming.llm.events import Event, Finish, Reasoning, Text, ToolArguments, ToolCall, Usage
from dual_mode_streaming.llm.fold import Completion, OpenChoice, fold_all
from dual_mode_streaming.llm.requests import Request

from ._ai_sdk_request import request_of
from ._arguments import arguments_text
from ._blocks import Block, BlockRenderer, blocks_of
from ._lenient import count_in, dict_in, dicts_in, text_in
from .base import Dialect, SSEParser, Stamp, data_frame, message_of, remote_error

__all__ = ["AISDK", "AISDKParser", "AISDKRenderer"]

_REASONS = {"stop": "stop", "length": "length", "tool_calls": "tool-calls", "content_filter": "content-filter"}
_READ = {name: reason for reason, name in _REASONS.items()}
_NOT_JSON = "The input of the tool is not JSON."


class AISDK(Dialect):
    """The contract of the UI message stream."""

    name = "ai_sdk"
    path = "/api/chat/ui"
    headers: ClassVar[Mapping[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}
    streams_by_default = True

    def parse_request(self, body: bytes) -> Request:
        """Read the body of a request."""
        return request_of(body)

    def outline(self, request: Request) -> dict[str, Any]:
        """Give the body of a request without the conversation; what tells which message goes on is left."""
        last = (dicts_in(request.body, "messages") or [{}])[-1]
        message = {"id": text_in(last, "id"), "role": last.get("role"), "parts": [{"type": "text", "text": "-"}]}
        return {**request.body, "messages": [message]}

    def batch(self, completion: Completion, request: Request, stamp: Stamp) -> dict[str, Any]:
        """Give the batch answer: a `UIMessage`."""
        choice = completion.first
        return {
            "id": _message_id(request, stamp),
            "role": "assistant",
            "metadata": _metadata(choice.finish, completion.usage),
            "parts": [{"type": "step-start"}, *map(_part, blocks_of(choice))],
        }

    def renderer(self, request: Request, stamp: Stamp) -> AISDKRenderer:
        """Give what writes the stream."""
        return AISDKRenderer(_message_id(request, stamp))

    def error_body(self, problem: Problem) -> dict[str, Any]:
        """Give the body of an error. The vendor has no form for it, so it is a problem document (RFC 9457)."""
        return problem.as_dict()

    def parser(self) -> AISDKParser:
        """Give what reads a stream."""
        return AISDKParser()

    def parse_batch(self, document: Mapping[str, Any]) -> Completion:
        """Read a batch answer."""
        if not isinstance(document.get("parts"), list):
            raise ProtocolError("The answer has no parts.")
        events: list[Event] = []
        for number, part in enumerate(dicts_in(document, "parts")):
            kind = text_in(part, "type")
            if kind == "text":
                events.append(Text(text_in(part, "text")))
            elif kind == "reasoning":
                events.append(Reasoning(text_in(part, "text")))
            elif kind.startswith("tool-"):
                given = part.get("input", part.get("rawInput"))
                arguments = given if isinstance(given, str) else encode_json(given).decode()
                events.append(ToolCall(number, text_in(part, "toolCallId"), kind[5:], arguments))
        return fold_all([*events, *_end_of(dict_in(document, "metadata"))])


# --- the answer ----------------------------------------------------------------------------------


def _message_id(request: Request, stamp: Stamp) -> str:
    last = (dicts_in(request.body, "messages") or [{}])[-1]
    continued = text_in(last, "id") if last.get("role") == "assistant" else ""
    return continued or f"msg-{stamp.id}"


def _input_of(text: str) -> tuple[bool, Any]:
    """Read the input of a tool: whether it is JSON, and the value. No text at all is an empty object."""
    if not text.strip():
        return True, {}
    try:
        return True, decode_json(text)
    except ValueError:
        return False, text


def _part(block: Block) -> dict[str, Any]:
    if block.call is None:
        return {"type": "reasoning" if block.kind is Reasoning else "text", "text": block.text, "state": "done"}
    part = {"type": f"tool-{block.call.name}", "toolCallId": block.call.id}
    valid, value = _input_of(block.text)
    if valid:
        return {**part, "state": "input-available", "input": value}
    return {**part, "state": "output-error", "rawInput": value, "errorText": _NOT_JSON}


def _metadata(finish: str | None, usage: Usage | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if finish is not None:
        metadata["finishReason"] = _REASONS.get(finish, "other")
    if usage is not None:
        metadata["usage"] = {
            "inputTokens": usage.input_tokens or 0,
            "outputTokens": usage.output_tokens or 0,
            "totalTokens": usage.total_tokens,
        }
    return metadata


class AISDKRenderer(BlockRenderer):
    """Writes one stream of parts."""

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self._message_id = message_id
        self.back = b"}\n\n"

    def start(self) -> bytes:
        """Give the parts that open the message."""
        return data_frame({"type": "start", "messageId": self._message_id}) + data_frame({"type": "start-step"})

    def opened(self, block: Block) -> bytes:
        """Give the part that begins a block."""
        if block.call is not None:
            call = block.call
            delta = {"type": "tool-input-delta", "toolCallId": call.id}
            self.front = b'data: %b,"inputTextDelta":' % encode_json(delta)[:-1]
            return data_frame({"type": "tool-input-start", "toolCallId": call.id, "toolName": call.name})
        kind = "reasoning" if block.kind is Reasoning else "text"
        self.front = b'data: {"type":"%b-delta","id":"%d","delta":' % (kind.encode(), block.number)
        return data_frame({"type": f"{kind}-start", "id": str(block.number)})

    def closed(self, block: Block) -> bytes:
        """Give the part that ends a block."""
        if block.call is None:
            kind = "reasoning" if block.kind is Reasoning else "text"
            return data_frame({"type": f"{kind}-end", "id": str(block.number)})
        call = {"toolCallId": block.call.id, "toolName": block.call.name}
        valid, value = _input_of(block.text)
        if valid:
            return data_frame({"type": "tool-input-available", **call, "input": value})
        return data_frame({"type": "tool-input-error", **call, "input": value, "errorText": _NOT_JSON})

    def ended(self, choice: OpenChoice) -> bytes:
        """Give the parts that end the message."""
        finish = choice.finish or Finish()
        metadata = _metadata(finish.reason, self.assembly.usage)
        last = {"type": "finish", "finishReason": metadata["finishReason"], "messageMetadata": metadata}
        return data_frame({"type": "finish-step"}) + data_frame(last) + b"data: [DONE]\n\n"

    def error(self, problem: Problem) -> bytes:
        """Give the last part of a stream that failed, or that somebody has stopped."""
        if problem.code == "cancelled":
            return data_frame({"type": "abort", "reason": message_of(problem)})
        return data_frame({"type": "error", "errorText": message_of(problem)})


# --- reading an answer ---------------------------------------------------------------------------


class AISDKParser(SSEParser):
    """Reads a stream of parts."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[str, int] = {}
        self._streamed: set[int] = set()

    def _read(self, name: str | None, value: dict[str, Any], events: list[Event]) -> None:  # noqa: ARG002
        kind = text_in(value, "type")
        if kind == "text-delta":
            events.append(Text(text_in(value, "delta")))
        elif kind == "reasoning-delta":
            events.append(Reasoning(text_in(value, "delta")))
        elif kind == "tool-input-start":
            events.append(self._call(value))
        elif kind == "tool-input-delta":
            number = self._calls.get(text_in(value, "toolCallId"), -1)
            self._streamed.add(number)
            events.append(ToolArguments(number, text_in(value, "inputTextDelta")))
        elif kind in ("tool-input-available", "tool-input-error"):
            if text_in(value, "toolCallId") not in self._calls:
                events.append(self._call(value))
            number = self._calls[text_in(value, "toolCallId")]
            if number not in self._streamed:
                events.append(ToolArguments(number, arguments_text(value.get("input"))))
        elif kind == "finish":
            metadata = {"finishReason": value.get("finishReason"), **dict_in(value, "messageMetadata")}
            events.extend(_end_of(metadata))
            self._complete = True
        elif kind == "error":
            raise remote_error(500, value.get("errorText"))
        elif kind == "abort":
            raise remote_error(410, value.get("reason"), "cancelled")

    def _call(self, value: dict[str, Any]) -> ToolCall:
        identity = text_in(value, "toolCallId")
        number = self._calls.setdefault(identity, len(self._calls))
        return ToolCall(number, identity, text_in(value, "toolName"))


def _end_of(metadata: dict[str, Any]) -> list[Event]:
    reason = text_in(metadata, "finishReason") or "stop"
    events: list[Event] = [Finish(_READ.get(reason, reason))]
    usage = dict_in(metadata, "usage")
    if usage:
        events.append(Usage(count_in(usage, "inputTokens"), count_in(usage, "outputTokens")))
    return events
