"""`@dual_mode`: what it makes of each kind of function, and what frameworks read of it."""

import asyncio
import functools
import inspect
import json
import threading
import types
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from asgi import Call
from dual_mode_streaming import DualModeResponse, ServerSentEvent, concat, dual_mode, last, to_list
from dual_mode_streaming.decorator import declared
from dual_mode_streaming.errors import StreamAborted

SSE = {"accept": "text/event-stream"}
NDJSON = {"accept": "application/x-ndjson"}


class Row(BaseModel):
    n: int


async def batch(endpoint, *args, **kwargs):
    call = await Call(await endpoint(*args, **kwargs)).run()
    assert call.status == 200
    return json.loads(call.body)


async def lines(endpoint, *args, **kwargs):
    call = await Call(await endpoint(*args, **kwargs), headers=NDJSON).run()
    assert call.status == 200
    return [json.loads(line) for line in call.body.splitlines()]


# --- kinds of functions --------------------------------------------------------------------------


@dual_mode
async def async_generator(count: int):
    for n in range(count):
        yield n


@dual_mode
def generator(count: int):
    yield from range(count)


@dual_mode
def returns_an_iterator(count: int):
    return iter(range(count))


@dual_mode
def returns_a_list(count: int):
    return list(range(count))


@dual_mode
def returns_an_async_generator(count: int):
    async def source():
        for n in range(count):
            yield n

    return source()


@dual_mode
async def coroutine_that_returns_a_list(count: int):
    await asyncio.sleep(0)
    return list(range(count))


@dual_mode
async def coroutine_that_returns_a_function(count: int):
    return lambda: iter(range(count))


@dual_mode(heartbeat=5)
async def with_options(count: int):
    for n in range(count):
        yield n


@dual_mode()
async def with_empty_parentheses(count: int):
    for n in range(count):
        yield n


KINDS = [
    async_generator, generator, returns_an_iterator, returns_a_list, returns_an_async_generator,
    coroutine_that_returns_a_list, coroutine_that_returns_a_function, with_options, with_empty_parentheses,
]  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize("endpoint", KINDS, ids=lambda endpoint: endpoint.__name__)
async def test_every_kind_of_function_answers_in_both_modes(endpoint):
    assert await batch(endpoint, 3) == {"data": [0, 1, 2]}
    assert await lines(endpoint, 3) == [0, 1, 2]
    assert await batch(endpoint, count=0) == {"data": []}


@pytest.mark.asyncio
async def test_a_generator_runs_in_a_thread():
    @dual_mode
    def threads():
        yield threading.get_ident()

    assert await batch(threads) != {"data": [threading.get_ident()]}


@pytest.mark.asyncio
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_finished_response_is_sent_as_it_is(accept):
    finished = PlainTextResponse("not modified", 304)

    @dual_mode
    async def by_coroutine():
        return finished

    @dual_mode
    def by_function():
        return finished

    @dual_mode
    async def with_a_source():
        return DualModeResponse([1], fold=to_list)

    assert await by_coroutine() is finished
    assert await by_function() is finished
    assert isinstance(await with_a_source(), DualModeResponse)
    call = await Call(await by_coroutine(), headers={"accept": accept}).run()
    assert (call.status, call.body) == (304, b"not modified")


@pytest.mark.asyncio
async def test_a_function_that_returns_a_value_is_told_so():
    @dual_mode
    async def value():
        return {"a": 1}

    with pytest.raises(TypeError, match="a dict is not a source"):
        await Call(await value()).run()


@pytest.mark.asyncio
async def test_an_error_of_the_function_itself_is_raised_to_the_framework():
    @dual_mode
    async def fails():
        raise LookupError("before there was a source")

    with pytest.raises(LookupError):
        await fails()


@pytest.mark.asyncio
async def test_the_options_are_those_of_the_response():
    outcomes = []

    @dual_mode(fold=concat(), mode="batch", on_finish=lambda outcome, partial: outcomes.append(partial))
    async def letters():
        yield "a"
        yield "b"

    call = await Call(await letters(), headers=SSE).run()
    assert (call.headers["content-type"], call.body, outcomes) == ("application/json", b'"ab"', ["ab"])


