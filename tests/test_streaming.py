"""`DualModeResponse` in process: both modes, the status window, every way to end."""

import asyncio
import itertools
import json
import logging
import re
import threading
import time

import anyio
import anyio.to_thread
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from asgi import Call, Clock
from dual_mode_streaming import DualModeResponse, Outcome, ServerSentEvent, concat, errors, last, stream, to_list
from dual_mode_streaming.lifecycle import STALL
from dual_mode_streaming.pace import TURN_SECONDS
from dual_mode_streaming.sse import SSEDecoder

SSE = {"accept": "text/event-stream"}
NDJSON = {"accept": "application/x-ndjson"}
JSON_SEQ = {"accept": "application/json-seq"}
ALL_MODES = pytest.mark.parametrize("accept", [{}, SSE, NDJSON, JSON_SEQ], ids=["batch", "sse", "ndjson", "json-seq"])
STREAMS = pytest.mark.parametrize("accept", [SSE, NDJSON, JSON_SEQ], ids=["sse", "ndjson", "json-seq"])


async def items(*values, log=None):
    try:
        for value in values:
            if isinstance(value, BaseException):
                raise value
            yield value
    finally:
        if log is not None:
            log.append("closed")


class Gated:
    """A source that gives its next item when the test opens the next gate."""

    def __init__(self, values=(), *, ignores_cancel=False, on_close=None):
        self.values = list(values)
        self.gates = [asyncio.Event() for _ in range(len(self.values) + 1)]
        self.waiting = asyncio.Event()
        self.closed = asyncio.Event()
        self.seen: list[str] = []
        self._ignores_cancel = ignores_cancel
        self._on_close = on_close

    def open(self, count=1):
        for gate in [gate for gate in self.gates if not gate.is_set()][:count]:
            gate.set()

    async def __call__(self):
        try:
            for value, gate in zip([*self.values, None], self.gates, strict=True):
                self.waiting.set()
                while True:
                    try:
                        await gate.wait()
                        break
                    except asyncio.CancelledError:
                        self.seen.append("cancelled")
                        if not self._ignores_cancel:
                            raise
                if gate is not self.gates[-1]:
                    yield value
        finally:
            if self._on_close is not None:
                await self._on_close()
            self.closed.set()


def respond(source, **options):
    async def app(scope, receive, send):
        await DualModeResponse(source, **options)(scope, receive, send)

    return app


def within_starlette(source, handlers=None, **options):
    async def endpoint(request: Request):
        return DualModeResponse(source() if callable(source) else source, **options)

    return Starlette(routes=[Route("/", endpoint, methods=["GET", "POST"])], exception_handlers=handlers)


def events_of(body: bytes):
    decoder = SSEDecoder()
    return decoder.feed(body) + decoder.flush()


async def settle(turns=20):
    """Give the event loop some turns, for what must NOT happen in them."""
    for _ in range(turns):
        await asyncio.sleep(0)


# --- the answers ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_batch_is_the_fold_of_all_items():
    call = await Call(respond(items({"a": 1}, {"a": 2}))).run()
    assert (call.status, call.body) == (200, b'{"data":[{"a":1},{"a":2}]}')
    assert call.headers == {"content-type": "application/json", "content-length": "26", "vary": "Accept"}


@pytest.mark.asyncio
async def test_sse_has_a_frame_per_item_and_a_terminal_event():
    call = await Call(respond(items({"a": 1}, "text"), retry=(7, 7)), headers=SSE).run()
    assert call.body == b'retry: 7\ndata: {"a":1}\n\ndata: "text"\n\nevent: done\nid: dms-done\ndata: {"items":2}\n\n'
    assert call.headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "vary": "Accept",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
    }
    assert call.complete


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/x-ndjson", b'{"a":1}\n"text"\n'),
        ("application/jsonl", b'{"a":1}\n"text"\n'),
        ("application/json-seq", b'\x1e{"a":1}\n\x1e"text"\n'),
    ],
)
async def test_lines_and_records(media_type, body):
    call = await Call(respond(items({"a": 1}, "text")), headers={"accept": media_type}).run()
    assert (call.headers["content-type"], call.body, call.complete) == (media_type, body, True)


@pytest.mark.asyncio
async def test_items_that_are_ready_together_travel_together(monkeypatch):
    monkeypatch.setattr("dual_mode_streaming.pace.monotonic", lambda: 0.0)  # however slow the machine is
    call = await Call(respond(items(*range(500))), headers=NDJSON).run()
    assert len(call.bodies) == 1


@pytest.mark.asyncio
async def test_an_item_that_is_ready_is_not_held_back():
    source = Gated(["a", "b"])
    call = Call(respond(source), headers=NDJSON).begin()
    source.open()
    await call.until_body_has(b'"a"\n')
    assert b'"b"' not in call.body
    source.open(2)
    await call.end()
    assert call.body == b'"a"\n"b"\n'


@pytest.mark.asyncio
async def test_a_burst_larger_than_64_kib_is_sent_in_parts():
    call = await Call(respond(items(*["x" * 1000] * 200)), headers=NDJSON).run()
    assert len(call.body) == 200 * 1003
    assert all(len(body) <= 65_536 + 1003 for body in call.bodies)
    assert len(call.bodies) >= 3


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("accept", "body"),
    [
        ({}, b'{"data":[]}'),
        (SSE, b'retry: 1\nevent: done\nid: dms-done\ndata: {"items":0}\n\n'),
        (NDJSON, b""),
        (JSON_SEQ, b""),
    ],
)
async def test_a_source_that_yields_nothing(accept, body):
    call = await Call(respond(items(), retry=(1, 1)), headers=accept).run()
    assert (call.status, call.body, call.complete) == (200, body, True)


@pytest.mark.asyncio
async def test_events_with_names_ids_comments_and_retry_times():
    source = items(
        ServerSentEvent(comment="hello"),
        ServerSentEvent({"n": 1}, event="tick", id="7"),
        ServerSentEvent(retry=50),
        ServerSentEvent(raw="plain text"),
        2,
    )
    call = await Call(respond(source, retry=(9, 9)), headers=SSE).run()
    assert call.body.startswith(b": hello\n\n")
    assert b"retry: 9\n" in call.body.split(b"\n\n")[1], "the retry time opens the first block with data"
    assert b"retry: 50\ndata: plain text\n\n" in call.body, "a retry time does not travel alone"
    assert [(event.event, event.data, event.id) for event in events_of(call.body)] == [
        ("tick", '{"n":1}', "7"),
        (None, "plain text", "7"),
        (None, "2", "7"),
        ("done", '{"items":3}', "dms-done"),
    ]


