"""Stores: where the records of runs are kept. The names are loaded when they are first used, and engines with them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Head, Limits, NewRun, Record, RunState, Store, Watch
    from .memory import MemoryStore
    from .nats import NATSStore
    from .redis import RedisStore
    from .sqlite import SQLiteStore

__all__ = [
    "Head",
    "Limits",
    "MemoryStore",
    "NATSStore",
    "NewRun",
    "Record",
    "RedisStore",
    "RunState",
    "SQLiteStore",
    "Store",
    "Watch",
]

_HOMES = {
    "Head": "base",
    "Limits": "base",
    "MemoryStore": "memory",
    "NATSStore": "nats",
    "NewRun": "base",
    "Record": "base",
    "RedisStore": "redis",
    "RunState": "base",
    "SQLiteStore": "sqlite",
    "Store": "base",
    "Watch": "base",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