# --- methods -------------------------------------------------------------------------------------


class Rows(HTTPEndpoint):
    class Item(BaseModel):
        n: int

    @dual_mode
    async def get(self, request: Request) -> "AsyncIterator[Item]":
        yield {"n": int(request.query_params["n"])}

    @dual_mode(fold=last)
    def post(self, request: Request) -> Iterator[str]:
        yield self.greeting(request)

    def greeting(self, request):
        return f"hello {request.query_params['name']}"


@pytest.mark.asyncio
async def test_methods_of_a_starlette_endpoint():
    app = Starlette(routes=[Route("/", Rows)])
    assert (await Call(app, query="n=4").run()).body == b'{"data":[{"n":4}]}'
    assert (await Call(app, query="n=4", headers=NDJSON).run()).body == b'{"n":4}\n'
    assert (await Call(app, query="name=ada", method="POST").run()).body == b'"hello ada"'
    assert declared(Rows.get).item_type is Rows.Item


@pytest.mark.asyncio
async def test_a_function_route_of_starlette():
    @dual_mode
    async def endpoint(request: Request):
        yield request.path_params["name"]

    app = Starlette(routes=[Route("/{name}", endpoint)])
    assert (await Call(app, "/ada").run()).body == b'{"data":["ada"]}'


# --- what frameworks read ------------------------------------------------------------------------


def test_the_function_is_still_the_authors():
    @dual_mode
    async def endpoint():
        """Says what it does."""
        yield

    assert (endpoint.__name__, endpoint.__doc__) == ("endpoint", "Says what it does.")
    assert endpoint.__module__ == __name__
    assert endpoint.__qualname__.endswith("<locals>.endpoint")


@pytest.mark.parametrize("endpoint", KINDS, ids=lambda endpoint: endpoint.__name__)
def test_nothing_leads_a_framework_to_the_generator(endpoint):
    assert not hasattr(endpoint, "__wrapped__")
    assert inspect.iscoroutinefunction(endpoint)
    assert inspect.unwrap(endpoint) is endpoint


def test_the_signature_has_the_parameters_and_the_type_of_the_batch():
    @dual_mode(fold=to_list)
    async def endpoint(a: int, /, b: str = "b", *rest: int, c: float, d: "int" = 5, **more: Any) -> AsyncIterator[Row]:
        yield a

    signature = inspect.signature(endpoint)
    shown = [parameter for parameter in signature.parameters.values() if parameter.annotation is not Response]
    assert [(p.name, p.kind.name, p.annotation) for p in shown] == [
        ("a", "POSITIONAL_ONLY", int),
        ("b", "POSITIONAL_OR_KEYWORD", str),
        ("rest", "VAR_POSITIONAL", int),
        ("c", "KEYWORD_ONLY", float),
        ("d", "KEYWORD_ONLY", int),
        ("more", "VAR_KEYWORD", Any),
    ]
    assert (signature.parameters["b"].default, signature.parameters["d"].default) == ("b", 5)
    assert signature.return_annotation == list[Row]
    assert endpoint.__annotations__ == {"a": int, "b": str, "rest": int, "c": float, "d": int, "more": Any}


def test_a_hidden_parameter_receives_the_response_of_dependencies():
    @dual_mode
    async def endpoint(a: int):
        yield a

    *_, hidden = inspect.signature(endpoint).parameters.values()
    assert (hidden.kind, hidden.default, hidden.annotation) == (hidden.KEYWORD_ONLY, None, Response)


@pytest.mark.parametrize("kind", [Response, JSONResponse])
def test_the_authors_own_response_parameter_takes_its_place(kind):
    @dual_mode
    async def endpoint(response: kind):
        yield 1

    assert list(inspect.signature(endpoint).parameters) == ["response"]


T = TypeVar("T")


class Other(BaseModel):
    text: str


