"""The life of a response in the plain form (`plain.py`): how it runs, and what may end it before its source does.

Rules:

- The request's task takes the items, sends them and closes the source. Beside it run only clocks, the heartbeat and
  the watch for the client. They say when it is over, and never touch the source.
- Before the source is asked for the next item, everything that is ready has been sent.
- Nothing cancels the request's task but `stop`, for a cancellation by the server too. So all ends take one way.
- The source hears of a stop once, as under asyncio: one wait of it is cancelled, and then its clean-up may wait for
  `close_timeout` seconds. Left to itself, trio would cancel every wait from then on.
- A task of trio cannot be left behind. A source that is not closed after `close_timeout` seconds is logged, and from
  then on every wait of it is cancelled. The response waits even then for what is shielded.
"""

from __future__ import annotations

import inspect
import types
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any

from anyio import (
    CancelScope,
    Event,
    Lock,
    create_task_group,
    current_time,
    fail_after,
    get_cancelled_exc_class,
    move_on_after,
    sleep,
    sleep_forever,
)
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from starlette.types import Send

from .answers import Head, Voice
from .errors import DeadlineExceeded, DualModeError, SourceIdle
from .events import Outcome
from .inbox import Inbox
from .lifecycle import OnFinish, logger
from .options import Options
from .sources import close_source

__all__ = ["PlainAnswer", "Steps", "run_hook"]

_END = object()


