"""An error of which the client knows nothing yet, as the whole answer to its request."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .errors import Draining, DualModeError, Problem, RemoteError, StoreError, TooManyStreams
from .jsonbytes import encode_json
from .lifecycle import logger
from .sources import OtherAnswer

__all__ = ["answer_error"]


async def answer_error(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer our own error with its problem document; leave any other to the application."""
    if isinstance(error, OtherAnswer):
        await error.response(scope, receive, send)
        return
    if not isinstance(error, DualModeError) or _app_handles(scope, error):
        raise error
    problem: Problem = error.problem
    if isinstance(error, StoreError):
        logger.error("a request about a run could not be answered: %s", error)  # many may come at once
    elif problem.status >= 500 and not isinstance(error, (Draining, TooManyStreams)):
        logger.error("the source failed: %s", error, exc_info=error)
    # The headers of a server further away belong to its own answer.
    headers = {"vary": "Accept", **({} if isinstance(error, RemoteError) else error.headers)}
    response = Response(encode_json(problem.as_dict()), problem.status, headers, Problem.media_type)
    await response(scope, receive, send)


def _app_handles(scope: Scope, error: Exception) -> bool:
    """Whether the application has an exception handler for this class (Starlette keeps them in the scope)."""
    handlers, _ = scope.get("starlette.exception_handlers", ({}, {}))
    return any(kind in handlers for kind in type(error).__mro__ if kind is not Exception)