@pytest.mark.asyncio
async def test_events_in_a_batch_count_by_their_data_and_in_lines_carry_their_fields():
    def source():
        return items(
            ServerSentEvent({"n": 1}, event="tick", id="7"),
            ServerSentEvent(comment="x"),
            ServerSentEvent(raw="[1]"),
            ServerSentEvent(raw="plain"),
            {"error": 1},
        )

    batch = await Call(respond(source(), fold=to_list)).run()
    assert json.loads(batch.body) == [{"n": 1}, [1], "plain", {"error": 1}]
    lines = await Call(respond(source()), headers=NDJSON).run()
    assert lines.body == (b'{"event":"tick","id":"7","data":{"n":1}}\n[1]\n"plain"\n{"data":{"error":1}}\n')


@pytest.mark.asyncio
@ALL_MODES
@pytest.mark.parametrize("name", ["done", "error", "gap"])
async def test_a_source_cannot_use_the_names_of_the_library(accept, name):
    call = await Call(respond(items(ServerSentEvent(1, event=name))), headers=accept).run()
    assert (call.status, json.loads(call.body)["code"]) == (500, "invalid_event")


@pytest.mark.asyncio
async def test_a_line_break_in_an_event_name_never_reaches_the_wire():
    call = await Call(respond(items(1, ServerSentEvent(1, event="a\ndata: forged"))), headers=SSE).run()
    assert b"forged" not in call.body
    assert json.loads(events_of(call.body)[-1].data)["code"] == "invalid_event"


# --- the mode and the head -----------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "query", "accept", "content_type"),
    [
        ({}, "", None, "application/json"),
        ({}, "stream=false", "text/event-stream", "application/json"),
        ({}, "stream=1", "application/jsonl", "application/jsonl"),
        ({"mode": "batch"}, "stream=true", "text/event-stream", "application/json"),
        ({"mode": "stream"}, "", "image/png", "text/event-stream; charset=utf-8"),
        ({"stream_param": "live"}, "live=true&stream=false", None, "text/event-stream; charset=utf-8"),
        ({"media_type": "application/jsonl"}, "stream=false", None, "application/jsonl"),
        ({"media_type": "application/json"}, "stream=true", None, "application/json"),
        ({"media_type": "application/vnd.acme+json"}, "", "application/*", "application/vnd.acme+json"),
        ({"media_type": "application/vnd.acme+json"}, "stream=true", None, "text/event-stream; charset=utf-8"),
    ],
)
async def test_the_mode(options, query, accept, content_type):
    headers = {} if accept is None else {"accept": accept}
    call = await Call(respond(items(1), **options), query=query, headers=headers).run()
    assert call.headers["content-type"] == content_type


@pytest.mark.asyncio
async def test_what_cannot_be_accepted_is_refused_before_the_source_runs():
    log = []
    call = await Call(respond(items(1, log=log)), headers={"accept": "image/png"}).run()
    assert call.status == 406
    assert call.headers["content-type"] == "application/problem+json"
    assert call.headers["vary"] == "Accept"
    assert json.loads(call.body)["offers"][0] == "application/json"
    assert log == []


@pytest.mark.asyncio
async def test_a_bad_flag_is_422():
    call = await Call(respond(items(1)), query="stream=maybe").run()
    assert (call.status, json.loads(call.body)["code"]) == (422, "invalid_stream_flag")


@pytest.mark.asyncio
@ALL_MODES
async def test_head_does_not_run_the_source(accept):
    log = []
    get = await Call(respond(items(1)), headers=accept).run()
    head = await Call(respond(items(1, log=log)), method="HEAD", headers=accept).run()
    assert head.body == b""
    assert log == []
    assert {**get.headers, "content-length": ""} == {**head.headers, "content-length": ""}


@pytest.mark.asyncio
@pytest.mark.parametrize("ids", [["dms-done"], ["dms-done", "dms-done"]])
async def test_a_client_that_has_seen_the_end_gets_204(ids):
    log = []
    headers = [("accept", "text/event-stream"), *(("last-event-id", value) for value in ids)]
    call = await Call(respond(items(1, log=log)), headers=headers).run()
    assert (call.status, call.body, log) == (204, b"", [])


@pytest.mark.asyncio
@pytest.mark.parametrize("ids", [["unknown"], ["dms-done", "other"], ["…"], [""]])
async def test_an_unknown_last_event_id_is_ignored(ids):
    headers = [("accept", "text/event-stream"), *(("last-event-id", value) for value in ids)]
    call = await Call(respond(items(1)), headers=headers).run()
    assert call.status == 200
    assert call.body.count(b"data: ") == 2


@pytest.mark.asyncio
@ALL_MODES
async def test_the_authors_headers_win_and_none_is_sent_twice(accept):
    headers = {"Cache-Control": "private", "X-Accel-Buffering": "yes", "Vary": "Origin", "X-Own": "1"}
    call = await Call(respond(items(1), status_code=201, headers=headers), headers=accept).run()
    assert call.status == 201
    sent = call.headers
    assert (sent["cache-control"], sent["x-accel-buffering"], sent["x-own"]) == ("private", "yes", "1")
    assert sent["vary"] == "Origin, Accept"


@pytest.mark.parametrize("name", ["Content-Type", "content-length", "Transfer-Encoding"])
def test_a_header_that_follows_from_the_request_cannot_be_set(name):
    with pytest.raises(ValueError, match="follows from the request"):
        DualModeResponse(items(), headers={name: "1"})


@pytest.mark.parametrize("forged", ["a\r\nset-cookie: b=1", "a\nb", "a\rb", "a\0b"])
def test_a_header_that_would_forge_a_line_is_refused(forged):
    """Not every server looks for them."""
    for given in ({"x-own": forged}, {forged: "1"}):
        with pytest.raises(ValueError, match="line break or another control character"):
            DualModeResponse(items(), headers=given)
    with pytest.raises(ValueError, match="'content-type' holds a line break"):
        DualModeResponse(items(), media_type=f"application/json;{forged}")


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["accept", "last-event-id"])
async def test_a_header_of_a_strangers_length_is_answered_with_431_and_the_source_is_closed(name):
    source = items(1)
    headers = [(name, "text/event-stream," * 1000)]
    if name != "accept":
        headers.append(("accept", "text/event-stream"))
    call = await Call(respond(source), headers=headers).run()
    assert (call.status, call.headers["content-type"]) == (431, "application/problem+json")
    assert json.loads(call.body)["code"] == "header_too_large"
    with pytest.raises(StopAsyncIteration):
        await anext(source)