class PlainAnswer(Voice):
    """Runs one source and sends its answer. It has the attributes by which an `Answer` says how that ended."""

    left_behind = False
    """No source is, in this form."""

    def __init__(self, options: Options, inbox: Inbox, send: Send, head: Head) -> None:
        super().__init__(send, head, current_time)
        self._options = options
        self._inbox = inbox
        self._sending = Lock()
        self._life = CancelScope()
        self._hidden = CancelScope()
        self._beside: TaskGroup
        self._waits_since: float | None = None
        self._closing = Event()
        self._close_by = 0.0
        self._source_ended = self._complete = self._over = False
        self.stopped: Outcome | None = None
        """Why the response was ended early; None if it was not."""
        self.reason: DualModeError | None = None
        """What a client that is still there should be told about it."""
        self.error: Exception | None = None
        """What broke the source, if it did not close after that."""
        self.client_gone = False
        self.send_failure: BaseException | None = None

    @property
    @abstractmethod
    def given(self) -> int:
        """How many items the source has given so far."""

    @property
    def has_frames(self) -> bool:
        """Whether frames are ready that are not sent yet."""
        return False

    @abstractmethod
    def partial(self) -> Any:
        """Give the fold of the items so far; None if there is none."""

    @abstractmethod
    async def _take_all(self) -> Callable[[], bytes]:
        """Take all items and close the source; give what gives the last bytes of the answer."""

    @abstractmethod
    def _keep_alive(self) -> None:
        """Begin what keeps a silent connection alive."""

    async def flush(self) -> None:
        """Send what is ready."""

    # --- running -------------------------------------------------------------------------------

    async def run(self, farewell_within: float) -> None:
        """Answer, until the source ends or something ends it early (see `stopped`).

        The server's own cancellation is passed on once the source is closed.

        Args:
            farewell_within: Seconds that a heartbeat under way may still take if the response is drained.

        Raises:
            Exception: What the source or the fold raised, unless the source had been told to stop.
        """
        error: Exception | None = None
        async with create_task_group() as outside:
            with CancelScope(shield=True):
                async with create_task_group() as self._beside:
                    self._begin_beside()
                    outside.start_soon(self._obey_the_server)
                    # `_life` is cancelled to end the response early. While `_hidden` is a shield, what is inside it
                    # does not hear of that. Both surround the whole work, because a source may hold a scope of its
                    # own open at its `yield`, and scopes must be left in their order.
                    with self._life, self._hidden:
                        try:
                            last = await self._take_all()
                            self._source_ended, self.error = True, None
                            if not self.client_gone:
                                await self._deliver(last, more=False)
                        except Exception as raised:
                            error = raised
                    self._over = True
                    # A heartbeat that is under way is not cut in two.
                    with move_on_after(farewell_within if self.stopped is Outcome.DRAINED else None):
                        await self._sending.acquire()
                    self._beside.cancel_scope.cancel()
            outside.cancel_scope.cancel()
        if self.stopped is Outcome.CANCELLED:
            await checkpoint()  # the server's cancellation goes on from here
        self._judge(error)

    def _judge(self, error: Exception | None) -> None:
        """Decide what an error means that ended the work: nothing, if the work was told to stop."""
        if self.send_failure is not None:
            if not isinstance(self.send_failure, OSError):
                raise self.send_failure
            self.stopped = self.stopped or Outcome.CLIENT_GONE
        if error is None or error is self.send_failure:
            return
        if self.stopped is None:
            raise error
        logger.error("the source raised while it was closing", exc_info=error)

    # --- the source ----------------------------------------------------------------------------

    async def step(self, source: AsyncIterator[Any]) -> Any:
        """Take one item of the source, or `_END`, after what came before it was sent."""
        await self.flush()
        self._waits_since = current_time()
        try:
            item = await self.close(_next(source))
        finally:
            self._waits_since = None
        if self.stopped is not None:
            await self._obey()  # it has swallowed the cancellation and gone on
        return item

    async def close(self, step: Coroutine[Any, Any, Any]) -> Any:
        """Run code of the source. A stop reaches it once."""
        return await _heard_once(step, self._heard)

    def _heard(self) -> None:
        """Take note that the source is being cancelled: by our stop, or by a timeout of its own."""
        if self.stopped is not None:
            self._hidden.shield = True

    def broken(self, error: BaseException) -> None:
        """Take note that the source is being closed before its end, and let its clean-up wait."""
        self._hidden.shield = True
        if self.stopped is None:
            if isinstance(error, Exception):
                self.error = error
            self._begin_closing()

    # --- ending early --------------------------------------------------------------------------

    def stop(self, outcome: Outcome, reason: DualModeError | None = None) -> None:
        """End the response early: cancel the source and give it `close_timeout` seconds to clean up."""
        if self.stopped is not None or self._over:
            return
        self.stopped, self.reason = outcome, reason
        self._begin_closing()
        self._hidden.shield = False
        self._life.cancel()

    async def _obey(self) -> None:
        """Leave the work: it was told to stop."""
        self._hidden.shield = False
        await checkpoint()

    def _begin_closing(self) -> None:
        """Start the clock for the source's clean-up, or start it anew."""
        self._close_by = current_time() + self._options.close_timeout
        self._closing.set()

    async def _bound_closing(self) -> None:
        await self._closing.wait()
        while (left := self._close_by - current_time()) > 0:  # noqa: ASYNC110  it may have been started anew meanwhile
            await sleep(left)
        if not self._source_ended:
            logger.error("the source did not close in %g s; now every wait is cancelled", self._options.close_timeout)
            self._hidden.cancel()

    # --- sending -------------------------------------------------------------------------------

    async def _deliver(self, take: Callable[[], bytes], *, more: bool) -> None:
        """Send from the request's task. A failure is kept apart from those of the source."""
        try:
            async with self._sending:
                self._complete = not more
                body = take()
                with move_on_after(self._options.send_timeout) as bound:
                    await self._say(body, more=more)
        except Exception as error:
            self.send_failure = error
            raise
        if bound.cancelled_caught:
            self.stop(Outcome.SLOW_CLIENT)
            await self._obey()

    async def _say_aside(self, take: Callable[[], bytes]) -> None:
        """Send while the source waits. Never two sends at once."""
        if self.stopped is not None or self._sending.locked():
            return
        try:
            async with self._sending:
                body = take()
                with fail_after(self._options.send_timeout):
                    await self._say(body, more=True)
        except TimeoutError:
            self.stop(Outcome.SLOW_CLIENT)
        except OSError:
            self.stop(Outcome.CLIENT_GONE)
        except Exception as error:
            self.send_failure = error
            self.stop(Outcome.ERROR)

    async def side_ended(self, within: float | None = None) -> None:
        """Wait until nothing is being sent beside the source; `run` has seen to it."""

    async def last_words(self, body: bytes, *, more: bool, within: float | None = None) -> None:
        """Send after the source has ended early. Gives up after so many seconds, and after `send_timeout`."""
        bounds = [bound for bound in (self._options.send_timeout, within) if bound is not None]
        try:
            with fail_after(min(bounds, default=None)):
                await self._say(body, more=more)
        except OSError:
            logger.debug("the client did not take the last words of its stream", exc_info=True)

    # --- beside the source ---------------------------------------------------------------------

    def _begin_beside(self) -> None:
        options, start = self._options, self._beside.start_soon
        start(self._watch_client)
        start(self._bound_closing)
        if options.deadline is not None:
            start(self._bound_response, options.deadline)
        if options.idle_timeout is not None:
            start(self._bound_silence, options.idle_timeout)
        self._keep_alive()

    async def _obey_the_server(self) -> None:
        """Make a cancellation by the server a stop like any other."""
        try:
            await sleep_forever()
        finally:
            self.stop(Outcome.CANCELLED)

    async def _watch_client(self) -> None:
        try:
            await self._inbox.client_left()
        except Exception:
            logger.debug("the server's receive channel failed", exc_info=True)
        if self._complete:
            # A server tells of the end of its response in the same way, perhaps before the last send has returned.
            await sleep(self._options.close_timeout)
        if self._over:
            return
        self.client_gone = True
        if self._options.on_disconnect == "cancel":
            self.stop(Outcome.CLIENT_GONE)

    async def _bound_response(self, seconds: float) -> None:
        await sleep(seconds)
        if not self._source_ended:
            self.stop(Outcome.DEADLINE, DeadlineExceeded(seconds))

    async def _bound_silence(self, seconds: float) -> None:
        while not self._source_ended:
            since = self._waits_since
            left = seconds if since is None else since + seconds - current_time()
            if left <= 0:
                self.stop(Outcome.IDLE, SourceIdle(seconds))
                return
            await sleep(left)

    async def _beat(self, first: float, interval: float, body: bytes, *, commits: bool) -> None:
        """Send `body` whenever nothing else was sent for `interval` seconds; look for the first time after `first`.

        Where the heart does not commit the status, it does not beat before that was sent.
        """
        await sleep(first)
        while True:
            quiet = current_time() - self._last_sent if self.started else 0.0
            if quiet >= interval or (commits and not self.started):
                await self._say_aside(lambda: body)
                quiet = 0.0
            await sleep(interval - quiet)


