"""The pump: runs the work of a response in its own task, and acts in the moments in which the work waits.

The work is a coroutine that steps the source and collects frames. As long as the source has items ready, it never
lets the event loop run, and frames add up. When the source has to wait, the coroutine yields to the event loop, and
that is the moment to send: every item that is ready travels now, none is held back for one that is not.

`Pump` sees that moment because it stands between the work and the event loop: it steps the work by hand and passes
on what the work yields. So the source, the sends and the clean-up all run in the task of the request, and
`asyncio.current_task()`, cancel scopes and context variables mean in the source what they mean in the endpoint.

Rules:

- An errand (a send, as a rule) mostly ends at once. Then the work has not been disturbed: it goes on to wait.
- If an errand has to wait too, the work stays parked until it is done. That is backpressure.
- A cancellation that comes meanwhile belongs to the work first: it may be the source's own `asyncio.timeout`. Only
  if the work lets it pass, or has ended, it is the errand's.
- While an errand waits, the work may go on by such a cancellation. Before it does what would be an errand's too, as to
  send, it waits for `errand_ended`. Otherwise it would overtake.
- The same holds for cancel scopes of anyio. Those that the errand has entered are not inside those of the work: each
  of the two finds its own as it has left them. A cancellation of a scope of the errand's is the errand's.
- If the work was told to stop and its clean-up has to wait, the errand is given up: a client that takes nothing must
  not keep a source from being closed.
- An errand that raises cancels the work. It keeps its error itself, for whoever gave it.
- What the work waits for is passed on to the event loop as it is, so cancelling is asyncio's own, not ours. Only a
  mere turn of the event loop may be spared (`linger`): several of them become one.
"""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, cast

from .tasks import ANYIO_SCOPES, current_task, innermost_scope, is_cancelled, lay_aside, move_to_scope, take_up

__all__ = ["GO_ON", "Abandoned", "Errand", "Pump"]

Errand = Coroutine[Any, Any, None]

_NOT_BEGUN = object()
_DONE = object()

GO_ON: Errand = cast("Errand", object())
"""In the place of an errand: let the work go on at once, as if the event loop had had its turn."""


class Abandoned(Exception):
    """The work did not end in time and goes on without us, in a task of its own."""


