"""Example 2: mode detection. One URL, many requests; which answer does each of them get, and why?

It is common to look for the text "text/event-stream" in `Accept`. The table shows what that gets wrong. `Accept` is a
list of wishes with weights, and a server that reads it as such (RFC 9110, section 12.5.1) gives every client what it
asked for.

Run it with `make example-2` or `python -m dual_mode_streaming.examples.example_2_mode_detection`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx2
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from rich import box
from rich.console import Console
from rich.table import Table

from dual_mode_streaming import DualModeResponse, ResponseMode, detect_mode, dual_mode, errors
from dual_mode_streaming.testing import live_server

app = FastAPI()
console = Console(highlight=False)
if not console.is_terminal:
    console.width = 124


# --- the server --------------------------------------------------------------------------------


@app.get("/data")
@dual_mode
async def data() -> AsyncIterator[dict[str, Any]]:
    """Yield three rows. The decorator reads `?stream=` and `Accept`; both modes run this one generator."""
    for index in range(3):
        yield {"index": index}


@app.get("/by-hand")
async def by_hand(request: Request) -> Response:
    """Branch on the mode, for an endpoint that can do something better than to collect its own stream."""
    if detect_mode(request) is ResponseMode.BATCH:
        return JSONResponse({"data": "from the cache"}, headers={"Vary": "Accept"})
    # The mode is chosen; which of the stream types it will be is still the client's choice.
    return DualModeResponse(["row by row"], mode=ResponseMode.STREAM)


@app.exception_handler(errors.DualModeError)
async def refuse(request: Request, error: Exception) -> Response:  # noqa: ARG001  the handler's signature
    """Answer what `detect_mode` raises, 406 and 422. A `DualModeResponse` does this by itself."""
    assert isinstance(error, errors.DualModeError)  # noqa: S101
    problem = error.problem
    return JSONResponse(problem.as_dict(), problem.status, {"Vary": "Accept"}, media_type=problem.media_type)


# --- the clients -------------------------------------------------------------------------------


def heading(text: str) -> None:
    """Print what comes next."""
    console.print(f"\n{text}", style="bold", soft_wrap=True)


class Ask(NamedTuple):
    """A request, and why it gets the answer that it gets."""

    accept: str | None
    query: str
    why: str


REQUESTS = [
    Ask(None, "", "nothing is asked for, so it is a batch"),
    Ask("*/*", "", "all are equally welcome: the first offer, a batch"),
    Ask("text/event-stream", "", "what a browser's EventSource sends"),
    Ask("application/x-ndjson", "", "a stream in another format"),
    Ask("TEXT/Event-Stream", "", "media types have no upper and lower case"),
    Ask("application/json;q=0.5, text/event-stream", "", "the stream has the higher weight"),
    Ask("text/event-stream;q=0.5, application/json", "", "the document has the higher weight"),
    Ask("text/event-stream;q=0, */*", "", "weight 0 means: anything but this"),
    Ask("text/*", "", "a wildcard that only one offer matches"),
    Ask("application/*;q=0.9, text/*;q=0.1", "", "the first offer that matches the best weight"),
    Ask(None, "?stream=true", "the query decides, `Accept` says nothing"),
    Ask("application/x-ndjson", "?stream=true", "the query decides the mode, `Accept` the format"),
    Ask("text/event-stream", "?stream=false", "the query decides, also against `Accept`"),
    Ask("image/png", "?stream=true", "the query decides; 406 is for `Accept` alone"),
    Ask("image/png", "", "nothing on offer is acceptable"),
    Ask(None, "?stream=maybe", "neither true nor false"),
]


def call(client: httpx2.Client, path: str, accept: str | None) -> httpx2.Response:
    """Send a request with exactly this `Accept`, or with none, where httpx2 would say `*/*` by itself."""
    request = client.build_request("GET", path)
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept
    return client.send(request)


def mode_of(response: httpx2.Response) -> str:
    """Name the answer: its mode, or the status of an error."""
    if response.is_error:
        return str(response.status_code)
    return "batch" if response.headers["content-type"] == "application/json" else "stream"


def naive_mode(ask: Ask) -> str:
    """Guess the mode as it is often done: `?stream=true`, or else the media type somewhere in the text of `Accept`."""
    if ask.query == "?stream=true" or "text/event-stream" in (ask.accept or ""):
        return "stream"
    return "422" if ask.query == "?stream=maybe" else "batch"


def add_row(table: Table, ask: Ask, response: httpx2.Response) -> None:
    """Add a request and its answer to the table."""
    mode = mode_of(response)
    media_type = response.headers["content-type"].partition(";")[0]
    naive = naive_mode(ask)
    style = {"stream": "green", "batch": "cyan"}
    request = [ask.accept or "(none)", ask.query]
    answer = [f"[{style.get(mode, 'red')}]{mode}[/]", media_type, ask.why]
    table.add_row(*request, *answer, naive if naive == mode else f"[yellow]{naive} (wrong)[/]")


def main() -> None:
    """Start the server and send it every request of the table."""
    with live_server(app) as url, httpx2.Client(base_url=url) as client:
        heading("1. GET /data, one generator: what was asked, and what came")
        table = Table("Accept", "query", "answer", "media type", "why", "substring test", box=box.SIMPLE_HEAD)
        vary = set()
        for ask in REQUESTS:
            response = call(client, f"/data{ask.query}", ask.accept)
            vary.add(response.headers["vary"])
            add_row(table, ask, response)
        console.print(table)
        console.print(f"  Every answer, errors too, says Vary: {', '.join(vary)}. Caches keep the answers apart by it.")

        heading("2. GET /data with Accept: image/png. The 406 lists the offers")
        console.print_json(call(client, "/data", "image/png").text)

        heading("3. GET /by-hand, an endpoint that calls detect_mode itself")
        for accept in ("application/json", "text/event-stream", "application/json-seq", "image/png"):
            response = call(client, "/by-hand", accept)
            console.print(f"  {accept:21}{mode_of(response):8}{response.headers['content-type']}")


if __name__ == "__main__":
    main()