class Steps(AsyncIterator[Any]):
    """A source as the plain form steps and closes it."""

    def __init__(self, answer: PlainAnswer, source: AsyncIterator[Any]) -> None:
        self._answer = answer
        self._source = source

    async def __anext__(self) -> Any:
        item = await self._answer.step(self._source)
        if item is _END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Close the source."""
        await self._answer.close(close_source(self._source))


async def _next(source: AsyncIterator[Any]) -> Any:
    try:
        return await source.__anext__()
    except StopAsyncIteration:
        return _END


@types.coroutine
def _heard_once(step: Coroutine[Any, Any, Any], heard: Callable[[], None]) -> Generator[Any, Any, Any]:
    """Run a step, and call `heard` when a cancellation reaches it, before it can act upon it.

    Everything is passed on as it is. asyncio throws a cancellation into its task; trio sends what a wait has come to,
    with the cancellation as its `error`.
    """
    cancelled = get_cancelled_exc_class()
    resume: Callable[[Any], Any] = step.send
    value: Any = None
    while True:
        try:
            waits_for = resume(value)
        except StopIteration as end:
            return end.value
        resume = step.send
        try:
            value = yield waits_for
        except BaseException as thrown:
            value, resume = thrown, step.throw
        if isinstance(value, cancelled) or isinstance(getattr(value, "error", None), cancelled):
            heard()


async def run_hook(on_finish: OnFinish, outcome: Outcome, partial: Any, timeout: float) -> None:
    """Call the author's hook. It is not cancelled with the response, and its errors end nothing but itself.

    Args:
        on_finish: The hook, a plain or an async function.
        outcome: How the response ended.
        partial: The fold of the items so far; None where there is none.
        timeout: Seconds after which an async hook is cancelled.
    """
    with move_on_after(timeout, shield=True) as bound:
        try:
            given = on_finish(outcome, partial)
            if inspect.isawaitable(given):
                await given
        except Exception:
            logger.exception("on_finish raised")
    if bound.cancelled_caught:
        logger.error("on_finish did not end within %g s and was cancelled", timeout)
