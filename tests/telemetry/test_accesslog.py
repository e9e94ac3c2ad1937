"""One line for each response, its facts as fields, and nothing in it that opens a door."""

import asyncio
import json
import logging

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from asgi import Call
from dual_mode_streaming import DualModeResponse, Streams, errors
from dual_mode_streaming.observers import Observer
from dual_mode_streaming.telemetry import AccessLog, notes_of

SSE = {"accept": "text/event-stream"}
OWN_FIELDS = {*vars(logging.makeLogRecord({})), "message", "asctime"}


def application(*observers):
    async def endpoint(request):
        notes_of(request.scope)["tenant"] = "acme"

        async def source():
            yield {"n": 1}
            if request.path_params["id"] == "fails":
                await asyncio.sleep(0)
                raise RuntimeError("password=hunter2")

        return DualModeResponse(source())

    app = Starlette(routes=[Route("/items/{id}", endpoint)])
    app.state.streams = Streams(observers=observers)
    return app


def fields(record):
    return {name: value for name, value in vars(record).items() if name not in OWN_FIELDS}


@pytest.mark.asyncio
async def test_the_line_of_a_stream(caplog):
    caplog.set_level(logging.INFO, "dual_mode_streaming.access")
    headers = {**SSE, "authorization": "Bearer secret-1"}
    call = await Call(application(AccessLog()), "/items/secret-2", headers=headers, query="token=secret-3").run()
    (record,) = caplog.records
    assert record.name == "dual_mode_streaming.access"
    assert record.getMessage().startswith(f"GET /items/{{id}} 200 stream done, 1 items, {len(call.body)} bytes, 0.0")
    found = fields(record)
    duration, first_after = found.pop("duration"), found.pop("first_after")
    assert 0 <= first_after <= duration
    assert found == {
        "method": "GET",
        "route": "/items/{id}",
        "status": 200,
        "mode": "stream",
        "media_type": "text/event-stream",
        "outcome": "done",
        "items": 1,
        "bytes": len(call.body),
        "heartbeats": 0,
        "silence": 0.0,
        "resumed": False,
        "behind": None,
        "error": None,
        "trace_id": None,
        "span_id": None,
        "notes": {"tenant": "acme"},
    }
    assert "secret" not in json.dumps(fields(record)) + record.getMessage()


@pytest.mark.asyncio
async def test_the_line_of_an_error_names_its_type_and_not_its_text(caplog):
    caplog.set_level(logging.INFO, "dual_mode_streaming.access")
    with pytest.raises(RuntimeError):
        await Call(application(AccessLog()), "/items/fails").run()
    (record,) = [record for record in caplog.records if record.name.endswith(".access")]
    assert (record.status, record.outcome, record.error, record.mode) == (500, "error", "RuntimeError", "batch")
    assert "hunter2" not in json.dumps(fields(record)) + record.getMessage()


@pytest.mark.asyncio
async def test_path_and_client_if_they_are_wanted_and_no_line_is_forged(caplog):
    caplog.set_level(logging.INFO, "dual_mode_streaming.access")
    await Call(application(AccessLog(path=True, client=True)), "/items/7\nGET forged").run()
    (record,) = caplog.records
    assert (record.path, record.client) == ("/items/7%0AGET%20forged", "127.0.0.1")
    assert "\n" not in record.getMessage()
    assert record.path in record.getMessage()


@pytest.mark.asyncio
async def test_a_logger_and_a_level_of_one_s_own_and_nothing_if_that_is_off(caplog):
    logger = logging.getLogger("shop.streams")
    app = application(AccessLog(logger, level=logging.DEBUG))
    with caplog.at_level(logging.INFO, "shop.streams"):
        await Call(app, "/items/7").run()
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, "shop.streams"):
        await Call(app, "/items/7").run()
    assert [(record.name, record.levelname) for record in caplog.records] == [("shop.streams", "DEBUG")]


@pytest.mark.asyncio
async def test_what_is_refused_has_a_line_as_well(caplog):
    caplog.set_level(logging.INFO, "dual_mode_streaming.access")
    app = application(AccessLog())
    await app.state.streams.drain(0)
    call = await Call(app, "/items/7").run()
    assert call.status == 503
    (record,) = caplog.records
    assert record.getMessage() == "GET /items/{id} 503 refused, draining"
    assert (record.status, record.outcome, record.error) == (503, "refused", "draining")
    caplog.clear()
    with pytest.raises(errors.Draining):
        app.state.streams.admit({"headers": []})
    assert caplog.records[0].getMessage() == " - 503 refused, draining"


@pytest.mark.asyncio
async def test_a_trace_is_named_if_there_is_one(caplog):
    class Trace(Observer):
        def opened(self, response):
            response.trace_id, response.span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

    caplog.set_level(logging.INFO, "dual_mode_streaming.access")
    await Call(application(AccessLog(), Trace()), "/items/7").run()
    assert caplog.records[0].trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert caplog.records[0].span_id == "b7ad6b7169203331"
