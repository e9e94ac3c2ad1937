"""Reads the requests of the Vercel AI SDK: the conversation as `UIMessage`s, and what the application adds."""

from __future__ import annotations

from collections.abc import Iterator

from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.llm.events import ToolCall
from dual_mode_streaming.llm.requests import Image, Message, Request

from ._arguments import arguments_text
from ._body import Fields, read_body

__all__ = ["request_of"]

_ROLES = ("system", "user", "assistant")


def request_of(body: bytes) -> Request:
    """Read a request. The name of the model is the application's business, so it may be absent.

    Raises:
        InvalidRequest: It is not what the vendor sends.
    """
    fields = read_body(body)
    messages = tuple(message for given in fields.objects("messages", required=True) for message in _messages(given))
    if not messages:
        raise fields.refuse("messages", "there must be at least one message")
    stream = fields.flag("stream")
    return Request(
        model=fields.text("model") or "",
        messages=messages,
        stream=True if stream is None else stream,
        include_usage=True,
        extra=fields.rest(),
        body=fields.value,
    )


def _messages(fields: Fields) -> Iterator[Message]:
    """Read one message. The results of tools are part of the assistant's message here, and of their own for us."""
    role = fields.name("role")
    if role not in _ROLES:
        raise fields.refuse("role", f"it must be one of {', '.join(_ROLES)}, not {role!r}")
    content: list[str | Image] = []
    calls: list[ToolCall] = []
    results: list[Message] = []
    for part in fields.objects("parts", required=True):
        kind = part.name("type")
        if kind == "text":
            content.append(part.text("text", required=True) or "")
        elif kind == "file":
            media_type = part.text("mediaType") or ""
            if not media_type.startswith("image/"):
                raise part.refuse("mediaType", f"only pictures are offered here, not {media_type!r}")
            content.append(Image(part.name("url")))
        elif kind.startswith("tool-") or kind == "dynamic-tool":
            name = part.name("toolName") if kind == "dynamic-tool" else kind.removeprefix("tool-")
            identity = part.name("toolCallId")
            given = part.get("input")
            calls.append(ToolCall(len(calls), identity, name, arguments_text(given)))
            state = part.text("state")
            if state == "output-available":
                output = part.get("output")
                text = output if isinstance(output, str) else encode_json(output).decode()
                results.append(Message("tool", (text,), tool_call_id=identity, name=name))
            elif state == "output-error":
                results.append(Message("tool", (part.text("errorText") or "",), tool_call_id=identity, name=name))
        # Steps, reasoning, sources and data are for the page, not for the model.
    if content or calls:
        yield Message(role, tuple(content), tuple(calls))
    yield from results
