"""Example 5: runs. The wire is cut in the middle of a stream, and the client goes on at another process.

Two worker processes serve one application. They share nothing but a SQLite file. The first one does the work; the
client follows it there, loses the connection, and comes back to the second one with the id of the last event that it
has. No item is missing and none comes twice. In the end the process that does the work is killed, and whoever follows
is told.

Run it with `make example-5` or `python -m dual_mode_streaming.examples.example_5_resume`.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import uvicorn
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dual_mode_streaming import Runs, ServerSentEvent
from dual_mode_streaming.sse import SSEDecoder
from dual_mode_streaming.stores import Limits, SQLiteStore

console = Console(highlight=False)
if not console.is_terminal:
    console.width = 124

ITEMS = 20
PAUSE = 0.04
CUT_AFTER = 7
LEASE = 0.6
"""Seconds without a sign of life after which a process counts as lost. The default is 10; here nobody wants to wait."""
SSE = {"Accept": "text/event-stream"}

# --- a worker ----------------------------------------------------------------------------------


async def report(pages: int) -> AsyncIterator[dict[str, int]]:
    """Write a report, page by page. It knows nothing of clients, connections and processes."""
    for page in range(1, pages + 1):
        yield {"page": page}
        await asyncio.sleep(PAUSE)


def application(database: str) -> Starlette:
    """Make the application, as every worker does."""
    runs = Runs(SQLiteStore(database), limits=Limits(lease=LEASE))

    async def start(request: Request) -> Response:
        pages = int(request.query_params["pages"])
        return runs.answer(report(pages), key=request.headers.get("idempotency-key"))

    return Starlette(routes=[Route("/reports", start, methods=["POST"]), runs.router()], lifespan=runs.lifespan)


def work(listener: int, database: str) -> None:
    """Be a worker process."""
    config = uvicorn.Config(application(database), log_level="critical", timeout_graceful_shutdown=1)
    with socket.socket(fileno=listener) as listening, suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([listening])


# --- the client --------------------------------------------------------------------------------


@contextmanager
def worker(database: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx2.Client]]:
    """Run a worker process while the block lasts; give it, and a client for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, __file__, str(listener.fileno()), str(database)]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()])  # noqa: S603  this file
    try:
        with httpx2.Client(base_url=address, timeout=10) as client:
            yield process, client
    finally:
        process.terminate()
        process.wait()


def heading(text: str) -> None:
    """Print what comes next."""
    console.print(f"\n{text}", style="bold", soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """Print what happens."""
    console.print(f"  {text}", style=style, markup=False, soft_wrap=True)


def follow(client: httpx2.Client, path: str, last_id: str = "") -> Generator[ServerSentEvent, None, None]:
    """Give the events of a run after the one with this id. Who stops reading closes the connection."""
    headers = {**SSE, "Last-Event-ID": last_id} if last_id else SSE
    with client.stream("GET", path, headers=headers) as response:
        decoder = SSEDecoder()
        for chunk in response.iter_bytes():
            yield from decoder.feed(chunk)


def place(event: ServerSentEvent) -> str:
    """Give the number in an id. What stands before it is of this run alone, and random."""
    return (event.id or "").rpartition("-")[2]


def cut_and_resume(one: httpx2.Client, other: httpx2.Client) -> None:
    """Follow a run at one worker, lose the connection, and go on at the other one."""
    heading("1. Worker A begins a run, and says where to find it")
    order = {"Prefer": "respond-async", "Idempotency-Key": "report of today"}
    answer = one.post(f"/reports?pages={ITEMS}", headers=order)
    path = answer.headers["location"]
    say(f"POST /reports  ->  {answer.status_code}, with a Location", "green")

    heading("2. A client follows it there, until the wire is cut")
    seen: list[ServerSentEvent] = []
    events = follow(one, path)
    for event in events:
        seen.append(event)
        say(f"A  id …-{place(event):2}  {event.data}")
        if len(seen) == CUT_AFTER:
            break
    events.close()
    say("the connection is gone; nobody has cancelled anything, so the work goes on", "yellow")

    heading("3. It comes back, to worker B, with the id of its last event")
    say(f"GET the run at B  Last-Event-ID: …-{place(seen[-1])}", "cyan")
    for event in follow(other, path, seen[-1].id or ""):
        seen.append(event)
        say(f"B  id …-{place(event):2}  {event.event or ''}{' ' if event.event else ''}{event.data}")

    heading("4. What the client has, all in all")
    numbers = [int(place(event)) for event in seen]
    missing = sorted(set(range(1, ITEMS + 2)) - set(numbers))
    double = sorted({number for number in numbers if numbers.count(number) > 1})
    say(f"events: {len(numbers)} = {ITEMS} items and the end   missing: {missing}   double: {double}", "green")
    batch = other.get(path).json()
    same = batch["data"] == [{"page": page} for page in range(1, ITEMS + 1)]
    say(f"the batch, read at B, is the fold of the same items: {same}", "green")

    heading("5. Those who come too late, or again")
    again = other.post(f"/reports?pages={ITEMS}", headers={"Idempotency-Key": "report of today"})
    say(f"POST /reports at B with the same key     {again.status_code}, the same report: {again.json() == batch}")
    answer = other.get(path, headers={**SSE, "Last-Event-ID": seen[-1].id or ""})
    say(f"a client that has seen the end           {answer.status_code}: there is nothing more")
    answer = other.get(path, headers={**SSE, "Last-Event-ID": "0123456789abcdef-3"})
    say(f"an id of another run                     {answer.status_code} {answer.json()['code']}")
    answer = other.get("/runs/somebody-guesses")
    say(f"a run that is not there                  {answer.status_code} {answer.json()['code']}")


def lose_the_producer(process: subprocess.Popen[bytes], one: httpx2.Client, other: httpx2.Client) -> None:
    """Kill the process that does the work while somebody follows it elsewhere."""
    heading("6. Worker A is killed in the middle of its work, while a client follows it at B")
    path = one.post("/reports?pages=100000", headers={"Prefer": "respond-async"}).headers["location"]
    for event in follow(other, path):
        if event.event is None and place(event) == "3":
            process.send_signal(signal.SIGKILL)
            say("A is gone (SIGKILL)", "yellow")
        elif event.event == "error":
            code = str(event.data).partition('"code":"')[2].partition('"')[0]
            say(f"B  error {code}, when the lease of {LEASE:g} seconds was over; never a silent hang", "green")


def main() -> None:
    """Run two workers, and be their client."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "runs.db"
        with worker(database) as (process, one), worker(database) as (_, other):
            cut_and_resume(one, other)
            lose_the_producer(process, one, other)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(int(sys.argv[1]), sys.argv[2])
    else:
        main()
