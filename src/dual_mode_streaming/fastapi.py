"""FastAPI: a route class that documents both modes of its endpoints.

The behaviour of an endpoint does not depend on it. It writes down, on the one operation, what FastAPI cannot know: the
stream types beside the batch JSON, the query parameter that chooses between them, and the shape of errors. And it
answers HEAD where it answers GET.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute, _effective_route_context_var
from fastapi.utils import create_model_field
from pydantic import RootModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .decorator import Declared, declared
from .errors import Problem
from .modes import SSE, STREAM_TYPES, ResponseMode
from .streaming import HEAD_REQUEST, DualModeResponse

__all__ = ["DualModeRoute"]

_PROBLEM_SCHEMA = {
    "title": "Problem",
    "description": "A problem document (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "A stable name for programs."},
        "detail": {"type": "string"},
    },
}
_COUNT_SCHEMA = {"type": "object", "required": ["items"], "properties": {"items": {"type": "integer", "minimum": 0}}}
_DETAIL_SCHEMA = {
    "title": "Detail",
    "description": "What FastAPI answers an HTTPException with.",
    "type": "object",
    "required": ["detail"],
    "properties": {"detail": {}},
}


class DualModeRoute(APIRoute):
    """Documents every media type of the endpoints under `@dual_mode`, and accepts HEAD where GET is accepted.

    Use it as `app.router.route_class = DualModeRoute`, or as `APIRouter(route_class=DualModeRoute)`. Endpoints without
    `@dual_mode` are left as they are.

    Item schemas are written as `itemSchema` where the application says `openapi_version="3.2.0"`, and as the extension
    `x-itemSchema` in a document of version 3.1, which does not know the keyword.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        says = declared(endpoint)
        if says is not None and says.options.mode is ResponseMode.STREAM:
            # Its class attribute `media_type` is None, so FastAPI documents no JSON that is never sent.
            options["response_class"] = DualModeResponse
        super().__init__(path, endpoint, **options)
        self._declared: Declared | None = says
        if says is not None and says.item_type is not None:
            component = _component(says.item_type)
            self.stream_item_type = component
            self.stream_item_field = create_model_field(name=component.__name__, type_=component, mode="serialization")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give the handler of the route; when the route is being included elsewhere, document it for that place."""
        context: Any = _effective_route_context_var.get()
        says: Declared | None = getattr(self, "_declared", None)
        if says is not None and context is not None and context.original_route is self:
            # Only here is the application known whose document it will be.
            context.openapi_extra = _merged(_documented(context, says), self._openapi_extra or {})
        return super().get_route_handler()

    @property
    def openapi_extra(self) -> dict[str, Any] | None:
        """What is added to the operation in the OpenAPI document: the author's own, and what both modes need."""
        says: Declared | None = getattr(self, "_declared", None)
        if says is None:
            return self._openapi_extra
        return _merged(_documented(self, says), self._openapi_extra or {})

    @openapi_extra.setter
    def openapi_extra(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, extra: dict[str, Any] | None
    ) -> None:
        self._openapi_extra = extra

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; a HEAD as a GET without a body."""
        methods = self.methods or ()
        if scope["method"] == "HEAD" and "HEAD" not in methods and "GET" in methods:
            scope = {**scope, "method": "GET", HEAD_REQUEST: True}
        await super().handle(scope, receive, send)


def _component(item_type: Any) -> Any:
    """Make a model for one kind of item, under a name in the document's components that is known and its own.

    FastAPI only names components of models that it is given, and renames those that share a name.
    """
    name = re.sub(r"\W+", "_", getattr(item_type, "__name__", "Item"))
    told = f"{getattr(item_type, '__module__', '')}.{getattr(item_type, '__qualname__', item_type)}"
    schema = TypeAdapter(item_type).json_schema(mode="serialization")
    digest = hashlib.sha256((told + json.dumps(schema, sort_keys=True)).encode()).hexdigest()[:8]
    root: Any = RootModel
    return type(f"{name}_item_{digest}", (root[item_type],), {"__module__": __name__})


def _documented(route: Any, says: Declared) -> dict[str, Any]:
    app = route.dependency_overrides_provider
    version = str(getattr(app, "openapi_version", "3.1.0"))
    keyword = "x-itemSchema" if version.startswith(("3.0", "3.1")) else "itemSchema"
    item: dict[str, Any] = {}
    if route.stream_item_type is not None:
        item = {"$ref": f"#/components/schemas/{route.stream_item_type.__name__}"}
    success = str(route.status_code or 200)
    problem = {Problem.media_type: {"schema": _PROBLEM_SCHEMA}}
    # An `HTTPException` of the endpoint is answered by FastAPI, in its own form.
    others = {"application/json": {"schema": _DETAIL_SCHEMA}}
    responses: dict[str, Any] = {"default": {"description": "Error", "content": {**problem, **others}}}
    parameters: list[dict[str, Any]] = []
    if says.options.mode is not ResponseMode.BATCH:
        responses[success] = {"content": {kind: _stream(kind, item, keyword) for kind in STREAM_TYPES}}
    if says.options.mode is None:
        responses["406"] = {"description": "None of the media types on offer is acceptable", "content": problem}
        flag = says.options.stream_param
        if flag is not None and all(field.alias != flag for field in route.dependant.query_params):
            responses["422"] = {"description": "Validation Error", "content": problem}
            parameters.append(
                {
                    "name": flag,
                    "in": "query",
                    "required": False,
                    "description": "true for a stream, false for the complete document; without it `Accept` decides",
                    "schema": {"type": "boolean"},
                }
            )
    authors = {str(status): response for status, response in route.responses.items()}
    responses = _without(responses, authors)
    return {"responses": responses, **({"parameters": parameters} if parameters else {})}


def _without(ours: dict[str, Any], authors: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the author says already: FastAPI puts ours over it."""
    kept: dict[str, Any] = {}
    for name, value in ours.items():
        if name not in authors:
            kept[name] = value
        elif isinstance(value, dict) and isinstance(authors[name], dict):
            kept[name] = _without(value, authors[name])
    return kept


