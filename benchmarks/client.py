"""Reading a stream with our client and with the clients of others, from the bytes of the answer to the data of events.

Usage: python benchmarks/client.py [--quick]

How it measures: CPU time of this process. The bytes of the answer are in memory already, in chunks of 64 KiB, so what
is timed is all that a client does with them. In each round every client has its turn once; a ratio is taken inside of
a round (their time divided by ours, so more is better for us), and the table gives the median and the range over the
rounds. Before it is timed, every client has to give the same data.

Two jobs: "text" takes the text of each event and nothing more (ours with `decode=False`), "JSON" its data decoded, each
by its own means: ours as it comes, the others by `.json()` where an event has that, else by the `json` of the standard
library.

The clients that work on a response of httpx2 are given the same mock transport, so what httpx2 does is part of all of
them. sseclient-py takes the bytes; aiohttp-sse-client is not installed with the project.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import platform
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

from dual_mode_streaming import DualModeClient, DualModeSyncClient
from dual_mode_streaming.jsonbytes import encode_json

CONSOLE = Console()
PACKAGES = ("dual-mode-streaming", "httpx-sse", "httpx2", "openai", "anthropic", "sseclient-py")
ITEM = {
    "id": "chatcmpl-9xK2mPqR7sT1uV4wX6yZ8",
    "object": "chat.completion.chunk",
    "created": 1767225600,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "delta": {"content": " token"}, "finish_reason": None}],
}
PAYLOAD = encode_json(ITEM).decode()

# Name of the shape -> one block, with {i} for the number of the event.
SHAPES = {
    "LF": "data: {p}\n\n",
    "CRLF": "data: {p}\r\n\r\n",
    "named": "event: delta\ndata: {p}\n\n",
    "name + id": "event: delta\nid: {i}\ndata: {p}\n\n",
    "short": "data: {i}\n\n",
}
CHUNK = 65_536


class Body(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The body of an answer, in chunks that are there already."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


def stream(shape: str, size: int) -> tuple[list[bytes], int]:
    """Give a stream of about so many bytes in chunks, and the number of its events."""
    blocks: list[str] = []
    total = 0
    while total < size:
        blocks.append(SHAPES[shape].format(p=PAYLOAD, i=len(blocks)))
        total += len(blocks[-1])
    data = "".join(blocks).encode()
    return [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)], len(blocks)


def transport(chunks: list[bytes]) -> httpx2.MockTransport:
    headers = {"content-type": "text/event-stream"}
    return httpx2.MockTransport(lambda request: httpx2.Response(200, headers=headers, stream=Body(chunks)))


# --- clients: each takes the chunks and what to do with an event, and reads all of them -----------

Reader = Callable[[list[bytes], Callable[[Any], Any]], None]
URL = "http://a/"


def ours(chunks: list[bytes], use: Callable[[Any], Any]) -> None:
    with (
        DualModeSyncClient(transport=transport(chunks), require_done=False) as client,
        client.stream("GET", URL, decode=use is not text_of) as events,
    ):
        for event in events:
            use(event)


def ours_async(chunks: list[bytes], use: Callable[[Any], Any]) -> None:
    async def run() -> None:
        async with (
            DualModeClient(transport=transport(chunks), require_done=False) as client,
            client.stream("GET", URL, decode=use is not text_of) as events,
        ):
            async for event in events:
                use(event)

    asyncio.run(run())


def httpx_sse(chunks: list[bytes], use: Callable[[Any], Any]) -> None:
    module = importlib.import_module("httpx_sse")
    with (
        httpx2.Client(transport=transport(chunks)) as client,
        module.connect_sse(client, "GET", URL) as events,
    ):
        for event in events.iter_sse():
            use(event)


def httpx_sse_async(chunks: list[bytes], use: Callable[[Any], Any]) -> None:
    module = importlib.import_module("httpx_sse")

    async def run() -> None:
        async with (
            httpx2.AsyncClient(transport=transport(chunks)) as client,
            module.aconnect_sse(client, "GET", URL) as events,
        ):
            async for event in events.aiter_sse():
                use(event)

    asyncio.run(run())


def httpx2_sse(chunks: list[bytes], use: Callable[[Any], Any]) -> None:
    with httpx2.Client(transport=transport(chunks)) as client, client.sse(URL) as events:
        for event in events:
            use(event)


def httpx2_sse_async(chunks: list[bytes], use: Callable[[Any], Any]) -> None:
    async def run() -> None:
        async with httpx2.AsyncClient(transport=transport(chunks)) as client, client.sse(URL) as events:
            async for event in events:
                use(event)

    asyncio.run(run())


def by_decoder(package: str, *, is_async: bool) -> Reader:
    """Read with the decoder of an LLM client, over the response that the client would give it."""
    decoder = importlib.import_module(f"{package}._streaming").SSEDecoder

    def read(chunks: list[bytes], use: Callable[[Any], Any]) -> None:
        with httpx2.Client(transport=transport(chunks)) as client, client.stream("GET", URL) as response:
            for event in decoder().iter_bytes(response.iter_bytes()):
                use(event)

    def read_async(chunks: list[bytes], use: Callable[[Any], Any]) -> None:
        async def run() -> None:
            async with (
                httpx2.AsyncClient(transport=transport(chunks)) as client,
                client.stream("GET", URL) as response,
            ):
                async for event in decoder().aiter_bytes(response.aiter_bytes()):
                    use(event)

        asyncio.run(run())

    return read_async if is_async else read


def sseclient(chunks: list[bytes], use: Callable[[Any], Any]) -> None:
    for event in importlib.import_module("sseclient").SSEClient(chunks).events():
        use(event)


def clients() -> dict[str, dict[str, Reader]]:
    """Find the clients that are installed, by way and name; ours is the first of each way."""
    httpx2.alias_httpx()  # httpx-sse asks for httpx, and httpx2 has what it needs
    found: dict[str, dict[str, Reader]] = {
        "sync": {"ours": ours, "httpx-sse": httpx_sse, "httpx2": httpx2_sse},
        "async": {"ours": ours_async, "httpx-sse": httpx_sse_async, "httpx2": httpx2_sse_async},
    }
    for package in ("openai", "anthropic"):
        if installed(package):
            found["sync"][package] = by_decoder(package, is_async=False)
            found["async"][package] = by_decoder(package, is_async=True)
    if installed("sseclient-py"):
        found["sync"]["sseclient-py"] = sseclient
    return found


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# --- jobs --------------------------------------------------------------------------------------


def value_of(event: Any) -> Any:
    decode = getattr(event, "json", None)
    return decode() if decode is not None else json.loads(event.data)


def text_of(event: Any) -> Any:
    return event.data


# Name of the job -> what ours does with an event, and what the others do.
JOBS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "text": (text_of, text_of),
    "JSON": (lambda event: event.data, value_of),
}


def check(readers: dict[str, Reader]) -> None:
    for shape in SHAPES:
        chunks, count = stream(shape, 200_000)
        for name, read in readers.items():
            got: list[Any] = []
            read(chunks, lambda event, got=got, mine=name == "ours": got.append(event.raw if mine else event.data))
            expected = [PAYLOAD if "{p}" in SHAPES[shape] else str(i) for i in range(count)]
            if got != expected:
                raise SystemExit(f"{name} reads the shape {shape!r} wrong")


def timed(read: Reader, chunks: list[bytes], use: Callable[[Any], Any]) -> float:
    start = time.process_time()
    read(chunks, use)
    return time.process_time() - start


def spread(ratios: Iterable[float]) -> str:
    ordered = sorted(ratios)
    median = statistics.median(ordered)
    return f"[{'green' if median >= 1 else 'red'}]{median:.2f}[/] [{ordered[0]:.2f}..{ordered[-1]:.2f}]"


def compare(way: str, readers: dict[str, Reader], job: str, size: int, rounds: int) -> None:
    our_use, their_use = JOBS[job]
    peers = [name for name in readers if name != "ours"]
    table = Table(title=f"{way}, {job}: {size / 1e6:g} MB, {rounds} rounds; their time / ours")
    table.add_column("shape")
    table.add_column("ours, µs/event", justify="right")
    for name in peers:
        table.add_column(name, justify="right")
    for shape in SHAPES:
        chunks, count = stream(shape, size)
        own: list[float] = []
        ratios: dict[str, list[float]] = {name: [] for name in peers}
        timed(readers["ours"], chunks[: len(chunks) // 10 + 1], our_use)
        for _ in range(rounds):
            gc.collect()
            spent = timed(readers["ours"], chunks, our_use)
            own.append(spent)
            for name in peers:
                ratios[name].append(timed(readers[name], chunks, their_use) / spent)
        table.add_row(shape, f"{statistics.median(own) / count * 1e6:.2f}", *(spread(ratios[name]) for name in peers))
    CONSOLE.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare clients of server-sent events.")
    parser.add_argument("--quick", action="store_true", help="less data and fewer rounds: under a minute")
    quick = parser.parse_args().quick
    CONSOLE.print(f"Python {platform.python_version()}, {platform.machine()}")
    for package in PACKAGES:
        CONSOLE.print(f"  {package} {installed(package) or 'not installed'}")
    CONSOLE.print(f"Payload: a chat chunk of {len(PAYLOAD)} bytes.\n")
    for way, readers in clients().items():
        check(readers)
        for job in JOBS:
            compare(way, readers, job, 1_000_000 if quick else 5_000_000, 3 if quick else 5)


if __name__ == "__main__":
    main()
