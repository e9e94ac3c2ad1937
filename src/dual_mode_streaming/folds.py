"""Folds: how all items of a source become the one value of the batch answer.

A fold is written once and used by the server for its batch body, for the partial result of a stream that ended
early, and by the client for the result of a stream it has read. So it is pure: it knows no clock, no HTTP and no
encoding, and `step` accepts every item that the source can give.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import make_dataclass
from typing import Any, Generic, TypeVar

__all__ = ["Fold", "as_fold", "by_function", "collect", "concat", "last", "to_list"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Fold(ABC, Generic[Item, Result]):
    """Turns all items of a source into one value, item by item.

    Subclass it for a fold that keeps less than all items: a count, a sum, the best ten. Where all items are
    needed anyway, a plain function from a sequence of items to the result is accepted wherever a fold is.

    Attributes:
        keeps_items: Whether the state grows with every item. If so, the bounds of a batch apply to it
            (`batch_max_items`). Set it to False in a fold whose state does not grow.
    """

    keeps_items: bool = True

    @abstractmethod
    def start(self) -> Any:
        """Give the state before the first item."""

    @abstractmethod
    def step(self, state: Any, item: Item) -> Any:
        """Take one more item into the state and give the new state, which may be the old one, changed."""

    @abstractmethod
    def result(self, state: Any) -> Result:
        """Give the value of the complete source."""

    def snapshot(self, state: Any) -> Result:
        """Give the value of the items so far, while more may come. It must not change the state."""
        return self.result(state)

    def result_type(self, item_type: Any) -> Any:  # noqa: ARG002  some results are of the items' type
        """Give the type of the result for items of `item_type`, for documentation; None if it is not known."""
        return _return_annotation(self.result)


class ListFold(Fold[Item, Result]):
    """A fold whose state is the list of all items, and whose result is made of that list at the end.

    Attributes:
        gives_items: Whether the result holds each item as it is, and nothing is made of them.
    """

    gives_items = False

    def start(self) -> list[Item]:
        """Give an empty list."""
        return []

    def step(self, state: list[Item], item: Item) -> list[Item]:
        """Append the item."""
        state.append(item)
        return state


class _Collect(ListFold[Any, dict[str, list[Any]]]):
    gives_items = True

    def result(self, state: list[Any]) -> dict[str, list[Any]]:
        return {"data": state}

    def snapshot(self, state: list[Any]) -> dict[str, list[Any]]:
        return {"data": list(state)}

    def result_type(self, item_type: Any) -> Any:
        member: Any = list if item_type is None else list[item_type]
        name = getattr(item_type, "__name__", "Item")
        return make_dataclass(f"{name[:1].upper()}{name[1:]}Batch", [("data", member)])


class _ToList(ListFold[Any, list[Any]]):
    gives_items = True

    def result(self, state: list[Any]) -> list[Any]:
        return state

    def snapshot(self, state: list[Any]) -> list[Any]:
        return list(state)

    def result_type(self, item_type: Any) -> Any:
        return list if item_type is None else list[item_type]


class _Last(Fold[Any, Any]):
    keeps_items = False

    def start(self) -> None:
        return None

    def step(self, state: Any, item: Any) -> Any:  # noqa: ARG002  the state before is what `last` forgets
        return item

    def result(self, state: Any) -> Any:
        return state

    def result_type(self, item_type: Any) -> Any:
        return item_type


class _Concat(ListFold[Any, str]):
    def __init__(self, field: str | None, separator: str) -> None:
        self._field = field
        self._separator = separator

    def step(self, state: list[Any], item: Any) -> list[Any]:
        state.append(self._text(item))
        return state

    def result(self, state: list[Any]) -> str:
        return self._separator.join(state)

    def result_type(self, item_type: Any) -> Any:  # noqa: ARG002  text, whatever the items are
        return str

    def _text(self, item: Any) -> str:
        if self._field is not None and not isinstance(item, str):
            item = item.get(self._field) if isinstance(item, dict) else getattr(item, self._field, None)
        return "" if item is None else str(item)


class _ByFunction(ListFold[Item, Result]):
    def __init__(self, function: Callable[[Sequence[Item]], Result]) -> None:
        self._function = function

    def result(self, state: list[Item]) -> Result:
        return self._function(state)

    def snapshot(self, state: list[Item]) -> Result:
        return self._function(list(state))

    def result_type(self, item_type: Any) -> Any:  # noqa: ARG002  the function's own annotation counts
        return _return_annotation(self._function)


collect: Fold[Any, dict[str, list[Any]]] = _Collect()
"""The default: `{"data": [every item]}`."""

to_list: Fold[Any, list[Any]] = _ToList()
"""A bare JSON array of every item."""

last: Fold[Any, Any] = _Last()
"""The last item, or null if there was none: for progress that ends with a summary."""


def concat(field: str | None = None, *, separator: str = "") -> Fold[Any, str]:
    """Join the texts of all items.

    Args:
        field: Which member of an item (a key of a dict, or an attribute) holds its text. An item without it adds
            nothing; an item that is a string is its own text. None: the item itself, as `str` writes it.
        separator: What stands between two texts.
    """
    return _Concat(field, separator)


def by_function(function: Callable[[Sequence[Item]], Result]) -> Fold[Item, Result]:
    """Make a fold of a function from all items to the result."""
    return _ByFunction(function)


def as_fold(fold: Fold[Item, Result] | Callable[[Sequence[Item]], Result]) -> Fold[Item, Result]:
    """Accept a fold or a function in its place.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(fold, Fold):
        return fold
    given: Any = fold
    if isinstance(given, type) and issubclass(given, Fold):
        raise TypeError(f"fold={given.__name__} is a class; give an instance of it: fold={given.__name__}()")
    if not callable(given):
        raise TypeError(f"fold={given!r} is neither a Fold nor a function from a sequence of items to a result")
    return by_function(given)


def _return_annotation(function: Any) -> Any:
    """Read what a function says that it returns; None if it says nothing that can be resolved."""
    if isinstance(function, type):
        return function
    try:
        annotation = typing.get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return None
    return None if isinstance(annotation, TypeVar) or annotation is type(None) else annotation
