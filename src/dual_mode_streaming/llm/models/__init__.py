"""The models: what answers a request. `base` says what a model is.

The names here are loaded when they are first used, because two of the models need packages of their own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Events, Model
    from .llama import LlamaModel
    from .simulator import Script, Simulator
    from .upstream import Upstream

__all__ = ["Events", "LlamaModel", "Model", "Script", "Simulator", "Upstream"]

_HOMES = {
    "Events": "base",
    "LlamaModel": "llama",
    "Model": "base",
    "Script": "simulator",
    "Simulator": "simulator",
    "Upstream": "upstream",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
