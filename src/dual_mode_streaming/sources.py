"""Sources: everything an author may hand over, as one kind of thing, an async iterator of items that can be closed.

Accepted are async generators, async iterators, objects with `__aiter__`, sync generators and iterators (their steps
run in a worker thread, so that they may block), lists and tuples, and callables that give one of these.

Most sources know nothing of the request. One that wants to see it (`OpensForRequest`) is shown what was asked for when
it is opened, and gives the source for this one request; that one may decide more than its items (`DecidingSource`).
"""

from __future__ import annotations

import contextvars
import inspect
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import AsyncGeneratorType
from typing import Any, NamedTuple, Protocol

import anyio.to_thread
from starlette.requests import Request
from starlette.types import ASGIApp

from .errors import DualModeError
from .formats import TERMINAL_ID, Format

FASTAPI_WRAPPER = "_async_stream_raw"

__all__ = [
    "FASTAPI_WRAPPER",
    "Asked",
    "DecidingSource",
    "FrameSource",
    "OpensForRequest",
    "OtherAnswer",
    "Ready",
    "close_source",
    "open_source",
    "request_of",
]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks of a source.

    Attributes:
        streams: Whether the answer is a stream; otherwise it is a batch.
        last_event_id: The id of the last event that a reconnecting client has seen; None if it names none.
    """

    streams: bool
    last_event_id: str | None


_FROM_THE_BEGINNING = Asked(streams=True, last_event_id=None)


class OtherAnswer(Exception):
    """Raised by a source before its first item: the request is answered by something else, and that is no error.

    Attributes:
        response: The other answer, an ASGI application.
    """

    def __init__(self, response: ASGIApp) -> None:
        super().__init__("The request has another answer.")
        self.response = response


class OpensForRequest(Protocol):
    """What may be handed over in the place of a source, and gives the source for one request."""

    def __dual_mode_open__(self, asked: Asked) -> Any:
        """Give the source for a request: anything that `open_source` takes. It must not wait."""


class DecidingSource(AsyncIterator[Any]):
    """An async iterator that decides more about its stream than the items. What it leaves alone is as for any source.

    Attributes:
        commit_after: Seconds that the headers wait for the first item; None for what the options say.
        terminal_id: The id of the `done` event. Read when the source has ended.
        total: How many items the whole stream has, of which this answer may be a part; None if it is all of them. Read
            when the source has ended.
        behind: How many events a client that came back has to catch up with; None if it did not, or nobody knows.
    """

    __slots__ = ()

    @property
    def commit_after(self) -> float | None:
        """Seconds that the headers wait for the first item."""
        return None

    @property
    def terminal_id(self) -> str:
        """The id of the `done` event."""
        return TERMINAL_ID

    @property
    def total(self) -> int | None:
        """How many items the whole stream has."""
        return None

    @property
    def behind(self) -> int | None:
        """How many events a client that came back has to catch up with."""
        return None


class Ready(NamedTuple):
    """What a `FrameSource` has ready.

    Attributes:
        frames: The frames.
        items: The items in them, each with its value (`item`) and its JSON (`json`).
        next: Where what comes after them begins. The source's own affair.
    """

    frames: bytes
    items: Sequence[Any]
    next: int


class FrameSource(DecidingSource):
    """A source that has its frames ready-made, and says when there are new ones, so that they can be sent at once.

    Attributes:
        idle: Set by whoever reads it while nothing is ready and nothing is being sent. Only then `push` is called.
    """

    __slots__ = ("idle",)

    idle: bool

    @abstractmethod
    def attach(self, format: Format, push: Callable[[], None], evict: Callable[[DualModeError], None]) -> None:  # noqa: A002
        """Begin to give frames.

        Args:
            format: The format of the frames.
            push: Called from the event loop, outside of any task, when frames are ready or the source is over.
            evict: Called when the source is over at once because its reader is too slow.
        """

    @abstractmethod
    def take(self) -> Ready | None:
        """Take frames that are ready, in the size of a send; None if there are none now."""

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether all frames were taken and no more will come."""

    @abstractmethod
    def check_end(self) -> None:
        """Raise the error with which a source that is over has ended, if it was one."""


