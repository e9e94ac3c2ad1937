"""Example 1: basic streaming. A source is an async iterator; watch its items arrive.

One generator is asked three times: as server-sent events, as lines of JSON, and as one complete document. Then clients
leave too early, and things go wrong, early and late.

Run it with `make example-1` or `python -m dual_mode_streaming.examples.example_1_basic_streaming`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from queue import SimpleQueue

import httpx2
from fastapi import FastAPI, HTTPException
from rich.console import Console

from dual_mode_streaming import ServerSentEvent, dual_mode
from dual_mode_streaming.sse import SSEDecoder
from dual_mode_streaming.testing import live_server

PAUSE = 0.1

app = FastAPI()
console = Console(highlight=False)
diary: SimpleQueue[str] = SimpleQueue()
"""What sources write down at their end, for the example to print. The server runs in another thread."""


# --- the server --------------------------------------------------------------------------------


@dataclass
class Event:
    """An item: anything that has a JSON form. A dict or a Pydantic model would do as well."""

    index: int
    message: str


@app.get("/events")
@dual_mode
async def events(count: int = 4) -> AsyncIterator[Event]:
    """Yield a few events, with a pause before each. Nothing here knows in which mode they are sent."""
    try:
        for index in range(count):
            # `await`, never `time.sleep`: other requests go on meanwhile.
            await asyncio.sleep(PAUSE)
            # No f"data: {...}\n\n" by hand: an item that holds a line break would forge events. The encoder cannot.
            yield Event(index, f"Event {index}")
    except asyncio.CancelledError:
        diary.put("cancelled, because its client has left")
        raise  # Always: who swallows it keeps the server waiting.
    finally:
        # Give back here what the source has taken: connections, files, locks. It runs whatever happened, in both
        # modes, before the response is over.
        diary.put("closed")


@app.get("/jobs/{name}")
@dual_mode
async def job(name: str) -> AsyncIterator[Event]:
    """Fail, in one of two ways."""
    if name == "unknown":
        # Before the first item no status has been sent. The client gets this one, in every mode.
        raise HTTPException(404, "There is no such job.")
    yield Event(0, "started")
    await asyncio.sleep(PAUSE)
    # After the first item a stream cannot change its status: it ends with an error event. A batch still can.
    raise HTTPException(502, "The machine behind us has stopped answering.")


# --- the clients -------------------------------------------------------------------------------


def show(began: float, text: str, style: str = "") -> None:
    """Print one line and when it came."""
    console.print(f"  {time.monotonic() - began:3.1f} s  ", end="", style="dim")
    console.print(text, style=style, markup=False, soft_wrap=True)


def heading(text: str) -> None:
    """Print what comes next."""
    console.print(f"\n{text}", style="bold", soft_wrap=True)


def watch(client: httpx2.Client, path: str, accept: str) -> None:
    """Ask for a media type and print each line of the answer at the moment in which it arrives."""
    console.print(f"\n  GET {path}   Accept: {accept}", style="cyan")
    began = time.monotonic()
    with client.stream("GET", path, headers={"Accept": accept}) as response:
        style = "green" if response.is_success else "red"
        show(began, f"{response.status_code} {response.headers['content-type']}", style)
        try:
            for line in response.iter_lines():
                if line:
                    show(began, line)
        except httpx2.RemoteProtocolError:
            show(began, "(the connection was cut)", "red")


def decoded(response: httpx2.Response) -> Iterator[ServerSentEvent]:
    """Give the events of a stream. Bytes arrive cut anywhere; the decoder puts them together."""
    decoder = SSEDecoder()
    for chunk in response.iter_bytes():
        yield from decoder.feed(chunk)


def leave_stream(client: httpx2.Client, path: str) -> None:
    """Read two events and close the connection."""
    console.print(f"\n  GET {path}   Accept: text/event-stream", style="cyan")
    began = time.monotonic()
    with client.stream("GET", path, headers={"Accept": "text/event-stream"}) as response:
        for number, event in enumerate(decoded(response), 1):
            show(began, f"event {number}: {event.data}")
            if number == 2:
                break
    show(began, "the client has seen enough and leaves", "yellow")
    read_diary(began)


def leave_batch(client: httpx2.Client, path: str) -> None:
    """Lose patience before the document is complete."""
    console.print(f"\n  GET {path}   Accept: application/json", style="cyan")
    began = time.monotonic()
    try:
        client.get(path, headers={"Accept": "application/json"}, timeout=2.5 * PAUSE)
    except httpx2.ReadTimeout:
        show(began, "the client has waited long enough and leaves", "yellow")
    read_diary(began)


def read_diary(began: float) -> None:
    """Print what a source wrote at its end; wait for it, as it is in another thread."""
    for _ in range(2):
        show(began, f"the source: {diary.get(timeout=5)}", "magenta")


def main() -> None:
    """Start the server and be its clients."""
    with live_server(app) as url, httpx2.Client(base_url=url) as client:
        heading("1. One generator, three answers: two streams, and everything at once")
        watch(client, "/events", "text/event-stream")
        watch(client, "/events", "application/x-ndjson")
        watch(client, "/events", "application/json")
        while not diary.empty():
            diary.get()  # Three sources have closed as they should.

        heading("2. A client leaves: its source is cancelled and closed, in both modes")
        leave_stream(client, "/events?count=1000")
        leave_batch(client, "/events?count=1000")

        heading("3. An error before the first item has its own status, in every mode")
        watch(client, "/jobs/unknown", "text/event-stream")
        watch(client, "/jobs/unknown", "application/json")

        heading("4. An error after it: a stream says so at its end, and a batch still has its status")
        watch(client, "/jobs/fragile", "text/event-stream")
        watch(client, "/jobs/fragile", "application/x-ndjson")
        watch(client, "/jobs/fragile", "application/json")


if __name__ == "__main__":
    main()
