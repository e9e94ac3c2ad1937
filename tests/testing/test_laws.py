"""`check_dual_mode` passes what is right, and finds each fault and says what it is."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import pytest
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from dual_mode_streaming import DualModeResponse, collect, dual_mode, last
from dual_mode_streaming.fastapi import DualModeRoute
from dual_mode_streaming.modes import OFFERS, SSE, STREAM_TYPES
from dual_mode_streaming.testing import LawBroken, Probe, agreement, check_dual_mode, live_server
from dual_mode_streaming.testing.reading import StreamDecoder
from dual_mode_streaming.testing.report import first_difference, shown
from testing.hand_written import Failed, HandWritten

ALL_LAWS = {"law 1", "law 2", "law 3", "law 4", "law 5", "wire contract"}


class Row(BaseModel):
    n: int


class Ask(BaseModel):
    count: int


def total(rows) -> dict[str, int]:
    return {"sum": sum(row.n for row in rows)}


app = FastAPI()
app.router.route_class = DualModeRoute


@app.get("/rows")
@dual_mode(fold=total)
async def rows(count: int = 3, fail: int = -1) -> AsyncIterator[Row]:
    for n in range(count):
        if n == fail:
            raise HTTPException(409, "not this one")
        await asyncio.sleep(0)
        yield Row(n=n)


@app.post("/rows")
@dual_mode
async def ask(ask: Ask) -> AsyncIterator[Row]:
    for n in range(ask.count):
        yield Row(n=n)


def laws_in(names):
    return {name.partition(":")[0] for name in names}


# --- what is right -------------------------------------------------------------------------------


def test_an_endpoint_of_the_library_keeps_all_laws():
    report = check_dual_mode(
        app,
        "GET",
        "/rows",
        fold=total,
        item_type=Row,
        early_error=["/rows?fail=0", "/rows?count=many"],
        late_error="/rows?fail=2",
    )
    assert laws_in(report.checked) == ALL_LAWS
    assert report.skipped == {}
    assert "checked: law 3: an early error is the same in every mode (GET /rows?fail=0" in str(report)


def test_a_request_with_a_body_and_a_probe_with_another_one():
    report = check_dual_mode(app, "POST", "/rows", json={"count": 2}, early_error=Probe(json={"count": "many"}))
    assert laws_in(report.checked) == ALL_LAWS
    assert report.skipped["wire contract: HEAD"] == "the method is POST"
    assert report.skipped["law 4: a stream that fails late does not look complete"] == "no late_error= given"
    check_dual_mode(app, "POST", "/rows", content=b'{"count": 1}', headers={"content-type": "application/json"})


@pytest.mark.asyncio
async def test_it_is_called_the_same_in_an_async_test():
    report = check_dual_mode(app, "GET", "/rows", fold=total, item_type=Row)
    assert "law 5" in laws_in(report.checked)


def test_a_server_elsewhere_is_checked_as_far_as_the_wire_shows():
    with live_server(app) as url:
        report = check_dual_mode(
            url, "GET", "/rows", fold=total, item_type=Row, early_error="/rows?fail=0", late_error="/rows?fail=2"
        )
    assert "law 5: the server goes on answering when a client leaves" in report.checked
    assert report.skipped == {"law 5: the source is closed when the client leaves": "it cannot be seen from outside"}


def test_a_dataclass_is_an_item_type_too():
    @dataclass
    class Point:
        x: int

    async def points(request):
        return DualModeResponse([Point(1), Point(2)], fold=last)

    report = check_dual_mode(Starlette(routes=[Route("/", points)]), "GET", "/", fold=last, item_type=Point)
    assert "law 1" in laws_in(report.checked)


def test_an_endpoint_written_by_hand_keeps_all_laws_too():
    report = check_dual_mode(HandWritten(), "GET", "/", early_error="/?fail=0", late_error="/?fail=2")
    assert laws_in(report.checked) == ALL_LAWS
    assert report.skipped == {}


def test_a_route_without_head_and_an_endpoint_without_the_flag():
    plain = FastAPI()
    plain.get("/")(dual_mode(stream_param=None)(three))
    report = check_dual_mode(plain, "GET", "/", stream_param=None)
    assert report.skipped["wire contract: HEAD"] == "the route does not take it (405)"
    assert report.skipped["wire contract: the query"] == "stream_param=None"


async def three():
    for n in range(3):
        yield n


def test_an_endpoint_that_offers_fewer_formats():
    class Fewer(HandWritten):
        offers = OFFERS[:2]

    report = check_dual_mode(Fewer(), "GET", "/")
    assert "law 1: the batch is the fold of the stream (text/event-stream)" in report.checked
    with pytest.raises(LawBroken, match="another status than the batch"):
        check_dual_mode(Fewer(), "GET", "/", formats=STREAM_TYPES)

    class Silent(Fewer):
        async def refuse(self, status, **members):
            await self.start(status, [self.vary])
            await self.body(b"")

    report = check_dual_mode(Silent(), "GET", "/")
    assert report.skipped["law 1: application/jsonl"] == "the endpoint does not offer it (406)"


# --- what is wrong: one thing each ---------------------------------------------------------------


class Drifts(HandWritten):
    async def batch_items(self):
        for n in (0, 1, 7, 3):
            if n == self.fail_at:
                raise AssertionError
            yield {"n": n}


class DriftsInOneFormat(HandWritten):
    def frame(self, media_type, item):
        return super().frame(media_type, {**item, **({"at": 1} if media_type == "application/x-ndjson" else {})})


class WrongContentType(HandWritten):
    def content_type(self, media_type):
        return "text/plain" if media_type == SSE else media_type


class IgnoresAccept(HandWritten):
    def media_type(self):
        return (self.flag() in ("true", "1") and SSE) or OFFERS[0]


class AcceptBySubstring(HandWritten):
    def media_type(self):
        if self.flag() is None and SSE in "".join(self.header(b"accept") or ()):
            return SSE
        return super().media_type()


class IgnoresFalse(HandWritten):
    def flag(self):
        return None if super().flag() in ("false", "0") else super().flag()


class TakesAnyFlag(HandWritten):
    def flag(self):
        return None if super().flag() == "maybe" else super().flag()


class NeverRefuses(HandWritten):
    def media_type(self):
        return OFFERS[0] if super().media_type() == 406 else super().media_type()


class NoVary(HandWritten):
    vary = (b"x-vary", b"no")


class NoCacheControl(HandWritten):
    stream_headers = ((b"x-accel-buffering", b"no"),)


class CacheControlTwice(HandWritten):
    stream_headers = (*HandWritten.stream_headers, (b"cache-control", b"no-store"))


class NoAccelBuffering(HandWritten):
    stream_headers = ((b"cache-control", b"no-cache"),)


class NoDone(HandWritten):
    def last_words(self, media_type, count):
        return b""


class DoneTooEarly(HandWritten):
    def last_words(self, media_type, count):
        return super().last_words(media_type, count) + (b'data: "more"\n\n' if media_type == SSE else b"")


class CountsWrong(HandWritten):
    def last_words(self, media_type, count):
        return super().last_words(media_type, count + 1)


class NoTerminalId(HandWritten):
    def last_words(self, media_type, count):
        return super().last_words(media_type, count).replace(b"id: end\n", b"")


class BeginsAnew(HandWritten):
    def header(self, name):
        return None if name == b"last-event-id" else super().header(name)


class EndsInTheMiddle(HandWritten):
    def last_words(self, media_type, count):
        return super().last_words(media_type, count) + (b"data: ha" if media_type == SSE else b"")


class NotJSON(HandWritten):
    def frame(self, media_type, item):
        return str(item).encode() + b"\n" if media_type == "application/jsonl" else super().frame(media_type, item)


class CutsTheStream(HandWritten):
    def last_words(self, media_type, count):
        raise KeyError("too late")


class StreamFailsAlone(HandWritten):
    def last_words(self, media_type, count):
        return b"event: error\ndata: {}\n\n" if media_type == SSE else b""


class BatchFails(HandWritten):
    async def batch(self):
        raise KeyError("no database")


class BatchIsText(HandWritten):
    async def batch(self):
        await self.start(200, [(b"content-type", b"text/html"), self.vary])
        await self.body(b"<p>")


class BatchIsNoJSON(HandWritten):
    async def batch(self):
        await self.start(200, [(b"content-type", b"application/json"), self.vary])
        await self.body(b"{'data'}")


class Varies(HandWritten):
    calls = 0

    async def items(self):
        Varies.calls += 1
        yield {"call": Varies.calls}

    batch_items = items


class StatusOfItsOwn(HandWritten):
    async def begin(self, media_type):
        await self.start(201, [(b"content-type", media_type.encode()), self.vary, *self.stream_headers])


class EarlyErrorUnder200(HandWritten):
    async def early(self, media_type):
        await self.begin(media_type)
        await self.late(media_type)


class EarlyErrorOfAnotherStatus(HandWritten):
    early_status = 404


class EarlyErrorOfAnotherBody(HandWritten):
    async def early(self, media_type):
        await self.refuse(502, detail="in a stream")


class EarlyErrorOfAnotherType(HandWritten):
    async def early(self, media_type):
        await self.start(502, [(b"content-type", b"text/plain")])
        await self.body(b"bad gateway")


class BatchHidesTheError(HandWritten):
    async def refuse(self, status, **members):
        await super().refuse(200 if status == 502 else status, **members)


class LateErrorLooksComplete(HandWritten):
    async def late(self, media_type):
        await self.body(b"")


class LateErrorSaysDone(HandWritten):
    async def late(self, media_type):
        await self.body(self.last_words(media_type, 2))


class LateErrorIsOnlyCut(HandWritten):
    async def late(self, media_type):
        raise ConnectionAbortedError("cut")


class LateErrorOfAnotherStatus(HandWritten):
    late_status = 500


class Deaf(HandWritten):
    """It does not hear that its client has left, and waits for something."""

    gone = False

    async def __call__(self, scope, receive, send):
        self.gone = False

        async def hard_of_hearing():
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                await anyio.sleep_forever()
            return message

        await super().__call__(scope, hard_of_hearing, send)

    async def body(self, data, more=False):
        await super().body(data, more)
        await anyio.lowlevel.checkpoint()
        if self.gone and more:
            await anyio.sleep_forever()


class DeafBatch(Deaf):
    """It hears that the reader of a stream has left, but not that nobody waits for the batch."""

    async def __call__(self, scope, receive, send):
        self.gone = False
        accept = dict(scope.get("headers", ())).get(b"accept", b"")
        deaf = accept == b"application/json"
        await (super() if deaf else super(Deaf, self)).__call__(scope, receive, send)

    async def batch_items(self):
        for number in range(4):
            if number == self.fail_at:
                raise Failed
            yield {"n": number}
        await anyio.lowlevel.checkpoint()
        if self.gone:
            await anyio.sleep_forever()


class LeavesItsSourceOpen(HandWritten):
    async def stream(self, media_type):
        self.kept = source = self.items()
        await anext(source)
        await self.begin(media_type)
        await self.body(self.frame(media_type, {"n": 0}), more=True)
        async for item in source:
            await self.body(self.frame(media_type, item), more=True)
            if item["n"] == 3:
                break
        await self.body(self.last_words(media_type, 4))


class RaisesAndLeavesItsSourceOpen(LeavesItsSourceOpen):
    async def body(self, data, more=False):
        if more:
            raise KeyError("in the middle")
        await super().body(data, more)


@pytest.mark.parametrize(
    ("broken", "law", "words"),
    [
        (Drifts, "law 1", ["do not fold to the batch", "at $.data[2].n", "batch  : 7", "stream : 2"]),
        (DriftsInOneFormat, "law 1", ["text/event-stream and as application/x-ndjson", "$[0].at", "(nothing)", ": 1"]),
        (WrongContentType, "wire contract", ["has to get : text/event-stream", "got        : 200 text/plain"]),
        (IgnoresAccept, "wire contract", ["Accept: text/event-stream", "got        : 200 application/json"]),
        (AcceptBySubstring, "wire contract", ["Accept: application/json, text/event-stream", "application/json"]),
        (IgnoresFalse, "wire contract", ["stream=false", "Accept: text/event-stream", "got        : 200 text/event"]),
        (TakesAnyFlag, "wire contract", ["stream=maybe", "has to get : 422"]),
        (NeverRefuses, "wire contract", ["image/png", "has to get : 406"]),
        (NoVary, "wire contract", ["Vary does not say", "no Vary at all"]),
        (NoCacheControl, "wire contract", ["may be cached", "no Cache-Control at all"]),
        (CacheControlTwice, "wire contract", ["cache-control is sent twice"]),
        (NoAccelBuffering, "wire contract", ["X-Accel-Buffering: no"]),
        (NoDone, "law 4", ["no last event named done", '{"n": 3}']),
        (DoneTooEarly, "law 4", ["done is not the last event", "'more'"]),
        (CountsWrong, "law 4", ["does not count the items", "items     : 4", "{'items': 5}"]),
        (NoTerminalId, "wire contract", ["the done event has no id"]),
        (BeginsAnew, "wire contract", ["Last-Event-ID: end", "has to get : 204", "got        : 200"]),
        (EndsInTheMiddle, "law 4", ["in the middle of an event", "data: ha"]),
        (NotJSON, "law 2", ["application/jsonl cannot be decoded", "Record 0 is not JSON"]),
        (CutsTheStream, "law 4", ["was cut although the batch succeeds", "KeyError"]),
        (StreamFailsAlone, "law 1", ["ended with an error, but the batch succeeds"]),
        (BatchFails, "law 1", ["has to succeed", "500", "KeyError"]),
        (BatchIsText, "wire contract", ["has to get a batch", "text/html"]),
        (BatchIsNoJSON, "law 1", ["is not JSON"]),
        (Varies, "law 1", ["not give the same answer twice", "$.data[0].call", "first time  : 1", "second time : 2"]),
        (StatusOfItsOwn, "law 1", ["another status than the batch", "batch  : 200", "stream : 201"]),
        (EarlyErrorUnder200, "law 3", ["hides the error under its status", "batch  : 502", "stream : 200"]),
        (EarlyErrorOfAnotherStatus, "law 3", ["another status", "batch  : 404", "stream : 502"]),
        (EarlyErrorOfAnotherBody, "law 3", ["another body", "$.detail", "(nothing)", "'in a stream'"]),
        (EarlyErrorOfAnotherType, "law 3", ["another type", "application/problem+json", "text/plain"]),
        (BatchHidesTheError, "law 3", ["given as early_error=", "all is well"]),
        (LateErrorLooksComplete, "law 4", ["looks complete", "no error frame"]),
        (LateErrorSaysDone, "law 4", ["says done", "batch : 502"]),
        (LateErrorIsOnlyCut, "law 4", ["without a last event named error"]),
        (LateErrorOfAnotherStatus, "law 4", ["another error than the batch", "batch  : 500", "'status': 502"]),
        (Deaf, "law 5", ["left before its first byte", "0.05 seconds after its client was gone"]),
        (DeafBatch, "law 5", ["left while it was gathered", "0.05 seconds after its client was gone"]),
        (RaisesAndLeavesItsSourceOpen, "law 5", ["was still open", "the application raised : ", "in the middle"]),
        (LeavesItsSourceOpen, "law 5", ["async generator HandWritten.items was still open"]),
    ],
)
def test_a_fault_is_found_and_named(broken, law, words):
    with pytest.raises(LawBroken) as found:
        check_dual_mode(
            broken(), "GET", "/", early_error="/?fail=0", late_error="/?fail=2", timeout=5, close_timeout=0.05
        )
    text = str(found.value)
    assert found.value.law == law, text
    for word in words:
        assert word in text, text
    assert isinstance(found.value, AssertionError)


def test_a_decoder_that_depends_on_the_chunks_is_found(monkeypatch):
    """Of an endpoint, law 2 asks for bytes that can be decoded; of the decoder, not to mind where they are cut."""

    class ByChunks(StreamDecoder):
        def feed(self, data):
            return [*super().feed(data), len(data)]

    monkeypatch.setattr(agreement, "StreamDecoder", ByChunks)
    monkeypatch.setattr(agreement, "_check_done", lambda answer, read: None)
    with pytest.raises(LawBroken, match="when its bytes are cut at") as found:
        check_dual_mode(HandWritten(), "GET", "/")
    assert found.value.law == "law 2"


def test_starlettes_own_streaming_response_leaves_its_source_open():
    """A fault of the real world: its generator is not closed when the client leaves while it is sent to."""

    async def lines():
        for n in range(4):
            yield HandWritten().frame(SSE, {"n": n})
        yield HandWritten().last_words(SSE, 4)

    class Streams(HandWritten):
        async def stream(self, media_type):
            if media_type != SSE:
                await super().stream(media_type)
                return
            headers = {"vary": "Accept", "cache-control": "no-cache", "x-accel-buffering": "no"}
            response = StreamingResponse(lines(), media_type=SSE, headers=headers)
            await response(self.scope, anyio.sleep_forever, self.send)

    with pytest.raises(LawBroken, match="lines was still open"):
        check_dual_mode(Streams(), "GET", "/", close_timeout=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fold": last}, "do not fold to the batch (fold= has to be the fold of the endpoint)"),
        ({"fold": lambda items: sum(item.n for item in items)}, "give the type of the items as item_type="),
        ({"late_error": "/?fail=0"}, "failed before it. Give it as early_error="),
        ({"early_error": "/?fail=2"}, "hides the error"),
        ({"early_error": "/"}, "given as early_error="),
        ({"late_error": "/"}, "given as late_error="),
    ],
)
def test_a_wrong_use_is_told(options, words):
    with pytest.raises(LawBroken) as found:
        check_dual_mode(HandWritten(), "GET", "/", **options)
    assert words in str(found.value)


def test_an_endpoint_without_an_end_is_given_up():
    class Endless(HandWritten):
        async def batch(self):
            await anyio.sleep_forever()

    with pytest.raises(LawBroken, match=r"not answered completely within 0\.05 seconds"):
        check_dual_mode(Endless(), "GET", "/", timeout=0.05)


def test_an_endpoint_that_streams_nothing():
    class BatchOnly(HandWritten):
        offers = OFFERS[:1]

    with pytest.raises(LawBroken, match="offers no stream at all"):
        check_dual_mode(BatchOnly(), "GET", "/")


def test_nobody_at_the_address():
    with pytest.raises(LawBroken, match="GET / got no answer"):
        check_dual_mode("http://127.0.0.1:1", "GET", "/")


def test_head_that_differs_from_get():
    class Head(HandWritten):
        async def batch(self):
            if self.scope["method"] == "HEAD":
                await self.refuse(404)
            else:
                await super().batch()

    with pytest.raises(LawBroken, match="differs from GET"):
        check_dual_mode(Head(), "GET", "/")


def test_a_server_that_changes_its_answer_when_a_client_leaves():
    class Shaken(HandWritten):
        streams = 0

        async def stream(self, media_type):
            Shaken.streams += 1
            await super().stream(media_type)

        async def batch(self):
            # The check streams 17 times before it leaves; the last batch is asked for behind that.
            if Shaken.streams > self.calm:
                await self.refuse(503)
            else:
                await super().batch()

    Shaken.calm = 10**9
    with live_server(Shaken()) as url:
        check_dual_mode(url, "GET", "/")
        streams, Shaken.streams = Shaken.streams, 0
        Shaken.calm = streams - 1
        with pytest.raises(LawBroken, match="after a client left"):
            check_dual_mode(url, "GET", "/")


def test_no_thread_is_left_behind():
    before = threading.active_count()

    async def inside():
        check_dual_mode(app, "GET", "/rows", fold=total, item_type=Row)

    asyncio.run(inside())
    assert threading.active_count() == before


def test_an_error_of_the_fold_is_told_before_anything_is_sent():
    with pytest.raises(TypeError, match="neither a Fold"):
        check_dual_mode(app, "GET", "/rows", fold=7)
    assert check_dual_mode(app, "POST", "/rows", json={"count": 1}, fold=collect).checked


# --- differences ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "$.a[1].b"),
        ({"a": 1}, {"a": 1, "b c": 2}, "$['b c']"),
        ([1], [1, 2], "$[1]"),
        ([], {}, "$"),
        (True, 1, "$"),
        ({"x": None}, {}, "$.x"),
    ],
)
def test_the_first_difference(one, other, path):
    found = first_difference(one, other)
    assert found is not None
    assert found[0] == path
    assert first_difference(json.loads(json.dumps(one)), one) is None


def test_a_long_value_is_shown_short():
    assert len(shown("x" * 1000)) < 250
    assert shown(b"\xff") == repr("\\xff")
