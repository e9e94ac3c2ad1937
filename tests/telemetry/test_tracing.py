"""Spans over real requests, taken by OpenTelemetry's own exporter in memory: one for each response and each run."""

import asyncio
import contextlib
import threading

import httpx2
import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from asgi import Call
from dual_mode_streaming import DualModeResponse, Outcome, Runs, Streams, dual_mode, errors, last
from dual_mode_streaming.telemetry import OpenTelemetryMetrics, Tracing, notes_of
from dual_mode_streaming.testing import live_server

SSE = {"accept": "text/event-stream"}
BATCH = {"accept": "application/json"}
NDJSON = {"accept": "application/x-ndjson"}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Traced:
    """An application whose spans are kept."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(self.provider)
        self.streams = Streams(observers=[self.tracing])
        self.current = []
        routes = [
            Route(f"/{name}/{{id}}", self.answering(getattr(self, name)), methods=["GET", "POST"])
            for name in ("three", "held", "late", "early", "missing")
        ]
        routes.append(Route("/drain", self.drain, methods=["POST"]))
        self.app = Starlette(routes=routes, lifespan=self.streams.lifespan)

    def answering(self, source):
        async def endpoint(request):
            notes_of(request.scope)["tenant.id"] = "acme"
            return DualModeResponse(source())

        return endpoint

    async def drain(self, request):
        await self.streams.drain(0)
        return Response(status_code=204)

    async def three(self):
        self.current.append(trace.get_current_span().get_span_context().is_valid)
        for number in range(3):
            yield {"n": number}
            self.current.append(trace.get_current_span().get_span_context().is_valid)

    async def held(self):
        yield {"n": 1}
        await asyncio.Event().wait()

    async def late(self):
        yield {"n": 1}
        await asyncio.sleep(0)
        raise RuntimeError("broke")

    async def early(self):
        raise RuntimeError("broke")
        yield

    async def missing(self):
        raise errors.InvalidRequest("no such thing")
        yield

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    @property
    def span(self):
        (span,) = self.spans
        return span


@pytest.fixture
def traced():
    made = Traced()
    yield made
    assert made.tracing._responses == made.tracing._runs == {}, "a span was not ended"
    made.provider.shutdown()


@pytest.mark.parametrize(("headers", "mode"), [(SSE, "stream"), (NDJSON, "stream"), (BATCH, "batch")])
def test_a_complete_response(traced, headers, mode):
    with live_server(traced.app) as url:
        sent = httpx2.get(f"{url}/three/7?token=secret", headers={**headers, "traceparent": PARENT}).content
    span = traced.span
    assert (span.name, span.kind, span.status.status_code) == ("GET /three/{id}", SpanKind.SERVER, StatusCode.UNSET)
    assert f"{span.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{span.parent.span_id:016x}" == PARENT.split("-")[2]
    assert span.parent.is_remote
    silence = span.attributes["dual_mode.silence"]
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/three/{id}",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "dual_mode.mode": mode,
        "dual_mode.media_type": headers["accept"],
        "dual_mode.outcome": "done",
        "dual_mode.items": 3,
        "dual_mode.sent": len(sent),
        "dual_mode.heartbeats": 0,
        "dual_mode.silence": silence,
        "tenant.id": "acme",
    }
    assert [event.name for event in span.events] == ["dual_mode.first_item"]
    assert span.start_time <= span.events[0].timestamp <= span.end_time
    assert "secret" not in span.to_json()
    assert traced.current == [False] * 4, "the span was the current one inside of the source"


@pytest.mark.parametrize("headers", [SSE, NDJSON, BATCH])
@pytest.mark.parametrize("path", ["/early/1", "/late/1"])
def test_an_error_of_the_source(traced, path, headers):
    with live_server(traced.app) as url, contextlib.suppress(httpx2.RemoteProtocolError):
        httpx2.get(url + path, headers=headers)
    span = traced.span
    told = 200 if path == "/late/1" and headers is not BATCH else 500
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "error")
    assert span.attributes["http.response.status_code"] == told
    assert (span.attributes["error.type"], span.attributes["dual_mode.outcome"]) == ("RuntimeError", "error")
    (error,) = [event for event in span.events if event.name == "exception"]
    assert error.attributes["exception.message"] == "broke"


@pytest.mark.parametrize("headers", [SSE, BATCH])
def test_an_error_that_is_the_client_s_is_none_of_the_span(traced, headers):
    with live_server(traced.app) as url:
        assert httpx2.get(f"{url}/missing/1", headers=headers).status_code == 400
    span = traced.span
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes["http.response.status_code"], span.attributes["dual_mode.outcome"]) == (400, "error")


@pytest.mark.parametrize("headers", [SSE, BATCH])
def test_a_client_that_leaves(traced, headers):
    ended = threading.Event()
    told = traced.tracing.ended

    def tell(response):
        told(response)
        ended.set()

    traced.tracing.ended = tell
    with live_server(traced.app) as url:
        if headers is SSE:
            with httpx2.stream("GET", f"{url}/held/1", headers=headers) as response:
                next(response.iter_bytes())
        else:
            with pytest.raises(httpx2.ReadTimeout):
                httpx2.get(f"{url}/held/1", headers=headers, timeout=0.2)
        assert ended.wait(10)
    span = traced.span
    assert span.attributes["dual_mode.outcome"] == "client_gone"
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in span.attributes


def test_a_drain(traced):
    with live_server(traced.app) as url, httpx2.stream("GET", f"{url}/held/1", headers=SSE) as response:
        parts = response.iter_bytes()
        next(parts)
        assert httpx2.post(f"{url}/drain").status_code == 204
        assert b"event: error" in b"".join(parts)
    span = traced.span
    assert span.attributes["dual_mode.outcome"] == "drained"
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "Draining")


@pytest.mark.asyncio
async def test_a_resume_and_the_run_behind_it(traced):
    runs = Runs(observers=[traced.tracing])
    tracer = traced.provider.get_tracer("of the application")

    async with runs.lifespan():
        with tracer.start_as_current_span("request") as request:
            run = await runs.start(traced.three(), fold=last)
        whole = await Call(run.response(streams=traced.streams), headers=SSE).run()
        first = whole.body.decode().split("id: ")[1].split("\n")[0]
        headers = {**SSE, "last-event-id": first}
        await Call(run.response(streams=traced.streams), headers=headers).run()
    spans = {span.name: span for span in traced.spans}
    of_run = spans["dual_mode run"]
    assert of_run.parent is None
    assert of_run.context.trace_id != request.get_span_context().trace_id
    assert [link.context.span_id for link in of_run.links] == [request.get_span_context().span_id]
    assert of_run.attributes == {"dual_mode.outcome": "done", "dual_mode.items": 3}
    anew, again = [span for span in traced.spans if span.name == "GET"]
    assert "dual_mode.resumed" not in anew.attributes
    assert (again.attributes["dual_mode.resumed"], again.attributes["dual_mode.resume_distance"]) == (True, 3)
    assert run.id not in "".join(span.to_json() for span in traced.spans), "an id of a run may be as good as a password"


@pytest.mark.asyncio
async def test_a_run_that_fails(traced):
    runs = Runs(observers=[traced.tracing])
    async with runs.lifespan():
        run = await runs.start(traced.missing())
        with pytest.raises(errors.RunError):
            async for _ in runs.follow(run.id):
                pass
    assert traced.span.status.status_code is StatusCode.ERROR
    assert traced.span.attributes["error.type"] == "error"


@pytest.mark.asyncio
async def test_inside_of_a_framework_that_makes_spans(traced):
    """The context of the framework counts, not the header that it has read already."""
    tracer = traced.provider.get_tracer("a framework")

    async def instrumented(scope, receive, send):
        with tracer.start_as_current_span("GET", kind=SpanKind.SERVER):
            await traced.app(scope, receive, send)

    traced.app.state.streams = traced.streams
    await Call(instrumented, "/three/1", headers={**SSE, "traceparent": PARENT}).run()
    ours, outer = traced.spans
    assert (ours.name, ours.kind) == ("dual_mode stream", SpanKind.INTERNAL)
    assert ours.parent.span_id == outer.context.span_id
    assert ours.context.trace_id == outer.context.trace_id
    assert "http.request.method" not in ours.attributes


def test_inside_of_fastapi_s_own_spans(traced):
    app = FastAPI(telemetry={"tracer_provider": traced.provider})
    app.state.streams = traced.streams

    @app.get("/items/{id}")
    @dual_mode
    async def items(id: int):  # noqa: A002
        yield id

    with live_server(app) as url:
        httpx2.get(f"{url}/items/7", headers={**SSE, "traceparent": PARENT})
    spans = {span.name: span for span in traced.spans}
    ours, outer = spans["dual_mode stream"], spans["GET /items/{id}"]
    assert ours.parent.span_id == outer.context.span_id
    assert f"{outer.parent.span_id:016x}" == PARENT.split("-")[2]
    assert ours.attributes["http.route"] == "/items/{id}"
    assert outer.start_time <= ours.start_time <= ours.end_time


@pytest.mark.asyncio
async def test_two_streams_that_take_turns_do_not_mix_their_spans(traced):
    """What would go wrong with a span that is current while a source is suspended."""
    traced.app.state.streams = traced.streams
    calls = [Call(traced.app, f"/held/{number}", headers=SSE).begin() for number in range(2)]
    for call in calls:
        await call.until_body_has(b'"n":1')
    for call in calls:
        call.leave()
        await call.end()
    one, other = traced.spans
    assert one.parent is None
    assert other.parent is None
    assert one.context.trace_id != other.context.trace_id


@pytest.mark.asyncio
async def test_without_an_sdk_nothing_is_recorded_and_nothing_breaks(caplog):
    """The extra brings the API alone. An application that has set up nothing has a provider that does nothing."""
    tracing, metrics = Tracing(trace.NoOpTracerProvider()), OpenTelemetryMetrics(NoOpMeterProvider())
    streams = Streams(observers=[tracing, metrics])
    runs = Runs(observers=[tracing, metrics])

    async def source():
        yield 1

    async with runs.lifespan():
        run = await runs.start(source())
        call = await Call(run.response(streams=streams), headers=SSE).run()
    assert call.complete
    assert streams.snapshot().streams.outcomes[Outcome.DONE] == 1
    assert caplog.records == []
    assert tracing._responses == tracing._runs == {}
