"""Reads the requests of OpenAI Chat Completions."""

from __future__ import annotations

from dual_mode_streaming.llm.events import ToolCall
from dual_mode_streaming.llm.requests import Message, Request, Sampling, Tool

from ._body import Fields, read_body
from ._openai import content_of, schema_of, tool_choice_of

__all__ = ["request_of"]

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_TEXTS = frozenset({"text", "refusal"})


def request_of(body: bytes) -> Request:
    """Read a request.

    Raises:
        InvalidRequest: It is not what the vendor accepts, or asks for what is not offered here.
    """
    fields = read_body(body)
    model = fields.name("model")
    messages = tuple(_message(message) for message in fields.objects("messages", required=True))
    if not messages:
        raise fields.refuse("messages", "there must be at least one message")
    tools = tuple(_tool(tool) for tool in fields.objects("tools"))
    tool_choice, forced_tool = tool_choice_of(fields)
    format_ = fields.fields("response_format")
    top_logprobs = fields.integer("top_logprobs", least=0, most=20)
    logprobs = fields.flag("logprobs") or False
    if top_logprobs and not logprobs:
        raise fields.refuse("top_logprobs", "it needs logprobs to be true")
    # The older name stays valid; the newer one counts if both are given.
    older = fields.integer("max_tokens", least=1)
    newer = fields.integer("max_completion_tokens", least=1)
    stop = fields.texts("stop")
    if len(stop) > 4:
        raise fields.refuse("stop", "there may be at most 4 stop sequences")
    return Request(
        model=model,
        messages=messages,
        stream=fields.flag("stream") or False,
        tools=tools,
        tool_choice=tool_choice,
        forced_tool=forced_tool,
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        sampling=Sampling(
            max_tokens=older if newer is None else newer,
            temperature=fields.number("temperature", least=0, most=2),
            top_p=fields.number("top_p", least=0, most=1),
            top_k=fields.integer("top_k", least=-1),
            seed=fields.integer("seed"),
            stop=stop,
            presence_penalty=fields.number("presence_penalty", least=-2, most=2),
            frequency_penalty=fields.number("frequency_penalty", least=-2, most=2),
        ),
        n=fields.integer("n", least=1, most=128) or 1,
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        include_usage=fields.fields("stream_options").flag("include_usage") or False,
        schema=schema_of(format_, format_.fields("json_schema")),
        extra=fields.rest(),
        body=fields.value,
    )


def _message(fields: Fields) -> Message:
    role = fields.name("role")
    if role not in _ROLES:
        raise fields.refuse("role", f"it must be one of {', '.join(_ROLES)}, not {role!r}")
    content = content_of(fields, text_types=_TEXTS, image_type="image_url")
    calls = tuple(_call(call, number) for number, call in enumerate(fields.objects("tool_calls")))
    if fields.get("content") is None and not calls and role != "assistant":
        raise fields.refuse("content", "it is required")
    tool_call_id = fields.text("tool_call_id", required=role == "tool")
    return Message(_ROLES[role], content, calls, tool_call_id, fields.text("name"))


def _call(fields: Fields, number: int) -> ToolCall:
    function = fields.fields("function")
    return ToolCall(number, fields.name("id"), function.name("name"), function.text("arguments") or "")


def _tool(fields: Fields) -> Tool:
    if fields.name("type") != "function":
        raise fields.refuse("type", "only functions are offered here")
    function = fields.fields("function")
    return Tool(
        function.name("name"),
        function.text("description") or "",
        function.schema("parameters"),
        function.flag("strict"),
    )
