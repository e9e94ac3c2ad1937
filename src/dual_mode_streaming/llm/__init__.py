"""Language models behind one endpoint, in the words of several vendors.

A model yields neutral events. One fold makes the batch of them, and a dialect writes both answers in its vendor's
form. The names here are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dual_mode_streaming.lazy import names_on_first_use

if TYPE_CHECKING:
    from .dialects import ALL, Dialect, Stamp
    from .events import Event, Finish, Logprobs, Reasoning, Refusal, Text, ToolArguments, ToolCall, Usage
    from .fold import Choice, Completion, CompletionFold
    from .keys import api_key
    from .models import LlamaModel, Model, Script, Simulator, Upstream
    from .requests import Image, Message, Request, Sampling, Tool
    from .router import llm_router
    from .shaping import guard, smooth
    from .timings import TIME_PER_OUTPUT_TOKEN, TIME_TO_FIRST_TOKEN, Timings

__all__ = [
    "ALL",
    "TIME_PER_OUTPUT_TOKEN",
    "TIME_TO_FIRST_TOKEN",
    "Choice",
    "Completion",
    "CompletionFold",
    "Dialect",
    "Event",
    "Finish",
    "Image",
    "LlamaModel",
    "Logprobs",
    "Message",
    "Model",
    "Reasoning",
    "Refusal",
    "Request",
    "Sampling",
    "Script",
    "Simulator",
    "Stamp",
    "Text",
    "Timings",
    "Tool",
    "ToolArguments",
    "ToolCall",
    "Upstream",
    "Usage",
    "api_key",
    "guard",
    "llm_router",
    "smooth",
]

_HOMES = {
    "ALL": "dialects",
    "Choice": "fold",
    "Completion": "fold",
    "CompletionFold": "fold",
    "Dialect": "dialects",
    "Event": "events",
    "Finish": "events",
    "Image": "requests",
    "LlamaModel": "models",
    "Logprobs": "events",
    "Message": "requests",
    "Model": "models",
    "Reasoning": "events",
    "Refusal": "events",
    "Request": "requests",
    "Sampling": "requests",
    "Script": "models",
    "Simulator": "models",
    "Stamp": "dialects",
    "TIME_PER_OUTPUT_TOKEN": "timings",
    "TIME_TO_FIRST_TOKEN": "timings",
    "Text": "events",
    "Timings": "timings",
    "Tool": "requests",
    "ToolArguments": "events",
    "ToolCall": "events",
    "Upstream": "models",
    "Usage": "events",
    "api_key": "keys",
    "guard": "shaping",
    "llm_router": "router",
    "smooth": "shaping",
}

__getattr__, __dir__ = names_on_first_use(globals(), _HOMES)
