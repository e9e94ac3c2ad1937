"""`dual-mode bench`: measures what each mode of an endpoint takes, and puts them side by side.

Rules of this file:

- Each mode is asked for by its media type alone, and one after the other, so that they do not disturb each other.
- Times begin when the request is sent. To connect is not counted: it is the same in every mode.
- What a mode cannot do is no failure. An endpoint with one mode has one row of figures.
- It is one process of Python. What it says of a server that is faster than itself, is said of itself.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from dual_mode_streaming.errors import EventTooLarge
from dual_mode_streaming.jsonbytes import decode_json, encode_json

from .failing import fail
from .observing import Frames
from .request import Request, describe

__all__ = ["Figures", "bench"]

MODES = (("batch", "application/json"), ("SSE", "text/event-stream"), ("NDJSON", "application/x-ndjson"))


@dataclass(slots=True)
class Figures:
    """What was measured of one mode. Times are in seconds, of answers that were complete.

    Attributes:
        media_type: What was asked for.
        wall: How long all requests took together.
        first: The time to the first item of each answer; of a batch, to the whole.
        whole: The time to the end of each answer.
        items: How many items there were in all.
        bytes: The bytes of all bodies as they were sent.
        failed: Why answers were none, and how often.
        refusal: How the endpoint said that it has no such mode; None if it has.
    """

    media_type: str
    wall: float = 0.0
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    items: int = 0
    bytes: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    refusal: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give the figures for a program."""
        answers = len(self.whole)
        return {
            "media_type": self.media_type,
            "answers": answers,
            "failed": dict(self.failed),
            "refusal": self.refusal,
            "first_p50": percentile(self.first, 50),
            "first_p99": percentile(self.first, 99),
            "whole_p50": percentile(self.whole, 50),
            "whole_p99": percentile(self.whole, 99),
            "items": self.items,
            "items_per_second": self.items / self.wall if self.wall else None,
            "bytes": self.bytes,
        }


def bench(request: Request, number: int, concurrency: int, seconds: float, *, as_json: bool) -> int:
    """Measure all modes, print the comparison on standard output, and give the status: 1 if answers failed, else 0.

    Args:
        request: What is sent.
        number: How many requests in each mode.
        concurrency: How many at a time.
        seconds: How long one answer may take.
        as_json: Print one object instead of a table.
    """
    told = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=told, transient=True, disable=not told.is_terminal) as progress:
        modes = {}
        for name, media_type in MODES:
            bar = progress.add_task(f"{name:6}", total=number)
            figures = Figures(media_type)
            asyncio.run(_measure(figures, request, number, concurrency, seconds, lambda: progress.advance(bar)))  # noqa: B023
            modes[name] = figures
    if not any(figures.whole for figures in modes.values()):
        reasons = [reason for figures in modes.values() for reason in figures.failed]
        reasons += [figures.refusal for figures in modes.values() if figures.refusal is not None]
        fail(f"{request.url}: {reasons[0]}", 1)
    if as_json:
        figures_of = {name: figures.as_dict() for name, figures in modes.items()}
        document = {"url": request.url, "requests": number, "concurrency": concurrency, "modes": figures_of}
        sys.stdout.write(encode_json(document).decode() + "\n")
    else:
        _show(Console(highlight=False), request.url, modes)
    return int(any(figures.failed for figures in modes.values()))


