"""OpenAI Chat Completions: `POST /v1/chat/completions`.

- Frames have no names. Each chunk repeats the id, the time and the model, and tells of one choice.
- The first chunk of a choice has the role. Choices are opened in the order of their numbers: clients that keep them in
  a list, as OpenAI's own does, would otherwise fail.
- The usage is a chunk of its own before `[DONE]`, and only if it was asked for: it has no choice, which naive clients
  do not expect.
- Reasoning is `reasoning_content`, as many servers have it; OpenAI itself shows none.
- After an error there is no `[DONE]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import orjson

from dual_mode_streaming.errors import Problem, ProtocolError
from dual_mode_streaming.jsonbytes import encode_json
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
from dual_mode_streaming.llm.fold import Choice, Completion, fold_all
from dual_mode_streaming.llm.requests import Request

from ._chat_parser import ChatParser, events_of
from ._chat_request import request_of
from ._openai import error_object, error_of
from .base import Dialect, Renderer, Stamp, data_frame

__all__ = ["ChatRenderer", "OpenAIChat"]

_OfChoice: TypeAlias = Text | Reasoning | Refusal | ToolCall | ToolArguments | Logprobs | Finish

_DONE = b"data: [DONE]\n\n"
_MEMBERS = {Text: b"content", Reasoning: b"reasoning_content", Refusal: b"refusal"}


class OpenAIChat(Dialect):
    """The contract of Chat Completions."""

    name = "openai_chat"
    path = "/v1/chat/completions"

    def parse_request(self, body: bytes) -> Request:
        """Read the body of a request."""
        return request_of(body)

    def batch(self, completion: Completion, request: Request, stamp: Stamp) -> dict[str, Any]:
        """Give the batch answer."""
        document: dict[str, Any] = {
            "id": f"chatcmpl-{stamp.id}",
            "object": "chat.completion",
            "created": stamp.created,
            "model": stamp.model or request.model,
            "choices": [_choice(choice) for choice in completion.choices],
        }
        if completion.usage is not None:
            document["usage"] = _usage(completion.usage)
        return document

    def renderer(self, request: Request, stamp: Stamp) -> ChatRenderer:
        """Give what writes the stream."""
        return ChatRenderer(request, stamp)

    def error_body(self, problem: Problem) -> dict[str, Any]:
        """Give the body of an error."""
        return {"error": error_object(problem)}

    def parser(self) -> ChatParser:
        """Give what reads a stream."""
        return ChatParser()

    def parse_batch(self, document: Mapping[str, Any]) -> Completion:
        """Read a batch answer."""
        if document.get("error"):
            raise error_of(document["error"])
        if not isinstance(document.get("choices"), list):
            raise ProtocolError("The answer has no choices.")
        return fold_all(events_of(document, "message", complete=True))


# --- the answer ----------------------------------------------------------------------------------


def _choice(choice: Choice) -> dict[str, Any]:
    text = choice.text
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not choice.parts else None,
        "refusal": choice.refusal or None,
    }
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.tool_calls
        ]
    logprobs = None
    if choice.logprobs is not None or choice.refusal_logprobs is not None:
        logprobs = {"content": choice.logprobs, "refusal": choice.refusal_logprobs}
    return {"index": choice.index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish}


def _usage(usage: Usage) -> dict[str, Any]:
    document: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens or 0,
        "completion_tokens": usage.output_tokens or 0,
        "total_tokens": usage.total_tokens,
    }
    if usage.cached_tokens is not None:
        document["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens is not None:
        document["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return document


class ChatRenderer(Renderer):
    """Writes one stream of chunks.

    Almost every chunk is a piece of text, and all of it but the text is known before. So each choice has the bytes in
    front of its texts ready.
    """

    def __init__(self, request: Request, stamp: Stamp) -> None:
        super().__init__()
        self._include_usage = request.include_usage
        model = encode_json(stamp.model or request.model)
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % (
            encode_json(f"chatcmpl-{stamp.id}"),
            stamp.created,
            model,
        )
        self._tail = b'],"usage":null}\n\n' if request.include_usage else b"]}\n\n"
        self._text_tail = b'},"logprobs":null,"finish_reason":null}' + self._tail
        # What stands in front of a piece of text, for choices that are open and have no tokens waiting.
        self._fronts: dict[int, bytes] = {}
        self._opened = 0
        self._waiting: dict[int, Logprobs] = {}

    def event(self, event: Event | str) -> bytes:
        """Give the chunk of an event."""
        taken = self.assembly.take(event)
        if isinstance(taken, Text):
            front = self._fronts.get(taken.choice)
            if front is not None:
                try:
                    return front + orjson.dumps(taken.text) + self._text_tail
                except TypeError:
                    encode_json(taken.text)  # it says what is wrong with the text
        if taken is None or isinstance(taken, Usage):
            return b""
        return self._open(taken.choice, taken) + self._frames(taken)

    def finish(self) -> bytes:
        """Give the ends that are missing, the usage if it was asked for, and `[DONE]`."""
        frames = [self._open(end.choice, end) + self._frames(end) for end in self.assembly.end()]
        usage = self.assembly.usage
        if self._include_usage and usage is not None:
            frames.append(b'%b],"usage":%b}\n\n' % (self._head, encode_json(_usage(usage))))
        return b"".join(frames) + _DONE

    def error(self, problem: Problem) -> bytes:
        """Give the last frame of a stream that failed."""
        return data_frame({"error": error_object(problem)})

    def _open(self, choice: int, event: Event) -> bytes:
        """Give the first chunks of a choice and of those before it, as far as they are missing."""
        frames = []
        # No client can ask for more than 128 choices, so a higher number does not open all those below it.
        for number in range(max(self._opened, choice - 127), choice + 1):
            self._opened = number + 1
            self._fronts[number] = b'%b{"index":%d,"delta":{"content":' % (self._head, number)
            says_text = number == choice and isinstance(event, (Text, Finish))
            frames.append(self._chunk(number, b'{"role":"assistant","content":%b}' % (b'""' if says_text else b"null")))
        return b"".join(frames)

    def _frames(self, event: _OfChoice) -> bytes:
        choice = event.choice
        if isinstance(event, Logprobs):
            earlier = self._flushed(choice)
            self._waiting[choice] = event
            self._fronts.pop(choice, None)
            return earlier
        if isinstance(event, (Text, Reasoning, Refusal)):
            delta = b'{"%b":%b}' % (_MEMBERS[type(event)], encode_json(event.text))
            return self._chunk(choice, delta, self._waiting_logprobs(choice))
        before = self._flushed(choice)
        if isinstance(event, Finish):
            self._fronts.pop(choice, None)
            # A choice that says nothing has an empty text, also if it was opened without one.
            delta = b"{}" if self.assembly.choices[choice].parts else b'{"content":""}'
            return before + self._chunk(choice, delta, reason=event.reason)
        if isinstance(event, ToolCall):
            function = {"name": event.name, "arguments": event.arguments}
            call = {"index": event.index, "id": event.id, "type": "function", "function": function}
        else:
            call = {"index": event.index, "function": {"arguments": event.text}}
        return before + self._chunk(choice, encode_json({"tool_calls": [call]}))

    def _flushed(self, choice: int) -> bytes:
        """Give the tokens that wait for their text, if something else came."""
        logprobs = self._waiting_logprobs(choice)
        return b"" if logprobs == b"null" else self._chunk(choice, b"{}", logprobs)

    def _waiting_logprobs(self, choice: int) -> bytes:
        waiting = self._waiting.pop(choice, None)
        if waiting is None:
            return b"null"
        self._fronts[choice] = b'%b{"index":%d,"delta":{"content":' % (self._head, choice)
        members = {"content": None, "refusal": None, "refusal" if waiting.refusal else "content": waiting.tokens}
        return encode_json(members)

    def _chunk(self, choice: int, delta: bytes, logprobs: bytes = b"null", reason: str | None = None) -> bytes:
        return b'%b{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}%b' % (
            self._head,
            choice,
            delta,
            logprobs,
            encode_json(reason),
            self._tail,
        )
