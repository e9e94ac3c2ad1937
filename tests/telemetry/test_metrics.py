"""The metrics: what Prometheus reads, by its own parser, over real requests; and OpenTelemetry the same."""

import asyncio
import gc
import re
import subprocess
import sys
import threading

import httpx2
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse
from starlette.applications import Starlette
from starlette.routing import Route

from asgi import Call
from dual_mode_streaming import Channel, DualModeResponse, Runs, Streams, errors
from dual_mode_streaming.llm import Simulator, llm_router
from dual_mode_streaming.telemetry import OpenTelemetryMetrics, PrometheusMetrics
from dual_mode_streaming.telemetry.measuring import MOST_MODELS, OTHER
from dual_mode_streaming.telemetry.table import ALL, Kind
from dual_mode_streaming.testing import live_server

SSE = {"accept": "text/event-stream"}
BATCH = {"accept": "application/json"}


def samples(text, parser=parse):
    """The value of each series: `name{label=value}` with its labels in order."""
    found = {}
    for family in parser(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            series = f"{sample.name}{{{labels}}}"
            assert series not in found, f"{series} is exposed twice"
            found[series] = sample.value
    return found


class Application:
    """An application with endpoints of all kinds of ends."""

    def __init__(self, *observers):
        self.gate = asyncio.Event()
        self.channel = Channel(history=10)
        self.streams = Streams(observers=observers)
        routes = [Route(f"/{name}", self.answering(name)) for name in ("three", "held", "late", "early")]
        self.app = Starlette(routes=[*routes, Route("/channel", self.subscribe)], lifespan=self.streams.lifespan)

    def answering(self, name):
        async def endpoint(request):
            return DualModeResponse(getattr(self, name)(), heartbeat=None)

        return endpoint

    async def subscribe(self, request):
        return DualModeResponse(self.channel)

    async def three(self):
        for number in range(3):
            yield {"n": number}

    async def held(self):
        yield {"n": 1}
        await self.gate.wait()

    async def late(self):
        yield {"n": 1}
        await asyncio.sleep(0)
        raise errors.InvalidRequest("late")

    async def early(self):
        raise errors.InvalidRequest("early")
        yield


def test_real_requests_as_prometheus_reads_them():
    metrics = PrometheusMetrics(CollectorRegistry())
    made = Application(metrics)
    made.app.router.routes.append(metrics.route("/-/metrics"))
    with live_server(made.app) as url, httpx2.Client(base_url=url) as client:
        sizes = [len(client.get("/three", headers=SSE).content) for _ in range(2)]
        client.get("/three", headers=BATCH)
        client.get("/late", headers=SSE)
        assert client.get("/early").status_code == 400
        shown = client.get("/-/metrics")
        as_open = client.get("/-/metrics", headers={"accept": "application/openmetrics-text"})
    assert shown.headers["content-type"].startswith("text/plain; version=")
    seen = samples(shown.text)
    of_stream = "dual_mode_mode=stream,http_route=/three"
    ended = "dual_mode_mode=stream,dual_mode_outcome=done,http_route=/three"
    assert seen[f"dual_mode_response_opened_total{{{of_stream}}}"] == 2
    assert seen[f"dual_mode_response_ended_total{{{ended}}}"] == 2
    assert seen[f"dual_mode_response_open{{{of_stream}}}"] == 0
    assert seen[f"dual_mode_response_items_total{{{of_stream}}}"] == 6
    assert seen[f"dual_mode_response_sent_bytes_total{{{of_stream}}}"] == sum(sizes)
    assert seen[f"dual_mode_response_duration_seconds_count{{{ended}}}"] == 2
    assert seen[f"dual_mode_response_time_to_first_item_seconds_count{{{of_stream}}}"] == 2
    assert seen["dual_mode_response_ended_total{dual_mode_mode=batch,dual_mode_outcome=done,http_route=/three}"] == 1
    assert seen["dual_mode_response_ended_total{dual_mode_mode=stream,dual_mode_outcome=error,http_route=/late}"] == 1
    assert seen["dual_mode_response_ended_total{dual_mode_mode=batch,dual_mode_outcome=error,http_route=/early}"] == 1
    assert not [name for name in seen if "time_to_first_item" in name and "/early" in name]
    opened, over = (
        sum(value for name, value in seen.items() if name.startswith(f"dual_mode_response_{kind}_total"))
        for kind in ("opened", "ended")
    )
    assert opened == over == 5
    again = samples(as_open.text, parse_open)
    assert again[f"dual_mode_response_items_total{{{of_stream}}}"] == 6


def read(metrics):
    """What Prometheus would read now, without a request."""
    from prometheus_client import generate_latest

    return samples(generate_latest(metrics.registry).decode())


@pytest.mark.asyncio
async def test_open_streams_count_as_they_stand():
    metrics = PrometheusMetrics()
    made = Application(metrics)
    call = Call(made.app, "/held", headers=SSE).begin()
    made.app.state.streams = made.streams
    await call.until_body_has(b'"n":1')
    labels = "{dual_mode_mode=stream,http_route=/held}"
    seen = read(metrics)
    assert seen[f"dual_mode_response_open{labels}"] == 1
    assert seen[f"dual_mode_response_items_total{labels}"] == 1
    assert seen[f"dual_mode_response_sent_bytes_total{labels}"] == len(call.body)
    made.gate.set()
    await call.end()
    seen = read(metrics)
    assert seen[f"dual_mode_response_open{labels}"] == 0
    assert seen[f"dual_mode_response_items_total{labels}"] == 1
    assert seen[f"dual_mode_response_sent_bytes_total{labels}"] == len(call.body)


@pytest.mark.asyncio
async def test_what_is_refused_is_counted_by_its_code():
    metrics = PrometheusMetrics()
    streams = Streams(max_streams=1, observers=[metrics])
    with streams.admit({"headers": []}), pytest.raises(errors.TooManyStreams):
        streams.admit({"headers": []})
    assert read(metrics)["dual_mode_response_refused_total{error_type=too_many_streams,http_route=}"] == 1


@pytest.mark.asyncio
async def test_those_who_come_back():
    metrics = PrometheusMetrics()
    made = Application(metrics)
    made.app.state.streams = made.streams
    ids = [await made.channel.publish(number) for number in range(3)]
    made.channel.close()
    await Call(made.app, "/channel", headers={**SSE, "last-event-id": ids[0]}).run()
    await Call(made.app, "/channel", headers={**BATCH, "last-event-id": ids[0]}).run()
    seen = read(metrics)
    assert sum(value for name, value in seen.items() if "_resumed_total{" in name) == 1
    labels = "dual_mode_mode=stream,http_route=/channel"
    assert seen[f"dual_mode_response_resumed_total{{{labels}}}"] == 1
    assert seen[f"dual_mode_response_resume_distance_sum{{{labels}}}"] == 2


# --- channels ------------------------------------------------------------------------------------


def of_channel(metrics, name="ticks"):
    wanted = f"{{dual_mode_channel={name}}}"
    return {
        series.removeprefix("dual_mode_channel_").removesuffix(wanted).removesuffix("_total"): value
        for series, value in read(metrics).items()
        if series.startswith("dual_mode_channel_") and series.endswith(wanted)
    }


@pytest.mark.asyncio
async def test_a_channel_with_a_slow_subscriber():
    metrics = PrometheusMetrics()
    channel = Channel(max_items=2, policy="drop_oldest")
    metrics.watch(channel, "ticks")
    quick, slow = channel.subscribe(), channel.subscribe()
    for number in range(5):
        await channel.publish(number)
        await quick.__anext__()
    seen = of_channel(metrics)
    assert seen["subscribers"] == 2
    assert (seen["published"], seen["delivered"], seen["dropped"], seen["evicted"]) == (5, 5, 3, 0)
    assert (seen["buffered"], seen["deepest"]) == (2, 2)
    await slow.aclose()  # it leaves by itself: what waits for it is not dropped
    assert of_channel(metrics) == {**seen, "subscribers": 1, "buffered": 0, "deepest": 0}
    await slow.aclose()
    assert of_channel(metrics)["dropped"] == 3


@pytest.mark.asyncio
async def test_an_eviction_and_what_was_buffered_then():
    metrics = PrometheusMetrics()
    channel = Channel(max_items=2)
    metrics.watch(channel, "ticks")
    slow = channel.subscribe()
    for number in range(4):
        await channel.publish(number)
    with pytest.raises(errors.SlowClient):
        await slow.__anext__()
    seen = of_channel(metrics)
    assert (seen["evicted"], seen["subscribers"], seen["dropped"], seen["delivered"]) == (1, 0, 2, 0)


@pytest.mark.asyncio
async def test_what_was_replaced():
    metrics = PrometheusMetrics()
    channel = Channel(policy="latest", key=lambda item: item["k"])
    metrics.watch(channel, "ticks")
    reader = channel.subscribe()
    for number in range(4):
        await channel.publish({"k": 1, "n": number})
    assert (await reader.__anext__()).data["n"] == 3
    assert of_channel(metrics)["conflated"] == 3


@pytest.mark.asyncio
async def test_the_numbers_of_a_channel_outlive_it_and_those_of_one_name_are_added_up():
    metrics = PrometheusMetrics()
    one, other = Channel(), Channel()
    for channel in (one, other):
        metrics.watch(channel, "rooms")
        reader = channel.subscribe()
        await channel.publish(1)
        await reader.__anext__()
    before = of_channel(metrics, "rooms")
    assert (before["published"], before["delivered"]) == (2, 2)
    del one, channel, other
    del reader
    await asyncio.sleep(0)
    gc.collect()
    after = of_channel(metrics, "rooms")
    assert (after["published"], after["delivered"]) == (2, 2)
    assert metrics._channels == []
    assert after.get("subscribers", 0) == 0


# --- runs and models -----------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_runs_and_their_store():
    metrics = PrometheusMetrics()
    runs = Runs(observers=[metrics])
    gate = asyncio.Event()

    async def work():
        yield 1
        await gate.wait()
        yield 2

    async with runs.lifespan():
        run = await runs.start(work())
        assert read(metrics)["dual_mode_run_open{}"] == 1
        gate.set()
        async for _ in runs.follow(run.id):
            pass
        while read(metrics)["dual_mode_run_open{}"]:
            await asyncio.sleep(0)
    seen = read(metrics)
    assert seen["dual_mode_run_ended_total{dual_mode_outcome=done}"] == 1
    assert seen["dual_mode_run_duration_seconds_count{dual_mode_outcome=done}"] == 1
    assert seen["dual_mode_run_items_total{}"] == 2
    labels = "dual_mode_store=MemoryStore,dual_mode_verb=claim,error_type="
    assert seen[f"dual_mode_store_duration_seconds_count{{{labels}}}"] == 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_model_is_measured_by_the_names_of_the_conventions(stream):
    from fastapi import FastAPI

    metrics = PrometheusMetrics()
    app = FastAPI()
    app.include_router(llm_router(Simulator(script=None)))
    app.state.streams = Streams(observers=[metrics])
    body = {"model": "simulator", "stream": stream, "messages": [{"role": "user", "content": "Hello"}]}
    with live_server(app) as url:
        httpx2.post(f"{url}/v1/chat/completions", json=body).raise_for_status()
    seen = read(metrics)
    of_model = "gen_ai_operation_name=chat,gen_ai_request_model=simulator"
    assert seen[f"gen_ai_server_request_duration_seconds_count{{error_type=,{of_model}}}"] == 1
    assert seen[f"gen_ai_server_time_to_first_token_seconds_count{{{of_model}}}"] == 1
    assert seen[f"gen_ai_server_time_per_output_token_seconds_count{{{of_model}}}"] == 1


@pytest.mark.asyncio
async def test_names_of_models_are_bounded():
    metrics = PrometheusMetrics()
    streams = Streams(observers=[metrics])
    for number in range(MOST_MODELS + 20):
        with streams.admit({"headers": []}) as entry:
            entry.observed.notes["gen_ai.request.model"] = f"m{number}"
            entry.observed.notes["gen_ai.server.request.duration"] = 1.0
    models = [name for name in read(metrics) if name.startswith("gen_ai_server_request_duration_seconds_count")]
    assert len(models) == MOST_MODELS + 1
    assert any(OTHER in name and value == 20 for name, value in read(metrics).items() if "seconds_count" in name)


# --- both libraries ------------------------------------------------------------------------------


def of_opentelemetry(reader):
    """All points, by the names and labels that Prometheus has for them; of distributions their number."""
    found = {}
    names = {metric.name: metric for metric in ALL}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                known = names[metric.name]
                assert (metric.unit, metric.description) == (known.unit, known.help)
                for point in metric.data.data_points:
                    given = {name.replace(".", "_"): value for name, value in point.attributes.items()}
                    labels = {label.replace(".", "_"): "" for label in known.labels} | given
                    ending = {Kind.COUNTER: "_total", Kind.GAUGE: "", Kind.HISTOGRAM: "_count"}[known.kind]
                    series = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
                    value = point.count if isinstance(point, HistogramDataPoint) else point.value
                    found[f"{known.prometheus}{ending}{{{series}}}"] = value
                    if isinstance(point, HistogramDataPoint):
                        assert tuple(point.explicit_bounds) == known.buckets
    return found


@pytest.mark.asyncio
async def test_opentelemetry_has_what_prometheus_has():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    otel, prometheus = OpenTelemetryMetrics(provider), PrometheusMetrics()
    made = Application(otel, prometheus)
    made.app.state.streams = made.streams
    for metrics in (otel, prometheus):
        metrics.watch(made.channel, "ticks")
    runs = Runs(observers=[otel, prometheus])
    subscriber = made.channel.subscribe()
    await made.channel.publish(1)
    held = Call(made.app, "/held", headers=SSE).begin()
    await held.until_body_has(b'"n":1')
    for path, headers in [("/three", SSE), ("/three", BATCH), ("/late", SSE), ("/early", BATCH)]:
        await Call(made.app, path, headers=headers).run()
    came_back = Call(made.app, "/channel", headers={**SSE, "last-event-id": f"{made.channel.epoch}-0"}).begin()
    await came_back.until(lambda: came_back.started)
    came_back.leave()
    await came_back.end()
    async with runs.lifespan():
        await runs.start(made.three())
    made.streams.max_streams = 1
    with pytest.raises(errors.TooManyStreams):
        made.streams.admit({"headers": []})
    theirs = {
        name: value
        for name, value in read(prometheus).items()
        if not name.partition("{")[0].endswith(("_bucket", "_sum", "_created"))
    }
    ours = of_opentelemetry(reader)
    assert ours == theirs
    named = {metric.prometheus for metric in ALL if not metric.name.startswith("gen_ai.")}
    assert {re.sub(r"(_total|_count)?{.*", "", name) for name in ours} == named
    made.gate.set()
    await held.end()
    await subscriber.aclose()
    now = of_opentelemetry(reader)
    assert now["dual_mode_response_open{dual_mode_mode=stream,http_route=/held}"] == 0, "an old look was shown again"
    assert now["dual_mode_channel_subscribers{dual_mode_channel=ticks}"] == 0
    provider.shutdown()


@pytest.mark.asyncio
async def test_another_thread_may_read_and_no_counter_goes_down():
    metrics = PrometheusMetrics()
    streams = Streams(observers=[metrics])
    channel = Channel()
    metrics.watch(channel, "ticks")
    stop, problems, reads = threading.Event(), [], []

    def keep_reading():
        before = {}
        try:
            while not stop.is_set() or len(reads) < 3:
                now = read(metrics)
                reads.append(len(now))
                down = [name for name, value in before.items() if "_total{" in name and now[name] < value]
                problems.extend(down)
                before = now
        except Exception as error:
            problems.append(error)

    async def app(scope, receive, send):
        async def source():
            for number in range(20):
                yield number
                await asyncio.sleep(0)

        await DualModeResponse(source(), streams=streams)(scope, receive, send)

    thread = threading.Thread(target=keep_reading)
    thread.start()
    try:
        for _ in range(30):
            readers = [channel.subscribe() for _ in range(20)]
            calls = [Call(app, headers=SSE).begin() for _ in range(5)]
            await channel.publish("tick")
            for reader in readers:
                await reader.__anext__()
                await reader.aclose()
            for call in calls:
                await call.end()
    finally:
        stop.set()
        thread.join()
    assert problems == []
    assert of_channel(metrics)["delivered"] == 600


@pytest.mark.asyncio
async def test_what_another_thread_sees_in_between_is_not_shown(monkeypatch):
    """The moments that the test above meets only now and then: a subscriber is in no number, or is just coming."""
    metrics = PrometheusMetrics()
    channel = Channel()
    metrics.watch(channel, "ticks")
    reader = channel.subscribe()
    await channel.publish(1)
    await reader.__anext__()
    before = of_channel(metrics)
    with monkeypatch.context() as leaving:
        leaving.setattr(type(channel), "subscriptions", ())
        assert of_channel(metrics) == {**before, "subscribers": 0}
    with monkeypatch.context() as coming:

        def changed(_):
            raise RuntimeError("Set changed size during iteration")

        coming.setattr(type(channel), "subscriptions", property(changed))
        assert of_channel(metrics) == {**before, "subscribers": 0}
    assert of_channel(metrics) == before
    await reader.aclose()


# --- what is loaded ------------------------------------------------------------------------------


def test_a_registry_holds_one_of_the_kind():
    metrics = PrometheusMetrics()
    with pytest.raises(ValueError, match="Duplicated"):
        PrometheusMetrics(metrics.registry)


@pytest.mark.parametrize(
    ("use", "loads", "leaves"),
    [
        ("from dual_mode_streaming import Streams, dual_mode; import dual_mode_streaming.telemetry", None, "both"),
        ("from dual_mode_streaming.telemetry import AccessLog, health_routes", None, "both"),
        ("from dual_mode_streaming.telemetry import PrometheusMetrics", "prometheus_client", "opentelemetry"),
        ("from dual_mode_streaming.telemetry import Tracing", "opentelemetry", "prometheus_client"),
        ("from dual_mode_streaming.telemetry import OpenTelemetryMetrics", "opentelemetry", "prometheus_client"),
    ],
)
def test_what_is_not_used_is_not_loaded(use, loads, leaves):
    program = f"import sys\n{use}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    loaded = set(done.stdout.split())
    assert loads is None or loads in loaded
    assert not loaded & ({"opentelemetry", "prometheus_client"} if leaves == "both" else {leaves})


def test_the_table_is_one_of_names_that_both_libraries_take():
    assert len({metric.name for metric in ALL}) == len({metric.prometheus for metric in ALL}) == len(ALL)
    for metric in ALL:
        assert metric.help.endswith(".")
        assert (metric.kind is Kind.HISTOGRAM) is bool(metric.buckets)
        assert list(metric.buckets) == sorted(metric.buckets)