def test_a_media_type_that_is_neither_json_nor_a_stream_is_refused():
    with pytest.raises(ValueError, match="text/html"):
        DualModeResponse(items(), media_type="text/html")


@pytest.mark.asyncio
async def test_cookies_can_be_set_as_on_any_response():
    async def app(scope, receive, send):
        response = DualModeResponse(items(1))
        response.set_cookie("a", "1")
        response.headers["x-late"] = "yes"
        await response(scope, receive, send)

    call = await Call(app, headers=SSE).run()
    assert call.headers["set-cookie"].startswith("a=1")
    assert call.headers["x-late"] == "yes"


# --- errors --------------------------------------------------------------------------------------------


class OwnError(Exception):
    pass


async def own_handler(request, error):
    return JSONResponse({"own": str(error)}, 418)


@pytest.mark.asyncio
@ALL_MODES
@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (HTTPException(404, "no such thing"), 404, b"no such thing"),
        (OwnError("mine"), 418, b'{"own":"mine"}'),
    ],
    ids=["http", "own"],
)
async def test_an_error_before_the_first_item_is_the_applications_affair(accept, error, status, body):
    app = within_starlette(items(error), handlers={OwnError: own_handler})
    call = await Call(app, headers=accept).run()
    assert (call.status, call.body) == (status, body)


@pytest.mark.asyncio
@ALL_MODES
async def test_an_unexpected_error_before_the_first_item_goes_to_the_server(accept):
    call = Call(within_starlette(items(ValueError("secret"))), headers=accept)
    with pytest.raises(ValueError, match="secret"):
        await call.run()
    assert (call.status, call.body) == (500, b"Internal Server Error")


@pytest.mark.asyncio
@ALL_MODES
async def test_our_own_errors_can_be_handled_by_the_application(accept):
    async def handler(request, error):
        return JSONResponse({"path": error.path}, 555)

    app = within_starlette(items(b"bytes"), handlers={errors.ItemNotEncodable: handler})
    call = await Call(app, headers=accept).run()
    assert call.status == 555


@pytest.mark.asyncio
@ALL_MODES
async def test_an_item_that_cannot_be_encoded_is_told_with_its_path(accept, caplog):
    call = await Call(respond(items({"rows": [1, b"x"]})), headers=accept).run()
    problem = json.loads(call.body)
    assert (call.status, problem["code"]) == (500, "item_not_encodable")
    assert problem["path"].endswith("rows[1]")


@pytest.mark.asyncio
async def test_a_late_error_ends_an_sse_stream_with_a_problem(caplog):
    call = await Call(respond(items(1, ValueError("secret"))), headers=SSE).run()
    assert call.complete
    final = events_of(call.body)[-1]
    assert final.event == "error"
    assert json.loads(final.data) == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "code": "internal_error",
    }
    assert b"secret" not in call.body
    assert "secret" in caplog.text, "the operator is told"


@pytest.mark.asyncio
async def test_debug_tells_the_text_of_an_unexpected_error():
    call = await Call(respond(items(1, ValueError("secret")), debug=True), headers=SSE).run()
    assert json.loads(events_of(call.body)[-1].data)["detail"] == "ValueError: secret"


@pytest.mark.asyncio
@pytest.mark.parametrize("accept", [NDJSON, JSON_SEQ], ids=["ndjson", "json-seq"])
async def test_a_late_error_ends_lines_with_an_error_line_and_an_aborted_connection(accept):
    call = Call(respond(items(1, HTTPException(418, "teapot"))), headers=accept)
    with pytest.raises(errors.StreamAborted):
        await call.run()
    assert not call.complete
    final = json.loads(call.body.replace(b"\x1e", b"").splitlines()[-1])
    assert (final["error"]["status"], final["error"]["detail"]) == (418, "teapot")


@pytest.mark.asyncio
@STREAMS
async def test_a_late_item_that_cannot_be_encoded_leaves_no_half_frame(accept):
    call = Call(respond(items({"a": 1}, {"a": object()})), headers=accept)
    try:
        await call.run()
    except errors.StreamAborted:
        assert accept is not SSE
    text = call.body.replace(b"\x1e", b"").decode()
    assert "item_not_encodable" in text.splitlines()[-1] or "item_not_encodable" in text.split("\n\n")[-2]
    assert '{"a":1}' in text


@pytest.mark.asyncio
async def test_the_same_late_error_has_a_real_status_in_a_batch():
    call = await Call(within_starlette(items(1, HTTPException(418, "teapot")))).run()
    assert (call.status, call.body) == (418, b"teapot")


@pytest.mark.asyncio
@ALL_MODES
async def test_an_item_over_the_bound_is_refused_in_every_mode(accept):
    call = await Call(respond(items("x" * 200), max_item_bytes=100), headers=accept).run()
    problem = json.loads(call.body)
    assert (problem["code"], problem["index"], problem["size"], problem["limit"]) == ("item_too_large", 0, 202, 100)


@pytest.mark.asyncio
@ALL_MODES
@pytest.mark.parametrize("fold", [to_list, last], ids=["to_list", "last"])
async def test_an_item_at_the_bound_passes_in_every_mode(accept, fold):
    call = await Call(respond(items("x" * 98), max_item_bytes=100, fold=fold), headers=accept).run()
    assert call.status == 200
    assert call.complete


@pytest.mark.asyncio
async def test_a_batch_over_its_bound_says_how_to_ask_for_a_stream():
    call = await Call(respond(items(*range(11)), batch_max_items=10)).run()
    problem = json.loads(call.body)
    assert (call.status, problem["code"], problem["bound"], problem["limit"]) == (
        413,
        "batch_too_large",
        "batch_max_items",
        10,
    )
    assert "text/event-stream" in problem["detail"]


@pytest.mark.asyncio
@pytest.mark.parametrize("bound", [1, 3, 8, 9, 40])
@pytest.mark.parametrize("fold", [to_list, concat()], ids=["to_list", "concat"])
async def test_the_bound_of_a_batch_is_exact(bound, fold):
    for count, status in ((bound, 200), (bound + 1, 413)):
        call = await Call(respond(items(*range(count)), batch_max_items=bound, fold=fold)).run()
        assert call.status == status


@pytest.mark.asyncio
async def test_the_bound_of_a_batch_is_not_for_folds_that_keep_nothing():
    call = await Call(respond(items(*range(11)), batch_max_items=10, fold=last)).run()
    assert (call.status, call.body) == (200, b"10")


