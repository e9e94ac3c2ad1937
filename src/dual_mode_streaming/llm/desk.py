"""What the endpoints of a router share: how a request is read, answered, kept, and refused."""

from __future__ import annotations

import copy
import inspect
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
from dual_mode_streaming.runs.routes import Owner

from .background import Background, BackgroundAnswer
from .dialects import Dialect, Renderer
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
    max_answer: int | None
    owner: Owner
    background: Background

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
        return DialectResponse(
            asking,
            self.events(asking),
            self.options,
            on_finish=self.on_finish,
            most=self.max_answer,
            asks_model=True,
        )

    async def owner_of(self, http: HTTPRequest) -> str | None:
        """Say to whom a request belongs."""
        owner = self.owner(http)
        return await owner if inspect.isawaitable(owner) else owner

    async def begin(self, asking: Asking, http: HTTPRequest, name: str | None = None) -> BackgroundAnswer:
        """Begin to work on an answer that goes on without its client."""

        def events() -> Events:
            return shaped(self.model.generate(asking.request), asking.request, self.shape)

        return await self.background.begin(asking, events, await self.owner_of(http), name=name)

    def follow(
        self, answer: BackgroundAnswer, renderer: Renderer | None = None, *, resumes: bool = False
    ) -> DialectResponse:
        """Answer with the stream of an answer that goes on without its client.

        Args:
            answer: The answer.
            renderer: Writes the stream; None for the dialect's usual one.
            resumes: Whether the client has the beginning. It is told at once that the stream is there, since it may be
                long until there is something new.
        """
        asking = replace(answer.asking, request=replace(answer.asking.request, stream=True))
        options = copy.copy(self.options)
        if resumes:
            options.commit_after = 0.0
        return DialectResponse(asking, answer.follow(), options, renderer=renderer)


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
