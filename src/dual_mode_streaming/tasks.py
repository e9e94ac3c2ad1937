"""What asyncio and anyio know of a task, which a response that drives a source by hand has to know too.

anyio tells of its cancel scopes in no public way. All that is read of its inside is read here.
"""

from __future__ import annotations

import asyncio
from typing import Any

from anyio._backends._asyncio import _task_states

__all__ = [
    "ANYIO_SCOPES",
    "cancelled",
    "current_task",
    "gave_up",
    "innermost_scope",
    "is_cancelled",
    "is_shielded",
    "lay_aside",
    "move_to_scope",
    "runs_on_asyncio",
    "take_up",
]

ANYIO_SCOPES = _task_states.data  # type: ignore[attr-defined]
"""Empty as long as no task is in a cancel scope of anyio."""


TOLD_AGAIN = 0.5
"""Seconds after which a task that was cancelled and goes on is cancelled again."""


def current_task() -> asyncio.Task[Any]:
    """Give the task of the response."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  `runs_on_asyncio` has seen to it
    return task


def runs_on_asyncio() -> bool:
    """Whether a task of asyncio or uvloop is running, which is what the pump can step."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait until they have ended.

    Before Python 3.12 `asyncio.wait_for`, which client libraries use, may swallow a cancellation that comes in the
    moment in which it has its result. So a task that does not end is told again.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=TOLD_AGAIN)


def innermost_scope(task: asyncio.Task[Any] | None = None) -> object:
    """Give the cancel scope of anyio in which a task, or else the current one, is; None if it is in none."""
    if not ANYIO_SCOPES:
        return None
    state = _task_states.get(task or current_task())
    return None if state is None else state.cancel_scope


def move_to_scope(task: asyncio.Task[Any], scope: object) -> object:
    """Take a task out of the scope in which it is and put it into another; give the one in which it was.

    Two coroutines that take turns in one task enter and leave scopes each for itself. anyio takes them for one stack.
    """
    state = _task_states.get(task)
    if state is None:
        return None
    before: object = state.cancel_scope
    state.cancel_scope = scope  # type: ignore[assignment]
    return before


def is_cancelled(scope: Any, outermost: object) -> bool:
    """Whether a scope, or one around it that was entered since `outermost`, was cancelled."""
    while scope is not None and scope is not outermost:
        if scope.cancel_called:
            return True
        scope = scope._parent_scope  # noqa: SLF001  anyio tells it in no other way
    return False


def is_shielded(task: asyncio.Task[Any], outermost: object) -> bool:
    """Whether a task is in a shield of anyio that it has entered since it was in the scope `outermost`.

    asyncio's own cancellation, which clean-up code expects, knows nothing of these shields. `to_thread.run_sync` has
    one: who breaks it frees what the thread still uses.
    """
    scope: Any = innermost_scope(task)
    while scope is not None and scope is not outermost:
        if scope.shield:
            return True
        scope = scope._parent_scope  # noqa: SLF001  anyio tells it in no other way
    return False


def lay_aside(waits_for: Any) -> Any:
    """Lay a future aside that was yielded to us, so that other tasks may wait for it meanwhile.

    A future is marked when it is yielded, and the task that waits for it takes the mark away: there is one mark for
    all that wait, and a future that still has it cannot be awaited by anybody else.
    """
    if getattr(waits_for, "_asyncio_future_blocking", None) is not None:
        waits_for._asyncio_future_blocking = False  # noqa: SLF001  as a task does
    return waits_for


def take_up(waits_for: Any) -> Any:
    """Take up a future again that was laid aside, to yield it to the event loop."""
    if getattr(waits_for, "_asyncio_future_blocking", None) is not None:
        waits_for._asyncio_future_blocking = True  # noqa: SLF001  as the future does itself
    return waits_for


def gave_up() -> RuntimeError:
    """Give the error of a source that was cancelled by nobody but itself.

    It has waited for a task that somebody cancelled, for example. Passed on as it is, the cancellation would end the
    request as if the server had cancelled it, without an answer.
    """
    return RuntimeError("the source raised CancelledError, but nobody had cancelled it")