def open_source(  # noqa: C901  a row for each kind of thing
    content: Any, asked: Asked = _FROM_THE_BEGINNING
) -> AsyncIterator[Any]:
    """Give the async iterator of a source. Nothing of it runs yet, but a callable is called.

    Args:
        content: What the author has handed over.
        asked: What the request asks for, for a source that wants to know.

    Raises:
        TypeError: The content is not a source.
    """
    if content.__class__ is AsyncGeneratorType:
        return _unwrapped(content) if content.ag_code.co_name == FASTAPI_WRAPPER else content
    if hasattr(content, "__dual_mode_open__"):
        given = content.__dual_mode_open__(asked)
        return given if given is content else open_source(given, asked)
    if isinstance(content, AsyncIterator):
        return content
    if isinstance(content, type):
        return open_source(content(), asked)
    if hasattr(content, "__aiter__"):
        return open_source(content.__aiter__(), asked)
    if isinstance(content, (str, bytes, bytearray, memoryview, Mapping)) or hasattr(content, "__pydantic_serializer__"):
        raise TypeError(_not_a_source(content))  # one value, although it can be iterated
    if isinstance(content, (list, tuple)):
        return _from_sequence(content)
    if isinstance(content, Iterator):
        return _ThreadSource(content)
    if inspect.iscoroutine(content):
        content.close()
        raise TypeError(f"{content.__qualname__}() is a coroutine: it returns one value, but a source yields items")
    if callable(content):
        given = content()
        if callable(given) and not hasattr(given, "__aiter__") and not hasattr(given, "__iter__"):
            raise TypeError(_not_a_source(given))
        return open_source(given, asked)
    if hasattr(content, "__iter__"):
        return _ThreadSource(iter(content))
    raise TypeError(_not_a_source(content))


async def close_source(source: Any) -> None:
    """Close a source, opened or not, so that its `finally` blocks run."""
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()
    elif inspect.isgenerator(source):
        source.close()


def request_of(source: Any) -> Request | None:
    """Find the request that a source may read the body of: among the arguments and closure of its generator.

    A source that reads the body while it runs and the watch for a disconnect both want the server's messages. Who
    finds the request can make them share (see `inbox.py`). A source that hides its request deeper than in an
    argument, a closure or an attribute of one of them should read the body before it is handed over.
    """
    frame = getattr(source, "ag_frame", None) or getattr(source, "gi_frame", None)
    found = dict(frame.f_locals) if frame is not None else vars(source) if hasattr(source, "__dict__") else {}
    for value in found.values():
        if isinstance(value, Request):
            return value
    for value in found.values():
        for inner in getattr(value, "__dict__", {}).values() if not isinstance(value, type) else ():
            if isinstance(inner, Request):
                return inner
    return None


def _unwrapped(source: AsyncGeneratorType[Any, Any]) -> AsyncIterator[Any]:
    """Take off the wrapper that FastAPI puts around a generator endpoint with a `response_class`.

    The wrapper does not close what it wraps, which would break the promise that a source is closed before the
    response returns; and it sleeps after every item, which the pump makes needless.
    """
    inner = source.ag_frame.f_locals.get("async_gen") if source.ag_frame is not None else None
    return inner if isinstance(inner, AsyncIterator) else source


async def _from_sequence(items: list[Any] | tuple[Any, ...]) -> AsyncIterator[Any]:
    for item in items:
        yield item


class _ThreadSource(AsyncIterator[Any]):
    """A sync iterator whose every step runs in a worker thread.

    The thread is free between two steps, so that endless sources do not use up the thread pool. All steps share one
    context, as they would in one thread of their own. A step that was cancelled goes on in its thread to its end;
    the lock lets nobody else step or close meanwhile.
    """

    _END = object()

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()

    async def __anext__(self) -> Any:
        # StopIteration cannot leave a thread as itself, so the end is a value.
        # A step may block for ever. It is left alone when the stream ends, and closing waits for it, for a while.
        item = await anyio.to_thread.run_sync(self._run, next, self._items, self._END, abandon_on_cancel=True)
        if item is self._END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:
            await anyio.to_thread.run_sync(self._run, close, abandon_on_cancel=True)

    def _run(self, step: Callable[..., Any], *args: Any) -> Any:
        with self._lock:
            return self._context.run(step, *args)


def _not_a_source(content: Any) -> str:
    return (
        f"a {type(content).__name__} is not a source; give an async generator, an async iterator, "
        "a generator, a list, or a function that returns one of these"
    )
