"""`@dual_mode`: an async generator function becomes an endpoint with two modes.

It is sugar on `DualModeResponse`, which holds all behaviour. What the decorator adds is what a framework reads of a
function: FastAPI sees the same parameters, but the fold's result as the return type, so that it documents the batch
body by itself. If it saw the generator, it would stream it in its own way and never look at `Accept`.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections import abc
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import AsyncGeneratorType
from typing import Any, TypeVar, Unpack, overload

from starlette.responses import Response

from .events import ServerSentEvent
from .options import GivenOptions, Options
from .streaming import DualModeResponse

__all__ = ["Declared", "declared", "dual_mode"]

Decorated = Callable[..., Coroutine[Any, Any, Response]]

_STAND_IN = "dual_mode_response"
_SOURCES = (
    abc.AsyncIterator,
    abc.AsyncIterable,
    abc.AsyncGenerator,
    abc.Iterator,
    abc.Iterable,
    abc.Generator,
    abc.Sequence,
    list,
    tuple,
)


@dataclass(frozen=True, slots=True)
class Declared:
    """What an endpoint under `@dual_mode` says of itself, for documentation.

    Attributes:
        item_type: The type of one item; None if it is not annotated.
        result_type: The type of the batch body; None if the fold does not say.
        options: The options of its responses.
    """

    item_type: Any
    result_type: Any
    options: Options


def declared(endpoint: Any) -> Declared | None:
    """Give what an endpoint under `@dual_mode` says of itself; None for any other endpoint."""
    return getattr(endpoint, "__dual_mode__", None)


@overload
def dual_mode(endpoint: Callable[..., Any], /) -> Decorated: ...


@overload
def dual_mode(**options: Unpack[GivenOptions]) -> Callable[[Callable[..., Any]], Decorated]: ...


def dual_mode(endpoint: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make an endpoint of a function that yields items. Works in FastAPI and Starlette, bare or with options.

    The function is an async generator, a generator (it runs in a thread), or returns a source. It may also return a
    finished `Response` instead, which is sent as it is. Parameters, dependencies and path operations of FastAPI work
    as on any endpoint; a `response: Response` parameter sets status and headers up to the first item.

    Args:
        endpoint: The function, when the decorator is used without parentheses.
        options: The options of `DualModeResponse`. `validate_items=True` checks items against the annotated type.

    Raises:
        NameError: An annotation of the function cannot be resolved where the function is defined.
        ValueError: An option is out of its range.
        TypeError: An option does not exist, or what is decorated is not a function.
    """
    if endpoint is not None:
        return _decorate(endpoint, {}, _names_around())
    Options(**{**options, "validate_items": False})  # a wrong option is told in the line that has it

    def decorate(endpoint: Callable[..., Any]) -> Decorated:
        return _decorate(endpoint, options, _names_around())

    return decorate


def _names_around() -> dict[str, Any]:
    """Give the names that an endpoint's annotations may use where the decorator is applied to it."""
    return dict(sys._getframe(2).f_locals)  # noqa: SLF001  Python has no other way


