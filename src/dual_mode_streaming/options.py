"""The options of a dual-mode response: checked once, where the author wrote them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypedDict

from .errors import ItemInvalid
from .folds import Fold, ListFold, as_fold, collect
from .lifecycle import OnFinish
from .modes import ResponseMode
from .pace import BURST_BYTES
from .streams import Streams

__all__ = ["GivenOptions", "Options"]

_POSITIVE = ("commit_after", "close_timeout", "linger")
_POSITIVE_OR_NONE = ("heartbeat", "deadline", "idle_timeout", "send_timeout", "max_item_bytes", "batch_max_items")


class GivenOptions(TypedDict, total=False):
    """The options as an author writes them: each may be left out. `DualModeResponse` says what they mean."""

    fold: Fold[Any, Any] | Callable[[Any], Any]
    mode: ResponseMode | str | None
    stream_param: str | None
    heartbeat: float | None
    commit_after: float
    on_disconnect: Literal["cancel", "finish"]
    deadline: float | None
    idle_timeout: float | None
    send_timeout: float | None
    close_timeout: float
    linger: float
    max_item_bytes: int | None
    batch_max_items: int | None
    batch_keepalive: bool
    heartbeat_lines: bool
    retry: tuple[int, int] | None
    validate_items: Any
    on_finish: OnFinish | None
    streams: Streams | None
    debug: bool


@dataclass(slots=True, kw_only=True)
class Options:
    """What `DualModeResponse` and `@dual_mode` accept beside the source. Times are in seconds.

    Raises:
        ValueError: A bound is negative, or a choice does not exist.
        TypeError: The fold is none, or what is given as `streams` is no registry.
    """

    fold: Any = collect
    """A `Fold`, or a function in its place, which is made a fold here."""
    mode: ResponseMode | str | None = None
    stream_param: str | None = "stream"
    heartbeat: float | None = 15.0
    commit_after: float = 10.0
    on_disconnect: Literal["cancel", "finish"] = "cancel"
    deadline: float | None = None
    idle_timeout: float | None = None
    send_timeout: float | None = 30.0
    close_timeout: float = 5.0
    linger: float = 0.0
    max_item_bytes: int | None = 1_048_576
    batch_max_items: int | None = 100_000
    batch_keepalive: bool = False
    heartbeat_lines: bool = False
    retry: tuple[int, int] | None = (1000, 2000)
    validate_items: bool | Any = False
    on_finish: OnFinish | None = None
    streams: Streams | None = None
    debug: bool = False
    item_check: Callable[[int, Any], None] | None = field(init=False, default=None)
    takes_list: bool = field(init=False, default=False)
    """Whether the items are just gathered in a list: a fold over a list needs no call per item."""
    plain_bytes: int = field(init=False, default=0)
    """The largest body of a batch that needs nothing but to be sent once it is ready; 0 if every batch needs more."""

    def __post_init__(self) -> None:
        self.fold = as_fold(self.fold)
        if self.mode is not None and not isinstance(self.mode, ResponseMode):
            self.mode = ResponseMode(self.mode)
        self._check()
        if self.validate_items is not False:
            try:
                self.item_check = _known_item_check(self.validate_items)
            except TypeError:  # some annotations cannot be hashed
                self.item_check = _item_check(self.validate_items)
        self.takes_list = type(self.fold).step is ListFold.step and self.item_check is None
        # The encoder refuses events. Where the fold makes something else of the items, they have to be looked for.
        gives_items = self.takes_list and self.fold.gives_items
        if gives_items and self.mode is None and self.on_finish is None and self.streams is None:
            # A body within the bound for items cannot hold an item over it.
            self.plain_bytes = min(BURST_BYTES, self.max_item_bytes or BURST_BYTES)

    def watched_after(self, longest: float) -> float:
        """Give the seconds after which something may have to be done to a batch that waits, or `longest`."""
        bounds = [longest, self.deadline, self.idle_timeout]
        if self.batch_keepalive:
            bounds.append(self.commit_after)
        return min(bound for bound in bounds if bound is not None)

    def _check(self) -> None:
        if self.on_disconnect not in ("cancel", "finish"):
            raise ValueError(f"on_disconnect={self.on_disconnect!r} is not a policy; use 'cancel' or 'finish'")
        for name in _POSITIVE:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must not be negative")
        for name in _POSITIVE_OR_NONE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value!r} must be above zero; None switches it off")
        if self.retry is not None:
            low, high = self.retry
            if not (type(low) is type(high) is int and 0 <= low <= high):
                raise ValueError(
                    f"retry={self.retry!r} must be a range of milliseconds, two whole numbers such as (1000, 2000)"
                )
        if self.streams is not None and not isinstance(self.streams, Streams):
            raise TypeError(f"streams={self.streams!r} is not a registry; make one with Streams()")
        if self.validate_items is True:
            raise ValueError(
                "validate_items=True needs an endpoint under @dual_mode whose return annotation names the item type, "
                "such as AsyncIterator[Row]; elsewhere give the type itself: validate_items=Row"
            )


def _item_check(item_type: Any) -> Callable[[int, Any], None]:
    """Give the function that refuses an item of another type. It needs Pydantic, which comes with FastAPI."""
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(item_type)

    def check(index: int, item: Any) -> None:
        try:
            adapter.validate_python(item)
        except ValidationError as error:
            raise ItemInvalid(index) from error

    return check


# A response that is made in an endpoint names the same type again with every request.
_known_item_check = lru_cache(maxsize=256)(_item_check)
