"""Ollama: `POST /api/chat` and `POST /api/generate`.

- A stream is lines of JSON. It is the default: a request has to ask for a batch.
- Texts are pieces; a call comes whole, with its arguments as an object, once it is complete.
- The last line has `done`, the reason, and the counts and times that it knows. Times are nanoseconds.
- There is no reason for a call: it is `stop`. A refusal is a text.
- An error is `{"error": text}`, as a body and as the last line. There is no heartbeat.
- A request without messages only loads the model. It is answered at once, with the reason `load`.
- `/api/generate` has no tools.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dual_mode_streaming.errors import Problem, ProtocolError
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.jsonlines import NDJSONDecoder, encode_line
from dual_mode_streaming.llm.events import Event, Finish, Reasoning, Text, ToolCall, Usage
from dual_mode_streaming.llm.fold import Choice, Completion, OpenChoice, fold_all
from dual_mode_streaming.llm.requests import Request
from dual_mode_streaming.modes import NDJSON

from ._arguments import arguments_object, arguments_text
from ._blocks import Block, BlockRenderer, blocks_of
from ._lenient import count_in, dict_in, dicts_in, text_in
from ._ollama_request import chat_request_of, generate_request_of
from .base import Dialect, Parser, Stamp, message_of, remote_error

__all__ = ["OllamaChat", "OllamaGenerate", "OllamaParser", "OllamaRenderer"]


class _Ollama(Dialect):
    """What both endpoints have in common."""

    name = "ollama"
    media_type = NDJSON
    streams_by_default = True

    def immediate(self, request: Request) -> Completion | None:
        """Answer a request that only loads the model."""
        return None if request.messages else Completion((Choice(finish="load"),))

    def batch(self, completion: Completion, request: Request, stamp: Stamp) -> dict[str, Any]:
        """Give the batch answer."""
        choice = completion.first
        blocks = blocks_of(choice)
        text = "".join(block.text for block in blocks if block.kind is Text)
        calls = [_call(block) for block in blocks if block.call is not None]
        times = _times(stamp.elapsed(), 0)
        return self.line(request, stamp, text, choice.reasoning, calls) | _end(choice.finish, completion.usage, times)

    def renderer(self, request: Request, stamp: Stamp) -> OllamaRenderer:
        """Give what writes the stream."""
        return OllamaRenderer(self, request, stamp)

    def error_body(self, problem: Problem) -> dict[str, Any]:
        """Give the body of an error, which is also the last line of a stream that failed."""
        return {"error": message_of(problem)}

    def parser(self) -> OllamaParser:
        """Give what reads a stream."""
        return OllamaParser()

    def parse_batch(self, document: Mapping[str, Any]) -> Completion:
        """Read a batch answer."""
        if "error" in document:
            raise remote_error(500, document["error"])
        if "message" not in document and "response" not in document:
            raise ProtocolError("The answer has neither a message nor a response.")
        return fold_all(_events(dict(document)))

    @abstractmethod
    def line(
        self, request: Request, stamp: Stamp, text: str = "", thinking: str = "", calls: list[Any] | None = None
    ) -> dict[str, Any]:
        """Give the object of a line that says these things."""


class OllamaChat(_Ollama):
    """The contract of `/api/chat`."""

    path = "/api/chat"

    def parse_request(self, body: bytes) -> Request:
        """Read the body of a request."""
        return chat_request_of(body)

    def line(
        self, request: Request, stamp: Stamp, text: str = "", thinking: str = "", calls: list[Any] | None = None
    ) -> dict[str, Any]:
        """Give the object of a line."""
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if thinking:
            message["thinking"] = thinking
        if calls:
            message["tool_calls"] = calls
        return {**_head(request, stamp), "message": message, "done": False}


class OllamaGenerate(_Ollama):
    """The contract of `/api/generate`."""

    path = "/api/generate"

    def parse_request(self, body: bytes) -> Request:
        """Read the body of a request."""
        return generate_request_of(body)

    def line(
        self,
        request: Request,
        stamp: Stamp,
        text: str = "",
        thinking: str = "",
        calls: list[Any] | None = None,  # noqa: ARG002  this endpoint has no tools
    ) -> dict[str, Any]:
        """Give the object of a line."""
        thought = {"thinking": thinking} if thinking else {}
        return {**_head(request, stamp), "response": text, **thought, "done": False}


# --- the answer ----------------------------------------------------------------------------------


def _head(request: Request, stamp: Stamp) -> dict[str, Any]:
    created = datetime.fromtimestamp(stamp.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"model": stamp.model or request.model, "created_at": created}


def _call(block: Block) -> dict[str, Any]:
    call = block.call or ToolCall(0, "", "")
    function = {"index": call.index, "name": call.name, "arguments": arguments_object(block.text)}
    return {"id": call.id, "function": function}


def _times(total: int, prompt: int) -> dict[str, int]:
    return {
        "total_duration": total,
        "load_duration": 0,
        "prompt_eval_duration": prompt,
        "eval_duration": max(0, total - prompt),
    }


def _end(finish: str | None, usage: Usage | None, times: dict[str, int]) -> dict[str, Any]:
    known = usage or Usage()
    reason = "stop" if finish in (None, "tool_calls") else finish
    document: dict[str, Any] = {"done": True, "done_reason": reason, **times}
    if known.input_tokens is not None:
        document["prompt_eval_count"] = known.input_tokens
    if known.output_tokens is not None:
        document["eval_count"] = known.output_tokens
    return document


class OllamaRenderer(BlockRenderer):
    """Writes one stream of lines."""

    def __init__(self, dialect: _Ollama, request: Request, stamp: Stamp) -> None:
        super().__init__()
        self._dialect = dialect
        self._request = request
        self._stamp = stamp
        self._begin: int | None = None
        # A line with a text, cut where the text stands: everything else in it is known.
        mark = "\x1a"
        fronts = {Text: dialect.line(request, stamp, mark), Reasoning: dialect.line(request, stamp, "", mark)}
        self._lines = {kind: encode_line(line).rsplit(encode_json(mark), 1) for kind, line in fronts.items()}

    def opened(self, block: Block) -> bytes:
        """Note when the first piece came. Nothing tells that a block begins."""
        if self._begin is None:
            self._begin = self._stamp.elapsed()
        if block.call is None:
            self.front, self.back = self._lines[block.kind]
        return b""

    def delta_of_call(self, text: str) -> bytes:  # noqa: ARG002
        """Give nothing: a call comes whole."""
        return b""

    def closed(self, block: Block) -> bytes:
        """Give the line of a call."""
        if block.call is None or isinstance(self._dialect, OllamaGenerate):
            return b""
        return encode_line(self._dialect.line(self._request, self._stamp, calls=[_call(block)]))

    def ended(self, choice: OpenChoice) -> bytes:
        """Give the last line."""
        finish = choice.finish or Finish()
        times = _times(self._stamp.elapsed(), self._begin or 0)
        line = self._dialect.line(self._request, self._stamp)
        return encode_line(line | _end(finish.reason, self.assembly.usage, times))

    def error(self, problem: Problem) -> bytes:
        """Give the last line of a stream that failed."""
        return encode_line(self._dialect.error_body(problem))

    def heartbeat(self) -> bytes:
        """Give nothing: a line that says nothing is not known here."""
        return b""


# --- reading an answer ---------------------------------------------------------------------------


class OllamaParser(Parser):
    """Reads a stream of lines."""

    def __init__(self) -> None:
        super().__init__()
        self._decoder = NDJSONDecoder()

    def flush(self) -> list[Event]:
        """Say that the stream has ended. The last line need not have a line end."""
        events: list[Event] = []
        if self._failure is None and not self._complete:
            try:
                events = self.feed(b"\n")
            except ProtocolError:
                # Half a line is a stream that was cut.
                self._failure = None
        return [*events, *super().flush()]

    def _feed(self, data: bytes, events: list[Event]) -> None:
        for value in self._decoder.feed(data):
            if isinstance(value, ProtocolError):
                raise value
            if not isinstance(value, dict):
                raise ProtocolError("A line of the stream holds no JSON object.")
            if "error" in value:
                raise remote_error(500, value["error"])
            events.extend(_events(value))
            self._complete = self._complete or value.get("done") is True


def _events(value: dict[str, Any]) -> list[Event]:
    message = dict_in(value, "message")
    events: list[Event] = [
        Reasoning(text_in(message, "thinking") or text_in(value, "thinking")),
        Text(text_in(message, "content") or text_in(value, "response")),
    ]
    for call in dicts_in(message, "tool_calls"):
        function = dict_in(call, "function")
        number = count_in(function, "index") or 0
        arguments = arguments_text(function.get("arguments"))
        events.append(ToolCall(number, text_in(call, "id"), text_in(function, "name"), arguments))
    if value.get("done") is True:
        usage = Usage(count_in(value, "prompt_eval_count"), count_in(value, "eval_count"))
        if usage != Usage():
            events.append(usage)
        events.append(Finish(text_in(value, "done_reason") or "stop"))
    return [event for event in events if not isinstance(event, (Text, Reasoning)) or event.text]