def _decorate(endpoint: Callable[..., Any], given: Mapping[str, Any], names: Mapping[str, Any]) -> Decorated:
    if not inspect.isroutine(endpoint):
        raise TypeError(f"@dual_mode is for functions, not for {endpoint!r}")
    signature = _resolved(endpoint, names)
    item_type = _item_type(signature.return_annotation)
    given = dict(given)
    if given.get("validate_items") is True:
        if item_type is None:
            raise ValueError(f"validate_items=True, but {endpoint.__qualname__} does not say what it yields")
        given["validate_items"] = item_type
    options = Options(**given)
    result_type = options.fold.result_type(item_type)
    own_stand_in = next(
        (name for name, parameter in signature.parameters.items() if _is_response(parameter.annotation)), None
    )

    new, plain_bytes = DualModeResponse.__new__, options.plain_bytes

    @functools.wraps(endpoint)
    async def respond(*args: Any, dual_mode_response: Response | None = None, **kwargs: Any) -> Response:
        stand_in = dual_mode_response if own_stand_in is None else kwargs.get(own_stand_in)
        content = endpoint(*args, **kwargs)
        if content.__class__ is not AsyncGeneratorType:
            if inspect.iscoroutine(content):
                content = await content
            if isinstance(content, Response):
                return content
        # The options were checked when the endpoint was defined, so the constructor has nothing to do.
        response = new(DualModeResponse)
        response.source = content
        response.options = options
        response.status_code = 200
        response.media_type = None
        response.background = None
        response.raw_headers = []
        response.stand_in = stand_in
        response.plain_bytes = plain_bytes if content.__class__ is AsyncGeneratorType else 0
        return response

    # FastAPI looks through `__wrapped__`, finds the generator there and streams it in its own way.
    del respond.__wrapped__
    respond.__dual_mode__ = Declared(item_type, result_type, options)  # type: ignore[attr-defined]
    respond.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()}
    respond.__signature__ = _seen_by_frameworks(signature, result_type, own_stand_in)  # type: ignore[attr-defined]
    return respond


def _seen_by_frameworks(signature: inspect.Signature, result_type: Any, own_stand_in: str | None) -> inspect.Signature:
    """Give the signature that a framework reads: the endpoint's own parameters, the fold's result."""
    parameters = list(signature.parameters.values())
    if own_stand_in is None:
        # FastAPI gives every parameter of this type the response on which dependencies set headers and cookies.
        hidden = inspect.Parameter(_STAND_IN, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Response)
        at = len(parameters)
        if parameters and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
            at -= 1
        parameters.insert(at, hidden)
    returns = inspect.Signature.empty if result_type is None else result_type
    return signature.replace(parameters=parameters, return_annotation=returns)


def _resolved(endpoint: Callable[..., Any], names: Mapping[str, Any]) -> inspect.Signature:
    """Give the signature with annotations that are no strings any more.

    Raises:
        NameError: A name is neither in the endpoint's module nor where the decorator is used.
    """
    signature = inspect.signature(endpoint)
    # The module's names come first, as they do for the function itself once it runs.
    known = {**names, **getattr(inspect.unwrap(endpoint), "__globals__", {})}

    def value(annotation: Any, what: str) -> Any:
        if annotation is inspect.Signature.empty or annotation is None:
            return annotation
        shell = types.SimpleNamespace(__annotations__={"it": annotation})
        try:
            return typing.get_type_hints(shell, known, include_extras=True)["it"]
        except NameError as missing:
            raise NameError(
                f"{endpoint.__qualname__}: the annotation {annotation!r} of {what} cannot be resolved ({missing}). "
                "@dual_mode needs it when the function is defined: define or import the name before, "
                "and not only under TYPE_CHECKING."
            ) from None

    parameters = [
        parameter.replace(annotation=value(parameter.annotation, f"parameter {name!r}"))
        for name, parameter in signature.parameters.items()
    ]
    return signature.replace(
        parameters=parameters, return_annotation=value(signature.return_annotation, "the return value")
    )


def _is_response(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Response)


def _item_type(returns: Any) -> Any:
    """Read the type of one item from what a generator function says it returns. Events are not items."""
    if typing.get_origin(returns) in (typing.Union, types.UnionType):
        # `AsyncIterator[Row] | Response`: a source, or a finished response in its place.
        returns = next((kind for kind in typing.get_args(returns) if typing.get_origin(kind) in _SOURCES), None)
    if typing.get_origin(returns) not in _SOURCES or not typing.get_args(returns):
        return None
    item = typing.get_args(returns)[0]
    if typing.get_origin(item) in (typing.Union, types.UnionType):
        kinds = tuple(kind for kind in typing.get_args(item) if kind is not ServerSentEvent)
        item = typing.Union[kinds] if kinds else None  # noqa: UP007  of a tuple of types
    if item is ServerSentEvent or item is Any or isinstance(item, TypeVar):
        return None
    return item
