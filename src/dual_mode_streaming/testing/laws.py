"""`check_dual_mode`: the laws of a dual-mode endpoint, asserted on an endpoint of your own.

It sends the same request in every mode and format, some twenty times more with other headers, and leaves a few times in
the middle. So the request must be one that can be repeated: the same answer each time, and no harm done.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
from starlette.types import ASGIApp

from dual_mode_streaming.folds import Fold, as_fold, collect
from dual_mode_streaming.modes import SSE

from .agreement import check_agreement
from .choosing import check_choice, check_head, check_reconnect
from .failing import check_early_error, check_late_error, probes
from .leaving import check_leaving
from .probing import Endpoint
from .report import LawBroken, Probe, Probes, Report
from .transport import StreamingASGITransport
from .witness import Witness

__all__ = ["check_dual_mode"]


def check_dual_mode(
    app_or_url: ASGIApp | str,
    method: str,
    path: str,
    *,
    fold: Fold[Any, Any] | Callable[[Sequence[Any]], Any] = collect,
    item_type: Any = None,
    json: Any = None,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    early_error: Probes = None,
    late_error: Probes = None,
    formats: Sequence[str] | None = None,
    stream_param: str | None = "stream",
    timeout: float = 10.0,
    close_timeout: float = 5.0,
) -> Report:
    """Assert that an endpoint does what every dual-mode endpoint does, and say what was checked.

    A plain function: call it from sync and async tests alike. It runs an event loop of its own, in a thread if the
    caller is inside one. So an application is called in another event loop than the test's; and a server that runs in
    the test's own event loop could not answer: there, `await asyncio.to_thread(check_dual_mode, ...)`.

    Args:
        app_or_url: The ASGI application, which is called in process, or the address of a server
            (`http://127.0.0.1:8000`). Of a server that is elsewhere nobody sees whether it closes its sources.
        method: The method of the request.
        path: Its path and query. The request has to succeed, end, and give the same answer each time.
        fold: The fold of the endpoint.
        item_type: The type of the items that the fold takes, if that is not plain JSON: a model or a dataclass.
        json: The body of the request, as JSON.
        content: The body of the request, as it is.
        headers: Further headers of every request, such as `Authorization`.
        early_error: Requests that fail before the first item (law 3): paths, or `Probe(json=...)`.
        late_error: Requests that fail behind the first item (law 4).
        formats: The media types of a stream that the endpoint has to offer. None: those that it says it offers.
        stream_param: The name of the query parameter that chooses the mode; None if the endpoint has none.
        timeout: How many seconds one answer may take.
        close_timeout: How many seconds the application may take to return when its client has left.

    Returns:
        What was checked, and what was not and why.

    Raises:
        LawBroken: An `AssertionError`, which says what differs, where, and what was expected.
        TypeError: The fold is none.
    """
    main = Probe(path, json, content, headers)
    kept = as_fold(fold)

    async def check() -> Report:
        witness = None if isinstance(app_or_url, str) else Witness(app_or_url)
        async with _client(app_or_url, witness, timeout, close_timeout) as client:
            endpoint = Endpoint(client, method, main, witness=witness, stream_param=stream_param, timeout=timeout)
            wanted = None if formats is None else tuple(formats)
            batch, streams = await check_agreement(endpoint, kept, item_type, wanted)
            await check_choice(endpoint)
            await check_head(endpoint, batch)
            if SSE in streams:
                await check_reconnect(endpoint, streams[SSE])
            await _check_errors(endpoint, early_error, late_error)
            await check_leaving(endpoint, close_timeout)
            return endpoint.report

    try:
        return _run(check)
    except LawBroken as broken:
        # Where in here it was found is of no use to anybody: the text has all.
        raise broken.with_traceback(None) from broken.__cause__


async def _check_errors(endpoint: Endpoint, early: Probes, late: Probes) -> None:
    for probe in probes(early):
        await check_early_error(endpoint, probe)
    if early is None:
        endpoint.report.skipped["law 3: an early error is the same in every mode"] = "no early_error= given"
    for probe in probes(late):
        await check_late_error(endpoint, probe)
    if late is None:
        endpoint.report.skipped["law 4: a stream that fails late does not look complete"] = "no late_error= given"


def _client(
    app_or_url: ASGIApp | str, witness: Witness | None, timeout: float, close_timeout: float
) -> httpx2.AsyncClient:
    if witness is None:
        return httpx2.AsyncClient(base_url=str(app_or_url), timeout=timeout, trust_env=False)
    transport = StreamingASGITransport(witness, raise_app_exceptions=False, close_timeout=close_timeout)
    return httpx2.AsyncClient(transport=transport, base_url="http://testserver", timeout=timeout)


def _run(check: Callable[[], Coroutine[Any, Any, Report]]) -> Report:
    """Run the check in an event loop of its own, beside that of the caller if there is one."""
    if not _in_event_loop():
        return asyncio.run(check())
    with ThreadPoolExecutor(1, "check-dual-mode") as thread:
        return thread.submit(contextvars.copy_context().run, lambda: asyncio.run(check())).result()


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
