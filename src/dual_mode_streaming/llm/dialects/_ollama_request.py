"""Reads the requests of Ollama."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dual_mode_streaming.llm.events import ToolCall
from dual_mode_streaming.llm.requests import Image, Message, Request, Sampling, Tool

from ._arguments import arguments_text
from ._body import Fields, read_body

__all__ = ["chat_request_of", "generate_request_of"]

_ROLES = ("system", "user", "assistant", "tool")


def chat_request_of(body: bytes) -> Request:
    """Read a request to `/api/chat`.

    Raises:
        InvalidRequest: It is not what the vendor accepts, or asks for what is not offered here.
    """
    fields = read_body(body)
    messages = tuple(_message(message) for message in fields.objects("messages"))
    tools = tuple(_tool(tool) for tool in fields.objects("tools"))
    return _request(fields, messages, tools)


def generate_request_of(body: bytes) -> Request:
    """Read a request to `/api/generate`.

    Raises:
        InvalidRequest: It is not what the vendor accepts, or asks for what is not offered here.
    """
    fields = read_body(body)
    prompt, system = fields.text("prompt"), fields.text("system")
    images = tuple(_image(image) for image in fields.texts("images"))
    messages: tuple[Message, ...] = ()
    if prompt or images:
        messages = (Message("user", ((prompt,) if prompt else ()) + images),)
        if system:
            messages = (Message("system", (system,)), *messages)
    return _request(fields, messages, ())


def _request(fields: Fields, messages: tuple[Message, ...], tools: tuple[Tool, ...]) -> Request:
    model = fields.name("model")
    options = fields.fields("options")
    most = options.integer("num_predict")
    stream = fields.flag("stream")
    return Request(
        model=model,
        messages=messages,
        stream=True if stream is None else stream,
        tools=tools,
        sampling=Sampling(
            # A negative number means that there is no bound.
            max_tokens=None if most is None or most < 0 else most,
            temperature=options.number("temperature", least=0),
            top_p=options.number("top_p", least=0, most=1),
            top_k=options.integer("top_k", least=0),
            seed=options.integer("seed"),
            stop=options.texts("stop"),
            presence_penalty=options.number("presence_penalty"),
            frequency_penalty=options.number("frequency_penalty"),
        ),
        include_usage=True,
        schema=_schema(fields),
        extra={**fields.rest(), **options.rest()},
        body=fields.value,
    )


def _schema(fields: Fields) -> Mapping[str, Any] | None:
    value = fields.get("format")
    if value in (None, ""):
        return None
    if value == "json":
        return {"type": "object"}
    if not isinstance(value, dict):
        raise fields.refuse("format", 'it must be "json" or a JSON Schema')
    return value


def _message(fields: Fields) -> Message:
    role = fields.name("role")
    if role not in _ROLES:
        raise fields.refuse("role", f"it must be one of {', '.join(_ROLES)}, not {role!r}")
    text = fields.text("content")
    images = tuple(_image(image) for image in fields.texts("images"))
    calls = tuple(_call(call, number) for number, call in enumerate(fields.objects("tool_calls")))
    name = fields.text("tool_name")
    return Message(role, ((text,) if text else ()) + images, calls, fields.text("tool_call_id"), name)


def _call(fields: Fields, number: int) -> ToolCall:
    function = fields.fields("function")
    arguments = arguments_text(function.mapping("arguments") or {})
    return ToolCall(number, fields.text("id") or f"call_{number}", function.name("name"), arguments)


def _tool(fields: Fields) -> Tool:
    kind = fields.text("type")
    if kind not in (None, "function"):
        raise fields.refuse("type", f"only functions are offered here, not {kind!r}")
    function = fields.fields("function")
    return Tool(function.name("name"), function.text("description") or "", function.schema("parameters"))


def _image(base64: str) -> Image:
    return Image(f"data:image/png;base64,{base64}")