@pytest.mark.asyncio
@ALL_MODES
async def test_items_can_be_checked_against_a_type(accept):
    class Row(BaseModel):
        n: int

    call = await Call(respond(items({"n": "no"}), validate_items=Row), headers=accept).run()
    assert (call.status, json.loads(call.body)["code"]) == (500, "item_invalid")


@pytest.mark.asyncio
@ALL_MODES
async def test_a_source_that_raises_in_finally(accept):
    async def source():
        try:
            yield 1
        finally:
            raise HTTPException(500, "closing failed")

    call = Call(within_starlette(source), headers=accept)
    if accept in ({}, SSE):
        await call.run()
    else:
        with pytest.raises(errors.StreamAborted):
            await call.run()
    assert b"closing failed" in call.body
    assert b"event: done" not in call.body


@pytest.mark.asyncio
@ALL_MODES
async def test_a_source_cancelled_by_nobody_is_an_error_and_no_silence(accept):
    async def source():
        raise asyncio.CancelledError
        yield

    call = Call(within_starlette(source), headers=accept)
    with pytest.raises(RuntimeError, match="nobody had cancelled"):
        await call.run()
    assert call.status == 500


@pytest.mark.asyncio
@pytest.mark.parametrize("accept", [{}, SSE], ids=["batch", "sse"])
async def test_a_fold_that_raises_is_an_error_of_the_batch_only(accept):
    def fold(values):
        raise HTTPException(500, "cannot fold")

    call = await Call(within_starlette(items(1), fold=fold), headers=accept).run()
    assert (call.status == 500) == (accept == {})


@pytest.mark.asyncio
async def test_what_is_no_source_is_told_to_the_author():
    with pytest.raises(TypeError, match="not a source"):
        await Call(respond({"a": 1})).run()


@pytest.mark.asyncio
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_scope_may_leave_out_its_query_string(accept):
    async def app(scope, receive, send):
        del scope["query_string"]
        await DualModeResponse([1])(scope, receive, send)

    async def plain(scope, receive, send):
        async def one():
            yield 1

        del scope["query_string"]
        await DualModeResponse(one())(scope, receive, send)

    for each in (app, plain):
        call = await Call(each, headers={"accept": accept}).run()
        assert call.status == 200
        assert call.complete


@pytest.mark.asyncio
async def test_a_websocket_is_refused_clearly():
    log = []
    call = await Call(respond(items(1, log=log)), server_type="websocket").run()
    assert call.messages == [
        {
            "type": "websocket.close",
            "code": 1008,
            "reason": "This endpoint answers plain HTTP requests, with JSON or a stream.",
        }
    ]
    extended = Call(respond(items(1)), server_type="websocket", scope={"extensions": {"websocket.http.response": {}}})
    await extended.run()
    assert (extended.messages[0]["status"], json.loads(extended.body)["code"]) == (400, "not_a_websocket")
    with pytest.raises(TypeError, match="lifespan"):
        await Call(respond(items(1)), server_type="lifespan").run()


@pytest.mark.asyncio
async def test_a_source_is_not_left_behind_because_the_event_loop_stood_still(caplog):
    closed = asyncio.Event()

    async def source():
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            # Somebody blocks the loop. The clock of the clean-up runs on, the clean-up cannot.
            asyncio.get_running_loop().call_soon(time.sleep, STALL + 0.1)
            for _ in range(3):
                await asyncio.sleep(0)
            closed.set()

    call = Call(respond(source(), close_timeout=0.01), headers=SSE).begin()
    await call.until(lambda: b"data: 1" in call.body)
    call.leave()
    await call.end()
    assert closed.is_set()
    assert caplog.messages == []


# --- the status window and the heartbeat ---------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_status_is_committed_when_the_window_closes_and_the_heart_beats():
    source = Gated([1])
    call = Call(respond(source, commit_after=0.01, heartbeat=0.01, retry=(5, 5)), headers=SSE).begin()
    await call.until(lambda: call.body.count(b": \n\n") >= 2)
    assert call.messages[1]["body"] == b"", "an empty body makes every server send the headers"
    source.open(2)
    await call.end()
    assert call.body.replace(b": \n\n", b"") == (
        b'retry: 5\ndata: 1\n\nevent: done\nid: dms-done\ndata: {"items":1}\n\n'
    )


@pytest.mark.asyncio
async def test_silence_after_the_first_item_is_not_longer_for_a_window_that_is_still_open():
    """Many proxies cut what is silent for longer than the heartbeat, whatever the status could have waited for."""
    source = Gated([1])
    call = Call(respond(source, commit_after=3600, heartbeat=0.01), headers=SSE).begin()
    source.open(1)
    await call.until(lambda: call.body.count(b": \n\n") >= 2)
    source.open(1)
    await call.end()
    assert events_of(call.body)[-1].event == "done"


@pytest.mark.asyncio
async def test_an_error_within_the_window_keeps_its_status_and_after_it_travels_in_the_stream():
    async def failing(gate):
        await gate.wait()
        raise HTTPException(503, "later")
        yield

    soon, later = asyncio.Event(), asyncio.Event()
    call = Call(within_starlette(failing(soon), commit_after=60), headers=SSE).begin()
    await settle()
    soon.set()
    assert (await call.end()).status == 503
    call = Call(within_starlette(failing(later), commit_after=0), headers=SSE).begin()
    await call.until(lambda: call.started)
    later.set()
    await call.end()
    assert call.status == 200
    assert json.loads(events_of(call.body)[-1].data)["status"] == 503


@pytest.mark.asyncio
@pytest.mark.parametrize(("accept", "lines"), [(NDJSON, True), (NDJSON, False), (JSON_SEQ, True)])
async def test_lines_beat_only_if_asked_and_records_never(accept, lines):
    source = Gated([1])
    options = {"commit_after": 0, "heartbeat": 0.005, "heartbeat_lines": lines}
    call = Call(respond(source, **options), headers=accept).begin()
    if lines and accept is NDJSON:
        await call.until(lambda: call.body.count(b"\n") >= 2)
    else:
        await call.until(lambda: call.started)
    source.open(2)
    await call.end()
    assert [json.loads(line) for line in call.body.replace(b"\x1e", b"").split(b"\n") if line] == [1]
    if not lines or accept is JSON_SEQ:
        assert call.body.lstrip(b"\x1e") == b"1\n"


@pytest.mark.asyncio
async def test_the_heart_beats_behind_an_early_item_without_waiting_for_the_window():
    source = Gated([1, 2])
    call = Call(respond(source, commit_after=3600, heartbeat=0.005, retry=(5, 5)), headers=SSE).begin()
    source.open(1)
    await call.until(lambda: call.body.count(b": \n\n") >= 2)
    assert call.body.startswith(b"retry: 5\ndata: 1\n\n: \n\n")
    source.open(2)
    await call.end()


