"""Sources: every kind that an author may hand over, and what is refused in plain words."""

import asyncio
import contextvars
import threading
from collections import UserDict
from contextlib import aclosing

import anyio.to_thread
import pytest
from pydantic import BaseModel
from starlette.requests import Request

from dual_mode_streaming.sources import close_source, open_source, request_of

GIVE_UP = 10.0


async def everything(source):
    async with asyncio.timeout(GIVE_UP):
        items = [item async for item in source]
        await close_source(source)
    return items


async def agen():
    yield 1
    yield 2


def gen():
    yield 1
    yield 2


class AsyncSteps:
    """An async iterator that is no generator."""

    def __init__(self):
        self.items = iter((1, 2))
        self.closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return next(self.items)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self):
        self.closed = True


class Job:
    """An object whose `__aiter__` is an async generator."""

    async def __aiter__(self):
        yield 1
        yield 2


class SyncSteps:
    def __init__(self):
        self.items = iter((1, 2))

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.items)


class Collection:
    def __iter__(self):
        return iter((1, 2))


SOURCES = {
    "async generator": agen,
    "async iterator": AsyncSteps,
    "object with __aiter__": Job,
    "generator": gen,
    "iterator": SyncSteps,
    "object with __iter__": Collection,
    "list": lambda: [1, 2],
    "tuple": lambda: (1, 2),
    "range": lambda: range(1, 3),
    "iterator of a list": lambda: iter([1, 2]),
    "async generator function": lambda: agen,
    "generator function": lambda: gen,
    "function that returns a list": lambda: lambda: [1, 2],
    "function that returns an async generator": lambda: lambda: agen(),
    "function that returns an object": lambda: lambda: Job(),
    "function that returns a collection": lambda: lambda: Collection(),
    "class": lambda: Job,
    "class of an iterator": lambda: AsyncSteps,
    "class of a collection": lambda: Collection,
    "bound method": lambda: Job().__aiter__,
}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", SOURCES)
async def test_every_kind_of_source_gives_its_items(kind):
    assert await everything(open_source(SOURCES[kind]())) == [1, 2]


@pytest.mark.parametrize("empty", [[], ()])
@pytest.mark.asyncio
async def test_no_items(empty):
    assert await everything(open_source(empty)) == []


@pytest.mark.asyncio
async def test_a_source_that_needs_no_wrapper_gets_none():
    source, steps = agen(), AsyncSteps()
    assert open_source(source) is source
    assert open_source(steps) is steps
    await close_source(source)


@pytest.mark.asyncio
async def test_a_generator_that_only_has_the_name_of_fastapis_wrapper():
    async def _async_stream_raw():
        yield 1

    source = _async_stream_raw()
    assert open_source(source) is source
    await close_source(source)


@pytest.mark.asyncio
async def test_nothing_runs_when_a_source_is_opened():
    def started():
        pytest.fail("the source ran when it was opened")
        yield

    await close_source(open_source(started()))


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("text", "str"),
        (b"bytes", "bytes"),
        (bytearray(b"bytes"), "bytearray"),
        (memoryview(b"bytes"), "memoryview"),
        ({"a": 1}, "dict"),
        (None, "NoneType"),
        (5, "int"),
        (1.5, "float"),
        (lambda: "text", "str"),
        (lambda: {"a": 1}, "dict"),
        (lambda: None, "NoneType"),
        (lambda: lambda: [1], "function"),
    ],
)
def test_what_is_no_source_is_refused_in_plain_words(content, kind):
    with pytest.raises(TypeError, match=f"^a {kind} is not a source; give an async generator"):
        open_source(content)


async def one_value():
    return 1


@pytest.mark.parametrize("content", [one_value, lambda: one_value()], ids=["function", "coroutine"])
def test_a_coroutine_is_refused_and_leaves_no_warning(content):
    with pytest.raises(
        TypeError, match=r"one_value\(\) is a coroutine: it returns one value, but a source yields items"
    ):
        open_source(content)


def test_a_finished_coroutine_object_is_refused_too():
    with pytest.raises(TypeError, match="is a coroutine"):
        open_source(one_value())


class Row(BaseModel):
    a: int = 1


@pytest.mark.parametrize("value", [Row(), UserDict(a=1)], ids=["model", "mapping"])
def test_one_value_that_happens_to_be_iterable_is_refused_like_a_dict(value):
    """Its members would be streamed one by one, which nobody means who returns a value in place of a source."""
    with pytest.raises(TypeError, match="is not a source"):
        open_source(value)


# --- generators in a thread ----------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_sync_generator_never_runs_on_the_event_loops_thread():
    threads = []

    def source():
        try:
            threads.append(threading.get_ident())
            yield 1
            threads.append(threading.get_ident())
            yield 2
        finally:
            threads.append(threading.get_ident())

    assert await everything(open_source(source())) == [1, 2]
    assert len(threads) == 3
    assert threading.get_ident() not in threads


@pytest.mark.asyncio
async def test_a_sync_generator_that_was_begun_is_closed_in_a_thread():
    closed_in = []

    def source():
        try:
            yield 1
            yield 2
        finally:
            closed_in.append(threading.get_ident())

    opened = open_source(source())
    assert await anext(opened) == 1
    await close_source(opened)
    assert len(closed_in) == 1, "the source was not closed exactly once"
    assert closed_in != [threading.get_ident()]
    await close_source(opened)
    assert len(closed_in) == 1


