"""What the demo has beside its three sources: reports, wires, the pulse, a source that breaks, a shared watch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from dual_mode_streaming import DualModeSyncClient
from dual_mode_streaming.playground import live, reports
from dual_mode_streaming.playground.reports import Report, Topic, summed
from dual_mode_streaming.stores import SQLiteStore
from playground.demo import demo

SSE = {"accept": "text/event-stream"}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with demo() as client:
        yield client


# --- reports -------------------------------------------------------------------------------------


def test_a_report_is_followed_in_both_modes(client):
    begun = client.post("/reports?topics=5&pace=0", headers={"prefer": "respond-async"})
    assert begun.status_code == 202
    place = begun.headers["location"]
    batch = client.get(place).json()
    with DualModeSyncClient(str(client.base_url)) as reader, reader.stream("GET", place, type=Topic) as stream:
        topics = [event.data for event in stream]
    assert [topic.number for topic in topics] == [1, 2, 3, 4, 5]
    assert summed(topics).model_dump() == batch
    assert batch["words"] == sum(topic.words for topic in topics) > 0


def test_a_report_is_answered_directly_and_shared_by_its_key(client):
    path = "/reports?topics=3&pace=0"
    first = client.post(path, headers={"idempotency-key": "one"}).json()
    again = client.post(path, headers={"idempotency-key": "one", **SSE}).text
    assert first["topics"] == 3
    assert again.count("data: ") == 4
    assert client.get("/runs/nothing").json()["code"] == "run_not_found"
    assert client.post("/reports?topics=0").status_code == 422


def test_a_report_can_be_kept_on_disk(tmp_path):
    with demo(store=SQLiteStore(tmp_path / "runs.db")) as client:
        begun = client.post("/reports?topics=2&pace=0", headers={"prefer": "respond-async"})
        place = begun.headers["location"]
        assert client.get(place).json()["topics"] == 2
    with demo(store=SQLiteStore(tmp_path / "runs.db")) as client:  # the server has started anew
        assert client.get(place).json()["topics"] == 2


def test_the_longest_word_is_the_first_in_the_alphabet():
    topics = [Topic(number=1, topic="a", words=2, longest="pear"), Topic(number=2, topic="b", words=1, longest="kiwi")]
    assert summed(topics) == Report(topics=2, words=3, longest="kiwi")
    assert summed([]) == Report(topics=0, words=0, longest="")


# --- wires ---------------------------------------------------------------------------------------


def test_a_wire_is_cut_without_a_word_and_the_run_goes_on(client, monkeypatch):
    may_go_on = threading.Event()
    read = reports.read_topics

    async def held(count: int, pace: float):
        async for topic in read(count, 0.001):
            while topic.number > 2 and not may_go_on.is_set():
                await reports.anyio.sleep(0.005)
            yield topic

    monkeypatch.setattr(reports, "read_topics", held)
    begun = client.post("/reports?topics=6", headers={"prefer": "respond-async"})
    place = begun.headers["location"]
    seen: list[str] = []

    def read_and_cut() -> None:
        with client.stream("GET", f"{place}?stream=true&wire=w1") as answer:
            for line in answer.iter_lines():
                seen.append(line)
                if line.startswith("id: ") and line.endswith("-2"):
                    assert client.post("/wires/w1/cut").json() == {"cut": 1}

    with pytest.raises(httpx2.RemoteProtocolError, match="incomplete"):
        read_and_cut()
    ids = [line.removeprefix("id: ") for line in seen if line.startswith("id: ")]
    assert [number.rpartition("-")[2] for number in ids] == ["1", "2"]
    assert "event: done" not in seen
    assert client.post("/wires/w1/cut").json() == {"cut": 0}

    may_go_on.set()
    rest = client.get(f"{place}?stream=true&wire=w1", headers={"last-event-id": ids[-1]}).text
    topics = [json.loads(line[6:]) for line in rest.splitlines() if line.startswith('data: {"n')]
    assert [topic["number"] for topic in topics] == [3, 4, 5, 6]


def test_an_answer_without_a_wire_cannot_be_cut(client):
    assert client.post("/wires/nobody/cut").json() == {"cut": 0}
    assert client.get("/search?q=yield&wire=w2").json()["count"] > 0
    assert client.get("/wires/w2/cut").status_code == 405


# --- the pulse -----------------------------------------------------------------------------------


def test_the_pulse_is_live_and_has_a_history(monkeypatch):
    monkeypatch.setattr(live, "INTERVAL", 0.01)
    with demo() as client, DualModeSyncClient(str(client.base_url)) as reader:
        with reader.stream("GET", "/live") as stream:
            events = [event for event, _ in zip(stream, range(3), strict=False)]
        history = client.get("/live").json()["data"]
    pulses = [event.data for event in events]
    at = history.index(pulses[0])
    assert history[at : at + 3] == pulses
    assert pulses[0]["open_streams"] == 1
    assert pulses[0]["server_memory"] > 10_000_000
    assert len({event.id.rpartition("-")[0] for event in events}) == 1


# --- breaking ------------------------------------------------------------------------------------


def test_a_source_breaks_where_it_is_told_to(client):
    whole = client.get("/breaking?items=2&pace=0").json()
    assert whole == {"data": [{"step": 1}, {"step": 2}]}
    for headers in ({}, SSE):
        early = client.get("/breaking?after=0&pace=0", headers=headers)
        assert (early.status_code, early.headers["retry-after"]) == (503, "3")
        # After a bug the server closes the connection, so this one is not to be used again.
        bug = client.get("/breaking?after=0&pace=0&how=bug", headers={**headers, "connection": "close"})
        assert (bug.status_code, bug.text) == (500, "Internal Server Error")
    late = client.get("/breaking?after=1&pace=0&how=bug", headers=SSE).text
    assert late.count('data: {"step"') == 1
    assert "event: error" in late
    assert "swordfish" not in late
    assert client.get("/breaking?after=5&items=5&pace=0").status_code == 503
    assert client.get("/breaking?how=quietly").status_code == 422


# --- a shared watch ------------------------------------------------------------------------------


def test_requests_that_name_one_watch_get_the_same_samples(client):
    path = "/metrics?seconds=0.2&interval=0.05&watch=mine"
    with ThreadPoolExecutor(2) as pool:
        batch, stream = pool.map(lambda headers: client.get(path, headers=headers), ({}, SSE))
    items = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith('data: {"time"')]
    assert batch.json() == {"data": items}
    assert len(items) == 4
    other = client.get(path.replace("mine", "other")).json()
    assert other["data"][0]["time"] != items[0]["time"]
    assert client.get("/metrics?watch=").status_code == 422
