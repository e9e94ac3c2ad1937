"""Connections that can be cut, so that a page can see what becomes of a client then.

A request names its wire in the query, `?wire=NAME`; `POST /wires/NAME/cut` cuts all answers that have begun under that
name. What the client sees is what it sees when a cable is pulled: the bytes stop, and no frame says why.
"""

from __future__ import annotations

import anyio
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Wires"]


class Wires:
    """Knows the open wires by their names. It is used in one event loop at a time."""

    def __init__(self) -> None:
        self._open: dict[str, set[anyio.CancelScope]] = {}

    def around(self, app: ASGIApp) -> ASGIApp:
        """Give the application with wires: for `add_middleware`."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            name = _name_of(scope)
            if name is None:
                await app(scope, receive, send)
                return
            with anyio.CancelScope() as wire:

                async def pass_on(message: Message) -> None:
                    await send(message)
                    if message["type"] == "http.response.start":
                        self._open.setdefault(name, set()).add(wire)

                try:
                    # When this is cancelled there is no last frame. The server sees an answer that has no end, and
                    # closes the connection; an exception would do the same, with a traceback in its log.
                    await app(scope, receive, pass_on)
                finally:
                    self._forget(name, wire)

        return answer

    async def cut(self, request: Request) -> Response:
        """Cut the wires of a name; an endpoint. The answer says how many there were."""
        wires = self._open.get(request.path_params["name"], set())
        for wire in list(wires):
            wire.cancel()
        return JSONResponse({"cut": len(wires)}, headers={"Cache-Control": "no-store"})

    def _forget(self, name: str, wire: anyio.CancelScope) -> None:
        wires = self._open.get(name, set())
        wires.discard(wire)
        if not wires:
            self._open.pop(name, None)


def _name_of(scope: Scope) -> str | None:
    if scope["type"] != "http" or b"wire=" not in scope["query_string"]:
        return None
    return QueryParams(scope["query_string"]).get("wire")
