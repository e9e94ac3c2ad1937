"""What a model is to the rest of the library: something that answers a request with neutral events.

Rules for every model:

- `generate` is an async generator, or gives an async iterator. Nothing is computed before the first event is asked for.
- The same request gives the same events whether a stream or a batch was asked for.
- An error before the first event is raised, not told: a `ModelError` says with which status.
- When the iterator is closed or its task is cancelled, the computation ends. That is how a client that leaves stops it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, TypeAlias

from dual_mode_streaming.llm.events import Event
from dual_mode_streaming.llm.requests import Request

__all__ = ["Events", "Model", "serves"]

Events: TypeAlias = AsyncIterator[Event | str]
"""What a model gives: events, and strings that stand for `Text`."""


class Model(Protocol):
    """A language model. Any class with these two members is one."""

    @property
    def names(self) -> Sequence[str]:
        """The names under which clients ask for it, the usual one first. None at all means that any name will do."""
        ...

    def generate(self, request: Request) -> Events:
        """Answer a request.

        Raises:
            ModelError: It cannot.
        """
        ...


def serves(model: Model, name: str) -> bool:
    """Whether a model answers to a name. Clients that name none get the model there is."""
    return not name or not model.names or name in model.names
