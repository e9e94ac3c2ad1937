"""What the two dialects of OpenAI share: their errors, and the tools and formats of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dual_mode_streaming.errors import Problem, RemoteError
from dual_mode_streaming.llm.requests import Image

from ._body import Fields
from .base import message_of, remote_error

__all__ = ["content_of", "error_object", "error_of", "schema_of", "tool_choice_of"]

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


def error_object(problem: Problem) -> dict[str, Any]:
    """Write an error as OpenAI does, for the body of an error answer and for a frame."""
    kind = _TYPES.get(problem.status) or ("server_error" if problem.status >= 500 else "invalid_request_error")
    return {
        "message": message_of(problem),
        "type": kind,
        "param": problem.extensions.get("parameter"),
        "code": problem.code,
    }


def error_of(error: object) -> RemoteError:
    """Read an error of OpenAI, or of one of the many servers that write it a little differently."""
    if not isinstance(error, Mapping):
        return remote_error(500, error)
    code, kind = error.get("code"), error.get("type")
    # llama.cpp has the status as the code; others have it as text, which may be any text.
    if isinstance(code, str) and len(code) == 3 and code.isdecimal():
        code = int(code)
    status = code if isinstance(code, int) else None
    if status is None:
        by_type = {name: number for number, name in _TYPES.items()}
        status = by_type.get(str(kind), 400 if kind == "invalid_request_error" else 500)
    if not 400 <= status <= 599:
        status = 500
    said = code if isinstance(code, str) else kind
    return remote_error(status, error.get("message"), said)


def content_of(fields: Fields, *, text_types: frozenset[str], image_type: str) -> tuple[str | Image, ...]:
    """Read the content of a message: a string, or an array of parts.

    Raises:
        InvalidRequest: A part is of a kind that is not offered here.
    """
    content = fields.get("content")
    if content is None:
        return ()
    if isinstance(content, str):
        return (content,)
    parts: list[str | Image] = []
    for part in fields.objects("content"):
        kind = part.name("type")
        if kind in text_types:
            parts.append(part.text("refusal" if kind == "refusal" else "text", required=True) or "")
        elif kind == image_type:
            url = part.get("image_url")
            parts.append(
                Image(part.fields("image_url").name("url") if isinstance(url, dict) else part.name("image_url"))
            )
        else:
            raise part.refuse("type", f"parts of the type {kind!r} are not offered here")
    return tuple(parts)


def tool_choice_of(fields: Fields) -> tuple[str | None, str | None]:
    """Read `tool_choice`: what the model may do, and the one tool it has to call."""
    choice = fields.get("tool_choice")
    if choice is None or choice in ("auto", "none", "required"):
        return choice, None
    if isinstance(choice, str):
        raise fields.refuse("tool_choice", f"it must be auto, none, required or a tool, not {choice!r}")
    named = fields.fields("tool_choice")
    if named.name("type") != "function":
        raise named.refuse("type", "only functions can be chosen here")
    inner = named.fields("function") if named.get("function") is not None else named
    return "required", inner.name("name")


def schema_of(fields: Fields, path: Fields) -> Mapping[str, Any] | None:
    """Read the format of the answer: free text, any JSON object, or a schema.

    Args:
        fields: The object with `type`.
        path: The object with the schema: the same one in Responses, a member of it in Chat.
    """
    kind = fields.text("type")
    if kind in (None, "text"):
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        raise fields.refuse("type", f"it must be text, json_object or json_schema, not {kind!r}")
    return path.mapping("schema") or {"type": "object"}