@pytest.mark.asyncio
async def test_the_steps_of_a_sync_generator_share_one_context():
    user = contextvars.ContextVar("user", default="nobody")
    user.set("ada")
    seen = []

    def source():
        seen.append(user.get())
        user.set("grace")
        try:
            yield 1
            seen.append(user.get())
            yield 2
        finally:
            seen.append(user.get())

    async with aclosing(open_source(source())) as opened:
        assert await anext(opened) == 1
        user.set("someone else")
        assert await anext(opened) == 2
    assert seen == ["ada", "grace", "grace"], "the steps do not see each other's context"
    assert user.get() == "someone else", "a step has changed the context of the request"


@pytest.mark.asyncio
async def test_an_error_of_a_sync_generator_arrives_as_it_is():
    def source():
        yield 1
        raise LookupError("no more")

    opened = open_source(source())
    assert await anext(opened) == 1
    with pytest.raises(LookupError, match="no more"):
        await anext(opened)


@pytest.mark.asyncio
async def test_waiting_sync_generators_do_not_hold_threads():
    limiter = anyio.to_thread.current_default_thread_limiter()
    before, limiter.total_tokens = limiter.total_tokens, 1
    try:
        async with asyncio.timeout(GIVE_UP):
            sources = [open_source(gen()) for _ in range(5)]
            assert [await anext(source) for source in sources] == [1] * 5
            assert [await anext(source) for source in sources] == [2] * 5
            for source in sources:
                await close_source(source)
    finally:
        limiter.total_tokens = before


@pytest.mark.asyncio
async def test_a_step_that_was_cancelled_ends_before_the_source_is_closed():
    entered, go_on = threading.Event(), threading.Event()
    order = []

    def source():
        try:
            entered.set()
            assert go_on.wait(GIVE_UP)
            order.append("step")
            yield 1
        finally:
            order.append("closed")

    opened = open_source(source())
    step = asyncio.ensure_future(anext(opened))
    await asyncio.to_thread(entered.wait, GIVE_UP)
    step.cancel()
    closing = asyncio.ensure_future(close_source(opened))
    await asyncio.wait([step])
    assert step.cancelled()
    assert order == [], "the source was closed in the middle of a step"
    go_on.set()
    async with asyncio.timeout(GIVE_UP):
        await closing
    assert order == ["step", "closed"]


# --- closing -------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_closing_runs_the_finally_blocks_of_an_async_generator():
    order = []

    async def source():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            order.append("closed")

    opened = open_source(source())
    await anext(opened)
    await close_source(opened)
    assert order == ["closed"]


@pytest.mark.asyncio
async def test_closing_calls_the_aclose_of_an_iterator():
    steps = AsyncSteps()
    await close_source(open_source(steps))
    assert steps.closed


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "content", [[1], Collection(), SyncSteps(), gen, None], ids=lambda content: type(content).__name__
)
async def test_what_has_nothing_to_close_is_closed_without_a_word(content):
    await close_source(content)


@pytest.mark.asyncio
async def test_a_generator_that_was_never_opened_is_closed():
    async_source, source = agen(), gen()
    await close_source(async_source)
    await close_source(source)
    assert (async_source.ag_frame, source.gi_frame) == (None, None)


@pytest.mark.asyncio
async def test_an_iterator_without_close_runs_in_a_thread_and_is_let_go():
    opened = open_source(SyncSteps())
    assert await anext(opened) == 1
    await close_source(opened)


# --- the request of a source ---------------------------------------------------------------------


def a_request():
    return Request({"type": "http", "headers": [], "method": "POST"})


class Reader:
    def __init__(self, request):
        self.request = request

    async def rows(self):
        yield self.request

    def __aiter__(self):
        return self

    async def __anext__(self):
        raise StopAsyncIteration


async def with_argument(request, limit=5):
    yield request, limit


def sync_with_argument(request):
    yield request


def with_closure(request):
    async def rows():
        yield request

    return rows()


async def with_holder(holder):
    yield holder


SOURCES_WITH_REQUEST = {
    "argument": with_argument,
    "argument of a sync generator": sync_with_argument,
    "closure": with_closure,
    "attribute of self": lambda request: Reader(request).rows(),
    "attribute of an argument": lambda request: with_holder(Reader(request)),
    "attribute of an iterator": Reader,
    "attribute of an attribute": lambda request: with_argument(Reader(request)),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("where", SOURCES_WITH_REQUEST)
async def test_the_request_of_a_source_is_found(where):
    request = a_request()
    source = SOURCES_WITH_REQUEST[where](request)
    assert request_of(source) is request
    await close_source(source)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "make",
    [
        agen,
        gen,
        AsyncSteps,
        lambda: [1],
        lambda: 5,
        lambda: with_argument(Request, str),
        lambda: with_holder(AsyncSteps()),
    ],
)
async def test_a_source_without_a_request(make):
    source = make()
    assert request_of(source) is None
    await close_source(source)


@pytest.mark.asyncio
async def test_a_source_that_has_ended_has_no_request():
    source = with_argument(a_request())
    await close_source(source)
    assert request_of(source) is None
