"""The life of one response: what may end it before its source does, and the one outcome that it has.

Rules:

- Nothing here costs anything until the source waits for the first time. An answer that is ready is just given.
- Nothing here costs anything per item. Timers look at what happened since they looked last.
- To end a response early is to cancel its task, once, and to say why first. The source's clean-up then has
  `close_timeout` seconds; a source that takes longer is logged, counted and left behind.
- A cancellation that is not ours is passed on.
- `on_finish` runs exactly once for every source that was started, and nothing cancels it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from .errors import DeadlineExceeded, DualModeError, SourceIdle
from .events import Outcome
from .flow import Abandoned, Pump
from .tasks import current_task, gave_up, innermost_scope, is_shielded

__all__ = ["Life", "OnFinish", "logger", "run_on_finish"]

logger = logging.getLogger("dual_mode_streaming")

STALL = 0.5
"""A timer that is later than this, in seconds, says that the event loop stood still, and nothing of anybody else."""

OnFinish = Callable[[Outcome, Any], Awaitable[None] | None]


class Life:
    """Runs the work of one response, until it ends or something ends it.

    Args:
        client_left: Waits until the client has left.
        keep_when_gone: Let the source go on to its end when the client has left.
        deadline: Seconds that the response may take; None for no bound.
        idle_timeout: Seconds that the source may be silent; None for no bound.
        send_timeout: Seconds that one send may take; None for no bound.
        close_timeout: Seconds that the source may take to close once it has been told to.
    """

    # Thousands of responses may be open and silent.
    __slots__ = (
        "_began",
        "_blocked",
        "_cancel_is_due",
        "_cancels",
        "_client_left",
        "_close_timeout",
        "_deadline",
        "_idle_timeout",
        "_is_armed",
        "_keep_when_gone",
        "_loop",
        "_moved",
        "_others",
        "_pump",
        "_scope",
        "_seen",
        "_send_timeout",
        "_sending",
        "_task",
        "_timers",
        "_watch",
        "client_gone",
        "left_behind",
        "reason",
        "send_failure",
        "stopped",
    )

    def __init__(
        self,
        client_left: Callable[[], Coroutine[Any, Any, None]],
        *,
        keep_when_gone: bool,
        deadline: float | None,
        idle_timeout: float | None,
        send_timeout: float | None,
        close_timeout: float,
    ) -> None:
        self._client_left = client_left
        self._keep_when_gone = keep_when_gone
        self._deadline = deadline
        self._idle_timeout = idle_timeout
        self._send_timeout = send_timeout
        self._close_timeout = close_timeout
        self._loop = asyncio.get_running_loop()
        self._began = 0.0
        self._others = 0
        self._task: asyncio.Task[Any] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._cancels = 0
        self._moved = 0.0
        self._seen = -1
        self._is_armed = False
        self._cancel_is_due = False
        self._scope: object = None
        self._sending = False
        self._blocked = False
        self._pump: Pump | None = None
        self.stopped: Outcome | None = None
        """Why the response was ended early; None if it was not."""
        self.reason: DualModeError | None = None
        """What a client that is still there should be told about it."""
        self.client_gone = False
        self.left_behind = False
        """Whether the source did not close in time."""
        self.send_failure: BaseException | None = None

    # --- hooks of the response, which may leave them as they are -------------------------------

    def flush(self, waits_for: Any) -> Coroutine[Any, Any, None] | None:  # noqa: ARG002  a hook
        """Give the send that is due before the source waits; None if there is none."""
        return None

    @property
    def given(self) -> int:
        """How many items the source has given so far."""
        return 0

    def cancelled(self) -> None:
        """Take note that the source is being cancelled."""

    def armed(self) -> None:
        """Set timers of your own: the source waits for the first time."""

    # --- running -------------------------------------------------------------------------------

    async def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run the work, to its end or until something ends it early (see `stopped`).

        Raises:
            asyncio.CancelledError: Somebody else cancelled the task.
            Exception: What the work raised, unless it was told to stop.
        """
        pump = Pump(self.on_wait, self._on_blocked)
        task = current_task()
        self.begin(task, pump, task.cancelling(), self._loop.time(), innermost_scope(task))
        try:
            await pump.run(work)
        except BaseException as error:
            self.judge(error)
        finally:
            await self.disarm()
        if self.send_failure is not None:
            if not isinstance(self.send_failure, OSError):
                raise self.send_failure
            self.stopped = self.stopped or Outcome.CLIENT_GONE

    def begin(self, task: asyncio.Task[Any], pump: Pump, others: int, began: float, scope: object) -> None:
        """Take charge of a task in which a pump runs, or is about to.

        Args:
            task: The task of the response.
            pump: The pump that runs the work.
            others: How many cancellations of others the task knew before the work began.
            began: The event loop's time when the work began, in seconds.
            scope: The innermost cancel scope of anyio in which the work began; None if there was none.
        """
        self._task = task
        self._pump = pump
        self._others = others
        self._began = began
        self._scope = pump.outer = scope
        self._is_armed = False

    def judge(self, error: BaseException) -> None:
        """Decide what an error means that ended the work: nothing, if the work was told to stop.

        Raises:
            BaseException: The error, if it is nobody's answer to a stop of ours.
        """
        told = self.stopped is not None or self.send_failure is not None
        if isinstance(error, (Abandoned, asyncio.CancelledError)):
            if isinstance(error, Abandoned):
                self.left_behind = True
                logger.error("the source did not close in %g s and was left behind", self._close_timeout)
            if self._cancelled_by_others():
                self.stopped = self.stopped or Outcome.CANCELLED
                raise asyncio.CancelledError from None
            if not told and not isinstance(error, Abandoned):
                raise gave_up() from None
        elif not told or not isinstance(error, Exception):
            raise error
        elif error is not self.send_failure:
            logger.error("the source raised while it was closing", exc_info=error)

    def stop(self, outcome: Outcome, reason: DualModeError | None = None) -> None:
        """End the response early: cancel the source and give it `close_timeout` seconds to clean up."""
        if self.stopped is not None or self._task is None:
            return
        self.stopped = outcome
        self.reason = reason
        self.closing()
        self._cancel()

    def closing(self) -> None:
        """Start the clock for the source's clean-up."""
        self._patience("close", self._close_timeout, self._abandon)

    def source_ended(self) -> None:
        """Take away the bounds that are the source's: it has come to its end in time."""
        for name in ("deadline", "idle", "close"):
            self._clear_timer(name)

    async def sent(self, send: Awaitable[None]) -> None:
        """Wait for a send. Its failure is kept apart from those of the source."""
        self._sending = True
        try:
            await send
        except Exception as error:
            self.send_failure = error
            raise
        finally:
            self._sending = False
            if self._blocked:
                self._blocked = False
                self._clear_timer("send")
                self._moved = self._loop.time()  # the source could give nothing meanwhile

    def after(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        """Call `act` after so many seconds, unless the response ends before."""
        self._set_timer(name, seconds, act)

    # --- the moments in which the source waits ---------------------------------------------------

    def on_wait(self, waits_for: Any) -> Coroutine[Any, Any, None] | None:
        """Act when the work is about to wait: arm once, and send what is due."""
        if not self._is_armed:
            self.arm()
        if self._cancel_is_due:
            self._cancel()
        if self._idle_timeout is not None and self._seen != self.given:
            self._seen = self.given
            self._moved = self._loop.time()
        if self._sending:
            self._on_blocked()
            return None
        if self.stopped is not None or self.send_failure is not None:
            return None
        return self.flush(waits_for)

    def _on_blocked(self) -> None:
        if self._blocked:
            return
        self._blocked = True
        if self._send_timeout is not None:
            self._patience("send", self._send_timeout, lambda: self.stop(Outcome.SLOW_CLIENT))

    def arm(self) -> None:
        """Set the watch and the timers."""
        self._is_armed = True
        self._watch = self._loop.create_task(self._watch_client())
        if self._deadline is not None:
            seconds = self._deadline
            self._set_timer(
                "deadline",
                max(0.0, self._began + seconds - self._loop.time()),
                lambda: self.stop(Outcome.DEADLINE, DeadlineExceeded(seconds)),
            )
        if self._idle_timeout is not None:
            self._set_timer("idle", self._idle_timeout, self._look_for_items)
        self.armed()

    async def _watch_client(self) -> None:
        try:
            await self._client_left()
        except Exception:
            logger.debug("the server's receive channel failed", exc_info=True)
        self.client_gone = True
        if not self._keep_when_gone:
            self.stop(Outcome.CLIENT_GONE)

    def _look_for_items(self) -> None:
        assert self._idle_timeout is not None  # noqa: S101  the timer is only set with one
        # While a send is blocked it is the client that is slow, not the source.
        silent = 0.0 if self._blocked else self._loop.time() - self._moved
        if silent < self._idle_timeout:
            self._set_timer("idle", max(self._idle_timeout - silent, 0.01), self._look_for_items)
        else:
            self.stop(Outcome.IDLE, SourceIdle(self._idle_timeout))

    def _abandon(self) -> None:
        if self._pump is None or self._task is None:
            return
        if is_shielded(self._task, self._scope):
            # What is shielded is most often a thread that uses what the source would free.
            logger.warning("the source is shielded from cancellation for more than %g s", self._close_timeout)
            self.closing()
            return
        self._pump.abandon()
        self._cancel()

    def _cancel(self) -> None:
        """Cancel the task, but not while the source is in a shield of anyio, as it is when it waits for a thread."""
        if self._task is None:
            return
        self._cancel_is_due = is_shielded(self._task, self._scope)
        if self._cancel_is_due:
            if self._pump is not None:
                self._pump.drop_errand()  # or the end of the shield would not be noticed
        else:
            self._cancels += 1
            self._task.cancel()
            self.cancelled()

    # --- the end ---------------------------------------------------------------------------------

    def _cancelled_by_others(self) -> bool:
        return self._task is not None and self._task.cancelling() - self._cancels > self._others

    async def disarm(self) -> None:
        """Stop the timers and the watch, and take back our own cancellations."""
        task = self._task
        self._task = None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._cancels and task is not None:
            if task.cancelling() - self._cancels <= self._others:
                # One of ours may not have been delivered yet. Take it here, not in what comes after us.
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    if task.cancelling() - self._cancels > self._others:
                        raise
            for _ in range(self._cancels):
                task.uncancel()
            self._cancels = 0
        if self._watch is not None:
            watch, self._watch = self._watch, None
            watch.cancel()
            await asyncio.wait([watch])

    def _patience(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        """Set a timer for what others have to do in time. While the event loop stood still, they could not."""
        due = self._loop.time() + seconds

        def check() -> None:
            if self._loop.time() - due > max(STALL, seconds / 2):
                self._patience(name, seconds, act)
            else:
                act()

        self._set_timer(name, seconds, check)

    def _set_timer(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        self._clear_timer(name)
        self._timers[name] = self._loop.call_later(seconds, act)

    def _clear_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


async def run_on_finish(on_finish: OnFinish, outcome: Outcome, partial: Any, timeout: float) -> None:
    """Call the author's hook. It is not cancelled with the response, and its errors end nothing but itself.

    Args:
        on_finish: The hook, a plain or an async function.
        outcome: How the response ended.
        partial: The fold of the items so far; None where there is none.
        timeout: Seconds to wait for an async hook before the response returns without it.
    """
    try:
        given = on_finish(outcome, partial)
    except Exception:
        logger.exception("on_finish raised")
        return
    if not inspect.isawaitable(given):
        return
    task = asyncio.ensure_future(_logged(given))
    cancelled: asyncio.CancelledError | None = None
    end = asyncio.get_running_loop().time() + timeout
    while not task.done() and (left := end - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.wait([task], timeout=left)
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.done():
        logger.error("on_finish did not end within %g s and was left behind", timeout)
    if cancelled is not None:
        raise cancelled


async def _logged(hook: Awaitable[None]) -> None:
    try:
        await hook
    except Exception:
        logger.exception("on_finish raised")
