"""Our streams to be measured, with every default on: one application for each way to say it.

Every application has one path for each shape of source, and the query says how many events are wanted.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
from _sources import SHAPES, Chunk, closed, dressed
from fastapi import FastAPI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dual_mode_streaming import DualModeResponse, ServerSentEvent, Streams, dual_mode
from dual_mode_streaming.folds import last
from dual_mode_streaming.lifecycle import Life
from dual_mode_streaming.observers import Observer
from dual_mode_streaming.telemetry import AccessLog, OpenTelemetryMetrics, PrometheusMetrics, Tracing


def count_of(request: Request) -> int:
    return int(request.query_params["n"])


def in_starlette(respond: Callable[[str, int], Any]) -> Starlette:
    """Make an application in which a function gives the response of a shape."""

    def endpoint(shape: str) -> Callable:
        async def answer(request: Request) -> Any:
            return respond(shape, count_of(request))

        return answer

    return with_probes([Route(f"/{shape}", endpoint(shape)) for shape in SHAPES])


def with_probes(routes: list[Route]) -> Starlette:
    async def ping(request: Request) -> Response:
        return Response(b"pong")

    async def when_closed(request: Request) -> Response:
        return Response(str(closed.get(count_of(request), 0)))

    return Starlette(routes=[*routes, Route("/ping", ping), Route("/closed", when_closed)])


def bare_fastapi() -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get("/ping")
    async def ping() -> Response:
        return Response(b"pong")

    @app.get("/closed")
    async def when_closed(n: int) -> Response:
        return Response(str(closed.get(n, 0)))

    return app


def ours(**options: Any) -> Starlette:
    """`@dual_mode` in Starlette, with every default on unless told otherwise."""

    def endpoint(shape: str) -> Callable:
        @dual_mode(mode="stream", **options)
        def answer(request: Request) -> AsyncIterator[dict]:
            return SHAPES[shape](count_of(request))

        return answer

    return with_probes([Route(f"/{shape}", endpoint(shape)) for shape in SHAPES])


def ours_returned() -> Starlette:
    return in_starlette(lambda shape, n: DualModeResponse(SHAPES[shape](n), mode="stream"))


def ours_ndjson() -> Starlette:
    return in_starlette(lambda shape, n: DualModeResponse(SHAPES[shape](n), media_type="application/x-ndjson"))


def ours_json_dumps() -> Starlette:
    """Items that the author has encoded with `json.dumps`: the same encoder as the peers."""

    def dress(item: dict) -> ServerSentEvent:
        return ServerSentEvent(raw=json.dumps(item))

    return in_starlette(lambda shape, n: DualModeResponse(dressed(shape, n, dress), mode="stream"))


def ours_fragment() -> Starlette:
    """The same as a plain item: orjson writes a fragment as it is."""

    def dress(item: dict) -> orjson.Fragment:
        return orjson.Fragment(json.dumps(item))

    return in_starlette(lambda shape, n: DualModeResponse(dressed(shape, n, dress), mode="stream"))


def ours_linger() -> Starlette:
    return ours(linger=0.0005)


def ours_fastapi() -> FastAPI:
    app = bare_fastapi()
    for shape, source in SHAPES.items():
        app.get(f"/{shape}")(dual_mode(mode="stream")(source))
    return app


def ours_fastapi_returned() -> FastAPI:
    app = bare_fastapi()

    def endpoint(shape: str) -> Callable:
        async def answer(n: int) -> DualModeResponse:
            return DualModeResponse(SHAPES[shape](n), mode="stream")

        return answer

    for shape in SHAPES:
        app.get(f"/{shape}")(endpoint(shape))
    return app


async def _note(outcome: object, partial: object) -> None:
    """Stand for an author's hook."""


FEATURES: dict[str, dict[str, Any]] = {
    "every default": {},
    "no heartbeat": {"heartbeat": None},
    "no send timeout": {"send_timeout": None},
    "no bound for an item": {"max_item_bytes": None},
    "deadline": {"deadline": 3600.0},
    "idle timeout": {"idle_timeout": 3600.0},
    "linger": {"linger": 0.0005},
    "on_finish, a fold that keeps one item": {"on_finish": _note, "fold": last},
    "on_finish, a fold that keeps all items": {"on_finish": _note, "batch_max_items": None},
    "validate_items against a Pydantic model": {"validate_items": Chunk},
    "a Streams registry": {},
    "a registry with PrometheusMetrics": {},
    "a registry with OpenTelemetryMetrics": {},
    "a registry with Tracing, each span exported": {},
    "a registry with AccessLog, to nowhere": {},
}
NO_WATCH = "no watch and no timers (taken out for the measurement)"


def with_feature(name: str) -> Starlette:
    """Give ours with one feature that is not on by default, or without one that is."""
    if name == NO_WATCH:
        Life.arm = lambda self: setattr(self, "_is_armed", True)
        name = "every default"
    app = ours(**FEATURES[name])
    if name.startswith("a registry with "):
        app.state.streams = Streams(max_streams=10_000, observers=[observer(name)])
    elif name == "a Streams registry":
        app.state.streams = Streams(max_streams=10_000)
    return app


def observer(name: str) -> Observer:
    """Give one of the observers of the library, set up as in an application, but for where it exports to."""
    if "Prometheus" in name:
        return PrometheusMetrics()
    if "OpenTelemetryMetrics" in name:
        return OpenTelemetryMetrics(MeterProvider([InMemoryMetricReader()]))
    if "Tracing" in name:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(Nowhere()))
        return Tracing(provider)
    logger = logging.getLogger("benchmark")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(Path(os.devnull).open("w")))  # noqa: SIM115  as long as the process lives
    return AccessLog(logger)


class Nowhere(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def ours_evicting() -> Starlette:
    """Streams whose clients may take no byte for three seconds; the path /open gives how many are open."""
    app = ours(send_timeout=3.0)
    streams = app.state.streams = Streams(max_streams=None)

    async def count(request: Request) -> Response:
        return Response(str(streams.open))

    app.router.routes.append(Route("/open", count))
    return app