@pytest.mark.asyncio
async def test_no_heartbeat_before_the_status_is_known():
    clock, source = Clock(), Gated([1])
    call = Call(respond(source, commit_after=3600, heartbeat=1), headers=SSE).begin()
    await source.waiting.wait()
    await settle(3)
    clock.forward(60)
    await settle()
    assert call.messages == []
    source.open(2)
    await call.end()


@pytest.mark.asyncio
async def test_no_heartbeat_beside_a_stream_that_flows():
    source = Gated(range(3))
    call = Call(respond(source, heartbeat=None, commit_after=0), headers=SSE).begin()
    source.open(4)
    await call.end()
    assert b": \n\n" not in call.body


@pytest.mark.asyncio
async def test_white_space_keeps_a_slow_batch_alive():
    source = Gated([1])
    call = Call(respond(source, batch_keepalive=True, commit_after=0.01, heartbeat=0.01)).begin()
    await call.until(lambda: call.body.count(b" ") >= 2)
    source.open(2)
    await call.end()
    assert call.status == 200
    assert "content-length" not in call.headers
    assert json.loads(call.body) == {"data": [1]}


@pytest.mark.asyncio
async def test_a_late_error_after_white_space_aborts():
    gate = asyncio.Event()

    async def source():
        await gate.wait()
        raise ValueError("late")
        yield

    call = Call(respond(source(), batch_keepalive=True, commit_after=0.01, heartbeat=0.01)).begin()
    await call.until_body_has(b" ")
    gate.set()
    with pytest.raises(errors.StreamAborted):
        await call.end()
    assert not call.complete


# --- the ends ------------------------------------------------------------------------------------------


class Ends:
    def __init__(self):
        self.seen = []

    def __call__(self, outcome, partial):
        self.seen.append((outcome, partial))


@pytest.mark.asyncio
@pytest.mark.parametrize("accept", [{}, SSE, NDJSON])
async def test_on_finish_of_a_complete_response(accept):
    ends = Ends()
    await Call(respond(items(1, 2), on_finish=ends), headers=accept).run()
    assert ends.seen == [(Outcome.DONE, {"data": [1, 2]})]


@pytest.mark.asyncio
@ALL_MODES
async def test_a_client_that_leaves_before_the_first_item(accept):
    source, ends = Gated([1]), Ends()
    call = Call(respond(source, on_finish=ends), headers=accept).begin()
    await source.waiting.wait()
    call.leave()
    await call.end()
    assert source.closed.is_set(), "the source's finally has run before the response returned"
    assert source.seen == ["cancelled"]
    assert ends.seen == [(Outcome.CLIENT_GONE, {"data": []})]
    assert call.status == 499


@pytest.mark.asyncio
@ALL_MODES
async def test_a_client_that_leaves_in_the_middle(accept):
    source, ends = Gated([1, 2]), Ends()
    call = Call(respond(source, on_finish=ends), headers=accept).begin()
    source.open()
    if accept:
        await call.until(lambda: b"1" in call.body)
    else:
        await settle()
    call.leave()
    await call.end()
    assert source.closed.is_set()
    assert ends.seen == [(Outcome.CLIENT_GONE, {"data": [1]})]
    assert not accept or not call.complete


@pytest.mark.asyncio
@STREAMS
async def test_a_client_that_leaves_during_the_last_send(accept):
    source, ends = Gated([1]), Ends()
    call = Call(respond(source, on_finish=ends), headers=accept).begin()
    source.open()
    await call.until(lambda: b"1" in call.body)
    call.stop_reading()
    source.open()
    await call.until_blocked()
    call.leave()
    await call.end()
    assert source.closed.is_set()
    assert ends.seen[0][0] is Outcome.CLIENT_GONE


@pytest.mark.asyncio
@pytest.mark.parametrize("accept", [{}, SSE, NDJSON])
async def test_finish_lets_the_source_come_to_its_end(accept):
    source, ends = Gated([1, 2]), Ends()
    call = Call(respond(source, on_finish=ends, on_disconnect="finish"), headers=accept).begin()
    source.open()
    await source.waiting.wait()
    call.leave()
    await settle()
    assert not source.closed.is_set()
    source.open(2)
    await call.end()
    assert source.seen == []
    assert ends.seen == [(Outcome.DONE, {"data": [1, 2]})]


@pytest.mark.asyncio
@ALL_MODES
async def test_a_source_that_never_waits_does_not_outlive_its_client(accept):
    closed = []

    async def endless():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    call = Call(respond(endless(), batch_max_items=None), headers=accept)
    call.leave()
    await call.run()
    assert closed == [True]


@pytest.mark.asyncio
async def test_a_source_that_never_waits_leaves_turns_to_others():
    turns = 0

    async def other():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def busy():
        while turns < 3:
            yield 1

    task = asyncio.create_task(other())
    await Call(respond(busy(), batch_max_items=None), headers=NDJSON).run()
    task.cancel()
    assert turns >= 3


@pytest.mark.asyncio
@pytest.mark.parametrize("accept", [{}, SSE, NDJSON], ids=["batch", "sse", "ndjson"])
async def test_a_source_that_ignores_cancellation_is_left_behind(accept, caplog):
    source, ends = Gated([1], ignores_cancel=True), Ends()
    call = Call(respond(source, on_finish=ends, close_timeout=0.02), headers=accept).begin()
    await source.waiting.wait()
    call.leave()
    await call.end()
    assert "left behind" in caplog.text
    assert ends.seen == [(Outcome.CLIENT_GONE, {"data": []})]
    source.open(2)
    async with asyncio.timeout(5):
        await source.closed.wait()  # it goes on in a task of its own


@pytest.mark.asyncio
@pytest.mark.parametrize("accept", [{}, SSE], ids=["batch", "sse"])
async def test_a_source_that_does_not_close_after_an_error_is_left_behind(accept, caplog):
    release = asyncio.Event()

    async def source():
        try:
            yield 1
            yield "no number"
            yield 2
        finally:
            await release.wait()

    call = await Call(respond(source(), close_timeout=0.02, validate_items=int), headers=accept).run()
    assert b"item_invalid" in call.body
    assert "left behind" in caplog.text
    release.set()
    await settle()


@pytest.mark.asyncio
@ALL_MODES
async def test_clean_up_that_waits_is_waited_for(accept):
    order = []

    async def clean_up():
        await settle(3)
        order.append("clean")

    source = Gated([1], on_close=clean_up)
    call = Call(respond(source), headers=accept).begin()
    await source.waiting.wait()
    call.leave()
    await call.end()
    order.append("returned")
    assert order == ["clean", "returned"]


