"""`dual-mode doctor`: watches a stream arrive, says what is wrong with it on the way, and how to mend it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import httpx2
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from .failing import fail
from .findings import Finding, judge
from .observation import End, Observation
from .observing import observe
from .request import Request, describe

__all__ = ["NoAnswer", "doctor", "look"]

COLUMNS = 30
"""The width of the line that shows when what came."""
MOMENT = 1.0
"""Seconds to wait for what is not needed."""


class NoAnswer(Exception):
    """There was nothing to look at. The text says why."""


def doctor(request: Request, direct_url: str | None, seconds: float) -> int:
    """Watch, report on standard output, and give the status: 1 if something is to be mended, else 0.

    Args:
        request: What is sent.
        direct_url: The same endpoint at the server itself, without what lies between; None if there is none.
        seconds: How long to watch at most.
    """
    told = Console(stderr=True, highlight=False)
    with told.status("watching") as status:
        progress: Callable[[int], None] = lambda count: status.update(f"watching: {count} items")  # noqa: E731
        try:
            seen, direct, has_two_modes = asyncio.run(look(request, direct_url, seconds, progress))
        except NoAnswer as error:
            status.stop()
            fail(str(error), 1)
    findings = judge(seen, direct, has_two_modes=has_two_modes, is_get=request.method == "GET")
    console = Console(highlight=False)
    _show_facts(console, request.url, seen, direct)
    _show(console, findings)
    return int(any(not finding.is_note for finding in findings))


async def look(
    request: Request, direct_url: str | None, seconds: float, progress: Callable[[int], None] | None = None
) -> tuple[Observation, Observation | None, bool | None]:
    """Give what is to be judged: the stream as it arrives, the same from the server itself, and if there are two modes.

    Raises:
        NoAnswer: There is none.
    """
    async with request.client() as client:
        # Both at the same time, so that a source that follows the clock shows the same to both.
        looks = [asyncio.create_task(_watch(client, request, seconds, progress))]
        if direct_url is not None:
            looks.append(asyncio.create_task(_watch(client, replace(request, url=direct_url), seconds, None)))
        other = asyncio.create_task(_other_mode(client, request)) if request.method == "GET" else None
        tasks = [*looks, *([other] if other is not None else [])]
        try:
            seen, *rest = await asyncio.gather(*looks)
            if other is not None:
                # A document comes when the stream is at its end, or a moment later.
                await asyncio.wait([other], timeout=MOMENT)
            has_two_modes = other.result() if other is not None and other.done() else None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return seen, (rest[0] if rest else None), has_two_modes


async def _watch(
    client: httpx2.AsyncClient, request: Request, seconds: float, progress: Callable[[int], None] | None
) -> Observation:
    try:
        return await observe(client, request, seconds, progress)
    except TimeoutError:
        raise NoAnswer(f"{request.url}: no answer within {seconds:g} s; --timeout waits longer") from None
    except httpx2.HTTPError as error:
        raise NoAnswer(f"{request.url}: {describe(error)}") from error


async def _other_mode(client: httpx2.AsyncClient, request: Request) -> bool | None:
    """Whether the endpoint answers another `Accept` with a document. Its headers are enough."""
    try:
        async with client.stream(**request.arguments(accept="application/json")) as response:
            return response.is_success and not Observation(headers=dict(response.headers)).is_stream
    except httpx2.HTTPError:
        return None


# --- the report --------------------------------------------------------------------------------


def _show_facts(console: Console, url: str, seen: Observation, direct: Observation | None) -> None:
    console.print(f"\n  [bold]{escape(url)}[/bold]\n", soft_wrap=True)
    looks = [seen] if direct is None else [seen, direct]
    table = Table.grid(padding=(0, 2))
    if direct is not None:
        table.add_row("", "[bold]through[/bold]", "[bold]direct[/bold]")
    for name, fact in FACTS:
        cells = [escape(fact(look)) for look in looks]
        if any(cells):
            table.add_row(f"[dim]{name}[/dim]", *cells)
    console.print(Padding(table, (0, 0, 1, 2)))


def _answer(seen: Observation) -> str:
    server = seen.headers.get("server")
    return f"{seen.status} over {seen.http_version}" + (f" from {server}" if server else "")


def _items(seen: Observation) -> str:
    if not seen.items:
        return "none" if seen.is_stream else ""
    groups = len(set(seen.items))
    together = "" if groups == len(seen.items) else f" in {groups} arrival{'s' * (groups > 1)}"
    return f"{len(seen.items)}{together}, from {seen.items[0]:.2f} s to {seen.items[-1]:.2f} s"


def _heartbeats(seen: Observation) -> str:
    return f"{len(seen.heartbeats) or 'none'}, longest silence {seen.longest_silence:.2f} s" if seen.is_stream else ""


def _ending(seen: Observation) -> str:
    if not seen.is_stream:
        return ""
    how = {End.CLEAN: "clean", End.CUT: "cut", End.OPEN: "not seen"}[seen.end]
    said = f"{seen.terminal}, " if seen.terminal else "error, " if seen.problem else ""
    return f"{said}{how}, after {seen.ended_at:.2f} s"


def _timeline(seen: Observation) -> str:
    """Draw when items came, from the request to the end: in equal parts of the time."""
    if not seen.items or not seen.ended_at:
        return ""
    counts = [0] * COLUMNS
    for at in seen.items:
        counts[min(COLUMNS - 1, int(at / seen.ended_at * COLUMNS))] += 1
    most = max(counts)
    return "".join("·" if not count else "▁▂▃▄▅▆▇█"[max(0, count * 8 // most - 1)] for count in counts)


FACTS: tuple[tuple[str, Callable[[Observation], str]], ...] = (
    ("answer", _answer),
    ("type", lambda seen: seen.headers.get("content-type", "none")),
    ("headers", lambda seen: f"after {seen.headers_at:.2f} s"),
    ("items", _items),
    ("when", _timeline),
    ("heartbeats", _heartbeats),
    ("end", _ending),
)


def _show(console: Console, findings: list[Finding]) -> None:
    for finding in findings:
        mark, style = ("i", "cyan") if finding.is_note else ("!", "bold red")
        text = Table.grid(padding=(0, 1))
        text.add_row(f"[{style}]{mark}[/{style}]", escape(finding.text))
        console.print(Padding(text, (0, 0, 0, 2)))
        if finding.mend:
            mend = Table.grid(padding=(0, 2))
            for place, line in finding.mend:
                mend.add_row(f"[dim]{place}[/dim]", f"[green]{escape(line)}[/green]")
            console.print(Padding(mend, (0, 0, 0, 6)))
        console.print()
    count = sum(not finding.is_note for finding in findings)
    verdict = f"[bold red]{count} to mend[/bold red]" if count else "[bold green]Nothing to mend.[/bold green]"
    console.print(f"  {verdict}\n")
