"""One async generator, two modes: a complete JSON document or a live stream, from the same endpoint.

The names here are the public ones. They are loaded when they are first used, so that a program which only needs a
codec (`from dual_mode_streaming.sse import SSEDecoder`) loads nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import names_on_first_use

if TYPE_CHECKING:
    from . import errors
    from .channels import Channel
    from .client import DualModeClient, DualModeSyncClient
    from .decorator import dual_mode
    from .events import Outcome, ServerSentEvent
    from .folds import Fold, collect, concat, last, to_list
    from .modes import ResponseMode, detect_mode, negotiate
    from .runs import Runs
    from .streaming import DualModeResponse
    from .streams import Streams

__all__ = [
    "Channel",
    "DualModeClient",
    "DualModeResponse",
    "DualModeSyncClient",
    "Fold",
    "Outcome",
    "ResponseMode",
    "Runs",
    "ServerSentEvent",
    "Streams",
    "collect",
    "concat",
    "detect_mode",
    "dual_mode",
    "errors",
    "last",
    "negotiate",
    "to_list",
]

_HOMES = {
    "DualModeClient": "client",
    "Channel": "channels",
    "DualModeResponse": "streaming",
    "DualModeSyncClient": "client",
    "Fold": "folds",
    "Outcome": "events",
    "ResponseMode": "modes",
    "Runs": "runs",
    "ServerSentEvent": "events",
    "Streams": "streams",
    "collect": "folds",
    "concat": "folds",
    "detect_mode": "modes",
    "dual_mode": "decorator",
    "errors": "errors",
    "last": "folds",
    "negotiate": "modes",
    "to_list": "folds",
}

__getattr__, __dir__ = names_on_first_use(globals(), _HOMES)