@pytest.mark.asyncio
@ALL_MODES
async def test_a_thread_that_the_source_waits_for_ends_before_the_source_closes(accept, caplog):
    """Who closes before frees what the thread still uses: a file, or a database that crashes then."""
    order, may_end = [], threading.Event()
    in_thread = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work():
        loop.call_soon_threadsafe(in_thread.set)
        assert may_end.wait(10)
        order.append("thread")

    async def source():
        try:
            await anyio.to_thread.run_sync(work)
            await anyio.sleep(0)
            yield 1
        finally:
            order.append("finally")

    call = Call(respond(source(), close_timeout=0.01), headers=accept).begin()
    await in_thread.wait()
    await settle(3)
    call.leave()
    async with asyncio.timeout(10):
        while "shielded" not in caplog.text:
            await asyncio.sleep(0)
    assert order == []
    may_end.set()
    await call.end()
    assert order == ["thread", "finally"]
    assert "left behind" not in caplog.text


@pytest.mark.asyncio
@pytest.mark.parametrize("option", ["deadline", "idle_timeout"])
@ALL_MODES
async def test_time_runs_out_before_the_first_item(accept, option):
    source, ends = Gated([1]), Ends()
    call = await Call(respond(source, on_finish=ends, **{option: 0.02}), headers=accept).run()
    assert call.status == 504
    assert json.loads(call.body)["code"] == {"deadline": "deadline_exceeded", "idle_timeout": "idle_timeout"}[option]
    assert source.closed.is_set()
    assert ends.seen[0][0] is {"deadline": Outcome.DEADLINE, "idle_timeout": Outcome.IDLE}[option]


@pytest.mark.asyncio
@pytest.mark.parametrize("option", ["deadline", "idle_timeout"])
@STREAMS
async def test_time_runs_out_in_the_middle(accept, option):
    source, ends = Gated([1, 2]), Ends()
    call = Call(respond(source, on_finish=ends, **{option: 0.05}), headers=accept).begin()
    source.open()
    if accept is SSE:
        await call.end()
    else:
        with pytest.raises(errors.StreamAborted):
            await call.end()
    assert call.status == 200
    assert b'"status":504' in call.body
    assert source.closed.is_set()


@pytest.mark.asyncio
async def test_a_deadline_also_ends_a_source_that_never_waits():
    async def endless():
        while True:
            yield 1

    call = await Call(respond(endless(), deadline=0.02), headers=SSE).run()
    assert b'"status":504' in call.body


@pytest.mark.asyncio
async def test_the_clean_up_of_a_source_may_wait_although_the_client_takes_nothing():
    order = []

    async def source():
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            await asyncio.to_thread(order.append, "closed")

    response = respond(source(), send_timeout=0.01, on_finish=lambda outcome, _: order.append(outcome))
    call = Call(response, headers=NDJSON)
    call.stop_reading()
    with pytest.raises(errors.StreamAborted):
        await call.run()
    assert order == ["closed", Outcome.SLOW_CLIENT]


@pytest.mark.asyncio
async def test_a_source_in_a_shield_goes_on_although_the_client_takes_nothing():
    order, shield_ends = [], asyncio.Event()

    async def source():
        try:
            yield 1
            with anyio.CancelScope(shield=True):
                await shield_ends.wait()
            order.append("the shield is over")
            await asyncio.Event().wait()
        finally:
            order.append("closed")

    response = respond(source(), send_timeout=0.01, on_finish=lambda outcome, _: order.append(outcome))
    call = Call(response, headers=NDJSON)
    call.stop_reading()
    call.begin()
    await call.until_blocked()
    await call.until_unblocked()
    assert order == []
    shield_ends.set()
    with pytest.raises(errors.StreamAborted):
        await call.end()
    assert order == ["the shield is over", "closed", Outcome.SLOW_CLIENT]


@pytest.mark.asyncio
@pytest.mark.parametrize("when", ["waiting", "burst"])
async def test_a_client_that_takes_no_byte_is_cut_off(when):
    ends, closed = Ends(), []

    async def source():
        try:
            while True:
                yield "x" * 10_000
                if when == "waiting":
                    await asyncio.sleep(0)
        finally:
            closed.append(True)

    call = Call(respond(source(), send_timeout=0.02, on_finish=ends), headers=NDJSON).begin()
    await call.until(lambda: call.started)
    call.stop_reading()
    with pytest.raises(errors.StreamAborted):
        await call.end()
    assert closed == [True]
    assert ends.seen[0][0] is Outcome.SLOW_CLIENT
    assert not call.complete


@pytest.mark.asyncio
async def test_a_blocked_client_stops_the_source():
    given = 0

    async def source():
        nonlocal given
        while True:
            given += 1
            yield "x" * 1000
            await asyncio.sleep(0)

    call = Call(respond(source()), headers=NDJSON).begin()
    await call.until(lambda: call.started)
    call.stop_reading()
    await call.until_blocked()
    before = given
    await settle(100)
    assert given == before, "backpressure reaches the source"
    call.leave()
    await call.end()


@pytest.mark.asyncio
@ALL_MODES
async def test_a_server_that_cancels_is_obeyed(accept):
    source, ends = Gated([1]), Ends()
    call = Call(respond(source, on_finish=ends), headers=accept).begin()
    await source.waiting.wait()
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.end()
    assert source.closed.is_set()
    assert ends.seen == [(Outcome.CANCELLED, {"data": []})]


@pytest.mark.asyncio
@pytest.mark.parametrize("accept", [SSE, NDJSON])
async def test_a_send_that_fails_means_the_client_is_gone(accept):
    source, ends = Gated([1, 2]), Ends()
    call = Call(respond(source, on_finish=ends), headers=accept).begin()
    await source.waiting.wait()
    call.send_error = ConnectionResetError("gone")
    source.open()
    await call.end()
    assert source.closed.is_set()
    assert ends.seen == [(Outcome.CLIENT_GONE, {"data": [1]})]


@pytest.mark.asyncio
async def test_a_send_that_fails_for_another_reason_is_not_hidden():
    source = Gated([1, 2])
    call = Call(respond(source), headers=SSE).begin()
    await source.waiting.wait()
    call.send_error = RuntimeError("broken middleware")
    source.open()
    with pytest.raises(RuntimeError, match="broken middleware"):
        await call.end()
    assert source.closed.is_set()


