"""The metrics for Prometheus, by its own client library (`pip install 'dual-mode-streaming[prometheus]'`)."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Histogram, make_asgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .measuring import Labels, Measuring
from .table import ALL, Kind, Metric

__all__ = ["PrometheusMetrics"]


class PrometheusMetrics(Measuring):
    """Measures responses, runs and channels for Prometheus.

    Give it to `Streams(observers=[...])`, to `Runs(observers=[...])`, or to both; `watch` adds channels. It is for one
    process: where a server has several workers, each has numbers of its own (docs/operations.md).

    Args:
        registry: Where the metrics are registered; None for a new one. Only one such object can be in a registry.

    Attributes:
        registry: That registry.

    Raises:
        ValueError: The registry has the metrics already.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__()
        self.registry = CollectorRegistry() if registry is None else registry
        self._histograms = {
            metric: Histogram(
                metric.prometheus, metric.help, _labels(metric), buckets=metric.buckets, registry=self.registry
            )
            for metric in ALL
            if metric.kind is Kind.HISTOGRAM
        }
        self.registry.register(_Sums(self))

    def record(self, metric: Metric, value: float, labels: Labels) -> None:
        """Add a value to a distribution."""
        self._histograms[metric].labels(*labels).observe(value)

    def route(self, path: str = "/metrics") -> Route:
        """Give the route at which Prometheus finds the metrics, in its text format or in OpenMetrics.

        It shows the whole registry. Whoever can reach it learns the routes of the application and how much they are
        used, so it belongs behind what is not public.

        Args:
            path: The path of the route.
        """
        return Route(path, _Exposition(make_asgi_app(self.registry)), methods=["GET"], include_in_schema=False)


class _Exposition:
    """Starlette takes a function for an endpoint that is given a request, so the application is in an object."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class _Sums(Collector):
    """Gives a registry the sums and gauges when they are asked for."""

    def __init__(self, metrics: PrometheusMetrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Family]:
        """Give the names alone, so that two of the kind are refused in one registry."""
        return _families().values()

    def collect(self) -> Iterable[Family]:
        """Give all values as they are now."""
        families = _families()
        for (metric, labels), value in self._metrics.sums().items():
            families[metric].add_metric(labels, value)
        return families.values()


def _families() -> dict[Metric, CounterMetricFamily | GaugeMetricFamily]:
    kinds = {Kind.COUNTER: CounterMetricFamily, Kind.GAUGE: GaugeMetricFamily}
    return {
        metric: kinds[metric.kind](metric.prometheus, metric.help, labels=_labels(metric))
        for metric in ALL
        if metric.kind in kinds
    }


def _labels(metric: Metric) -> list[str]:
    return [label.replace(".", "_") for label in metric.labels]
