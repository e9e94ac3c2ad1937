"""Writes a request as a body of OpenAI Chat Completions, which every upstream server and llama.cpp read."""

from __future__ import annotations

from typing import Any

from dual_mode_streaming.llm.requests import Image, Message, Request

__all__ = ["chat_body"]


def chat_body(request: Request, model: str) -> dict[str, Any]:
    """Give the body that asks for the same as a stream, with its usage.

    Fields that only the dialect of Chat Completions has are passed on as they came; those of another vendor would mean
    nothing, or something else.

    Args:
        request: What the client asked for, in whatever dialect.
        model: The name of the model there.
    """
    sampling = request.sampling
    wanted: dict[str, Any] = {
        "model": model,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "n": request.n if request.n > 1 else None,
        "logprobs": True if request.logprobs else None,
        "top_logprobs": request.top_logprobs,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request),
        "parallel_tool_calls": request.parallel_tool_calls,
        "response_format": _format(request),
    }
    if request.dialect == "openai_chat":
        body = request.body
        if body.get("max_completion_tokens") is not None:
            wanted["max_completion_tokens"] = wanted.pop("max_tokens")
        wanted["response_format"] = body.get("response_format")
        wanted = {**request.extra, **wanted}
    return {name: value for name, value in wanted.items() if value is not None}


def _message(message: Message) -> dict[str, Any]:
    document: dict[str, Any] = {"role": message.role, "content": _content(message)}
    if message.name:
        document["name"] = message.name
    if message.tool_call_id is not None:
        document["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        document["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return document


def _content(message: Message) -> Any:
    if any(isinstance(part, Image) for part in message.content):
        return [
            {"type": "image_url", "image_url": {"url": part.url}}
            if isinstance(part, Image)
            else {"type": "text", "text": part}
            for part in message.content
        ]
    return message.text if message.content or not message.tool_calls else None


def _tool(tool: Any) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(request: Request) -> Any:
    if request.forced_tool is not None:
        return {"type": "function", "function": {"name": request.forced_tool}}
    return request.tool_choice


def _format(request: Request) -> Any:
    if request.schema is None:
        return None
    if request.schema == {"type": "object"}:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": request.schema}}
