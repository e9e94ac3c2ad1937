"""What the endpoints of a router share: how a request is read, answered, kept, and refused."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from fastapi import APIRouter
from fastapi import Request as HTTPRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from dual_mode_streaming.errors import DualModeError, ModelNotFound, RequestTooLarge
from dual_mode_streaming.modes import JSON
from dual_mode_streaming.options import Options

from .dialects import Dialect
from .kept import Kept, KeptAnswers
from .models.base import Events, Model, serves
from .serving import Asking, DialectResponse, OnAnswer, refusal
from .shaping import Shape, shaped

__all__ = ["Desk", "Endpoint", "add_endpoint", "route_class"]

Endpoint: TypeAlias = Callable[[HTTPRequest], Awaitable[Response]]

_OBJECT = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Desk:
    """What all endpoints of a router share."""

    model: Model
    options: Options
    shape: tuple[Shape, ...]
    on_finish: OnAnswer | None
    max_body_bytes: int
    owner: Callable[[HTTPRequest], str | None]
    kept: KeptAnswers

    async def asked(self, http: HTTPRequest, dialect: Dialect) -> Asking:
        """Read a request.

        Raises:
            DualModeError: It is too large, not what the vendor accepts, or for a model that is not here.
        """
        body = await _body(http, self.max_body_bytes)
        request = replace(dialect.parse_request(body), dialect=dialect.name)
        if not serves(self.model, request.model):
            raise ModelNotFound(request.model)
        name = request.model or next(iter(self.model.names), "")
        return Asking.of(dialect, request, name)

    def events(self, asking: Asking) -> Events | list[Any]:
        """Give what there is to say to a request. Nothing is computed yet."""
        at_once = asking.dialect.immediate(asking.request)
        if at_once is not None:
            return list(at_once.events())
        return shaped(self.model.generate(asking.request), asking.request, self.shape)

    def answer(self, asking: Asking) -> DialectResponse:
        """Answer in the mode that was asked for."""
        return DialectResponse(asking, self.events(asking), self.options, on_finish=self.on_finish, asks_model=True)

    def keep(self, key: str, asking: Asking, http: HTTPRequest) -> Kept:
        """Begin to work on an answer that goes on without its client."""
        kept = self.kept.add(key, asking, self.owner(http))
        kept.start(
            shaped(self.model.generate(asking.request), asking.request, self.shape),
            self.on_finish,
            self.options.close_timeout,
        )
        return kept


def add_endpoint(
    router: APIRouter,
    route: type[APIRoute],
    path: str,
    endpoint: Endpoint,
    method: str = "POST",
    *,
    stream_type: str | None = None,
    may_be_empty: bool = False,
) -> None:
    """Add an endpoint to a router.

    Args:
        router: Where to add it.
        route: What tells errors as the vendor would.
        path: Its path.
        endpoint: What answers.
        method: Its method.
        stream_type: The media type of its streams; None if it has none.
        may_be_empty: Whether it answers 204 where there is nothing to tell.
    """
    # The endpoints read the request themselves, so FastAPI has nothing to describe of it. The bodies are the vendors'.
    described: dict[str, Any] = {
        "parameters": [
            {"name": parameter, "in": "path", "required": True, "schema": {"type": "string"}}
            for parameter in re.findall(r"{(\w+)", path)
        ]
    }
    if method == "POST" and not described["parameters"]:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": _OBJECT}}}
    answer: dict[str, Any] = {"content": {stream_type: {}}} if stream_type else {}
    responses: dict[int | str, dict[str, Any]] = {
        200: answer,
        "default": {"description": "An error, as the vendor writes it", "content": {JSON: {"schema": _OBJECT}}},
    }
    if may_be_empty:
        responses[204] = {"description": "There is nothing to tell"}
    router.add_api_route(
        path,
        endpoint,
        methods=[method],
        responses=responses,
        name=f"{method.lower()} {path}",
        response_model=None,
        route_class_override=route,
        openapi_extra=described,
    )


def route_class(dialect: Dialect, debug: bool) -> type[APIRoute]:
    """Give the class of routes that tell errors of dependencies and of reading as this vendor would."""

    class DialectRoute(APIRoute):
        def get_route_handler(self) -> Callable[[HTTPRequest], Awaitable[Response]]:  # type: ignore[override]
            handle = super().get_route_handler()

            async def answer(http: HTTPRequest) -> Response:
                try:
                    return await handle(http)
                except ClientDisconnect:
                    return Response(status_code=499)  # nobody is there to read it; access logs are
                except (DualModeError, HTTPException, RequestValidationError) as error:
                    return refusal(error, dialect, debug=debug)

            return answer

    return DialectRoute


async def _body(http: HTTPRequest, limit: int) -> bytes:
    announced = http.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise RequestTooLarge(limit)
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > limit:
            raise RequestTooLarge(limit)
    return bytes(body)