@pytest.mark.parametrize(
    ("returns", "item_type"),
    [
        (AsyncIterator[Row], Row),
        (AsyncGenerator[Row, None], Row),
        (AsyncIterable[Row], Row),
        (Iterator[Row], Row),
        (Generator[Row, None, str], Row),
        (Iterable[Row], Row),
        (Sequence[Row], Row),
        (list[Row], Row),
        (tuple[Row, ...], Row),
        (AsyncIterator[dict[str, int]], dict[str, int]),
        (AsyncIterator[Row | Other], Row | Other),
        (AsyncIterator[Row | ServerSentEvent], Row),
        (AsyncIterator[Row | ServerSentEvent | Other], Row | Other),
        (AsyncIterator[ServerSentEvent], None),
        (AsyncIterator[Any], None),
        (AsyncIterator[T], None),
        (AsyncIterator, None),
        (Response, None),
        (Row, None),
        (None, None),
        (inspect.Signature.empty, None),
    ],
)
def test_the_item_type_is_read_from_the_annotation(returns, item_type):
    async def endpoint():
        yield 1

    endpoint.__annotations__ = {} if returns is inspect.Signature.empty else {"return": returns}
    assert declared(dual_mode(endpoint)).item_type == item_type


def test_what_an_endpoint_declares():
    @dual_mode(fold=last, heartbeat=3)
    async def endpoint() -> AsyncIterator[Row]:
        yield Row(n=1)

    says = declared(endpoint)
    assert (says.item_type, says.result_type, says.options.fold, says.options.heartbeat) == (Row, Row, last, 3)
    assert declared(test_what_an_endpoint_declares) is None


def test_without_an_annotation_nothing_is_declared():
    says = declared(async_generator)
    assert says.item_type is None
    assert [field.name for field in fields(says.result_type)] == ["data"]


@pytest.mark.asyncio
async def test_an_endpoint_whose_result_type_is_unknown_has_no_return_annotation():
    @dual_mode(fold=lambda items: items)
    async def endpoint() -> AsyncIterator[Row]:
        yield {"n": 1}

    assert inspect.signature(endpoint).return_annotation is inspect.Signature.empty
    assert await batch(endpoint) == [{"n": 1}]


# --- annotations that are strings ----------------------------------------------------------------


def module(source):
    """Run a module whose annotations are all strings."""
    made = types.ModuleType("module_of_strings")
    text = "from __future__ import annotations\nfrom dual_mode_streaming import dual_mode\n" + inspect.cleandoc(source)
    exec(compile(text, "module_of_strings.py", "exec", dont_inherit=True), vars(made))
    return made


def types_of(endpoint):
    return {
        name: p.annotation for name, p in inspect.signature(endpoint).parameters.items() if p.annotation != Response
    }


def test_names_of_the_module():
    made = module(
        """
        from collections.abc import AsyncIterator

        class Row: ...

        @dual_mode
        async def bare(row: Row, count: int | None = None) -> AsyncIterator[Row]:
            yield row

        @dual_mode(heartbeat=5)
        async def with_options(row: Row) -> AsyncIterator[Row]:
            yield row
        """
    )
    assert types_of(made.bare) == {"row": made.Row, "count": int | None}
    assert types_of(made.with_options) == {"row": made.Row}
    assert declared(made.bare).item_type is declared(made.with_options).item_type is made.Row


def test_names_local_to_a_function():
    made = module(
        """
        def make():
            from collections.abc import AsyncIterator

            class Row: ...

            @dual_mode
            async def bare(row: Row) -> AsyncIterator[Row]:
                yield row

            @dual_mode(heartbeat=5)
            async def with_options(row: Row) -> AsyncIterator[Row]:
                yield row

            return Row, bare, with_options
        """
    )
    row, bare, with_options = made.make()
    assert types_of(bare) == types_of(with_options) == {"row": row}
    assert declared(bare).item_type is declared(with_options).item_type is row


def test_the_names_of_the_module_come_first():
    made = module(
        """
        class Row: ...
        Global = Row

        def helper(decorate):
            Row = int

            @decorate
            async def endpoint(row: Row):
                yield row

            return endpoint

        endpoint = helper(dual_mode)
        """
    )
    assert types_of(made.endpoint) == {"row": made.Global}


