"""Sources: everything an author may hand over, as one kind of thing, an async iterator of items that can be closed.

Accepted are async generators, async iterators, objects with `__aiter__`, sync generators and iterators (their steps
run in a worker thread, so that they may block), lists and tuples, and callables that give one of these.
"""

from __future__ import annotations

import contextvars
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import AsyncGeneratorType
from typing import Any

import anyio.to_thread
from starlette.requests import Request

FASTAPI_WRAPPER = "_async_stream_raw"

__all__ = ["FASTAPI_WRAPPER", "close_source", "open_source", "request_of"]


def open_source(content: Any) -> AsyncIterator[Any]:
    """Give the async iterator of a source. Nothing of it runs yet, but a callable is called.

    Raises:
        TypeError: The content is not a source.
    """
    if content.__class__ is AsyncGeneratorType:
        return _unwrapped(content) if content.ag_code.co_name == FASTAPI_WRAPPER else content
    if isinstance(content, AsyncIterator):
        return content
    if isinstance(content, type):
        return open_source(content())
    if hasattr(content, "__aiter__"):
        return open_source(content.__aiter__())
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
        return open_source(given)
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
