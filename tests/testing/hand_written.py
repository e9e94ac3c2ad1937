"""A dual-mode endpoint written by hand, without the library. It is right; subclasses break one thing each.

`?fail=N` makes it fail at item N.
"""

import json
from contextlib import aclosing
from urllib.parse import parse_qs

import anyio

from dual_mode_streaming.modes import OFFERS, SSE, negotiate

PROBLEM = {"type": "about:blank", "title": "Bad Gateway", "status": 502, "code": "http_error"}


class Failed(Exception):
    pass


class HandWritten:
    vary = (b"vary", b"Accept")
    stream_headers = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
    early_status = late_status = 502
    done_id = "end"
    offers = OFFERS

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        self.scope, self.query = scope, parse_qs(scope["query_string"].decode())
        self.fail_at = int(self.query["fail"][0]) if "fail" in self.query else None
        self.send = send
        while (await receive()).get("more_body"):
            pass

        async def leave():
            await receive()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(leave)
            await self.answer()
            group.cancel_scope.cancel()

    # --- choosing ---

    def header(self, name):
        lines = [value.decode() for key, value in self.scope["headers"] if key == name]
        return lines or None

    def flag(self):
        return self.query.get("stream", [None])[0]

    def media_type(self):
        """The media type of the answer, or the status of a refusal."""
        flag, accept = self.flag(), self.header(b"accept")
        if flag in ("false", "0"):
            return OFFERS[0]
        if flag in ("true", "1"):
            try:
                return negotiate(accept, OFFERS[1:])
            except Exception:
                return SSE
        if flag is not None:
            return 422
        try:
            return negotiate(accept, self.offers)
        except Exception:
            return 406

    async def answer(self):
        media_type = self.media_type()
        if isinstance(media_type, int):
            await self.refuse(media_type)
        elif media_type == OFFERS[0]:
            await self.batch()
        elif self.header(b"last-event-id") == [self.done_id]:
            await self.start(204, [])
            await self.body(b"")
        else:
            await self.stream(media_type)

    async def refuse(self, status, **members):
        text = json.dumps({**PROBLEM, "status": status, "offers": self.offers, **members}).encode()
        await self.start(status, [(b"content-type", b"application/problem+json"), self.vary])
        await self.body(text)

    # --- answering ---

    async def start(self, status, headers):
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, data, more=False):
        if self.scope["method"] == "HEAD":
            data = b""
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def items(self):
        for number in range(4):
            if number == self.fail_at:
                raise Failed
            await anyio.lowlevel.checkpoint()
            yield {"n": number}

    batch_items = items

    async def batch(self):
        try:
            async with aclosing(self.batch_items()) as source:
                items = [item async for item in source]
        except Failed:
            await self.refuse(self.early_status if self.fail_at == 0 else self.late_status)
            return
        await self.start(200, [(b"content-type", b"application/json"), self.vary])
        await self.body(json.dumps({"data": items}).encode())

    def content_type(self, media_type):
        return media_type

    def frame(self, media_type, item):
        text = json.dumps(item).encode()
        return b"data: " + text + b"\n\n" if media_type == SSE else self.record(media_type) + text + b"\n"

    def record(self, media_type):
        return b"\x1e" if media_type.endswith("seq") else b""

    async def stream(self, media_type):
        count, started = 0, False
        try:
            async with aclosing(self.items()) as items:
                async for item in items:
                    if not started:
                        started = True
                        await self.begin(media_type)
                    await self.body(self.frame(media_type, item), more=True)
                    count += 1
        except Failed:
            if not started:
                await self.early(media_type)
                return
            await self.late(media_type)
            return
        await self.body(self.last_words(media_type, count))

    async def begin(self, media_type):
        await self.start(
            200, [(b"content-type", self.content_type(media_type).encode()), self.vary, *self.stream_headers]
        )

    async def early(self, media_type):
        await self.refuse(502)

    def last_words(self, media_type, count):
        if media_type != SSE:
            return b""
        return b'event: done\nid: %b\ndata: {"items": %d}\n\n' % (self.done_id.encode(), count)

    async def late(self, media_type):
        text = json.dumps(PROBLEM).encode()
        if media_type == SSE:
            await self.body(b"event: error\ndata: " + text + b"\n\n")
            return
        await self.body(self.record(media_type) + b'{"error": ' + text + b"}\n", more=True)
        raise ConnectionAbortedError("cut")
