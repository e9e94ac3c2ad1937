"""The demo shows operators what it does, beside `/metrics`, which is its source of samples of the machine."""

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from dual_mode_streaming.llm import Simulator
from dual_mode_streaming.playground.app import create_app
from dual_mode_streaming.testing import live_server


def test_metrics_and_health_of_the_demo():
    with live_server(create_app(Simulator())) as url, httpx2.Client(base_url=url) as client:
        samples = client.get("/metrics?seconds=0.1&interval=0.05", headers={"accept": "text/event-stream"})
        shown = client.get("/-/metrics").text
        assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
        assert not {"/-/metrics", "/healthz", "/readyz"} & set(client.get("/openapi.json").json()["paths"])
    values = {
        (sample.name, *(label for _, label in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(shown)
        for sample in family.samples
    }
    items = samples.text.count("data: ") - 1
    assert items >= 1
    assert values["dual_mode_response_items_total", "stream", "/metrics"] == items
    assert values["dual_mode_channel_subscribers", "pulse"] == 0
    assert values["dual_mode_store_duration_seconds_count", "MemoryStore", "open", ""] == 1