@pytest.mark.asyncio
async def test_on_finish_is_not_cancelled_and_its_errors_end_nothing(caplog):
    done = []

    async def slow(outcome, partial):
        await settle()
        done.append(outcome)

    source = Gated([1])
    call = Call(respond(source, on_finish=slow), headers=SSE).begin()
    await source.waiting.wait()
    call.task.cancel()
    await settle(2)
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.end()
    assert done == [Outcome.CANCELLED]

    async def broken(outcome, partial):
        raise ValueError("hook")

    for hook in (broken, lambda outcome, partial: 1 / 0):
        assert (await Call(respond(items(1), on_finish=hook)).run()).status == 200
    assert caplog.text.count("on_finish raised") == 2


@pytest.mark.asyncio
async def test_a_hook_that_hangs_is_left_behind(caplog):
    async def hangs(outcome, partial):
        await asyncio.Event().wait()

    await Call(respond(items(1), on_finish=hangs, close_timeout=0.02)).run()
    assert "on_finish did not end" in caplog.text


@pytest.mark.asyncio
async def test_the_partial_result_of_a_stream_is_bounded_as_a_batch_is():
    ends = Ends()
    await Call(respond(items(*range(11)), on_finish=ends, batch_max_items=10), headers=SSE).run()
    assert ends.seen == [(Outcome.DONE, None)]


@pytest.mark.asyncio
async def test_a_fold_that_cannot_give_a_partial_result_gives_none(caplog):
    ends = Ends()
    call = Call(respond(items(HTTPException(400)), on_finish=ends, fold=lambda values: values[0]))
    with pytest.raises(HTTPException):
        await call.run()
    assert ends.seen == [(Outcome.ERROR, None)]


@pytest.mark.asyncio
@pytest.mark.parametrize("accept", [{}, SSE, NDJSON])
async def test_the_background_task_runs_after_the_response(accept):
    order = []

    async def task():
        order.append("background")

    def on_finish(outcome, partial):
        order.append("finish")

    call = Call(respond(items(1), background=BackgroundTask(task), on_finish=on_finish), headers=accept)
    await call.run()
    assert order == ["finish", "background"]
    assert call.complete


@pytest.mark.asyncio
async def test_no_task_is_left_over():
    source = Gated([1, 2])
    before = asyncio.all_tasks()
    call = Call(respond(source, commit_after=0, heartbeat=0.001), headers=SSE).begin()
    source.open()
    await call.until_body_has(b": \n\n")
    call.leave()
    await call.end()
    assert asyncio.all_tasks() - before == {call.task} - {task for task in [call.task] if task.done()}


@pytest.mark.asyncio
async def test_linger_joins_the_items_of_a_source_that_only_gives_turns():
    async def source():
        for number in range(50):
            yield number
            await asyncio.sleep(0)

    without = await Call(respond(source()), headers=NDJSON).run()
    lingering = await Call(respond(source(), linger=10), headers=NDJSON).run()
    assert without.body == lingering.body
    assert len(lingering.bodies) < len(without.bodies)


@pytest.mark.asyncio
async def test_a_lingering_source_that_waits_for_somebody_else_gives_real_turns():
    """It gives turns until another task has had one; sparing them all would never let that task run."""
    turns = 0

    async def source():
        nonlocal turns
        for number in range(20):
            others = asyncio.create_task(asyncio.sleep(0))
            yield number
            while not others.done():
                turns += 1
                await asyncio.sleep(0)

    call = await Call(respond(source(), linger=60), headers=NDJSON).run()
    assert call.body == b"".join(b"%d\n" % number for number in range(20))
    assert len(call.bodies) == 1
    assert turns <= 20 * 5


@pytest.mark.asyncio
async def test_lingering_spares_turns_but_never_for_longer_than_a_turn_may_take(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(stream, "monotonic", lambda: next(clock) * TURN_SECONDS / 10)
    given = 0

    async def others():
        while True:
            seen.append(given)
            await asyncio.sleep(0)

    async def source():
        nonlocal given
        for given in range(1, 101):
            yield given
            await asyncio.sleep(0)

    seen = []
    beside = asyncio.create_task(others())
    call = await Call(respond(source(), linger=60), headers=NDJSON).run()
    beside.cancel()
    assert len(call.bodies) == 1
    turns = sorted(set(seen))
    assert len(turns) < 20
    assert max(later - earlier for earlier, later in itertools.pairwise(turns)) <= 12


@pytest.mark.asyncio
async def test_a_lingering_item_leaves_before_a_real_wait():
    gate = asyncio.Event()

    async def source():
        yield 1
        await gate.wait()

    call = Call(respond(source(), linger=60), headers=NDJSON).begin()
    await call.until_body_has(b"1\n")
    gate.set()
    await call.end()


@pytest.mark.asyncio
async def test_a_source_that_reads_the_request_body_is_not_robbed():
    async def endpoint(request: Request):
        async def source():
            async for part in request.stream():
                if part:
                    yield len(part)

        return DualModeResponse(source(), fold=sum)

    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])])
    for accept in ({}, SSE):
        call = Call(app, method="POST", headers={**accept, "transfer-encoding": "chunked"}, body=None).begin()
        for part in (b"abc", b"de", b"f"):
            await settle(3)
            call.give(part, more=True)
        call.give(b"", more=False)
        await call.end()
        assert call.body == b"6" if not accept else call.body.count(b"data: ") == 4


def test_the_retry_time_is_drawn_from_the_range():
    async def first_line():
        call = await Call(respond(items(1)), headers=SSE).run()
        return call.body.split(b"\n")[0]

    async def main():
        return {await first_line() for _ in range(20)}

    lines = asyncio.run(main())
    assert len(lines) > 1
    assert all(1000 <= int(re.fullmatch(rb"retry: (\d+)", line)[1]) <= 2000 for line in lines)


@pytest.mark.asyncio
async def test_nothing_is_logged_when_all_is_well(caplog):
    caplog.set_level(logging.DEBUG, "dual_mode_streaming")
    for accept in ({}, SSE, NDJSON):
        await Call(respond(items(1)), headers=accept).run()
    assert caplog.records == []


@pytest.mark.asyncio
@ALL_MODES
async def test_a_source_that_swallows_its_cancellation_and_ends_does_not_look_complete(accept):
    async def source():
        yield 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    ends = Ends()
    call = Call(respond(source(), deadline=0.02, on_finish=ends), headers=accept)
    if accept in ({}, SSE):
        await call.run()
    else:
        with pytest.raises(errors.StreamAborted):
            await call.run()
        assert not call.complete
    assert b'"status":504' in call.body
    assert b"event: done" not in call.body
    assert [message["more_body"] for message in call.messages[1:-1]] == [True] * (len(call.messages) - 2)
    assert ends.seen[0][0] is Outcome.DEADLINE


