"""Stores: where the records of runs are kept. The names are loaded when they are first used, and engines with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dual_mode_streaming.lazy import names_on_first_use

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

__getattr__, __dir__ = names_on_first_use(globals(), _HOMES)
