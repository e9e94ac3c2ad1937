"""Views of responses, runs and channels for those who operate them: metrics, traces, log lines, health.

They are observers (`observers.py`), given to `Streams` and `Runs`; nothing is patched and nothing is global. A name is
loaded when it is first used, and `prometheus_client` or `opentelemetry` with it.

`table` says what is measured, `measuring` makes it of what observers are told, `prometheus` and `otel` bring it to the
two libraries, `tracing` makes spans, `accesslog` writes lines, and `health` has the routes for orchestrators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dual_mode_streaming.lazy import names_on_first_use
from dual_mode_streaming.observers import Observed, ObservedRun, Observer, notes_of

if TYPE_CHECKING:
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
    "AccessLog": "accesslog",
    "OpenTelemetryMetrics": "otel",
    "PrometheusMetrics": "prometheus",
    "Tracing": "tracing",
    "health_routes": "health",
}

__getattr__, __dir__ = names_on_first_use(globals(), _HOMES)
