"""Hoses: each policy does what it says to a reader that stops, the figures add up, and nothing stays behind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import httpx2
import pytest

from dual_mode_streaming.playground import hoses
from playground.demo import Reader, demo


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with demo() as client:
        yield client


def opened(client: httpx2.Client, **terms: Any) -> str:
    answer = client.post("/hoses", json={"rate": 2000, "size": 32_000, "max_bytes": 200_000, **terms})
    assert answer.status_code == 201
    return answer.json()["id"]


def watched(client: httpx2.Client, hose: str, enough: Callable[[dict], bool]) -> dict[str, Any]:
    """Follow the statistics until they are as wanted, and see that they add up."""
    with client.stream("GET", f"/hoses/{hose}/stats?stream=true") as answer:
        for line in answer.iter_lines():
            if line.startswith('data: {"seconds"'):
                stats = json.loads(line.removeprefix("data: "))
                sums = sum(stats[name] for name in ("delivered", "dropped", "conflated", "buffered_items"))
                assert stats["published"] - 1 <= sums <= stats["published"] + 1  # one may be on its way
                assert stats["buffered_bytes"] <= 200_000
                if enough(stats):
                    return stats
    raise AssertionError("the statistics ended before")


@pytest.mark.parametrize(("policy", "figure"), [("drop_oldest", "dropped"), ("drop_newest", "dropped")])
def test_what_is_dropped_is_told(client, policy, figure):
    hose = opened(client, policy=policy)
    with Reader(client, f"/hoses/{hose}") as reader:
        events = reader.events()
        assert json.loads(next(events).data)["number"] == 1
        stats = watched(client, hose, lambda stats: stats[figure] > 3)
        assert stats["buffered_items"] <= 6
        gap = next(event for event in events if event.event == "gap")
        assert json.loads(gap.data)["missed"] >= 1


def test_latest_has_the_newest_of_each_sensor(client):
    hose = opened(client, policy="latest", size=1000)
    with Reader(client, f"/hoses/{hose}") as reader:
        next(reader.events())
        stats = watched(client, hose, lambda stats: stats["conflated"] > 20)
        assert stats["buffered_items"] <= hoses.KEYS
        assert stats["dropped"] == 0


def test_block_holds_the_producer_back(client):
    hose = opened(client, policy="block")
    with Reader(client, f"/hoses/{hose}") as reader:
        events = reader.events()
        next(events)
        seen = {"published": -1}

        def stands(stats: dict) -> bool:
            still = stats["published"] == seen["published"] and stats["buffered_items"] >= 6
            seen.update(stats)
            return still

        stats = watched(client, hose, stands)
        assert stats["dropped"] == stats["conflated"] == 0
        published = islice(events, stats["published"])
        numbers = [json.loads(event.data)["number"] for event in published]
        assert numbers == list(range(2, len(numbers) + 2))


def test_disconnect_ends_the_reader(client):
    hose = opened(client, policy="disconnect")
    with Reader(client, f"/hoses/{hose}") as reader:
        events = reader.events()
        next(events)
        watched(client, hose, lambda stats: stats["delivered"] < stats["published"])
        *_, last = events
        assert last.event == "error"
        assert json.loads(last.data)["code"] == "slow_client"
    assert watched(client, hose, lambda stats: stats["ended"] is not None)["ended"] == "slow_client"


def test_a_reader_that_leaves_ends_its_hose(client):
    hose = opened(client)
    with Reader(client, f"/hoses/{hose}") as reader:
        next(reader.events())
        assert client.get(f"/hoses/{hose}").status_code == 409
    stats = watched(client, hose, lambda stats: stats["ended"] is not None)
    assert stats["ended"] == "client_gone"
    assert client.get(f"/hoses/{hose}").status_code == 410
    assert client.get(f"/hoses/{hose}/stats").json()["ended"] == "client_gone"


def test_the_rate_can_be_changed(client):
    hose = opened(client, rate=0, size=10)
    with Reader(client, f"/hoses/{hose}") as reader:
        watched(client, hose, lambda stats: stats["published"] == 0)
        assert client.patch(f"/hoses/{hose}", json={"rate": 100}).status_code == 204
        assert json.loads(next(reader.events()).data) == {"number": 1, "sensor": 1, "payload": "x" * 10}


@pytest.mark.parametrize(
    ("method", "path", "json", "status", "detail"),
    [
        ("POST", "/hoses", {"policy": "hope"}, 422, "drop_oldest"),
        ("POST", "/hoses", {"rate": 3000}, 422, "less than or equal to 2000"),
        ("GET", "/hoses/nothing", None, 404, "no such hose"),
        ("GET", "/hoses/nothing/stats", None, 404, "no such hose"),
        ("PATCH", "/hoses/nothing", {"rate": 1}, 404, "no such hose"),
    ],
)
def test_what_is_refused(client, method, path, json, status, detail):
    answer = client.request(method, path, json=json)
    assert answer.status_code == status
    assert re.search(detail, answer.text)


def test_there_are_not_too_many_and_those_that_ended_are_forgotten(monkeypatch):
    monkeypatch.setattr(hoses, "MOST", 2)
    with demo() as client:
        first, second = opened(client), opened(client)
        refused = client.post("/hoses", json={})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        with Reader(client, f"/hoses/{first}") as reader:
            next(reader.events())
        watched(client, first, lambda stats: stats["ended"] is not None)
        assert opened(client)
        assert client.get(f"/hoses/{first}/stats").status_code == 404
        assert client.patch(f"/hoses/{second}", json={"rate": 1}).status_code == 204


def test_a_hose_that_nobody_reads_is_closed(monkeypatch):
    monkeypatch.setattr(hoses, "PATIENCE", 0.05)
    with demo() as client:
        hose = opened(client)
        watched(client, hose, lambda stats: True)
        with client.stream("GET", f"/hoses/{hose}/stats?stream=true") as answer:
            assert "event: done" in list(answer.iter_lines())
        assert client.get(f"/hoses/{hose}").status_code == 410
