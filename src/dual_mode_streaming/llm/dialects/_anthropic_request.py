"""Reads the requests of Anthropic Messages."""

from __future__ import annotations

from collections.abc import Iterator

from dual_mode_streaming.llm.events import ToolCall
from dual_mode_streaming.llm.requests import Image, Message, Request, Sampling, Tool

from ._arguments import arguments_text
from ._body import Fields, read_body

__all__ = ["request_of"]

_CHOICES = {"auto": "auto", "any": "required", "tool": "required", "none": "none"}


def request_of(body: bytes) -> Request:
    """Read a request.

    Raises:
        InvalidRequest: It is not what the vendor accepts, or asks for what is not offered here.
    """
    fields = read_body(body)
    model = fields.name("model")
    system = _texts(fields, "system")
    messages = [message for given in fields.objects("messages", required=True) for message in _messages(given)]
    if not messages:
        raise fields.refuse("messages", "there must be at least one message")
    if system:
        messages.insert(0, Message("system", system))
    choice = fields.fields("tool_choice")
    chosen = choice.name("type") if choice.value else None
    if chosen is not None and chosen not in _CHOICES:
        raise choice.refuse("type", f"it must be one of {', '.join(_CHOICES)}, not {chosen!r}")
    alone = choice.flag("disable_parallel_tool_use")
    if fields.get("max_tokens") is None:
        raise fields.refuse("max_tokens", "it is required")
    return Request(
        model=model,
        messages=tuple(messages),
        stream=fields.flag("stream") or False,
        tools=tuple(_tool(tool) for tool in fields.objects("tools")),
        tool_choice=None if chosen is None else _CHOICES[chosen],
        forced_tool=choice.name("name") if chosen == "tool" else None,
        parallel_tool_calls=None if alone is None else not alone,
        sampling=Sampling(
            max_tokens=fields.integer("max_tokens", least=1),
            temperature=fields.number("temperature", least=0, most=1),
            top_p=fields.number("top_p", least=0, most=1),
            top_k=fields.integer("top_k", least=0),
            stop=fields.texts("stop_sequences"),
        ),
        include_usage=True,
        extra=fields.rest(),
        body=fields.value,
    )


def _texts(fields: Fields, name: str) -> tuple[str, ...]:
    """Read a text: a string, or blocks of text."""
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return (value,) if value else ()
    texts = []
    for block in fields.objects(name):
        if block.name("type") != "text":
            raise block.refuse("type", "only blocks of text are allowed here")
        texts.append(block.text("text", required=True) or "")
    return tuple(texts)


def _messages(fields: Fields) -> Iterator[Message]:
    """Read one message. The results of tools are part of a user's message here, and messages of their own for us."""
    role = fields.name("role")
    if role not in ("user", "assistant", "system"):
        raise fields.refuse("role", f"it must be user or assistant, not {role!r}")
    content = fields.get("content")
    if isinstance(content, str):
        yield Message(role, (content,))
        return
    parts: list[str | Image] = []
    calls: list[ToolCall] = []
    results = 0
    for block in fields.objects("content", required=True):
        kind = block.name("type")
        if kind == "text":
            parts.append(block.text("text", required=True) or "")
        elif kind == "image":
            parts.append(_image(block.fields("source")))
        elif kind == "tool_use":
            arguments = arguments_text(block.mapping("input") or {})
            calls.append(ToolCall(len(calls), block.name("id"), block.name("name"), arguments))
        elif kind == "tool_result":
            results += 1
            yield Message("tool", tuple(_result(block)), tool_call_id=block.name("tool_use_id"))
        elif kind not in ("thinking", "redacted_thinking"):
            # What a model thought before is not told to it again.
            raise block.refuse("type", f"blocks of the type {kind!r} are not offered here")
    if parts or calls or not results:
        yield Message(role, tuple(parts), tuple(calls))


def _result(fields: Fields) -> Iterator[str | Image]:
    content = fields.get("content")
    if isinstance(content, str):
        yield content
        return
    for block in fields.objects("content"):
        if block.name("type") == "image":
            yield _image(block.fields("source"))
        else:
            yield block.text("text", required=True) or ""


def _image(fields: Fields) -> Image:
    kind = fields.name("type")
    if kind == "url":
        return Image(fields.name("url"))
    if kind != "base64":
        raise fields.refuse("type", f"it must be base64 or url, not {kind!r}")
    return Image(f"data:{fields.name('media_type')};base64,{fields.name('data')}")


def _tool(fields: Fields) -> Tool:
    kind = fields.text("type")
    if kind not in (None, "custom"):
        raise fields.refuse("type", f"only tools of the client are offered here, not {kind!r}")
    if fields.get("input_schema") is None:
        raise fields.refuse("input_schema", "it is required")
    return Tool(fields.name("name"), fields.text("description") or "", fields.schema("input_schema"))