def percentile(times: list[float], percent: int) -> float | None:
    """Give the value that so many percent of the times do not exceed: one of them, by nearest rank."""
    if not times:
        return None
    return sorted(times)[max(0, -(-len(times) * percent // 100) - 1)]


# --- measuring ---------------------------------------------------------------------------------


async def _measure(
    figures: Figures, request: Request, number: int, concurrency: int, seconds: float, done: Callable[[], None]
) -> None:
    left = iter(range(number))

    async def work() -> None:
        for _ in left:
            if figures.refusal is None:
                await _one(client, figures, request, seconds)
            done()

    clock = asyncio.get_running_loop().time
    async with request.client() as client:
        began = clock()
        await asyncio.gather(*(work() for _ in range(min(number, concurrency))))
        figures.wall = clock() - began


async def _one(client: httpx2.AsyncClient, figures: Figures, request: Request, seconds: float) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()

    async def note_sending(name: str, _: object) -> None:
        nonlocal began
        if name.endswith("send_request_headers.started"):
            began = clock()

    try:
        arguments = request.arguments(accept=figures.media_type)
        async with (
            asyncio.timeout(seconds),
            client.stream(**arguments, extensions={"trace": note_sending}) as response,
        ):
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            fits = (
                "json" in kind and "ndjson" not in kind if figures.media_type == MODES[0][1] else _same(figures, kind)
            )
            if response.is_success and fits:
                await _read(response, figures, kind, began, clock)
            elif response.status_code == 406 or response.is_success:
                figures.refusal = f"no {figures.media_type}: {response.status_code} {kind or 'without a type'}"
            else:
                figures.failed[f"{response.status_code} {response.reason_phrase}".strip()] += 1
    except TimeoutError:
        figures.failed[f"not complete within {seconds:g} s"] += 1
    except EventTooLarge as error:
        figures.failed[error.detail] += 1
    except httpx2.HTTPError as error:
        figures.failed[describe(error)] += 1


def _same(figures: Figures, kind: str) -> bool:
    return kind == figures.media_type or {kind, figures.media_type} == {"application/jsonl", "application/x-ndjson"}


async def _read(
    response: httpx2.Response, figures: Figures, kind: str, began: float, clock: Callable[[], float]
) -> None:
    if figures.media_type == MODES[0][1]:
        body = await response.aread()
        items, first = _items_in(body), clock()
    else:
        frames, first = Frames(kind), 0.0
        async for chunk in response.aiter_bytes():
            frames.feed(chunk)
            first = first or (clock() if frames.items else 0.0)
            if frames.too_large is not None:
                raise EventTooLarge(frames.too_large)
        frames.end()
        if frames.problem is not None:
            figures.failed[f"ended with an error: {frames.problem}"] += 1
            return
        items = frames.items
    end = clock()
    figures.first += [first - began] if items else []
    figures.whole.append(end - began)
    figures.items += items
    figures.bytes += response.num_bytes_downloaded


def _items_in(body: bytes) -> int:
    """Count the items of a batch where its form tells how many there are; else it is one."""
    try:
        value = decode_json(body)
    except ValueError:
        return 1
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    return len(value) if isinstance(value, list) else 1


# --- the report --------------------------------------------------------------------------------


def _show(console: Console, url: str, modes: dict[str, Figures]) -> None:
    console.print(f"\n  [bold]{escape(url)}[/bold]\n", soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for column in ("first p50", "p99", "whole p50", "p99", "items/s", "bytes", "failed"):
        table.add_column(column, justify="right")
    for name, figures in modes.items():
        if not figures.whole:
            continue
        table.add_row(
            f"[bold]{name}[/bold]",
            _time(percentile(figures.first, 50)),
            _time(percentile(figures.first, 99)),
            _time(percentile(figures.whole, 50)),
            _time(percentile(figures.whole, 99)),
            f"{figures.items / figures.wall:,.0f}" if figures.wall else "",
            _size(figures.bytes / len(figures.whole)),
            str(figures.failed.total() or ""),
        )
    console.print(Padding(table, (0, 0, 1, 2)))
    for name, figures in modes.items():
        said = [figures.refusal] if figures.refusal else []
        said += [f"{count} × {reason}" for reason, count in figures.failed.items()]
        for line in said:
            console.print(f"  [dim]{name}[/dim]  {escape(line)}")
    if any(figures.refusal or figures.failed for figures in modes.values()):
        console.print()


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _size(count: float) -> str:
    """Say how many bytes an answer has on average."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
