"""Views of responses, runs and channels for those who operate them: metrics, traces, log lines, health.

They are observers (`observers.py`), given to `Streams` and `Runs`; nothing is patched and nothing is global. A name is
loaded when it is first used, and `prometheus_client` or `opentelemetry` with it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dual_mode_streaming.observers import Observed, ObservedRun, Observer, notes_of

    from .accesslog import AccessLog
    from .health import health_routes
    from .otel import OpenTelemetryMetrics
    from .prometheus import PrometheusMetrics
    from .tracing import Tracing

__all__ = [
    "AccessLog",
    "Observed",
    "ObservedRun",
    "Observer",
    "OpenTelemetryMetrics",
    "PrometheusMetrics",
    "Tracing",
    "health_routes",
    "notes_of",
]

_HOMES = {
    "AccessLog": ".accesslog",
    "Observed": "dual_mode_streaming.observers",
    "ObservedRun": "dual_mode_streaming.observers",
    "Observer": "dual_mode_streaming.observers",
    "OpenTelemetryMetrics": ".otel",
    "PrometheusMetrics": ".prometheus",
    "Tracing": ".tracing",
    "health_routes": ".health",
    "notes_of": "dual_mode_streaming.observers",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(_HOMES[name], __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
