"""SSE decoders and encoders side by side: ours, and those of the libraries that are installed.

Usage: python benchmarks/codecs.py [--quick]

How it measures: CPU time of this process. In each round every library has its turn once, over the same list of chunks;
a ratio is taken inside of a round (their time divided by ours, so more is better for us), and the table gives the
median and the range over the rounds. Before that, what each decoder gives is compared with what was put in, on chunks
of random sizes: a decoder that gets it wrong is not timed. Events are counted in every round and then dropped.
Decoders are called at their core, without a response around them. The others give their events one by one, ours a list
for each chunk: that is how they are made.
"""

from __future__ import annotations

import argparse
import codecs
import gc
import importlib
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from typing import Any

import fastapi.sse
import httpx2
import sse_starlette.event
from rich.console import Console
from rich.table import Table

from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.sse import SSEDecoder, encode_event

CONSOLE = Console()
PACKAGES = (
    "dual-mode-streaming",
    "httpx-sse",
    "httpx2",
    "openai",
    "anthropic",
    "sseclient-py",
    "sse-starlette",
    "fastapi",
)

ITEM = {
    "id": "chatcmpl-9xK2mPqR7sT1uV4wX6yZ8",
    "object": "chat.completion.chunk",
    "created": 1767225600,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "delta": {"content": " token"}, "finish_reason": None}],
}
PAYLOAD = encode_json(ITEM).decode()

# Name of the shape -> one block, with {i} for the number of the event. Braces of the payload are put in later.
SHAPES = {
    "LF": "data: {p}\n\n",
    "CRLF": "data: {p}\r\n\r\n",
    "CR": "data: {p}\r\r",
    "named": "event: delta\ndata: {p}\n\n",
    "named, CRLF": "event: delta\r\ndata: {p}\r\n\r\n",
    "id": "id: {i}\ndata: {p}\n\n",
    "id + name": "id: {i}\nevent: delta\ndata: {p}\n\n",
    "name + id (ours)": "event: delta\nid: {i}\ndata: {p}\n\n",
    "name, data, id (FastAPI)": "event: delta\ndata: {p}\nid: {i}\n\n",
    "no space": "data:{p}\n\n",
    "with heartbeats": "data: {p}\n\n{h}",
    "several lines": "data: {{\ndata: {p}\ndata: }}\n\n",
    "short": "data: {i}\n\n",
    "not ASCII": "data: ✓ {p}\n\n",
}
SMALL_CHUNKS = ("LF", "CRLF", "CR", "named", "named, CRLF", "id", "id + name", "no space", "with heartbeats")


def stream(shape: str, size: int) -> tuple[bytes, list[tuple[str, str]]]:
    """Give a stream of about so many bytes, and the (type, data) of its events."""
    blocks: list[str] = []
    expected: list[tuple[str, str]] = []
    total = 0
    while total < size:
        i = len(blocks)
        block = SHAPES[shape].format(p=PAYLOAD, i=i, h=": ping\n\n" if i % 10 == 9 else "")
        blocks.append(block)
        total += len(block)
        lines = [
            line.removeprefix("data:").removeprefix(" ") for line in block.splitlines() if line.startswith("data:")
        ]
        expected.append(("delta" if "event: " in block else "message", "\n".join(lines)))
    return "".join(blocks).encode(), expected


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


# --- decoders: each takes an iterable of chunks and gives an iterator of events -----------------

Decoder = Callable[[Iterable[bytes]], Iterator[Any]]


def ours(chunks: Iterable[bytes]) -> Iterator[Any]:
    decoder = SSEDecoder()
    for chunk in chunks:
        yield from decoder.feed(chunk)
    yield from decoder.flush()


def text_of(chunks: Iterable[bytes]) -> Iterator[str]:
    return map(codecs.getincrementaldecoder("utf-8")("replace").decode, chunks)


def httpx_sse(chunks: Iterable[bytes]) -> Iterator[Any]:
    module = importlib.import_module("httpx_sse._decoders")
    lines, decoder = module.SSELineDecoder(), module.SSEDecoder()
    for text in chain(text_of(chunks), (None,)):
        for line in lines.flush() if text is None else lines.decode(text):
            event = decoder.decode(line)
            if event is not None:
                yield event


def httpx2_sse(chunks: Iterable[bytes]) -> Iterator[Any]:
    decoder = importlib.import_module("httpx2._sse")._SSEParser(2**20)  # noqa: SLF001  nothing else takes chunks
    for text in text_of(chunks):
        yield from decoder.decode(text)
    yield from decoder.flush()


