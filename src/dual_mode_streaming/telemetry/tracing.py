"""A span for each response and each run, by OpenTelemetry's API (`pip install 'dual-mode-streaming[otel]'`).

Rules:

- A span is started and ended by hand. It is never the current one: a source that is suspended at its `yield` would
  leave it to whoever runs next, and an asynchronous generator that is closed elsewhere could not give it back.
- Its parent is the current span, as that of an instrumented framework; otherwise what the request names in
  `traceparent`.
- A run outlives the request that has begun it, so it has a trace of its own, with a link to it.
- No body, header, query or address of a request becomes an attribute.
"""

from __future__ import annotations

from importlib.metadata import version

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider

from dual_mode_streaming.events import Outcome
from dual_mode_streaming.observers import Observed, ObservedRun, Observer

__all__ = ["Tracing"]

_FINE = frozenset({Outcome.DONE, Outcome.CLIENT_GONE})
"""A client may leave whenever it wants."""


class Tracing(Observer):
    """Makes spans of responses and runs.

    Where a framework makes spans of requests, those of responses are inside of them (kind `INTERNAL`); otherwise they
    are spans of requests themselves (kind `SERVER`). What the author puts into `notes_of(scope)` becomes attributes.

    Args:
        tracer_provider: Who makes the spans; None for the global one.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("dual_mode_streaming", version("dual-mode-streaming"), tracer_provider)
        self._responses: dict[Observed, Span] = {}
        self._runs: dict[ObservedRun, Span] = {}

    def opened(self, response: Observed) -> None:
        """Start the span of a response."""
        scope, mode = response.scope, "stream" if response.streams else "batch"
        inside = trace.get_current_span().get_span_context().is_valid
        method, route = scope.get("method", ""), response.route
        attributes: dict[str, str | int | bool] = {
            "dual_mode.mode": mode,
            "dual_mode.media_type": response.media_type,
        }
        if route:
            attributes["http.route"] = route
        if inside:
            name, kind, parent = f"dual_mode {mode}", SpanKind.INTERNAL, None
        else:
            name, kind, parent = f"{method} {route}".strip(), SpanKind.SERVER, _named_parent(response)
            attributes["http.request.method"] = method
            attributes["url.scheme"] = scope.get("scheme", "http")
            attributes["network.protocol.version"] = scope.get("http_version", "1.1")
        if response.last_event_id is not None:
            attributes["dual_mode.resumed"] = True
        span = self._tracer.start_span(name, parent, kind, attributes)
        self._responses[response] = span
        known = span.get_span_context()
        if known.is_valid:
            response.trace_id, response.span_id = f"{known.trace_id:032x}", f"{known.span_id:016x}"

    def first_item(self, response: Observed) -> None:
        """Mark the moment of the first item."""
        span = self._responses.get(response)
        if span is not None:
            span.add_event("dual_mode.first_item")

    def ended(self, response: Observed) -> None:
        """End the span of a response."""
        span = self._responses.pop(response, None)
        if span is None or response.outcome is None:
            return
        status = response.status_code
        span.set_attributes(
            {
                "dual_mode.outcome": response.outcome.value,
                "dual_mode.items": response.items,
                "dual_mode.sent": response.bytes,
                "dual_mode.heartbeats": response.heartbeats,
                "dual_mode.silence": response.silence,
                **({} if status is None else {"http.response.status_code": status}),
                **({} if response.behind is None else {"dual_mode.resume_distance": response.behind}),
                **response.notes,
            }
        )
        # By the conventions a 4xx is the client's fault, and no error of the server's span.
        if response.outcome not in _FINE and (status is None or not 400 <= status < 500):
            error = response.error
            span.set_attribute("error.type", response.outcome.value if error is None else type(error).__qualname__)
            span.set_status(Status(StatusCode.ERROR, response.outcome.value))
            if error is not None:
                span.record_exception(error)
        span.end()

    def run_began(self, run: ObservedRun) -> None:
        """Start the span of a run."""
        by = trace.get_current_span().get_span_context()
        links = [Link(by)] if by.is_valid else []
        self._runs[run] = self._tracer.start_span("dual_mode run", Context(), links=links)

    def run_ended(self, run: ObservedRun) -> None:
        """End the span of a run."""
        span = self._runs.pop(run, None)
        if span is None or run.outcome is None:
            return
        span.set_attributes({"dual_mode.outcome": run.outcome.value, "dual_mode.items": run.items})
        if run.outcome is not Outcome.DONE and run.outcome is not Outcome.CANCELLED:
            span.set_attribute("error.type", run.outcome.value)
            span.set_status(Status(StatusCode.ERROR, run.outcome.value))
        span.end()


def _named_parent(response: Observed) -> Context:
    """Give the context that the headers of a request name, in whatever way the application has set up."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.scope.get("headers", ())}
    return propagate.extract(headers)
