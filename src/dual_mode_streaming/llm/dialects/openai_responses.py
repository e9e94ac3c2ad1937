"""OpenAI Responses: `POST /v1/responses`.

- The answer is a row of items: reasoning, a message, calls. A message has parts: text and refusal.
- Every event has a name, which its data repeats as `type`, and a number, counted from 0. Every delta says to which item
  and part it belongs. An item is added before its parts, a part before its deltas, and all are done before the end.
- There is no `[DONE]`: the last event is `response.completed`, or `response.incomplete` for an answer that was cut.
- After an error come two events: `response.failed` has what there is of the answer, and `error` makes clients raise.
  OpenAI's own Python client raises only if the data has a member `error`, so it is there beside the flat form.
- Rendering is pure, so the same events give the same numbers. A client that comes back with `starting_after` gets what
  it has missed by rendering the events once more (`renderer(..., starting_after=)`).
- The items of a call have the ids of the answer and their place in it; what tells calls apart is `call_id`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dual_mode_streaming.errors import Problem
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.llm.events import Reasoning, Refusal, Text, ToolCall, Usage
from dual_mode_streaming.llm.fold import Choice, Completion, OpenChoice
from dual_mode_streaming.llm.requests import Request

from ._blocks import Block, BlockRenderer, blocks_of
from ._openai import error_object, error_of
from ._responses_parser import ResponsesParser, completion_of
from ._responses_request import Retrieval, request_of, retrieval_of
from .base import Dialect, Stamp, message_of

__all__ = ["OpenAIResponses", "ResponsesRenderer", "Retrieval"]

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class OpenAIResponses(Dialect):
    """The contract of Responses."""

    name = "openai_responses"
    path = "/v1/responses"

    def parse_request(self, body: bytes) -> Request:
        """Read the body of a request."""
        return request_of(body)

    def parse_retrieval(self, query: Mapping[str, str]) -> Retrieval:
        """Read the query of `GET /v1/responses/{id}`.

        Raises:
            InvalidRequest: A value is not what the vendor accepts.
        """
        return retrieval_of(query)

    def outline(self, request: Request) -> dict[str, Any]:
        """Give the body of a request without the conversation."""
        return {**request.body, "input": "-"}

    def batch(self, completion: Completion, request: Request, stamp: Stamp) -> dict[str, Any]:
        """Give the batch answer."""
        reason = completion.first.finish
        status = "incomplete" if reason in _INCOMPLETE else "completed"
        return self.response(status, request, stamp, completion)

    def response(
        self,
        status: str,
        request: Request,
        stamp: Stamp,
        completion: Completion | None = None,
        problem: Problem | None = None,
    ) -> dict[str, Any]:
        """Give the object that stands for the answer at any time of its life.

        Args:
            status: `queued`, `in_progress`, `completed`, `incomplete`, `failed` or `cancelled`.
            request: What was asked for; some of it is repeated in the answer.
            stamp: The id and time of the answer.
            completion: What there is of it; None for nothing.
            problem: Why it failed.
        """
        completion = completion or Completion()
        choice = completion.first
        body = request.body
        reason = _INCOMPLETE.get(choice.finish or "") if status == "incomplete" else None
        return {
            "id": f"resp_{stamp.id}",
            "object": "response",
            "created_at": stamp.created,
            "status": status,
            "background": request.background,
            "error": None if problem is None else _failure(problem),
            "incomplete_details": None if reason is None else {"reason": reason},
            "instructions": body.get("instructions"),
            "max_output_tokens": request.sampling.max_tokens,
            "metadata": body.get("metadata") or {},
            "model": stamp.model or request.model,
            "output": _output(choice, stamp, status),
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": body.get("previous_response_id"),
            "store": body.get("store", False),
            "temperature": request.sampling.temperature,
            "text": body.get("text") or {"format": {"type": "text"}},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_p": request.sampling.top_p,
            "usage": None if completion.usage is None else _usage(completion.usage),
        }

    def renderer(self, request: Request, stamp: Stamp, *, starting_after: int | None = None) -> ResponsesRenderer:
        """Give what writes the stream.

        Args:
            request: What was asked for.
            stamp: The id and time of the answer.
            starting_after: Leave out the events up to this number, which the client has.
        """
        return ResponsesRenderer(self, request, stamp, -1 if starting_after is None else starting_after)

    def error_body(self, problem: Problem) -> dict[str, Any]:
        """Give the body of an error."""
        return {"error": error_object(problem)}

    def parser(self) -> ResponsesParser:
        """Give what reads a stream."""
        return ResponsesParser()

    def parse_batch(self, document: Mapping[str, Any]) -> Completion:
        """Read a batch answer."""
        if document.get("error"):
            raise error_of(document["error"])
        return completion_of(document)


# --- the answer ----------------------------------------------------------------------------------


def _output(choice: Choice, stamp: Stamp, status: str) -> list[dict[str, Any]]:
    """Give the items of an answer. The last one of an answer that was cut is incomplete."""
    items: list[dict[str, Any]] = []
    for block in blocks_of(choice, refusals=True):
        if block.kind in (Text, Refusal) and items and items[-1]["type"] == "message":
            items[-1]["content"].append(_part(block))
        else:
            items.append(_item(block, _item_id(block, stamp, len(items)), [_part(block)], "completed"))
    if items and status != "completed":
        items[-1]["status"] = "in_progress" if status == "in_progress" else "incomplete"
    return items


def _item_id(block: Block, stamp: Stamp, number: int) -> str:
    prefix = {Reasoning: "rs", ToolCall: "fc"}.get(block.kind, "msg")
    return f"{prefix}_{stamp.id}_{number}"


def _item(block: Block, item_id: str, parts: list[dict[str, Any]], status: str) -> dict[str, Any]:
    if block.call is not None:
        call = block.call
        return {
            "id": item_id,
            "type": "function_call",
            "status": status,
            "call_id": call.id,
            "name": call.name,
            "arguments": block.text,
        }
    if block.kind is Reasoning:
        return {"id": item_id, "type": "reasoning", "summary": [], "content": parts, "status": status}
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": parts}


def _part(block: Block) -> dict[str, Any]:
    if block.kind is Reasoning:
        return {"type": "reasoning_text", "text": block.text}
    if block.kind is Refusal:
        return {"type": "refusal", "refusal": block.text}
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": []}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens or 0,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens or 0,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.total_tokens,
    }


def _failure(problem: Problem) -> dict[str, Any]:
    code = {429: "rate_limit_exceeded", 400: "invalid_prompt"}.get(problem.status, "server_error")
    return {"code": code, "message": message_of(problem)}


class ResponsesRenderer(BlockRenderer):
    """Writes one stream of events.

    Attributes:
        next_number: The number of the next event.
    """

    refusals = True

    def __init__(self, dialect: OpenAIResponses, request: Request, stamp: Stamp, starting_after: int) -> None:
        super().__init__()
        self.next_number = 0
        self._dialect = dialect
        self._request = request
        self._stamp = stamp
        self._after = starting_after
        # The item that is open: its first block, its id, its place in the output, and its parts that are done.
        self._item: Block | None = None
        self._item_id = ""
        self._place = -1
        self._parts: list[dict[str, Any]] = []

    def start(self) -> bytes:
        """Give the events that open the stream."""
        response = self._dialect.response("in_progress", self._request, self._stamp)
        return self._frame("response.created", {"response": response}) + self._frame(
            "response.in_progress", {"response": response}
        )

    def opened(self, block: Block) -> bytes:
        """Give the events that begin an item, if there has to be a new one, and a part of it."""
        frames = b""
        item = self._item
        message = (Text, Refusal)
        if item is None or item.kind not in message or block.kind not in message:
            frames = self._end_item()
            self._place += 1
            self._item = block
            self._item_id = _item_id(block, self._stamp, self._place)
            added = _item(block, self._item_id, [], "in_progress")
            frames += self._frame("response.output_item.added", {"output_index": self._place, "item": added})
        kind = {
            Text: "output_text.delta",
            Refusal: "refusal.delta",
            Reasoning: "reasoning_text.delta",
            ToolCall: "function_call_arguments.delta",
        }[block.kind]
        members = self._where(block)
        self.front = b'event: response.%b\ndata: %b,"delta":' % (
            kind.encode(),
            encode_json({"type": f"response.{kind}", **members})[:-1],
        )
        self.back = b',"logprobs":[],"sequence_number":' if block.kind is Text else b',"sequence_number":'
        if block.call is None:
            frames += self._frame("response.content_part.added", {**members, "part": _part(block)})
        return frames

    def delta(self, text: str) -> bytes:
        """Give the event of a piece."""
        number = self.next_number
        self.next_number = number + 1
        frame = super().delta(text)
        return b"%b%d}\n\n" % (frame, number) if number > self._after else b""

    def closed(self, block: Block) -> bytes:
        """Give the events that end a part, and the item if it is a call."""
        where = self._where(block)
        if block.call is not None:
            done = {**where, "name": block.call.name, "arguments": block.text}
            return self._frame("response.function_call_arguments.done", done)
        part = _part(block)
        kind = {Refusal: "refusal", Reasoning: "reasoning_text"}.get(block.kind, "output_text")
        text: dict[str, Any] = {"refusal" if block.kind is Refusal else "text": block.text}
        if block.kind is Text:
            text["logprobs"] = []
        self._parts.append(part)
        return self._frame(f"response.{kind}.done", {**where, **text}) + self._frame(
            "response.content_part.done", {**where, "part": part}
        )

    def ended(self, choice: OpenChoice) -> bytes:
        """Give the events that end the last item and the answer."""
        reason = "" if choice.finish is None else choice.finish.reason
        cut = reason in _INCOMPLETE
        frames = self._end_item("incomplete" if cut else "completed")
        response = self._dialect.batch(self.assembly.completion(), self._request, self._stamp)
        return frames + self._frame(f"response.{response['status']}", {"response": response})

    def error(self, problem: Problem) -> bytes:
        """Give the last events of a stream that failed."""
        completion = self.assembly.completion()
        response = self._dialect.response("failed", self._request, self._stamp, completion, problem)
        error = error_object(problem)
        flat = {"code": error["code"], "message": error["message"], "param": error["param"], "error": error}
        return self._frame("response.failed", {"response": response}) + self._frame("error", flat)

    def _where(self, block: Block) -> dict[str, Any]:
        """Say to which item, and to which part of it, an event belongs."""
        where: dict[str, Any] = {"item_id": self._item_id, "output_index": self._place}
        if block.call is None:
            where["content_index"] = len(self._parts)
        return where

    def _end_item(self, status: str = "completed") -> bytes:
        item, self._item = self._item, None
        if item is None:
            return b""
        parts, self._parts = self._parts, []
        done = _item(item, self._item_id, parts, status)
        return self._frame("response.output_item.done", {"output_index": self._place, "item": done})

    def _frame(self, name: str, members: dict[str, Any]) -> bytes:
        number = self.next_number
        self.next_number = number + 1
        if number <= self._after:
            return b""
        data = {"type": name, **members, "sequence_number": number}
        return b"event: %b\ndata: %b\n\n" % (name.encode(), encode_json(data))
