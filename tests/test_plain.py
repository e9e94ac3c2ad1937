"""The plain form: the same answers as the pump gives, on asyncio and on trio, by anyio alone."""

import json
import sys
import threading

import anyio
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request

from dual_mode_streaming import DualModeResponse, Outcome, ServerSentEvent, Streams, errors, last
from forms import FORMS, PLAIN, PLAIN_FORMS, PUMP, TRIO, Ask, asked, respond, run, settle

SSE, NDJSON, JSON_SEQ = STREAMS = ("text/event-stream", "application/x-ndjson", "application/json-seq")
MODES = (None, *STREAMS)
EVENT_NAMES = ("tick", "done")


# --- the forms are equal -------------------------------------------------------------------------------


class Script:
    """A source that does what a list says, and logs what it saw."""

    def __init__(self, steps, clean_up, swallows, server):
        self.steps = steps
        self.clean_up = clean_up
        self.swallows = swallows
        self.server = server
        self.log = []

    async def run(self):
        cancelled = anyio.get_cancelled_exc_class()
        try:
            for step in self.steps:
                try:
                    match step:
                        case ("leave", stays):
                            self.server.leave()
                            if stays:
                                await self.server.told.wait()
                                await settle(5)
                            else:
                                await anyio.sleep_forever()
                        case _:
                            item = await self.act(step)
                            if item is not None:
                                yield item
                except cancelled:
                    self.log.append("cancelled")
                    if not self.swallows:
                        raise
                    return
        finally:
            error = sys.exception()
            self.log.append("cancelled" if isinstance(error, cancelled) else type(error).__name__)
            for step in self.clean_up:
                await self.act(step)
            self.log.append("closed")

    async def act(self, step):
        match step:
            case ("item" | "event", item):
                return item
            case ("turn",):
                await anyio.sleep(0)
                self.log.append(self.server.body)  # what was ready has been sent
            case ("wait",):
                await anyio.sleep(0.0005)
                self.log.append(self.server.body)
            case ("raise", kind):
                raise {"http": HTTPException(418, "teapot"), "value": ValueError("secret")}[kind]
        return None


async def play(form, steps, clean_up, swallows, on_disconnect, accept):
    """Run a script in one form and mode; give all that can be seen of it."""
    ends = []

    async def on_finish(outcome, partial):
        await anyio.sleep(0)
        ends.append((outcome, partial, list(script.log)))

    server = Ask(accept)
    script = Script(steps, clean_up, swallows, server)
    app = respond(form, script.run(), on_finish=on_finish, on_disconnect=on_disconnect, retry=(7, 7), max_item_bytes=64)
    await server.run(app)
    return {
        "status": server.status if server.messages else None,
        "headers": server.headers if server.messages else None,
        "body": server.body,
        "complete": server.complete,
        "raised": repr(server.raised),
        "ends": ends,
        "log": script.log,
    }


items = st.one_of(
    st.integers(-5, 5),
    st.text(max_size=5),
    st.just({"error": 1}),
    st.just(b"no JSON form"),
    st.just("x" * 80),  # over the bound
)
events = st.one_of(
    st.builds(
        ServerSentEvent,
        st.integers(0, 9),
        event=st.sampled_from([None, *EVENT_NAMES]),
        id=st.sampled_from([None, "7"]),
        retry=st.sampled_from([None, 50]),
    ),
    st.just(ServerSentEvent(comment="hello")),
    st.just(ServerSentEvent(retry=60)),
)
waits = st.sampled_from([("turn",), ("wait",)])
raising = st.tuples(st.just("raise"), st.sampled_from(["http", "value"]))
a_step = st.one_of(
    st.tuples(st.just("item"), st.integers(0, 9)),
    st.tuples(st.just("item"), items),
    st.tuples(st.just("event"), events),
    waits,
    waits,
    raising,
)


@st.composite
def scripts(draw):
    steps = draw(st.lists(a_step, max_size=8))
    on_disconnect = draw(st.sampled_from(["cancel", "finish"]))
    if draw(st.booleans()):
        steps.insert(draw(st.integers(0, len(steps))), ("leave", on_disconnect == "finish"))
    clean_up = draw(st.lists(st.one_of(waits, waits, raising), max_size=3))
    return steps, clean_up, draw(st.booleans()), on_disconnect


@given(scripts())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_form_does_the_same(script):
    async def in_every_mode(form):
        return [await play(form, *script, accept) for accept in MODES]

    seen = {form: run(form, in_every_mode) for form in FORMS}
    for mode, *of_forms in zip(MODES, *seen.values(), strict=True):
        for form, what in zip(FORMS, of_forms, strict=True):
            assert what == of_forms[0], f"{form} differs from the pump in {mode or 'a batch'}"
            assert len(what["ends"]) == 1, "on_finish runs exactly once"
            assert what["log"][-1:] == ["closed"] or ("raise", "http") in script[1] or ("raise", "value") in script[1]