@pytest.mark.parametrize("use", ["@dual_mode", "@dual_mode(heartbeat=5)"])
@pytest.mark.parametrize(
    ("signature", "what"),
    [
        ("row: Row", r"the annotation 'Row' of parameter 'row'"),
        ("row: list[Row]", r"the annotation 'list\[Row\]' of parameter 'row'"),
        (") -> Iterator[Row](", None),
    ],
)
def test_a_name_that_is_only_there_for_checkers_is_told_and_what_to_do(use, signature, what):
    head = f"def endpoint({signature}):" if what else "def endpoint() -> Iterator[Row]:"
    what = what or r"the annotation 'Iterator\[Row\]' of the return value"
    source = f"""
from collections.abc import Iterator
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from somewhere import Row

{use}
{head}
    yield 1
"""
    with pytest.raises(
        NameError, match=rf"^endpoint: {what} cannot be resolved .*not only under TYPE_CHECKING"
    ) as caught:
        module(source)
    assert "name 'Row' is not defined" in str(caught.value)


def test_a_name_quoted_inside_an_annotation():
    class Local(BaseModel):
        n: int

    @dual_mode
    async def endpoint() -> AsyncIterator["Local"]:
        yield Local(n=1)

    assert declared(endpoint).item_type is Local


def test_a_decorator_that_was_made_elsewhere():
    made = module(
        """
        progress = dual_mode(heartbeat=5)

        def make():
            class Row: ...

            @progress
            async def endpoint(row: Row):
                yield row

            return Row, endpoint
        """
    )
    row, endpoint = made.make()
    assert types_of(endpoint) == {"row": row}


@pytest.mark.asyncio
async def test_another_decorator_below():
    made = module(
        """
        import functools

        class Row: ...

        async def plain(row: Row):
            yield 1
        """
    )

    @dual_mode
    @functools.wraps(made.plain)
    def endpoint(*args, **kwargs):
        return made.plain(*args, **kwargs)

    assert types_of(endpoint) == {"row": made.Row}
    assert await batch(endpoint, row=made.Row()) == {"data": [1]}


# --- told in the decorator's own line ------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"heartbeat": 0}, ValueError, "heartbeat=0 must be above zero"),
        ({"mode": "sse"}, ValueError, "'sse' is not a valid ResponseMode"),
        ({"fold": 5}, TypeError, "neither a Fold nor a function"),
        ({"hearbeat": 5}, TypeError, "hearbeat"),
        ({"content": []}, TypeError, "content"),
    ],
)
def test_a_wrong_option_is_told_before_there_is_a_function(options, error, message):
    with pytest.raises(error, match=message):
        dual_mode(**options)


@pytest.mark.parametrize("thing", [5, "text", Row, functools.partial(print), {"a": 1}])
def test_what_is_no_function_is_refused(thing):
    with pytest.raises(TypeError, match="@dual_mode is for functions, not for"):
        dual_mode(thing)


# --- checked items -------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("headers", [{}, SSE, NDJSON], ids=["batch", "sse", "ndjson"])
async def test_items_are_checked_against_the_annotation(headers):
    @dual_mode(validate_items=True)
    async def endpoint(good: bool) -> AsyncIterator[Row | ServerSentEvent]:
        yield {"n": 1}
        yield ServerSentEvent({"n": 2}, event="row")
        yield ServerSentEvent(comment="no item")
        yield Row(n=3)
        if not good:
            yield {"n": "secret"}

    assert (await Call(await endpoint(good=True), headers=headers).run()).status == 200
    call = Call(await endpoint(good=False), headers=headers)
    with suppress(StreamAborted):
        await call.run()
    assert b'"code":"item_invalid"' in call.body
    assert b'"index":3' in call.body
    assert b"secret" not in call.body


@pytest.mark.asyncio
async def test_items_can_be_checked_against_another_type():
    @dual_mode(validate_items=Row)
    async def endpoint():
        yield {"n": None}

    assert (await Call(await endpoint()).run()).status == 500


def test_items_cannot_be_checked_against_nothing():
    def endpoint():
        yield 1

    with pytest.raises(ValueError, match=r"validate_items=True, but .*endpoint does not say what it yields"):
        dual_mode(validate_items=True)(endpoint)