class Pump:
    """Runs one piece of work in the current asyncio task.

    Args:
        on_wait: Called each time the work is about to wait, with what it waits for: a future, or None if it only
            gives the event loop a turn. It may give an errand to run first, or `GO_ON` to spare that turn.
        on_blocked: Called when an errand has to wait itself.
    """

    __slots__ = (
        "_abandoned",
        "_dropped",
        "_errand_is_over",
        "_errands_scope",
        "_gate",
        "_on_blocked",
        "_on_wait",
        "_stopped",
        "outer",
    )

    def __init__(self, on_wait: Callable[[Any], Errand | None], on_blocked: Callable[[], None]) -> None:
        self._on_wait = on_wait
        self._on_blocked = on_blocked
        self._abandoned = False
        self._stopped = False
        self._dropped = False
        self._gate: asyncio.Future[None] | None = None
        self._errand_is_over: asyncio.Future[None] | None = None
        """Done when the errand that waits is done; None if none waits."""
        self._errands_scope: object = None
        """The innermost cancel scope of anyio in which the errand is that waits."""
        self.outer: object = None
        """The one in which the work was begun."""

    def stop(self) -> None:
        """Take note that the work is told to stop, by the next cancellation of the task."""
        self._stopped = True

    def drop_errand(self) -> None:
        """Wait no more for an errand that waits itself. The work, which cannot be cancelled now, goes on."""
        self._dropped = True
        if self._gate is not None and not self._gate.done():
            self._gate.set_result(None)

    async def errand_ended(self) -> None:
        """Wait until no errand is under way. For the work, if a cancellation has let it go on meanwhile."""
        while self._errand_is_over is not None:
            await asyncio.shield(self._errand_is_over)

    def abandon(self) -> None:
        """Give up waiting for the work at the next cancellation of the task."""
        self._abandoned = True

    @types.coroutine
    def run(  # noqa: C901  what comes with every wait of the work is not worth a call
        self, work: Coroutine[Any, Any, Any], waits_for: Any = _NOT_BEGUN
    ) -> Generator[Any, Any, Any]:
        """Run the work to its end and give its result.

        Args:
            work: What is to be run.
            waits_for: What the work waits for, if it was begun before.

        Raises:
            Abandoned: `abandon` was called and the task was cancelled.
        """
        error: BaseException | None = None
        while True:
            if waits_for is _NOT_BEGUN:
                try:
                    waits_for = work.send(None) if error is None else work.throw(error)
                except StopIteration as end:
                    return end.value
                error = None
            errand = self._on_wait(waits_for)
            try:
                if errand is GO_ON:
                    waits_for = _NOT_BEGUN
                    continue
                if errand is not None:
                    outside = not ANYIO_SCOPES  # nobody is in a scope, so the work is not
                    try:
                        # Most errands end at once. `next` sees that without an exception, `send` would raise one.
                        blocked_by = next(errand.__await__(), _DONE) if outside else self._begin(errand)
                    except Exception:
                        waits_for = _cancelled(waits_for)
                    else:
                        if blocked_by is not _DONE:
                            if outside:
                                self._errands_scope = move_to_scope(current_task(), None) if ANYIO_SCOPES else None
                            waits_for = yield from self._finish_errand(errand, blocked_by, work, waits_for)
                yield waits_for
            except _WorkEnded as ended:
                return ended.value
            except BaseException as raised:
                if self._abandoned:
                    self._leave_behind(work, raised)
                    raise Abandoned from None
                if isinstance(raised, _WorkFailed):
                    raise raised.error from None
                error = raised
            waits_for = _NOT_BEGUN

    def _finish_errand(
        self, errand: Errand, blocked_by: Any, work: Coroutine[Any, Any, Any], waits_for: Any
    ) -> Generator[Any, Any, Any]:
        """Run an errand that has to wait while the work is parked; give what the work waits for afterwards."""
        lay_aside(waits_for)
        self._on_blocked()
        is_over = self._errand_is_over = asyncio.get_running_loop().create_future()
        try:
            return (yield from self._take_turns(errand, blocked_by, work, waits_for))
        finally:
            self._errand_is_over = None
            is_over.set_result(None)

    def _take_turns(  # noqa: C901  two coroutines and their four ways to end, in one place
        self, errand: Errand, blocked_by: Any, work: Coroutine[Any, Any, Any], waits_for: Any
    ) -> Generator[Any, Any, Any]:
        ended: _WorkEnded | _WorkFailed | None = None
        while True:
            error: BaseException | None = None
            try:
                yield from self._shielded(blocked_by)
                if self._dropped:
                    _give_up(errand, blocked_by)
                    break
            except asyncio.CancelledError as cancelled:
                if ended is None and not self._abandoned and not self._is_the_errands():
                    waits_for, ended = yield from self._cancel_work(work, waits_for, cancelled)
                    if ended is None and self._stopped:
                        _give_up(errand, blocked_by)
                        return take_up(waits_for)
                    if not (isinstance(ended, _WorkFailed) and isinstance(ended.error, asyncio.CancelledError)):
                        continue
                error = cancelled
                if hasattr(blocked_by, "cancel"):
                    blocked_by.cancel()
            except BaseException:
                errand.close()
                raise
            try:
                blocked_by = self._go_on(errand, error)
            except StopIteration:
                break
            except asyncio.CancelledError:
                if ended is None:
                    raise
                break
            except Exception:
                if ended is None:
                    return _cancelled(waits_for)
                break
        if ended is not None:
            raise ended
        return take_up(waits_for)

    def _begin(self, errand: Errand) -> Any:
        """Make the first step of an errand, outside of the scopes that the work has entered."""
        task = current_task()
        works_scope = move_to_scope(task, self.outer)
        try:
            return next(errand.__await__(), _DONE)
        finally:
            self._errands_scope = move_to_scope(task, works_scope)

    def _go_on(self, errand: Errand, error: BaseException | None) -> Any:
        """Make the next step of an errand, inside of the scopes that it has entered."""
        task = current_task()
        works_scope = move_to_scope(task, self._errands_scope)
        try:
            return errand.send(None) if error is None else errand.throw(error)
        finally:
            self._errands_scope = move_to_scope(task, works_scope)

    def _is_the_errands(self) -> bool:
        """Whether it is the errand that is cancelled by a scope of its own, and not the work."""
        if not is_cancelled(self._errands_scope, self.outer):
            return False
        return not is_cancelled(innermost_scope(current_task()), self.outer)

    def _shielded(self, blocked_by: Any) -> Generator[Any, Any, None]:
        """Wait for a future of the errand, so that a cancellation of the task leaves it alone."""
        if not hasattr(blocked_by, "add_done_callback"):
            yield blocked_by
            return
        gate = self._gate = asyncio.get_running_loop().create_future()
        lay_aside(blocked_by)

        def open_gate(_: object) -> None:
            if not gate.done():
                gate.set_result(None)

        blocked_by.add_done_callback(open_gate)
        yield from gate

    def _cancel_work(
        self, work: Coroutine[Any, Any, Any], waits_for: Any, cancelled: BaseException
    ) -> Generator[Any, Any, tuple[Any, _WorkEnded | _WorkFailed | None]]:
        """Give a cancellation to the parked work, as asyncio would: cancel what it waits for, then resume it."""
        error: BaseException | None = cancelled
        # The text goes along, as asyncio hands it on: by it anyio knows its own cancellations.
        if hasattr(waits_for, "cancel") and waits_for.cancel(*cancelled.args[:1]):
            try:
                yield take_up(waits_for)
                error = None
            except BaseException as raised:
                error = raised
        try:
            return lay_aside(work.send(None) if error is None else work.throw(error)), None
        except StopIteration as end:
            return None, _WorkEnded(end.value)
        except BaseException as raised:
            return None, _WorkFailed(raised)

    def _leave_behind(self, work: Coroutine[Any, Any, Any], raised: BaseException) -> None:
        """Let the work go on in a task of its own, so that its clean-up can still come to an end."""

        async def go_on() -> None:
            await _continued(work, raised)

        # The event loop holds what the work waits for, and that holds the task.
        asyncio.get_running_loop().create_task(go_on()).add_done_callback(_forget)


class _WorkEnded(BaseException):
    """The work came to its end while an errand was under way."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _WorkFailed(BaseException):
    """The work raised while an errand was under way."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _give_up(errand: Errand, blocked_by: Any) -> None:
    """Cancel an errand that waits, and wait no more for it."""
    if hasattr(blocked_by, "cancel"):
        blocked_by.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        errand.throw(asyncio.CancelledError())
        errand.close()


def _cancelled(waits_for: Any) -> Any:
    """Cancel what the parked work waits for, so that the work is cancelled when it goes on."""
    if hasattr(waits_for, "cancel") and waits_for.cancel():
        return take_up(waits_for)
    raise asyncio.CancelledError


@types.coroutine
def _continued(work: Coroutine[Any, Any, Any], error: BaseException | None) -> Generator[Any, Any, None]:
    """Go on with a coroutine that somebody has begun to step by hand."""
    while True:
        try:
            waits_for = work.send(None) if error is None else work.throw(error)
        except StopIteration:
            return
        error = None
        try:
            yield waits_for
        except BaseException as raised:
            error = raised


def _forget(task: asyncio.Task[None]) -> None:
    """Take note of what an abandoned source raised at last, so that asyncio does not report it as lost."""
    if not task.cancelled():
        task.exception()
