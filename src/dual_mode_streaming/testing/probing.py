"""Sends the requests with which `check_dual_mode` tries an endpoint, and keeps what came back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2

from dual_mode_streaming.errors import ProtocolError
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.jsonbytes import decode_json
from dual_mode_streaming.modes import STREAM_TYPES

from .reading import StreamDecoder, essence
from .report import LawBroken, Probe, Report, shown
from .witness import Witness

__all__ = ["Answer", "Endpoint", "Events"]


@dataclass(slots=True)
class Answer:
    """What came back for one request.

    Attributes:
        asked: The request, in words.
        broken: Why the connection broke; None if the body came to its clean end.
        app_error: What the application raised, where it can be seen.
    """

    asked: str
    status: int
    headers: httpx2.Headers
    body: bytes
    broken: str | None = None
    app_error: BaseException | None = None

    @property
    def media_type(self) -> str:
        """The content type without parameters."""
        return essence(self.headers.get("content-type"))

    @property
    def said(self) -> str:
        """Status and content type, for messages."""
        text = f"{self.status} {self.headers.get('content-type', 'without a content type')}"
        return text if self.app_error is None else f"{text} (the application raised {self.app_error!r})"

    def value(self) -> Any:
        """Give the body as JSON; as text if it is none."""
        try:
            return decode_json(self.body)
        except ValueError:
            return self.body.decode("utf-8", "replace")


@dataclass(slots=True)
class Events:
    """What the body of a stream says.

    Attributes:
        items: The values of the items.
        done: The event that says that the stream is complete.
        error: The problem document that ended the stream.
        undecodable: Why the rest of the body could not be read.
    """

    items: list[Any] = field(default_factory=list)
    done: ServerSentEvent | None = None
    error: Any = None
    undecodable: str | None = None

    @classmethod
    def of(cls, answer: Answer) -> Events:
        """Read a body."""
        read = cls()
        decoder = StreamDecoder(answer.media_type)
        try:
            for event in [*decoder.feed(answer.body), *decoder.flush()]:
                if event.event == "error":
                    read.error = event.data
                elif event.event == "done":
                    read.done = event
                elif event.event != "gap":
                    read.items.append(event.data)
        except ProtocolError as error:
            read.undecodable = error.detail
        return read


class Endpoint:
    """The endpoint that is tried.

    Attributes:
        report: What was checked so far.
        witness: Sees into the application; None for a server elsewhere.
        formats: The media types of a stream that it offers.
        batch_type: The media type of its batch.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        method: str,
        main: Probe,
        *,
        witness: Witness | None,
        stream_param: str | None,
        timeout: float,
    ) -> None:
        self.report = Report()
        self.witness = witness
        self.formats: tuple[str, ...] = STREAM_TYPES
        self.batch_type = "application/json"
        self.method = method.upper()
        self.stream_param = stream_param
        self._client = client
        self._main = main
        self._timeout = timeout

    @property
    def name(self) -> str:
        """Method and path, for messages."""
        return f"{self.method} {self._main.path}"

    def request(
        self,
        accept: str | None,
        *,
        probe: Probe | None = None,
        flag: str | None = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        client: httpx2.AsyncClient | None = None,
    ) -> tuple[httpx2.Request, str]:
        """Make one request; give it, and the words for it."""
        main, probe = self._main, probe or Probe()
        method = method or self.method
        url = httpx2.URL((main.path if probe.path is None else probe.path) or "")
        asked = f"{method} {url}"
        if flag is not None and self.stream_param is not None:
            url = url.copy_merge_params({self.stream_param: flag})
            asked = f"{method} {url}"
        body: dict[str, Any] = {}
        for source in (probe, main):
            if source.json is not None or source.content is not None:
                body = {"json": source.json} if source.json is not None else {"content": source.content}
                break
        given = {**(main.headers or {}), **(probe.headers or {}), **(headers or {}), "accept-encoding": "identity"}
        request = (client or self._client).build_request(method, url, headers=given, **body)
        request.headers.pop("accept", None)
        if accept is not None:
            request.headers["accept"] = accept
            asked += f" with Accept: {accept}"
        return request, asked

    async def fetch(self, accept: str | None, **how: Any) -> Answer:
        """Send one request and read its whole answer.

        Raises:
            LawBroken: There was none in time, or the application left its source open.
        """
        request, asked = self.request(accept, **how)
        try:
            with anyio.fail_after(self._timeout):
                response = await self._client.send(request, stream=True)
                answer = Answer(asked, response.status_code, response.headers, b"")
                body = bytearray()
                try:
                    async for chunk in response.aiter_bytes():
                        body += chunk
                except httpx2.TransportError as error:
                    if isinstance(error, httpx2.TimeoutException):
                        raise
                    answer.broken = str(error) or type(error).__name__
                finally:
                    await response.aclose()
        except (TimeoutError, httpx2.TimeoutException):
            raise LawBroken(
                "wire contract",
                f"{asked} was not answered completely within {self._timeout:g} seconds; "
                "check a request whose source comes to its end, or give a larger timeout=",
            ) from None
        except httpx2.TransportError as error:
            raise LawBroken("wire contract", f"{asked} got no answer", error=shown(error)) from error
        answer.body = bytes(body)
        call = response.extensions.get("asgi_call")
        answer.app_error = None if call is None else call.error
        self.check_closed(asked, answer.app_error)
        return answer

    @asynccontextmanager
    async def opened(self, accept: str) -> AsyncIterator[httpx2.Response]:
        """Send one request and leave its answer to be read, and to be left."""
        request, _ = self.request(accept)
        response = await self._client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    def check_closed(self, asked: str, error: BaseException | None = None) -> None:
        """Check that the application has closed its source (law 5), where that can be seen.

        Raises:
            LawBroken: It has not. `error` is what it has raised, which may be why.
        """
        if self.witness is not None and self.witness.left_open:
            names = ", ".join(dict.fromkeys(self.witness.left_open))
            self.witness.left_open.clear()
            raise LawBroken(
                "law 5",
                f"after {asked} the async generator {names} was still open when the application had returned; "
                "its finally blocks run at some later time, or never",
                **({} if error is None else {"the_application_raised": repr(error)}),
            )
