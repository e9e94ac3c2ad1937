"""`dual-mode tail`: shows the items of a stream as they come, over as many connections as that takes.

Rules of this file:

- What is not a terminal gets lines of JSON and nothing else, each as soon as it is there.
- A terminal gets colours and a line below them that says how fast items come. No byte of a server steers it: what is
  not printable is shown as an escape.
- The file of `--resume` has the last id that was printed, at the latest a moment after it was printed.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import httpx2
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from dual_mode_streaming.client import DualModeSyncClient, SyncStream
from dual_mode_streaming.errors import DualModeError, RemoteError, StreamInterrupted
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.jsonbytes import encode_json

from .failing import fail
from .request import CONNECT, Request, describe

__all__ = ["tail"]

Show = Callable[[ServerSentEvent, SyncStream], None]

WINDOW = 5.0
"""Seconds over which the speed is measured."""
KEPT = 0.2
"""Seconds after which a new id is written to the file at the latest."""


def tail(request: Request, *, as_events: bool, resume: str | None, any_end: bool) -> int:
    """Print the items until the stream is complete, and give the status 0.

    Args:
        request: What is sent.
        as_events: Print whole events as objects, and not just their data.
        resume: The file that keeps the last id; None for none.
        any_end: Whether a clean end is the end, also without a terminal event.
    """
    place = None if resume is None else Place(Path(resume))
    headers = {name: value for name, value in request.headers.items() if name != "last-event-id"}
    last_id = request.headers.get("last-event-id", "") if place is None else place.last_id
    options: dict[str, Any] = {"headers": headers, "last_event_id": last_id, "require_done": not any_end}
    if request.body is not None:
        options["content"] = request.body
    try:
        with ExitStack() as stack:
            before = signal.signal(signal.SIGTERM, _leave)
            stack.callback(signal.signal, signal.SIGTERM, before)
            show, notice = _printer(stack, as_events)
            http = stack.enter_context(
                Client(notice, timeout=httpx2.Timeout(None, connect=CONNECT), follow_redirects=True)
            )
            client = DualModeSyncClient(client=http, idle_timeout=None)
            stream = stack.enter_context(client.stream(request.method, request.url, **options))
            _follow(stream, show, place)
    except NoAnswer as error:
        fail(f"{request.url}: {error}", 1)
    except DualModeError as error:
        fail(f"{request.url}: {_said(error).removeprefix(f'{request.url} ')}", 1)
    return 0


def _follow(stream: SyncStream, show: Show, place: Place | None) -> None:
    try:
        for event in stream:
            show(event, stream)
            if place is not None and event.id:
                place.reach(event.id)
    finally:
        if place is not None:
            place.keep()


class NoAnswer(Exception):
    """There was never an answer. The text says why."""


class Client(httpx2.Client):
    """Gives up at once where nobody has ever answered: a mistake in a URL is nothing to wait for.

    Args:
        notice: Called before each request.
        options: Those of `httpx2.Client`.
    """

    def __init__(self, notice: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._notice = notice
        self._answered = False

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request.

        Raises:
            NoAnswer: There was none, and none before it.
        """
        self._notice()
        try:
            response = super().send(request, **options)
        except httpx2.HTTPError as error:
            if not self._answered:
                raise NoAnswer(describe(error)) from error
            raise
        self._answered = True
        return response


