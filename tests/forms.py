"""The forms of a response, and a server in process for all of them: on asyncio and on trio, by anyio alone."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import Any

import anyio

from dual_mode_streaming import DualModeResponse

PUMP, PLAIN, TRIO = FORMS = ("the pump", "the plain form on asyncio", "trio")
PLAIN_FORMS = FORMS[1:]
GIVE_UP = 10.0
"""Seconds after which a test that hangs is ended. No test needs a noticeable part of them."""


def run(form, main, *args):
    """Run a test in the event loop of a form."""

    async def bounded():
        with anyio.fail_after(GIVE_UP):
            return await main(form, *args)

    return anyio.run(bounded, backend="trio" if form == TRIO else "asyncio")


def respond(form, source, **options):
    """Give an application that answers in this form. Only on asyncio is there a choice."""

    async def app(scope, receive, send):
        response = DualModeResponse(source, **options)
        if form == PLAIN:
            await response._respond(scope, receive, send, in_plain_form=True)
        else:
            await response(scope, receive, send)

    return app


class Ask:
    """One request, as the server sees it. Every step of the server is a gate."""

    def __init__(self, accept=None, *, method="GET", query="", headers=(), body=b""):
        raw = [(name.encode(), value.encode()) for name, value in headers]
        if accept is not None:
            raw.append((b"accept", accept.encode()))
        if body is None:
            raw.append((b"transfer-encoding", b"chunked"))
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "path": "/",
            "query_string": query.encode(),
            "headers": raw,
        }
        self.messages: list[dict[str, Any]] = []
        self.raised: BaseException | None = None
        self.send_error: BaseException | None = None
        self.cancelled = False
        self.told = anyio.Event()
        """The application knows that the client has left."""
        self.ended = anyio.Event()
        self.scope_of_call = anyio.CancelScope()
        self._give, self._take = anyio.create_memory_object_stream[dict[str, Any]](math.inf)
        self._changed = anyio.Event()
        self._may_send = anyio.Event()
        self._may_send.set()
        self.blocked = anyio.Event()
        if body is not None:
            self._give.send_nowait({"type": "http.request", "body": body, "more_body": False})

    async def run(self, app):
        """Call the application to its end; keep what it raises."""
        try:
            with self.scope_of_call:
                await app(self.scope, self._receive, self._send)
        except Exception as error:
            self.raised = error
        finally:
            self._give.close()
            self._take.close()
        self.cancelled = self.scope_of_call.cancelled_caught
        self.ended.set()
        self._changed.set()
        return self

    async def _receive(self):
        message = await self._take.receive()
        if message["type"] == "http.disconnect":
            self.told.set()
        return message

    async def _send(self, message):
        if not self._may_send.is_set():
            self.blocked.set()
            await self._may_send.wait()
        if self.send_error is not None:
            raise self.send_error
        self.messages.append(message)
        self._changed.set()
        self._changed = anyio.Event()

    def leave(self):
        self._give.send_nowait({"type": "http.disconnect"})

    def give(self, body, more):
        self._give.send_nowait({"type": "http.request", "body": body, "more_body": more})

    def stop_reading(self):
        self._may_send = anyio.Event()

    def read_on(self):
        self._may_send.set()

    async def until(self, enough):
        while not enough():
            assert not self.ended.is_set(), "the call ended before it came so far"
            await self._changed.wait()

    @property
    def status(self):
        return self.messages[0]["status"]

    @property
    def headers(self):
        return sorted(self.messages[0]["headers"])

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def bodies(self):
        return [message["body"] for message in self.messages[1:] if message.get("body")]

    @property
    def complete(self):
        return len(self.messages) > 1 and not self.messages[-1].get("more_body", False)


@asynccontextmanager
async def asked(app, accept=None, **request):
    """Have a call under way beside the test; in the end it must have ended by itself."""
    call = Ask(accept, **request)
    async with anyio.create_task_group() as group:
        group.start_soon(call.run, app)
        yield call
        await call.ended.wait()


async def settle(turns=20):
    """Give the event loop some turns, for what must NOT happen in them."""
    for _ in range(turns):
        await anyio.sleep(0)
