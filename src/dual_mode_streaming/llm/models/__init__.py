"""The models: what answers a request. `base` says what a model is.

The names here are loaded when they are first used, because two of the models need packages of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dual_mode_streaming.lazy import names_on_first_use

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

__getattr__, __dir__ = names_on_first_use(globals(), _HOMES)
