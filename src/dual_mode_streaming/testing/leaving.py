"""Law 5: when the client leaves, the source is closed, and only then does the response return."""

from __future__ import annotations

import anyio
import httpx2
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dual_mode_streaming.modes import SSE

from .calls import Call
from .probing import Endpoint
from .reading import EventReader
from .report import LawBroken, first_difference
from .transport import StreamingASGITransport
from .witness import Witness

__all__ = ["check_leaving"]

CLOSED = "law 5: the source is closed when the client leaves"


async def check_leaving(endpoint: Endpoint, close_timeout: float) -> None:
    """Leave a stream before its first byte and behind its first item, and a batch before its end.

    Raises:
        LawBroken: The application did not return in time, or left its source open.
    """
    media_type = SSE if SSE in endpoint.formats else endpoint.formats[0]
    if endpoint.witness is None:
        await _leave_a_server(endpoint, media_type)
        return
    # Each byte is waited for by the application, so it is in the middle of a send when its client leaves.
    async with _client(endpoint.witness, close_timeout, buffer_size=0) as client:
        for count in (0, 1):
            request, asked = endpoint.request(media_type, client=client)
            response = await client.send(request, stream=True)
            call: Call = response.extensions["asgi_call"]
            if count:
                async with EventReader(response) as events:
                    await events.take(count)
            else:
                await call.until_blocked()
                await response.aclose()
            asked += ", left behind its first item" if count else ", left before its first byte"
            if not call.ended:
                raise _not_returned(asked, close_timeout)
            endpoint.check_closed(asked)
            if count and call.complete:
                endpoint.report.skipped[f"{CLOSED}, behind the first item"] = "all items came at once"
    await _leave_a_batch(endpoint, endpoint.witness, close_timeout)
    endpoint.report.checked.append(CLOSED)


async def _leave_a_batch(endpoint: Endpoint, witness: Witness, close_timeout: float) -> None:
    async with _client(_GoneAtOnce(witness), close_timeout) as client:
        request, asked = endpoint.request(endpoint.batch_type, client=client)
        asked += ", left while it was gathered"
        with anyio.move_on_after(close_timeout) as scope:
            await client.send(request)
        if scope.cancelled_caught:
            raise _not_returned(asked, close_timeout)
    endpoint.check_closed(asked)


def _client(app: ASGIApp, close_timeout: float, *, buffer_size: int = 65_536) -> httpx2.AsyncClient:
    transport = StreamingASGITransport(
        app, buffer_size=buffer_size, close_timeout=close_timeout, raise_app_exceptions=False
    )
    return httpx2.AsyncClient(transport=transport, base_url="http://testserver", timeout=None)


def _not_returned(asked: str, close_timeout: float) -> LawBroken:
    return LawBroken(
        "law 5",
        f"{asked}: the application had not returned {close_timeout:g} seconds after its client was gone; "
        "it goes on for nobody",
    )


async def _leave_a_server(endpoint: Endpoint, media_type: str) -> None:
    """Leave a stream of a server elsewhere: all that can be seen is that it goes on answering others."""
    before = await endpoint.fetch(endpoint.batch_type)
    async with endpoint.opened(media_type) as response, EventReader(response) as events:
        await events.take(1)
    after = await endpoint.fetch(endpoint.batch_type)
    if after.status != before.status or first_difference(before.value(), after.value()) is not None:
        raise LawBroken("law 5", f"after a client left, {after.asked} is answered differently", got=after.said)
    endpoint.report.checked.append("law 5: the server goes on answering when a client leaves")
    endpoint.report.skipped[CLOSED] = "it cannot be seen from outside"


class _GoneAtOnce:
    """An application around another one, whose client is gone as soon as it has sent its request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = False

        async def leave() -> Message:
            nonlocal asked
            if asked:
                return {"type": "http.disconnect"}
            message = await receive()
            asked = not message.get("more_body", False)
            return message

        async def drop(_: Message) -> None:
            return

        await self._app(scope, leave, drop)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
