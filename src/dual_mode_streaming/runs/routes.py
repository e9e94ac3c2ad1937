"""The routes of runs: follow one and cancel it, by its id."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from dual_mode_streaming.errors import DualModeError
from dual_mode_streaming.refusals import answer_error
from dual_mode_streaming.streaming import DualModeResponse

__all__ = ["Owner", "run_routes"]

Owner = Callable[[Request], str | Awaitable[str | None] | None]
"""Says who makes a request; None for nobody."""


class Answering(Protocol):
    """What the routes need of `Runs`."""

    def response(self, run_id: str, *, owner: str | None = None) -> DualModeResponse:
        """Answer a request with a run."""
        ...

    async def cancel(self, run_id: str, *, owner: str | None = None) -> None:
        """End a run early."""


def run_routes(runs: Answering, prefix: str, owner: Owner | None) -> Mount:
    """Give the routes; see `Runs.router`.

    Raises:
        ValueError: The prefix does not begin with a slash, or ends with one.
    """
    if not prefix.startswith("/") or prefix.endswith("/"):
        raise ValueError(f"prefix={prefix!r} must begin with a slash, and not end with one")

    async def one_run(request: Request) -> Any:
        run_id = request.path_params["run_id"]
        asks: Any = None if owner is None else owner(request)
        if inspect.isawaitable(asks):
            asks = await asks
        if request.method != "DELETE":
            return runs.response(run_id, owner=asks)
        try:
            await runs.cancel(run_id, owner=asks)
        except DualModeError as error:
            return _Refusal(error)
        return Response(status_code=204)

    return Mount(prefix, routes=[Route("/{run_id}", one_run, methods=["GET", "DELETE"], name="run")])


class _Refusal:
    """An error as an answer."""

    def __init__(self, error: DualModeError) -> None:
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer_error(self._error, scope, receive, send)