class Place:
    """The file with the last id. It is replaced as a whole, so that nobody ever reads half an id.

    Args:
        path: The file. If there is none the stream is read from its beginning.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept_at = 0.0
        try:
            self.last_id = path.read_text("utf-8").removesuffix("\n") if path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            fail(f"cannot read the last id from {path}: {getattr(error, 'strerror', None) or 'it is no text'}")
        self._in_file = self.last_id

    def reach(self, last_id: str) -> None:
        """Take note of an id, and write it if that was not done just now."""
        self.last_id = last_id
        if time.monotonic() - self._kept_at >= KEPT:
            self.keep()

    def keep(self) -> None:
        """Write the id to the file, if it is another one."""
        if self.last_id == self._in_file:
            return
        self._kept_at = time.monotonic()
        self._in_file = self.last_id
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            beside.write_text(f"{self.last_id}\n", "utf-8")
            beside.replace(self._path)
        except OSError as error:
            fail(f"cannot write the last id to {self._path}: {error.strerror}", 1)


# --- printing ----------------------------------------------------------------------------------


def _printer(stack: ExitStack, as_events: bool) -> tuple[Show, Callable[[], None]]:
    """Give what prints an event, for a terminal or for what reads lines; and what is called before each request."""
    if not sys.stdout.isatty():

        def line(event: ServerSentEvent, _: SyncStream) -> None:
            sys.stdout.write(encode_json(_fields(event) if as_events else event.data).decode() + "\n")
            sys.stdout.flush()

        return line, lambda: None

    console = Console(highlight=False)
    status = stack.enter_context(console.status("connecting"))
    began = time.monotonic()
    times: deque[float] = deque()

    def show(event: ServerSentEvent, stream: SyncStream) -> None:
        now = time.monotonic()
        times.append(now)
        while times[0] < now - WINDOW:
            times.popleft()
        console.print(_coloured(event, now - began, as_events), soft_wrap=True)
        again = f", {stream.reconnects} reconnects" if stream.reconnects else ""
        speed = len(times) / max(min(WINDOW, now - began), 0.1)
        status.update(f"{stream.count} items, {speed:,.1f} a second{again}")

    return show, lambda: status.update("connecting again" if times else "connecting")


def _fields(event: ServerSentEvent) -> dict[str, Any]:
    named = {"event": event.event, "id": event.id or None, "data": event.data}
    return {name: value for name, value in named.items() if value is not None or name == "data"}


def _coloured(event: ServerSentEvent, after: float, as_events: bool) -> Text:
    text = Text()
    if as_events:
        text.append(_printable(encode_json(_fields(event)).decode()))
        return text
    text.append(f"{after:8.2f}  ", "dim")
    if event.event is not None:
        text.append(f"{_printable(event.event)}  ", "bold cyan")
    if event.id:
        text.append(f"{_printable(event.id)}  ", "yellow")
    value = Text(_printable(event.data if isinstance(event.data, str) else encode_json(event.data).decode()))
    if not isinstance(event.data, str):
        JSONHighlighter().highlight(value)
    return text.append_text(value)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


# --- ends --------------------------------------------------------------------------------------


def _said(error: DualModeError) -> str:
    """Say in one line why the stream has ended."""
    match error:
        case RemoteError():
            beginning = _told(error.document)
            said = f"{error.status} ({error.code})" if error.code != "remote_error" else f"{error.status}"
            if beginning.lstrip().startswith("<"):
                return f"the server answered {said} with a page of HTML"
            text = f"the server answered {said}" + (f": {beginning}" if beginning else "")
        case StreamInterrupted() if error.__cause__ is None:
            text = (
                f"the stream ended after {error.count} items without saying that it is complete, and cannot go on; "
                "for a server that always ends so there is --any-end"
            )
        case StreamInterrupted():
            cause = error.__cause__
            why = f": {describe(cause)}" if isinstance(cause, httpx2.HTTPError) else ""
            text = f"the connection was lost after {error.count} items and the stream cannot go on{why}"
        case _:
            text = error.detail
    return _printable(" ".join(text.split()))[:300]


def _told(document: Mapping[str, Any]) -> str:
    """Give what an error says for people: a problem document, or as servers of language models put it."""
    inner = document.get("error")
    message = inner.get("message") if isinstance(inner, dict) else inner
    told = document.get("detail") or document.get("title") or message or document or ""
    return told if isinstance(told, str) else encode_json(told).decode()


def _leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  Python gives both
    """End in good order, so that the terminal has its cursor back."""
    sys.exit(128 + number)
