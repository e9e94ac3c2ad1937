"""Routes by which an orchestrator asks whether a process lives, and whether to send it requests.

The two are not the same. A process that drains must not be sent new requests, but it must not be killed either.
"""

from __future__ import annotations

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dual_mode_streaming.entries import retry_after
from dual_mode_streaming.errors import Draining, DualModeError, Problem, RunNotFound, StoreError
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.runs import Runs
from dual_mode_streaming.streams import Streams, registry_of

__all__ = ["health_routes"]

_HEADERS = {"cache-control": "no-store"}


def health_routes(
    streams: Streams | None = None,
    *,
    runs: Runs | None = None,
    alive: str = "/healthz",
    ready: str = "/readyz",
    within: float = 2.0,
) -> list[Route]:
    """Give two routes, for `Starlette(routes=[...])` or `app.router.routes.extend(...)`.

    `GET /healthz` answers 200 as long as the event loop runs. `GET /readyz` answers 200 if new requests are welcome,
    else 503 with `Retry-After` and a problem document (RFC 9457): `draining` while the server goes down,
    `store_unavailable` if the store of the runs does not answer.

    Args:
        streams: The registry; None for the one that the application has.
        runs: Whose store is asked as well.
        alive: The path that tells whether the process lives.
        ready: The path that tells whether it is ready.
        within: Seconds in which the store has to answer.

    Raises:
        ValueError: `within` is not above zero.
    """
    if not within > 0:
        raise ValueError(f"within={within!r} must be above zero")

    async def is_alive(request: Request) -> Response:  # noqa: ARG001  what an endpoint is given
        return JSONResponse({"status": "alive"}, headers=_HEADERS)

    async def is_ready(request: Request) -> Response:
        registry = registry_of(request.scope, streams)
        try:
            if registry is not None and registry.draining:
                closes = request.scope.get("http_version", "1.1").startswith("1")
                raise Draining(retry_after(), closes=closes)
            if runs is not None:
                await _ask(runs, within)
        except DualModeError as error:
            problem = error.problem
            headers = {**_HEADERS, **error.headers}
            return Response(encode_json(problem.as_dict()), problem.status, headers, Problem.media_type)
        return JSONResponse({"status": "ready"}, headers=_HEADERS)

    return [
        Route(alive, is_alive, methods=["GET"], include_in_schema=False),
        Route(ready, is_ready, methods=["GET"], include_in_schema=False),
    ]


async def _ask(runs: Runs, within: float) -> None:
    """Ask the store for a run that nobody has.

    Raises:
        StoreError: It does not answer, or not in time.
    """
    try:
        with anyio.fail_after(within):
            await runs.store.read("readiness", 0, 0)
    except RunNotFound:
        return
    except TimeoutError:
        raise StoreError(f"The store has not answered within {within:g} s.") from None
