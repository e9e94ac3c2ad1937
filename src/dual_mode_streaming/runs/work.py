"""`Runs`: work that is owned by the application, not by a request.

A run is begun once and followed by any number of clients, in any process that has the same store. A client that leaves
ends nothing; it may come back to where it was. Only `cancel` ends a run early.

Rules:

- One process does the work of a run (`producing.py`), and writes everything down. Every process follows what is written
  down (`feeds.py`), the one that does the work too.
- It is used in one event loop, of asyncio or uvloop.
- Ids of runs cannot be guessed, and are worth nothing to anybody but the owner.
- A key names one piece of work for as long as that is kept, however it ended. To try again is to take another key.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.routing import Mount

from dual_mode_streaming.entries import retry_after
from dual_mode_streaming.errors import Draining, ProducerLost, RunCancelled, RunNotFound, ServerShutdown
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.folds import Fold, as_fold, collect
from dual_mode_streaming.jsonbytes import decode_json
from dual_mode_streaming.lifecycle import OnFinish, logger
from dual_mode_streaming.observers import Observer
from dual_mode_streaming.sources import close_source, open_source
from dual_mode_streaming.stores.base import Head, Limits, NewRun, RunState, Store
from dual_mode_streaming.stores.memory import MemoryStore
from dual_mode_streaming.stores.observed import ObservedStore
from dual_mode_streaming.streaming import DualModeResponse

from .answers import RunResponse
from .feeds import Feed
from .followers import Follower
from .housekeeping import kept_tidy
from .producing import NEWEST, Producer, Terms
from .records import CANCELLED, ERROR, problem_json, read_event_id
from .routes import Owner, run_routes
from .run import Run

__all__ = ["Runs"]

CANCEL_WAIT = 1.0
"""Seconds for which `cancel` waits that the work of this process ends by itself, with all of its items written down."""


class Runs:
    """Begins runs, follows them, and cancels them.

    Args:
        store: Where the records are kept; None for a `MemoryStore`, which is for one process.
        limits: The bounds of each run: how much of it is kept, for how long, and after how many seconds without a sign
            of life its producer counts as lost.
        grace: Seconds that the runs of this process may still take when the application goes down. Then they end with
            the error `server_shutdown`.
        patience: Seconds to go on trying when the store does not answer in the middle of a run.
        close_timeout: Seconds that a source may take to close when it is ended early.
        max_item_bytes: The largest item, as JSON; None for no bound but the store's.
        max_result_bytes: The largest fold, as JSON. A larger one is not kept, and batches of it get 413.
        batch_max_items: The most items that a fold may keep; None for no bound. Over it, batches get 413.
        debug: Tell clients the texts of unexpected errors.
        observers: Who is told of each run, and how long the store takes.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        limits: Limits | None = None,
        grace: float = 0.0,
        patience: float = 10.0,
        close_timeout: float = 5.0,
        max_item_bytes: int | None = 1_048_576,
        max_result_bytes: int = 16 * 1_048_576,
        batch_max_items: int | None = 100_000,
        debug: bool = False,
        observers: Sequence[Observer] = (),
    ) -> None:
        if not grace >= 0:
            raise ValueError(f"grace={grace!r} must not be negative")
        self.store: Store = MemoryStore() if store is None else store
        """Where the records are."""
        self.limits = limits or Limits()
        """The bounds of each run."""
        self.grace = grace
        self.prefix: str | None = None
        """Where the routes are, once `router` was called."""
        self._terms = Terms(
            limits=self.limits,
            patience=patience,
            close_timeout=close_timeout,
            max_item_bytes=max_item_bytes,
            max_result_bytes=max_result_bytes,
            batch_max_items=batch_max_items,
            debug=debug,
            observers=tuple(observers),
        )
        self._store = ObservedStore(self.store, self._terms.observers) if observers else self.store
        self._producers: dict[str, tuple[Producer, asyncio.Task[None]]] = {}
        self._feeds: dict[str, Feed] = {}
        self._closing = False
        self._entered = 0

    # --- beginning -------------------------------------------------------------------------------

    async def start(
        self,
        source: Any,
        *,
        fold: Fold[Any, Any] | Callable[[Sequence[Any]], Any] = collect,
        key: str | None = None,
        owner: str | None = None,
        on_finish: OnFinish | None = None,
    ) -> Run:
        """Begin a run, or find the one that was begun with the same key.

        Args:
            source: The work: anything that is a source for `DualModeResponse`. It is closed without having run if the
                run is there already.
            fold: Makes the result of all items.
            key: An idempotency key. Of all calls with one key and one owner, in all processes, exactly one does the
                work. None does it in any case.
            owner: Whose run it is. Nobody else can follow or cancel it. None is nobody: a run for all who know its id.
            on_finish: Called once, in this process, with the outcome and the fold of the items so far, if this call has
                begun the run.

        Raises:
            StoreError: The store does not answer.
            Draining: The application is going down.
            TypeError: The source or the fold is none.
        """
        try:
            if self._closing:
                raise Draining(retry_after(), closes=False)
            made = as_fold(fold)
            opened = open_source(source)
            new = NewRun(secrets.token_urlsafe(16), secrets.token_hex(8), owner, key, self.limits)
            head = await self._store.claim(new)
        except BaseException:
            await close_source(source)
            raise
        if head.run_id != new.run_id:
            await close_source(opened)
            return Run(self, head.run_id, owner, made, is_new=False)
        producer = Producer(self._store, new, opened, made, self._terms, on_finish)
        task = asyncio.get_running_loop().create_task(producer.run())
        self._producers[new.run_id] = producer, task
        task.add_done_callback(lambda done: self._ended(new.run_id, done))
        return Run(self, new.run_id, owner, made, is_new=True)

    def _ended(self, run_id: str, task: asyncio.Task[None]) -> None:
        del self._producers[run_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a run broke", exc_info=error)

    def answer(
        self,
        source: Any,
        *,
        fold: Fold[Any, Any] | Callable[[Sequence[Any]], Any] = collect,
        key: str | None = None,
        owner: str | None = None,
        on_finish: OnFinish | None = None,
        **options: Any,
    ) -> DualModeResponse:
        """Begin a run, and answer the request with it. It is begun when the response is sent.

        In an endpoint this is `start` and `Run.response` in one, with one difference: if the run cannot be begun, the
        client is answered with the error, such as 503 with `Retry-After`.

        Args:
            source: As for `start`.
            fold: As for `start`.
            key: As for `start`.
            owner: As for `start`.
            on_finish: As for `start`.
            options: As for `response`.
        """

        async def begin() -> tuple[str, str | None]:
            run = await self.start(source, fold=fold, key=key, owner=owner, on_finish=on_finish)
            return run.id, owner

        return RunResponse(self, begin, source, options)

    # --- following -------------------------------------------------------------------------------

    def response(self, run_id: str, *, owner: str | None = None, **options: Any) -> DualModeResponse:
        """Answer a request with a run: a batch waits for the result, a stream begins after `Last-Event-ID`.

        What is wrong is answered by the response: a run that is not there or has another owner with 404, an id of
        another run, or of records that are not kept any more, with 410.

        Args:
            run_id: The run.
            owner: Who asks.
            options: Options of `DualModeResponse` about the answer: `headers`, `heartbeat`, `commit_after`,
                `send_timeout`, `deadline`, `retry`, `mode`, `streams` and so on. The fold is that of the run.
        """

        async def begin() -> tuple[str, str | None]:
            return run_id, owner

        return RunResponse(self, begin, None, options)

    async def follow(
        self, run_id: str, *, after: str | None = None, owner: str | None = None
    ) -> AsyncGenerator[ServerSentEvent, None]:
        """Give the events of a run in this process, as they come.

        Args:
            run_id: The run.
            after: The id of the last event that is known; None for the beginning.
            owner: Who asks.

        Raises:
            RunNotFound: There is no such run, or it has another owner.
            InvalidRequest: `after` is malformed.
            EpochChanged: `after` is of another run.
            HistoryTrimmed: What came after it is not kept any more.
            RunError: The run has failed.
            StoreError: The store does not answer.
        """
        follower = Follower(await self.joined(run_id, owner, after or ""))
        try:
            if await follower.begin(after):
                async for event in follower:
                    yield event
        finally:
            await follower.aclose()

    async def joined(self, run_id: str, owner: str | None, after: str | None) -> Feed:
        """Give the feed of a run, for one more user, who has to leave it.

        Args:
            run_id: The run.
            owner: Who asks.
            after: After which event it will be read first, `""` for the beginning; None if only its end is of interest.

        Raises:
            RunNotFound: There is no such run, or it has another owner.
            StoreError: The store does not answer.
        """
        seq = NEWEST if after is None else read_event_id(after)[1] if after else 0
        feed = self._feeds.get(run_id)
        if feed is None:
            feed = self._feeds[run_id] = Feed(self._store, run_id, self._terms.patience, self._forget)
        await feed.join(seq)
        if feed.head.owner != owner:
            feed.leave()
            raise RunNotFound
        return feed

    def _forget(self, feed: Feed) -> None:
        if self._feeds.get(feed.run_id) is feed:
            del self._feeds[feed.run_id]

    async def head(self, run_id: str, *, owner: str | None = None) -> Head:
        """Say what has become of a run, without reading it. If its producer is lost, this ends it.

        Args:
            run_id: The run.
            owner: Who asks.

        Raises:
            RunNotFound: There is no such run, or it has another owner.
            StoreError: The store does not answer.
        """
        head, _ = await self._store.read(run_id, NEWEST, 0)
        if head.owner != owner:
            raise RunNotFound
        if head.state is RunState.LOST:
            return await self._store.close(run_id, ERROR, problem_json(ProducerLost()), if_lost=True)
        return head

    async def partial(self, run_id: str, fold: Fold[Any, Any]) -> Any:
        """Give the fold of the items of a run so far; see `Run.partial`."""
        producing = self._producers.get(run_id)
        if producing is not None:
            return producing[0].partial()
        state, after = fold.start(), 0
        while True:
            _, records = await self._store.read(run_id, after)
            for record in records:
                if not record.final and record.event != "gap":
                    state = fold.step(state, decode_json(record.data))
                after = record.seq
            if not records:
                return fold.snapshot(state)

    # --- ending ----------------------------------------------------------------------------------

    async def cancel(self, run_id: str, *, owner: str | None = None) -> None:
        """End a run early, whichever process does its work. One that has ended is left as it is.

        If this process does the work, the source has been closed when this returns, and what it has given is written
        down, unless either takes long. Another process hears of it; what it has not yet written is lost.

        Args:
            run_id: The run.
            owner: Who asks.

        Raises:
            RunNotFound: There is no such run, or it has another owner.
            StoreError: The store does not answer.
        """
        await self.head(run_id, owner=owner)
        if run_id in self._producers:
            producer, task = self._producers[run_id]
            producer.stop(RunCancelled())
            await asyncio.wait([task], timeout=CANCEL_WAIT)
        await self._store.close(run_id, CANCELLED, problem_json(RunCancelled()))

    # --- in an application -----------------------------------------------------------------------

    def router(self, prefix: str = "/runs", *, owner: Owner | None = None) -> Mount:
        """Give the routes of runs, for `Starlette(routes=[...])` or `app.router.routes.append(...)`.

        `GET {prefix}/{id}` answers with the run, in both modes. `DELETE {prefix}/{id}` cancels it: 204.

        Args:
            prefix: The path of the routes, from the root of the application. `Location` of a 202 is made of it.
            owner: Says who makes a request, as a plain or an async function. What it raises is answered as in any
                endpoint. None: nobody; then only runs without an owner can be reached.

        Raises:
            ValueError: The prefix does not begin with a slash, or ends with one.
        """
        mount = run_routes(self, prefix, owner)
        self.prefix = prefix
        return mount

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:  # noqa: ARG002  the signature of a lifespan
        """Be the lifespan of an application, or a part of it.

        At the start the store is opened, so that a wrong address is known at once. While the application runs, old runs
        are deleted. At the end the runs of this process have `grace` seconds, and the store is closed. Parts of the
        application may enter it as well: it lasts until all of them have left.

        Args:
            app: The application.

        Raises:
            StoreError: The store does not answer.
        """
        self._entered += 1
        try:
            if self._entered > 1:
                yield
                return
            async with kept_tidy(self._store, self.limits, in_memory=isinstance(self.store, MemoryStore)):
                self._closing = False
                try:
                    yield
                finally:
                    await self._shut_down()
        finally:
            self._entered -= 1

    async def _shut_down(self) -> None:
        self._closing = True
        tasks = [task for _, task in self._producers.values()]
        if tasks and self.grace:
            await asyncio.wait(tasks, timeout=self.grace)
        for producer, _ in list(self._producers.values()):
            producer.stop(ServerShutdown())
        if self._producers:
            await asyncio.wait([task for _, task in self._producers.values()])
        for feed in list(self._feeds.values()):
            await feed.aclose(Draining(retry_after(), closes=False))