def _merged(ours: dict[str, Any], authors: dict[str, Any]) -> dict[str, Any]:
    """Join two parts of a document; what the author says wins, lists add up."""
    merged = {**ours, **authors}
    for name in ours.keys() & authors.keys():
        if isinstance(ours[name], dict) and isinstance(authors[name], dict):
            merged[name] = _merged(ours[name], authors[name])
        elif isinstance(ours[name], list) and isinstance(authors[name], list):
            merged[name] = ours[name] + authors[name]
    return merged


def _stream(media_type: str, item: dict[str, Any], keyword: str) -> dict[str, Any]:
    frames = _events(item) if media_type == SSE else _lines(item)
    documented: dict[str, Any] = {keyword: {"anyOf": frames}}
    if keyword != "itemSchema":  # beside that, a schema would be one of the array of all items (OpenAPI 3.2)
        documented["schema"] = {"type": "string"}
    return documented


def _events(item: dict[str, Any]) -> list[dict[str, Any]]:
    """Describe the events of an SSE stream: items, and those of the library."""

    def event(says: str, name: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "description": says,
            "required": ["data", *(["event"] if "const" in name else [])],
            "properties": {
                "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
                "event": name,
                "id": {"type": "string"},
                "retry": {"type": "integer", "minimum": 0, "description": "Milliseconds."},
            },
        }

    return [
        event("An item.", {"type": "string"}, item),
        event("The end. The data say how many items there were.", {"const": "done"}, _COUNT_SCHEMA),
        event("The end by an error.", {"const": "error"}, _PROBLEM_SCHEMA),
        event("Items were left out.", {"const": "gap"}, {"type": "object"}),
    ]


def _lines(item: dict[str, Any]) -> list[dict[str, Any]]:
    """Describe the values of the other streams: items, alone or with a name or an id, and the end by an error."""
    text = {"type": "string"}
    return [
        item,
        {"type": "object", "required": ["data"], "properties": {"data": item, "event": text, "id": text}},
        {"type": "object", "required": ["error"], "properties": {"error": _PROBLEM_SCHEMA}},
    ]