def peers() -> dict[str, Decoder]:
    """Find the decoders that are installed."""
    httpx2.alias_httpx()  # httpx-sse asks for httpx, and httpx2 has what it needs
    found: dict[str, Decoder] = {"httpx-sse": httpx_sse, "httpx2": httpx2_sse}
    for name in ("openai", "anthropic"):
        try:
            decoder = importlib.import_module(f"{name}._streaming").SSEDecoder
        except ImportError:
            continue
        found[name] = lambda chunks, decoder=decoder: decoder().iter_bytes(iter(chunks))
    try:
        client = importlib.import_module("sseclient").SSEClient
    except ImportError:
        return found
    found["sseclient-py"] = lambda chunks: client(chunks).events()
    return found


def check(decoders: dict[str, Decoder]) -> dict[str, set[str]]:
    """Compare what each decoder gives with what was put in; give the shapes that each gets right."""
    right: dict[str, set[str]] = {name: set() for name in decoders}
    random_source = random.Random(1)
    for shape in SHAPES:
        data, expected = stream(shape, 20_000)
        places = sorted(random_source.sample(range(len(data)), 200))
        chunks = [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
        for name, decode in decoders.items():
            if all(
                [(event.event or "message", event.data) for event in decode(pieces)] == expected
                for pieces in (chunks, [data], cut(data, 1))
            ):
                right[name].add(shape)
            else:
                CONSOLE.print(f"[yellow]{name} reads the shape {shape!r} wrong; it is not timed there")
    if right["ours"] != set(SHAPES):
        raise SystemExit("our own decoder is wrong")
    return right


def timed(work: Callable[[], int]) -> tuple[float, int]:
    start = time.process_time()
    count = work()
    return time.process_time() - start, count


def consume(decode: Decoder, chunks: list[bytes]) -> int:
    count = 0
    for _ in decode(chunks):
        count += 1
    return count


def consume_ours(chunks: list[bytes]) -> int:
    decoder = SSEDecoder()
    count = 0
    for chunk in chunks:
        count += len(decoder.feed(chunk))
    return count + len(decoder.flush())


def spread(ratios: list[float]) -> str:
    median = statistics.median(ratios)
    colour = "green" if median >= 1 else "red"
    return f"[{colour}]{median:.2f}[/] [{min(ratios):.2f}..{max(ratios):.2f}]"


def compare_decoders(
    decoders: dict[str, Decoder],
    right: dict[str, set[str]],
    chunk_size: int,
    shapes: Iterable[str],
    size: int,
    rounds: int,
) -> None:
    table = Table(
        title=f"Decoders, chunks of {chunk_size} bytes, {size / 1e6:g} MB, {rounds} rounds: their time / ours"
    )
    table.add_column("shape")
    table.add_column("ours, MB/s", justify="right")
    table.add_column("µs/event", justify="right")
    for name in decoders:
        table.add_column(name, justify="right")
    for shape in shapes:
        data, expected = stream(shape, size)
        chunks = cut(data, chunk_size)
        own: list[float] = []
        ratios: dict[str, list[float]] = {name: [] for name in decoders if shape in right[name]}
        consume_ours(chunks[: len(chunks) // 10])
        for _ in range(rounds):
            gc.collect()
            spent, count = timed(lambda chunks=chunks: consume_ours(chunks))
            if count != len(expected):
                raise SystemExit(f"our decoder lost events of the shape {shape!r}")
            own.append(spent)
            for name, collected in ratios.items():
                theirs, count = timed(lambda name=name, chunks=chunks: consume(decoders[name], chunks))
                if count != len(expected):
                    raise SystemExit(f"{name} lost events of the shape {shape!r}")
                collected.append(theirs / spent)
        cells = [spread(ratios[name]) if name in ratios else "wrong" for name in decoders]
        middle = statistics.median(own)
        table.add_row(shape, f"{len(data) / middle / 1e6:.0f}", f"{middle / len(expected) * 1e6:.3f}", *cells)
    CONSOLE.print(table)


# --- encoders ----------------------------------------------------------------------------------


def encoding_jobs() -> dict[str, dict[str, Callable[[], bytes]]]:
    """Give the jobs: first our way, then those of the others."""
    text, poem = "a token of text", "one line\nanother line\n\nand the last line"
    theirs = fastapi.sse.format_sse_event
    starlette, starlette_json = sse_starlette.event.ServerSentEvent, sse_starlette.event.JSONServerSentEvent

    def prepared(*, event: ServerSentEvent) -> Callable[[], bytes]:
        return lambda: encode_event(event)

    def fastapi_object(**fields: Any) -> bytes:
        event = fastapi.sse.ServerSentEvent(**fields)
        return theirs(data_str=event.raw_data, event=event.event, id=event.id)

    named = {"event": "delta", "id": "17"}
    return {
        "text": {
            "ours": prepared(event=ServerSentEvent(raw=text)),
            "FastAPI": lambda: theirs(data_str=text),
            "sse-starlette": starlette(text, sep="\n").encode,
        },
        "text of 4 lines": {
            "ours": prepared(event=ServerSentEvent(raw=poem)),
            "FastAPI": lambda: theirs(data_str=poem),
            "sse-starlette": starlette(poem, sep="\n").encode,
        },
        "text, name, id": {
            "ours": prepared(event=ServerSentEvent(raw=text, **named)),
            "FastAPI": lambda: theirs(data_str=text, **named),
            "sse-starlette": starlette(text, sep="\n", **named).encode,
        },
        "comment": {
            "ours": prepared(event=ServerSentEvent(comment="ping")),
            "FastAPI": lambda: theirs(comment="ping"),
            "sse-starlette": starlette(comment="ping", sep="\n").encode,
        },
        "item, each its own JSON encoder": {
            "ours": prepared(event=ServerSentEvent(ITEM)),
            "FastAPI": lambda: theirs(data_str=json.dumps(ITEM)),
            "sse-starlette": lambda: starlette_json(ITEM, sep="\n").encode(),
        },
        "item, our JSON encoder for all": {
            "ours": prepared(event=ServerSentEvent(ITEM)),
            "FastAPI": lambda: theirs(data_str=encode_json(ITEM).decode()),
            "sse-starlette": lambda: starlette(encode_json(ITEM).decode(), sep="\n").encode(),
        },
        "text, name, id, with the event object made": {
            "ours": lambda: encode_event(ServerSentEvent(raw=text, **named)),
            "FastAPI": lambda: fastapi_object(raw_data=text, **named),
            "sse-starlette": lambda: starlette(text, sep="\n", **named).encode(),
        },
    }


def frames_agree(one: bytes, other: bytes) -> bool:
    decoded = [[(event.event, event.id, event.data) for event in SSEDecoder().feed(frame)] for frame in (one, other)]
    values = [[(name, last_id, _value(text)) for name, last_id, text in events] for events in decoded]
    return values[0] == values[1]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def compare_encoders(calls: int, rounds: int) -> None:
    table = Table(title=f"Encoders, {calls} calls, {rounds} rounds: their time / ours")
    table.add_column("job")
    table.add_column("ours, µs", justify="right")
    table.add_column("FastAPI", justify="right")
    table.add_column("sse-starlette", justify="right")
    for job, ways in encoding_jobs().items():
        for name, way in ways.items():
            if not frames_agree(ways["ours"](), way()):
                raise SystemExit(f"{name} writes another event for {job!r}")
        own: list[float] = []
        ratios: dict[str, list[float]] = {name: [] for name in ways if name != "ours"}
        for _ in range(rounds):
            gc.collect()
            spent = {}
            for name, way in ways.items():
                start = time.process_time()
                for _ in range(calls):
                    way()
                spent[name] = time.process_time() - start
            own.append(spent["ours"])
            for name, collected in ratios.items():
                collected.append(spent[name] / spent["ours"])
        table.add_row(job, f"{statistics.median(own) / calls * 1e6:.3f}", *map(spread, ratios.values()))
    CONSOLE.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare SSE decoders and encoders.")
    parser.add_argument("--quick", action="store_true", help="less data and fewer rounds: under a minute")
    quick = parser.parse_args().quick
    CONSOLE.print(f"Python {platform.python_version()}, {platform.machine()}")
    for package in PACKAGES:
        try:
            CONSOLE.print(f"  {package} {version(package)}")
        except PackageNotFoundError:
            CONSOLE.print(f"  {package}: not installed")
    CONSOLE.print(f"Payload: a chat chunk of {len(PAYLOAD)} bytes.\n")
    decoders = peers()
    right = check({"ours": ours, **decoders})
    rounds = 3 if quick else 7
    compare_decoders(decoders, right, 65_536, SHAPES, 2_000_000 if quick else 20_000_000, rounds)
    compare_decoders(decoders, right, 100, SMALL_CHUNKS, 500_000 if quick else 4_000_000, rounds)
    compare_encoders(5_000 if quick else 30_000, rounds)


if __name__ == "__main__":
    main()
