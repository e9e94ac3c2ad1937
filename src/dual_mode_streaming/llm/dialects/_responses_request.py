"""Reads the requests of OpenAI Responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dual_mode_streaming.errors import InvalidRequest
from dual_mode_streaming.llm.events import ToolCall
from dual_mode_streaming.llm.requests import Message, Request, Sampling, Tool

from ._body import Fields, read_body
from ._openai import content_of, schema_of, tool_choice_of

__all__ = ["Retrieval", "request_of", "retrieval_of"]

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_TEXTS = frozenset({"input_text", "output_text", "text", "refusal"})


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a client asks for that comes back to an answer (`GET /v1/responses/{id}`).

    Attributes:
        stream: Whether it wants the events; otherwise the object as it is now.
        starting_after: The number of the last event that it has; None for none.
    """

    stream: bool = False
    starting_after: int | None = None


def retrieval_of(query: Mapping[str, str]) -> Retrieval:
    """Read the query of a retrieval.

    Raises:
        InvalidRequest: A value is not what the vendor accepts.
    """
    stream = query.get("stream", "false").lower()
    if stream not in ("true", "false"):
        raise InvalidRequest(f"stream: it must be true or false, not {stream!r}", "stream")
    after = query.get("starting_after")
    if after is None:
        return Retrieval(stream == "true")
    if not (after.isascii() and after.isdecimal() and len(after) < 19):
        raise InvalidRequest(f"starting_after: it must be the number of an event, not {after!r}", "starting_after")
    if stream == "false":
        raise InvalidRequest("starting_after: it needs stream=true", "starting_after")
    return Retrieval(stream=True, starting_after=int(after))


def request_of(body: bytes) -> Request:
    """Read a request.

    Raises:
        InvalidRequest: It is not what the vendor accepts, or asks for what is not offered here.
    """
    fields = read_body(body)
    model = fields.name("model")
    messages = tuple(_input(fields))
    if not messages:
        raise fields.refuse("input", "there must be at least one message")
    instructions = fields.text("instructions")
    if instructions:
        messages = (Message("system", (instructions,)), *messages)
    tool_choice, forced_tool = tool_choice_of(fields)
    format_ = fields.fields("text").fields("format")
    return Request(
        model=model,
        messages=messages,
        stream=fields.flag("stream") or False,
        tools=tuple(_tool(tool) for tool in fields.objects("tools")),
        tool_choice=tool_choice,
        forced_tool=forced_tool,
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        sampling=Sampling(
            max_tokens=fields.integer("max_output_tokens", least=1),
            temperature=fields.number("temperature", least=0, most=2),
            top_p=fields.number("top_p", least=0, most=1),
        ),
        include_usage=True,
        schema=schema_of(format_, format_),
        background=fields.flag("background") or False,
        extra=fields.rest(),
        body=fields.value,
    )


def _input(fields: Fields) -> Iterator[Message]:
    value = fields.get("input")
    if isinstance(value, str):
        yield Message("user", (value,))
        return
    for item in fields.objects("input", required=True):
        kind = item.text("type") or "message"
        if kind == "message":
            role = item.name("role")
            if role not in _ROLES:
                raise item.refuse("role", f"it must be one of {', '.join(_ROLES)}, not {role!r}")
            yield Message(_ROLES[role], content_of(item, text_types=_TEXTS, image_type="input_image"))
        elif kind == "function_call":
            call = ToolCall(0, item.name("call_id"), item.name("name"), item.text("arguments", required=True) or "")
            yield Message("assistant", tool_calls=(call,))
        elif kind == "function_call_output":
            output = Fields({"content": item.get("output")}, item.path)
            content = content_of(output, text_types=_TEXTS, image_type="input_image")
            yield Message("tool", content, tool_call_id=item.name("call_id"))
        elif kind != "reasoning":
            # What a model thought before is not told to it again.
            raise item.refuse("type", f"items of the type {kind!r} are not offered here")


def _tool(fields: Fields) -> Tool:
    kind = fields.name("type")
    if kind != "function":
        raise fields.refuse("type", f"only functions are offered here, not {kind!r}")
    description = fields.text("description") or ""
    return Tool(fields.name("name"), description, fields.schema("parameters"), fields.flag("strict"))
