"""`tail`, `bench` and `doctor` with a server of this library."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from cli.running import answer, run, saying, saying_bytes
from dual_mode_streaming import ServerSentEvent, dual_mode
from dual_mode_streaming.cli.bench import percentile
from dual_mode_streaming.cli.observing import Frames
from dual_mode_streaming.testing import live_server


@dual_mode
async def items(request: Request) -> AsyncIterator[object]:
    yield {"text": "a\u009b\x1b[31m"}
    yield ServerSentEvent([1, 2], event="tick", id="7")
    yield "two\nlines"


@dual_mode
async def echo(request: Request) -> AsyncIterator[object]:
    yield (await request.body()).decode()
    yield [request.method, request.headers["content-type"], request.headers.get("x-name")]


@dual_mode
async def fails(request: Request) -> AsyncIterator[object]:
    yield 1
    raise ValueError("secret")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    routes = [Route("/items", items), Route("/echo", echo, methods=["POST", "PUT"]), Route("/fails", fails)]
    with live_server(Starlette(routes=routes)) as url:
        yield url


ITEMS = ['{"text":"a\u009b\\u001b[31m"}', "[1,2]", '"two\\nlines"']


@pytest.mark.parametrize(
    "accept", ["text/event-stream", "application/x-ndjson", "application/jsonl", "application/json-seq"]
)
def test_tail_prints_a_value_a_line(url: str, accept: str) -> None:
    done = run("tail", "-H", f"Accept: {accept}", f"{url}/items")
    assert (done.returncode, done.stdout.split("\n"), done.stderr) == (0, [*ITEMS, ""], "")


def test_tail_reads_a_document_too(url: str) -> None:
    assert run("tail", "-H", "Accept: application/json", f"{url}/items").stdout.split("\n") == [*ITEMS, ""]


def test_tail_prints_whole_events(url: str) -> None:
    _, named, text = run("tail", "--json", f"{url}/items").stdout.splitlines()
    assert json.loads(named) == {"event": "tick", "id": "7", "data": [1, 2]}
    assert json.loads(text) == {"id": "7", "data": "two\nlines"}


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        (["-d", '{"a":1}'], b"", ['"{\\"a\\":1}"', '["POST","application/json",null]']),
        (["-d", "@-", "-X", "put"], b"x", ['"x"', '["PUT","application/json",null]']),
        (
            ["-d", "x", "-H", "Content-Type: text/csv", "-H", "X-Name:  y "],
            b"",
            ['"x"', '["POST","text/csv","y"]'],
        ),
    ],
)
def test_the_request_is_described_as_in_curl(url: str, arguments: list[str], stdin: bytes, expected: list[str]) -> None:
    assert run("tail", *arguments, f"{url}/echo", stdin=stdin).stdout.splitlines() == expected


def test_an_error_in_the_stream(url: str) -> None:
    tail = run("tail", f"{url}/fails")
    assert (tail.returncode, tail.stdout) == (1, "1\n")
    assert tail.stderr == f"dual-mode: {url}/fails: the server answered 500 (internal_error): Internal Server Error\n"
    bench = run("bench", "-n", 2, f"{url}/fails")
    assert (bench.returncode, bench.stdout) == (1, "")
    doctor = run("doctor", f"{url}/fails")
    assert doctor.returncode == 1
    assert "The stream ended with an error: 500 · Internal Server Error" in doctor.stdout


def test_tail_goes_on_where_the_file_says(tmp_path: Path) -> None:
    asked = []

    def respond(connection: socket.socket, head: bytes) -> None:
        asked.append([line for line in head.decode().split("\r\n") if line.lower().startswith("last-event-id")])
        connection.sendall(answer() + b"id: a-1\ndata: 1\n\nid: a-2\ndata: 2\n\nevent: done\nid: end\ndata: {}\n\n")

    place = tmp_path / "place"
    with saying(respond) as url:
        for _ in range(2):
            assert run("tail", "--resume", place, url).returncode == 0
            assert place.read_text() == "a-2\n"
    assert [[line.lower() for line in lines] for lines in asked] == [[], ["last-event-id: a-2"]]
    assert list(tmp_path.iterdir()) == [place]


def test_tail_says_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    with saying_bytes(answer() + b"id: 1\ndata: 1\n\nevent: done\ndata: {}\n\n") as url:
        for path, status, text in (
            (tmp_path, 2, "cannot read the last id from"),
            (tmp_path / "binary", 2, "it is no text"),
            (tmp_path / "nowhere" / "place", 1, "cannot write the last id to"),
        ):
            done = run("tail", "--resume", path, url)
            assert (done.returncode, done.stderr.count("\n")) == (status, 1)
            assert text in done.stderr


def test_bench_compares_the_modes(url: str) -> None:
    done = run("bench", "-n", 4, "-c", 3, f"{url}/items")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert rows[0] == [f"{url}/items"]
    assert rows[1] == ["first", "p50", "p99", "whole", "p50", "p99", "items/s", "bytes", "failed"]
    assert [row[0] for row in rows[2:]] == ["batch", "SSE", "NDJSON"]
    figures = json.loads(run("bench", "-n", 4, "-c", 3, "--json", f"{url}/items").stdout)
    assert (figures["requests"], figures["concurrency"]) == (4, 3)
    for mode in figures["modes"].values():
        assert (mode["answers"], mode["items"], mode["failed"], mode["refusal"]) == (4, 12, {}, None)
        assert 0 < mode["first_p50"] <= mode["first_p99"] <= mode["whole_p99"]


@pytest.mark.parametrize(
    ("times", "percent", "expected"),
    [([], 50, None), ([3.0], 99, 3.0), ([4.0, 1.0, 3.0, 2.0], 50, 2.0), (list(range(1, 101)), 99, 99)],
)
def test_percentiles_are_times_that_were_measured(times: list[float], percent: int, expected: float | None) -> None:
    assert percentile(times, percent) == expected


def test_doctor_finds_nothing_to_mend(url: str) -> None:
    done = run("doctor", f"{url}/items", "--direct", f"{url}/items")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("  Nothing to mend.\n\n")
    assert "through" in done.stdout
    assert "\x1b" not in done.stdout


# --- what a body holds ---------------------------------------------------------------------------------

BODIES = [
    ("text/event-stream", b"retry: 1\ndata: 1\n\n: \n\nid: 1\r\ndata: 2\r\n\r\nevent: done\ndata: {}\n\n", 2, "done"),
    ("text/event-stream", b"data: 1\n\ndata: [DONE]\n\n", 1, "[DONE]"),
    ("application/x-ndjson", b'1\n\n{"x":"\xc3\xbc"}\n', 2, None),
    ("application/json-seq", b"\x1e1\n\x1e[2]\n", 2, None),
]


@pytest.mark.parametrize(("media_type", "body", "count", "terminal"), BODIES)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_frames_are_counted_however_they_are_cut(
    media_type: str, body: bytes, count: int, terminal: str | None, size: int
) -> None:
    frames = Frames(media_type)
    assert frames.is_between
    for at in range(0, len(body), size):
        frames.feed(body[at : at + size])
    assert frames.is_between
    frames.end()
    assert (frames.items, frames.terminal, frames.problem, frames.bad) == (count, terminal, None, 0)
    assert frames.is_utf8


@pytest.mark.parametrize(
    ("media_type", "part"),
    [
        ("text/event-stream", b"data: 1"),
        ("text/event-stream", b"data: 1\n"),
        ("text/event-stream", b": \n\nid: 1\r\n"),
        ("application/x-ndjson", b'1\n{"x":'),
        ("application/json-seq", b"\x1e[1"),
    ],
)
def test_half_a_frame_is_told(media_type: str, part: bytes) -> None:
    frames = Frames(media_type)
    frames.feed(part)
    assert not frames.is_between


@pytest.mark.parametrize("part", [b": beat\n", b":\n", b"data: 1\n\n: beat\n\n"])
def test_a_comment_without_its_blank_line_is_no_half(part: bytes) -> None:
    frames = Frames("text/event-stream")
    frames.feed(part)
    assert frames.is_between