# --- sends beside the source ---------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_heartbeat_that_blocks_cuts_the_client_off():
    source, ends = Gated([1]), Ends()
    call = Call(respond(source, commit_after=0, heartbeat=0.005, send_timeout=0.02, on_finish=ends), headers=SSE)
    call.begin()
    await call.until_body_has(b": \n\n")
    call.stop_reading()
    with pytest.raises(errors.StreamAborted):
        await call.end()
    assert ends.seen == [(Outcome.SLOW_CLIENT, {"data": []})]
    assert source.closed.is_set()


@pytest.mark.asyncio
async def test_a_heartbeat_that_fails_means_the_client_is_gone():
    source, ends = Gated([1]), Ends()
    call = Call(respond(source, commit_after=0, heartbeat=0.005, on_finish=ends), headers=SSE).begin()
    await call.until_body_has(b": \n\n")
    call.send_error = ConnectionResetError("gone")
    await call.end()
    assert ends.seen == [(Outcome.CLIENT_GONE, {"data": []})]
    assert source.closed.is_set()


@pytest.mark.asyncio
async def test_a_heartbeat_that_fails_for_another_reason_is_not_hidden():
    source, ends = Gated([1]), Ends()
    call = Call(respond(source, commit_after=0, heartbeat=0.005, on_finish=ends), headers=SSE).begin()
    await call.until_body_has(b": \n\n")
    call.send_error = RuntimeError("broken middleware")
    with pytest.raises(RuntimeError, match="broken middleware"):
        await call.end()
    assert source.closed.is_set()


@pytest.mark.asyncio
async def test_items_wait_for_a_heartbeat_that_is_under_way():
    source = Gated([1])
    call = Call(respond(source, commit_after=0, heartbeat=0.005), headers=SSE).begin()
    await call.until(lambda: call.started)
    call.stop_reading()
    await call.until_blocked()
    source.open(2)
    await settle()
    call.read_on()
    await call.end()
    assert call.complete
    assert b"data: 1\n\n" in call.body


@pytest.mark.asyncio
async def test_the_last_words_give_up_after_the_send_timeout():
    source, ends = Gated([1, 2]), Ends()
    call = Call(respond(source, deadline=0.03, send_timeout=0.02, on_finish=ends), headers=SSE).begin()
    source.open()
    await call.until_body_has(b"data: 1")
    call.stop_reading()
    await call.end()
    assert ends.seen[0][0] is Outcome.DEADLINE
    assert b"event: error" not in call.body
    assert not call.complete


@pytest.mark.asyncio
@ALL_MODES
async def test_a_channel_that_fails_counts_as_a_client_that_has_left(accept):
    source, ends = Gated([1]), Ends()
    sent = []

    async def receive():
        raise RuntimeError("the channel is broken")

    async def send(message):
        sent.append(message)

    response = DualModeResponse(source, on_finish=ends)
    async with asyncio.timeout(10):
        await response(Call(None, headers=accept).scope, receive, send)
    assert source.closed.is_set()
    assert ends.seen == [(Outcome.CLIENT_GONE, {"data": []})]


@pytest.mark.asyncio
@pytest.mark.parametrize("on_finish", [None, Ends()])
async def test_a_small_batch_whose_client_has_left(on_finish):
    call = Call(respond(items(1), on_finish=on_finish))
    call.send_error = ConnectionResetError("gone")
    await call.run()
    assert on_finish is None or on_finish.seen == [(Outcome.CLIENT_GONE, {"data": [1]})]


@pytest.mark.asyncio
async def test_a_large_batch_to_a_client_that_takes_no_byte():
    ends = Ends()
    call = Call(respond(items("x" * 100_000), send_timeout=0.02, on_finish=ends))
    call.stop_reading()
    with pytest.raises(errors.StreamAborted):
        await call.run()
    assert ends.seen[0][0] is Outcome.SLOW_CLIENT


@pytest.mark.asyncio
async def test_a_blocked_client_does_not_make_the_source_idle():
    clock, source, ends = Clock(), Gated([1, 2]), Ends()
    call = Call(respond(source, idle_timeout=1000, send_timeout=None, on_finish=ends), headers=NDJSON)
    call.stop_reading()
    call.begin()
    source.open()
    await call.until_blocked()
    for _ in range(5):
        clock.forward(600)
        await settle()
    assert ends.seen == []
    call.read_on()
    await call.until_body_has(b"1")
    clock.forward(600)  # since it can give again, and not since it has given
    await settle()
    assert ends.seen == []
    source.open(2)
    await call.end()
    assert ends.seen == [(Outcome.DONE, {"data": [1, 2]})]


@pytest.mark.asyncio
async def test_a_source_that_is_silent_behind_a_blocked_client_is_idle_from_then_on():
    clock, source, ends = Clock(), Gated([1, 2]), Ends()
    call = Call(respond(source, idle_timeout=1000, send_timeout=None, on_finish=ends), headers=NDJSON)
    call.stop_reading()
    call.begin()
    source.open()
    await call.until_blocked()
    clock.forward(1500)
    await settle()
    call.read_on()
    await call.until_body_has(b"1")
    await settle()
    for _ in range(2):
        assert ends.seen == []
        clock.forward(600)
        await settle()
    with pytest.raises(errors.StreamAborted):
        await call.end()
    assert ends.seen[0][0] is Outcome.IDLE


@pytest.mark.asyncio
@ALL_MODES
async def test_a_source_that_raises_while_it_is_cancelled(accept, caplog):
    waiting = asyncio.Event()

    async def source():
        try:
            waiting.set()
            await asyncio.Event().wait()
        finally:
            raise ValueError("cannot close")
        yield

    ends = Ends()
    call = Call(respond(source(), on_finish=ends), headers=accept).begin()
    await waiting.wait()
    await settle()
    call.leave()
    await call.end()
    assert ends.seen == [(Outcome.CLIENT_GONE, {"data": []})]
    assert "cannot close" in caplog.text


@pytest.mark.asyncio
@ALL_MODES
async def test_a_server_that_cancels_twice_leaves_a_source_that_ignores_it_behind(accept, caplog):
    source = Gated([1], ignores_cancel=True)
    call = Call(respond(source, close_timeout=0.02), headers=accept).begin()
    await source.waiting.wait()
    call.leave()
    async with asyncio.timeout(10):
        while not source.seen:
            await asyncio.sleep(0)
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.end()
    assert "left behind" in caplog.text
    source.open(2)
    await source.closed.wait()
