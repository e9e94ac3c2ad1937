"""One request and its answer: runs the source in the chosen mode, and tells the client how it ended.

This is where the two modes meet again. An early end, an error and a client that has left are treated here, alike for
both, whatever the answer was doing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import anyio
from starlette.types import Receive, Scope, Send

from .answers import BURST_BYTES, Answer
from .batch import BatchAnswer, Gathering, LateLife
from .entries import Entry
from .errors import DualModeError, StreamAborted, problem_from
from .events import Outcome
from .formats import Format, format_for
from .heads import Headers, SetByAuthor, head_of
from .inbox import Inbox, may_have_body
from .lifecycle import logger, run_on_finish
from .modes import STREAM, Choice
from .observers import FirstNoted
from .options import Options
from .plain import PlainBatch, PlainStream
from .plain_life import PlainAnswer, run_hook
from .pushed import PushedAnswer
from .refusals import answer_error
from .sources import FrameSource, OtherAnswer, request_of
from .stream import Framing, StreamAnswer
from .tasks import gave_up, innermost_scope

__all__ = ["ENDED", "Exchange", "at_first_step"]

READ_BEFORE_CUT = 0.02
"""Seconds between the error line of a stream and the cut. Clients throw away what they have not read when the
connection breaks (Chromium does), and so do servers what they have not sent (granian): measured, up to every tenth
error line was lost without a pause, and none with 0.01."""
READ_IN_A_CROWD = 0.2
"""The same for a drain, which ends many streams at once: each waits for the others to be sent."""
FAREWELL_WITHIN = 1.0
"""Seconds that a client may take to accept what it is told when the server goes down. It is little, and a client that
reads at all has room for it."""
CLIENT_CLOSED_REQUEST = 499
"""What access logs show for a client that left before it had an answer, as nginx has made common."""


ENDED = object()
"""What a gathering waits for that has come to its end."""


def at_first_step(raised: BaseException) -> Exception:
    """Give the error of a source that raised in its first step, before anybody could cancel it.

    Raises:
        BaseException: What ends the program, such as KeyboardInterrupt.
    """
    if isinstance(raised, asyncio.CancelledError):
        return gave_up()
    if not isinstance(raised, Exception):
        raise raised
    return raised


class Exchange:
    """Answers one request.

    Args:
        author: The status and the headers that the author wants.
        options: The options of the response.
        scope: The request.
        choice: The mode and the media type of the answer.
        receive: The server's messages.
        send: The way to the server.
        entry: What a registry knows of the response; None if there is no registry.
    """

    __slots__ = ("_author", "_choice", "_entry", "_observed", "_options", "_receive", "_scope", "_send")

    def __init__(
        self,
        author: SetByAuthor,
        options: Options,
        scope: Scope,
        choice: Choice,
        receive: Receive,
        send: Send,
        entry: Entry | None = None,
    ) -> None:
        self._author = author
        self._options = options
        self._scope = scope
        self._choice = choice
        self._receive = receive
        self._send = send if entry is None else entry.counting(send)
        self._entry = entry
        self._observed = None if entry is None else entry.observed

    async def batch(self, source: Any) -> None:
        """Answer with one document."""
        inbox = self._inbox(source) if may_have_body(self._scope) else None
        gathering = Gathering(self._observed_batch(source), self._options)
        scope = innermost_scope()
        work = gathering.run()
        waits_for, error = ENDED, None
        try:
            waits_for = work.send(None)
        except StopIteration:
            pass
        except BaseException as raised:
            error = at_first_step(raised)
        await self.gathered(gathering, work, waits_for, error, scope, inbox)

    async def gathered(
        self,
        gathering: Gathering,
        work: Coroutine[Any, Any, None],
        waits_for: Any,
        error: Exception | None,
        scope: object,
        inbox: Inbox | None = None,
    ) -> None:
        """Go on with a batch whose gathering has made its first step, and answer.

        Args:
            gathering: What is being gathered.
            work: Its coroutine.
            waits_for: What it waits for; `ENDED` if it has come to its end.
            error: What it has raised instead.
            scope: The innermost cancel scope of anyio before the first step.
            inbox: Who reads the server's messages; None if nobody has to be asked.
        """
        late: LateLife | None = None
        body = b""
        try:
            if error is None and waits_for is not ENDED:
                late = LateLife(gathering, lambda: self._batch_answer(gathering, inbox), scope)
                await late.run(work, waits_for)
            if error is None and (late is None or late.complete):
                body = gathering.body()
        except asyncio.CancelledError:
            await self._finish(self._begun(late, gathering, inbox), Outcome.CANCELLED)
            raise
        except Exception as raised:
            error = raised
        if error is not None or (late is not None and not late.complete):
            await self._end(self._begun(late, gathering, inbox), error)
        elif (late is None or late.answer is None) and len(body) <= BURST_BYTES and self._options.on_finish is None:
            # No life has begun, and none is needed to hand a small body to the server.
            status, headers = self.head(len(body))
            try:
                await self._send({"type": "http.response.start", "status": status, "headers": headers})
                await self._send({"type": "http.response.body", "body": body, "more_body": False})
                outcome = Outcome.DONE
            except OSError:
                logger.debug("the client left before it had its answer", exc_info=True)
                outcome = Outcome.CLIENT_GONE
            if self._entry is not None:
                self._entry.ended(outcome, gathering.items)
        else:
            answer = self._begun(late, gathering, inbox)
            await self._run(answer, answer.send_body(body))

    def _begun(self, late: LateLife | None, gathering: Gathering, inbox: Inbox | None) -> BatchAnswer:
        """Give the answer whose life has begun, or begin one."""
        return (late and late.answer) or self._batch_answer(gathering, inbox)

    async def stream(self, source: Any) -> None:
        """Answer item by item."""
        framing = Framing(source, self._options, self.format())
        self._observe_frames(framing)
        kind = PushedAnswer if isinstance(source, FrameSource) else StreamAnswer
        answer = kind(framing, self._options, self._inbox(source), self._send, self.head)
        self._can_be_drained(answer)
        await self._run(answer, answer.work())

    async def plain(self, source: Any) -> None:
        """Answer in the plain form, in either mode: where the event loop is not asyncio's."""
        streams = self._choice.mode is STREAM
        inbox = self._inbox(source)
        answer: PlainAnswer
        if streams:
            answer = PlainStream(source, self._options, inbox, self._send, self.head, self.format())
            self._observe_frames(answer.framing)
        else:
            answer = PlainBatch(self._observed_batch(source), self._options, inbox, self._send, self.head)
        if self._entry is not None:
            self._entry.on_drain(
                lambda why: answer.stop(Outcome.DRAINED, why), patience=2 * self._options.close_timeout
            )
        error: Exception | None = None
        try:
            await answer.run(FAREWELL_WITHIN)
        except Exception as raised:
            error = raised
        except anyio.get_cancelled_exc_class():
            await self._finish(answer, Outcome.CANCELLED)
            raise
        await self._end(answer, error)

    def head(self, length: int | None) -> tuple[int, Headers]:
        """Give the status and the headers of the answer, as they are when they are sent."""
        return head_of(self._author, self._scope, self._choice, length)

    def format(self) -> Format:
        """Give the format of a stream."""
        return format_for(self._choice.media_type)

    async def refuse(self, error: Exception) -> None:
        """Answer with an error, of which nothing was said yet."""
        await answer_error(error, self._scope, self._receive, self._send)

    # --- for observers -----------------------------------------------------------------------------

    def _observed_batch(self, source: Any) -> Any:
        observed = self._observed
        if observed is None:
            return source
        observed.heartbeat = b" "
        return FirstNoted(source, observed.has_first_item)

    def _observe_frames(self, framing: Framing) -> None:
        observed = self._observed
        if observed is not None:
            observed.taken = framing
            observed.heartbeat = framing.format.heartbeat(self._options.heartbeat_lines)
            observed.behind = framing.behind
            framing.on_first = observed.has_first_item

    # --- what an answer is made of -----------------------------------------------------------------

    def _inbox(self, source: Any) -> Inbox:
        return Inbox(self._receive, request_of(source) if may_have_body(self._scope) else None)

    def _batch_answer(self, gathering: Gathering, inbox: Inbox | None) -> BatchAnswer:
        inbox = inbox or Inbox(self._receive)
        answer = BatchAnswer(self._options, gathering.pace, inbox, self._send, self.head)
        answer.gathering = gathering
        self._can_be_drained(answer)
        return answer

    def _can_be_drained(self, answer: Answer) -> None:
        """Let the registry end the answer. It was perhaps told to end before its life began, so that comes first."""
        if self._entry is not None:
            soon = asyncio.get_running_loop().call_soon
            self._entry.on_drain(
                lambda why: soon(answer.stop, Outcome.DRAINED, why), patience=2 * self._options.close_timeout
            )

    # --- while the source runs, and after it -------------------------------------------------------

    async def _run(self, answer: Answer, work: Coroutine[Any, Any, None]) -> None:
        error: Exception | None = None
        try:
            await answer.run(work)
        except asyncio.CancelledError:
            await self._finish(answer, Outcome.CANCELLED)
            raise
        except Exception as raised:
            error = raised
        await self._end(answer, error)

    async def _end(self, answer: Answer | PlainAnswer, error: Exception | None) -> None:
        """Settle the outcome; tell it to the client and to the author."""
        outcome = Outcome.DONE
        if answer.stopped is not None:
            outcome, error = answer.stopped, answer.reason
        elif error is not None or answer.error is not None:
            outcome, error = Outcome.ERROR, error or answer.error
            if isinstance(error, OtherAnswer) and not answer.started:
                outcome = Outcome.DONE
        try:
            await answer.side_ended(FAREWELL_WITHIN if outcome is Outcome.DRAINED else None)
            if outcome is not Outcome.DONE or error is not None:
                await self._last_words(answer, outcome, error)
        finally:
            await self._finish(answer, outcome, error)

    async def _last_words(self, answer: Answer | PlainAnswer, outcome: Outcome, error: Exception | None) -> None:
        """Tell a client that is still there how its answer ended, if that is not by being complete."""
        if answer.send_failure is not None and not isinstance(answer.send_failure, OSError):
            raise answer.send_failure  # middleware is broken; nothing more can be sent
        if outcome is Outcome.CLIENT_GONE or answer.client_gone:
            if not answer.started:
                await _answer_nobody(self._send)
            return
        if error is None:
            raise StreamAborted(f"The response was ended: {outcome.value}.")
        if not answer.started and not answer.has_frames:
            await self.refuse(error)
            return
        if not isinstance(error, DualModeError) and getattr(error, "status_code", None) is None:
            logger.error("the source failed after the response had begun", exc_info=error)
        if isinstance(answer, (StreamAnswer, PlainStream)):
            problem = problem_from(error, debug=self._options.debug)
            aborts = answer.framing.format.aborts
            within = FAREWELL_WITHIN if outcome is Outcome.DRAINED else None
            await answer.last_words(answer.framing.failure(problem), more=aborts, within=within)
            if not aborts:
                return
            await anyio.sleep(READ_IN_A_CROWD if outcome is Outcome.DRAINED else READ_BEFORE_CUT)
        raise StreamAborted(f"The response failed after it had begun: {type(error).__name__}.") from None

    async def _finish(self, answer: Answer | PlainAnswer, outcome: Outcome, error: BaseException | None = None) -> None:
        if self._entry is not None:
            self._entry.ended(outcome, answer.given, error, left_behind=answer.left_behind)
        on_finish = self._options.on_finish
        if on_finish is None:
            return
        try:
            partial = answer.partial()
        except Exception:
            logger.exception("the fold of a partial result raised")
            partial = None
        run = run_hook if isinstance(answer, PlainAnswer) else run_on_finish
        await run(on_finish, outcome, partial, self._options.close_timeout)


async def _answer_nobody(send: Send) -> None:
    """Answer a client that has left: for middleware and access logs, which want an answer all the same."""
    try:
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": CLIENT_CLOSED_REQUEST, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
    except OSError:
        logger.debug("the server does not take an answer for a client that has left", exc_info=True)
