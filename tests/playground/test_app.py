"""The demo over real sockets: the modes agree, errors are the same in each, and nothing is left behind."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager

import httpx2
import pytest
import uvicorn
from openapi_spec_validator import validate

from dual_mode_streaming.playground import app as module
from dual_mode_streaming.playground import endpoints, imports
from dual_mode_streaming.playground.app import create_app

MODES = {
    "batch": "application/json",
    "sse": "text/event-stream",
    "ndjson": "application/x-ndjson",
}
CSV = b"name;price\nx;1,5\nbad\n\ny;\n"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The demo on a free port. Its socket listens before the server runs, so nobody has to wait for it."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(), log_level="warning", ws="none", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()
    listener.close()


@pytest.fixture
def client(address) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=address, timeout=10) as client:
        yield client


def items_of(response: httpx2.Response) -> list:
    """Decode a stream, and see that it came to its end."""
    assert response.status_code == 200
    if response.headers["content-type"].startswith("text/event-stream"):
        blocks = [
            [line.partition(": ")[::2] for line in block.split("\n")] for block in response.text.split("\n\n") if block
        ]
        events = [(dict(block).get("event", "message"), json.loads(dict(block)["data"])) for block in blocks]
        *messages, done = events
        assert done == ("done", {"items": len(messages)})
        assert {name for name, _ in messages} <= {"message"}
        return [data for _, data in messages]
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def answers(client: httpx2.Client, method: str, url: str, **options) -> dict[str, httpx2.Response]:
    headers = options.pop("headers", {})
    return {
        mode: client.request(method, url, headers={**headers, "accept": accept}, **options)
        for mode, accept in MODES.items()
    }


@pytest.mark.parametrize("query", ["generator expression", '"for statement"', "nowherefound", "CLASS&limit=3"])
def test_search_agrees_in_all_modes(client, query):
    found = answers(client, "GET", f"/search?q={query}")
    batch = found["batch"].json()
    sse, ndjson = items_of(found["sse"]), items_of(found["ndjson"])
    assert sse == ndjson
    assert batch == {"count": len(sse), "hits": sorted(sse, key=lambda hit: (-hit["score"], hit["topic"]))}
    assert (batch["count"] == 0) is (query == "nowherefound")
    assert batch["count"] <= 3 or "limit" not in query


def test_metrics_in_all_modes(client):
    found = answers(client, "GET", "/metrics?seconds=0.15&interval=0.05")
    for samples in (found["batch"].json()["data"], items_of(found["sse"]), items_of(found["ndjson"])):
        assert 1 <= len(samples) <= 3
        for sample in samples:
            assert sorted(sample) == ["cpu", "disk", "memory", "network", "time"]
            assert sample["time"].endswith("Z")


@pytest.mark.parametrize(
    "body",
    [{"content": CSV, "headers": {"content-type": "text/csv"}}, {"content": CSV}, {"files": {"file": CSV}}],
    ids=["text/csv", "no type", "form"],
)
def test_import_agrees_in_all_modes(client, body):
    found = answers(client, "POST", "/import", **body)
    streams = [items_of(found["sse"]), items_of(found["ndjson"])]
    summaries = [found["batch"].json(), *(stream[-1] for stream in streams)]
    for summary in summaries:
        assert summary.pop("seconds") >= 0
        assert summary.pop("rows_per_second") >= 0
        assert summary == {
            "type": "summary",
            "rows": 2,
            "rejected": 1,
            "delimiter": ";",
            "columns": [{"name": "name", "type": "text", "empty": 0}, {"name": "price", "type": "text", "empty": 1}],
            "bad_rows": [{"line": 3, "reason": "has 1 field where the header has 2"}],
        }
    for stream in streams:
        assert [item["type"] for item in stream] == ["progress"] * (len(stream) - 1) + ["summary"]
        assert stream[-2]["percent"] == 100.0


def test_a_file_of_20_mb_is_streamed_in_and_out(client):
    rows = 20_000
    pieces = (b"%d,%s\n" % (number, b"x" * 1000) for number in range(rows))

    def body() -> Iterator[bytes]:
        yield b"id,text\n"
        yield from pieces

    response = client.post("/import", content=body(), headers={"accept": "application/x-ndjson"})
    *progress, summary = items_of(response)
    assert (summary["rows"], summary["rejected"]) == (rows, 0)
    assert [column["type"] for column in summary["columns"]] == ["integer", "text"]
    reached = [item["bytes_read"] for item in progress]
    assert reached == sorted(reached)
    assert reached[-1] == progress[-1]["bytes_total"] > 20_000_000


@pytest.mark.parametrize(
    ("method", "url", "body", "status", "detail"),
    [
        ("GET", "/search", {}, 422, "Field required"),
        ("GET", "/search?q=", {}, 422, "at least 1 character"),
        ("GET", "/search?q=%20%20", {}, 422, "holds no word"),
        ("GET", "/search?q=?!", {}, 422, "holds no word"),
        ("GET", "/search?q=" + "x" * 201, {}, 422, "at most 200 characters"),
        ("GET", "/search?q=x&limit=0", {}, 422, "greater than or equal to 1"),
        ("GET", "/metrics?seconds=0", {}, 422, "greater than 0"),
        ("GET", "/metrics?seconds=3601", {}, 422, "less than or equal to 3600"),
        ("GET", "/metrics?seconds=nan", {}, 422, "Input should be"),
        ("GET", "/metrics?interval=0.01", {}, 422, "greater than or equal to 0.05"),
        ("GET", "/metrics?interval=soon", {}, 422, "valid number"),
        ("POST", "/import", {}, 422, "There is no file"),
        ("POST", "/import", {"content": b"\n\n"}, 422, "only empty lines"),
        ("POST", "/import", {"content": b"1,2\n3,4\n"}, 422, "no header row"),
        ("POST", "/import", {"content": b"a,a\n"}, 422, "the same name"),
        ("POST", "/import", {"content": b"caf\xe9,b\n"}, 422, "not UTF-8"),
        ("POST", "/import", {"content": b"x" * 2_000_000}, 422, "longer than 1048576 bytes"),
        ("POST", "/import", {"json": {"a": 1}}, 415, "The body is application/json"),
        ("POST", "/import", {"files": {"data": CSV}}, 422, "no field `file`"),
        ("POST", "/import", {"files": {"file": b""}}, 422, "There is no file"),
        ("GET", "/import", {}, 405, "Method Not Allowed"),
        ("GET", "/nothing", {}, 404, "Not Found"),
    ],
)
def test_errors_are_the_same_in_every_mode(client, method, url, body, status, detail):
    found = answers(client, method, url, **body)
    for response in found.values():
        assert response.status_code == status
        assert response.headers["content-type"] == found["batch"].headers["content-type"]
        assert response.json() == found["batch"].json()
    assert detail in found["batch"].text


@pytest.mark.parametrize("url", ["/metrics", "/search?q=x"])
def test_a_mode_that_does_not_exist(client, url):
    joint = "&" if "?" in url else "?"
    response = client.get(f"{url}{joint}stream=maybe")
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_stream_flag"
    response = client.get(url, headers={"accept": "image/png"})
    assert response.status_code == 406
    assert "text/event-stream" in response.text


def test_head_does_not_run_the_source(client):
    assert client.head("/").status_code == 200
    response = client.head("/metrics?seconds=3600")
    assert (response.status_code, response.content) == (200, b"")


@pytest.fixture
def imports_ended(monkeypatch) -> Iterator[threading.Event]:
    """Tells when an import has let go of its file. Its database must be closed by then."""
    ended = threading.Event()
    closed: list[bool] = []
    receive, connect = endpoints.receive_upload, sqlite3.connect

    class Connection(sqlite3.Connection):
        def close(self) -> None:
            super().close()
            closed.append(True)

    @asynccontextmanager
    async def spy(request):
        async with receive(request) as upload:
            yield upload
        ended.file_was_closed = upload.file.closed
        ended.databases_closed = len(closed)
        ended.set()

    monkeypatch.setattr(endpoints, "receive_upload", spy)
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, factory=Connection, **options))
    return ended


@pytest.mark.parametrize("accept", MODES.values())
def test_a_finished_import_leaves_nothing(client, imports_ended, accept):
    assert client.post("/import", content=CSV, headers={"accept": accept}).status_code == 200
    assert imports_ended.wait(5)
    assert imports_ended.file_was_closed
    assert imports_ended.databases_closed == 1


@pytest.mark.parametrize("accept", MODES.values())
def test_a_client_that_leaves_an_import_leaves_nothing(address, monkeypatch, imports_ended, accept):
    """The import is held after its first step until the client is gone."""
    began, gone = threading.Event(), threading.Event()
    step = imports._Table.step

    def held(table) -> None:
        step(table)
        began.set()
        assert gone.wait(5)

    monkeypatch.setattr(imports._Table, "step", held)
    body = b"a,b\n" + b"1,2\n" * 50_000
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(
            b"POST /import HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\nContent-Length: %d\r\n\r\n"
            % (host.encode(), accept.encode(), len(body))
        )
        connection.sendall(body)
        assert began.wait(5)
    gone.set()
    assert imports_ended.wait(5)
    assert imports_ended.file_was_closed
    assert imports_ended.databases_closed == 1


def test_an_import_that_fails_on_its_way_says_so(client, monkeypatch, imports_ended):
    step = imports._Table.step

    def broken(table) -> None:
        if table.rows:
            table._connection.execute("DROP TABLE data")
        step(table)

    monkeypatch.setattr(imports._Table, "step", broken)
    body = b"a,b\n" + b"1,2\n" * 50_000
    response = client.post("/import?stream=true", content=body)
    assert response.status_code == 200
    last = response.text.rstrip("\n").rsplit("\n\n", 1)[-1]
    assert last.startswith("event: error\n")
    assert '"status":500' in last
    assert "no such table" not in response.text
    assert imports_ended.wait(5)
    assert imports_ended.databases_closed == 1


def test_the_api_is_described(client):
    document = client.get("/openapi.json").json()
    validate(document)
    for path, method, schema in [
        ("/metrics", "get", "SampleBatch"),
        ("/search", "get", "Ranking"),
        ("/import", "post", "Summary"),
    ]:
        operation = document["paths"][path][method]
        content = operation["responses"]["200"]["content"]
        assert content["application/json"]["schema"]["$ref"] == f"#/components/schemas/{schema}"
        assert {"text/event-stream", "application/x-ndjson"} <= set(content)
        assert operation["summary"]
        assert operation["description"]
    assert set(document["paths"]["/import"]["post"]["requestBody"]["content"]) == {
        "text/csv",
        "application/octet-stream",
        "multipart/form-data",
    }


def test_the_demo_has_a_language_model(client):
    names = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert names[0] == "demo"
    ask = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, "temperature": 0}
    batch = client.post("/v1/chat/completions", json=ask).json()["choices"][0]
    stream = client.post("/v1/chat/completions", json={**ask, "stream": True}).text
    frames = [json.loads(frame.removeprefix("data: ")) for frame in stream.split("\n\n")[:-2]]
    pieces = [frame["choices"][0]["delta"].get("content") or "" for frame in frames]
    assert "".join(pieces) == batch["message"]["content"]
    assert batch["finish_reason"] == "length"


def test_without_the_real_model_the_demo_has_a_simulated_one(monkeypatch):
    monkeypatch.setattr(module.LlamaModel, "available", lambda: False)
    assert list(module.language_model().names) == ["demo", "simulator"]


def test_each_application_is_its_own():
    assert create_app() is not create_app()
    assert module.app.title == "dual-mode-streaming: the demo"
