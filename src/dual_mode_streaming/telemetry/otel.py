"""The metrics for OpenTelemetry, by its API (`pip install 'dual-mode-streaming[otel]'`).

The application sets up the SDK: which reader exports where, how often, and under which name of a service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter

from .measuring import Labels, Measuring, Sums
from .table import ALL, Kind, Metric

__all__ = ["OpenTelemetryMetrics"]

Callback = Callable[[CallbackOptions], Iterable[Observation]]


class OpenTelemetryMetrics(Measuring):
    """Measures responses, runs and channels for OpenTelemetry.

    Give it to `Streams(observers=[...])`, to `Runs(observers=[...])`, or to both; `watch` adds channels.

    Args:
        meter_provider: Who makes the instruments; None for the global one.
    """

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        super().__init__()
        self._read: Sums = {}
        self._unread: set[Metric] = set()
        meter: Meter = get_meter("dual_mode_streaming", meter_provider=meter_provider)
        self._histograms = {
            metric: meter.create_histogram(
                metric.name, metric.unit, metric.help, explicit_bucket_boundaries_advisory=metric.buckets
            )
            for metric in ALL
            if metric.kind is Kind.HISTOGRAM
        }
        for metric in ALL:
            if metric.kind is Kind.COUNTER:
                meter.create_observable_counter(metric.name, [self._callback(metric)], metric.unit, metric.help)
            elif metric.kind is Kind.GAUGE:
                # A number of things that are there now can be added up over processes; the deepest of them cannot.
                add = meter.create_observable_up_down_counter if metric.adds_up else meter.create_observable_gauge
                add(metric.name, [self._callback(metric)], metric.unit, metric.help)

    def record(self, metric: Metric, value: float, labels: Labels) -> None:
        """Add a value to a distribution."""
        self._histograms[metric].record(value, _attributes(metric, labels))

    def _callback(self, metric: Metric) -> Callback:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for (one, labels), value in self._sums_for(metric).items():
                if one is metric:
                    yield Observation(value, _attributes(metric, labels))

        return observe

    def _sums_for(self, metric: Metric) -> Sums:
        """Give all sums. A reader asks for one metric after the other, and to look at all streams once is enough."""
        if metric not in self._unread:
            self._read, self._unread = self.sums(), set(ALL)
        self._unread.discard(metric)
        return self._read


def _attributes(metric: Metric, labels: Labels) -> dict[str, str]:
    """Give the attributes that have a value."""
    return {name: value for name, value in zip(metric.labels, labels, strict=True) if value}
