"""Checks of exercise 1: dual mode, by hand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
from starlette.responses import Response

from dual_mode_streaming import errors
from dual_mode_streaming.sse import SSEDecoder
from dual_mode_streaming.testing import EventReader, ManualSource, StreamingASGITransport
from exercises.checks.expecting import Broken, collected, equal, expect, raised, settle, source, task

JSON, SSE = "application/json", "text/event-stream"
WORDS = ["to", "be", "or", "not"]
ITEMS = [{"number": number, "word": word} for number, word in enumerate(WORDS, 1)]


def spoken(*words: str) -> ManualSource:
    """Somebody who has said these words and nothing more."""
    given = ManualSource()
    given.give(*words)
    given.end()
    return given


# --- TODO 1 ----------------------------------------------------------------------------------------


@task(1)
async def check_there_is_an_item_for_each_word(exercise: Any) -> None:
    for words in (WORDS, ["alone"], []):
        did = f"items({words})"
        equal(
            did,
            await collected(did, exercise.items(spoken(*words))),
            ITEMS[: len(words)] if words != ["alone"] else [{"number": 1, "word": "alone"}],
            "There is one item for each word, in their order. Numbers begin with 1.",
        )


@task(1)
async def check_an_item_comes_before_the_next_word(exercise: Any) -> None:
    words = ManualSource()
    words.give("to")
    first = asyncio.ensure_future(anext(source("items(...)", exercise.items(words))))
    await settle()
    expect(
        first.done(),
        "The first word was spoken, and your source has asked for the second one before it gave the first item. "
        "You collect the words. Yield inside of the loop, so that each item leaves when its word is there.",
        did="the first item, while the second word is not spoken yet",
        got="nothing: it waits for the second word",
        expected=str(ITEMS[0]),
    )
    await first


# --- TODO 2 ----------------------------------------------------------------------------------------

CHOICES = [
    (None, JSON, "A request without `Accept` gets a document."),
    ("application/json", JSON, "It asks for a document."),
    ("text/event-stream", SSE, "This is what a browser's EventSource sends. It asks for a stream."),
    (
        "*/*",
        JSON,
        "curl sends this. Everything is equally welcome, so the first offer wins: nobody gets a stream unasked.",
    ),
    ("TEXT/Event-Stream", SSE, "Media types have no upper and lower case."),
    ("application/json;q=0.5, text/event-stream", SSE, "The stream has the higher weight: 1 if none is written."),
    ("text/event-stream;q=0.5, application/json", JSON, "The document has the higher weight."),
    (
        "text/event-stream;q=0, */*",
        JSON,
        "Weight 0 means: anything but this. Who searches for the text finds it all the same.",
    ),
    ("text/*", SSE, "A wildcard that only the stream matches."),
]


@task(2)
def check_the_choice(exercise: Any) -> None:
    for accept, wanted, why in CHOICES:
        equal(f"choose({accept!r})", exercise.choose(accept), wanted, why)


@task(2)
async def check_nothing_acceptable(exercise: Any) -> None:
    expect(
        isinstance(await raised(exercise.choose, "image/png"), errors.NotAcceptable),
        "Who can read neither gets no answer that it cannot read. `negotiate` raises NotAcceptable; let it pass.",
        did="choose('image/png')",
        expected="NotAcceptable is raised",
    )


# --- TODO 3 ----------------------------------------------------------------------------------------


@task(3)
def check_a_frame(exercise: Any) -> None:
    equal(
        "frame('hello')",
        exercise.frame("hello"),
        b"data: hello\n\n",
        "One line of data, and the blank line that ends the block.",
    )
    equal(
        "frame('', 'ping')",
        exercise.frame("", "ping"),
        b"event: ping\ndata: \n\n",
        "The name comes first. Data may be empty; without its line clients would dispatch nothing.",
    )
    equal(
        "frame('für alle')", exercise.frame("für alle"), "data: für alle\n\n".encode(), "A stream of events is UTF-8."
    )


@task(3)
def check_text_of_several_lines(exercise: Any) -> None:
    for text in ("two\nlines", "a blank\n\nline", "two\r\nlines", "a lone\rCR", "\n"):
        did = f"frame({text!r})"
        wire = exercise.frame(text)
        expect(isinstance(wire, bytes), "A frame is bytes.", did=did, got=wire, expected="bytes")
        read = [event.data for event in SSEDecoder().feed(wire)]
        wanted = [text.replace("\r\n", "\n").replace("\r", "\n")]
        if read != wanted:
            raise Broken(
                "A client does not read the text that you wrote. Each line of it needs its own `data: `; "
                "a CR ends a line as an LF does.",
                did=did,
                got=f"{wire!r}, which a client reads as {read}",
                expected=f"bytes that a client reads as {wanted}",
            )


@task(3)
async def check_nobody_can_forge_an_event(exercise: Any) -> None:
    for name in ("tick\ndata: forged", "tick\rdata: forged"):
        error = await raised(exercise.frame, "hello", name)
        expect(
            isinstance(error, ValueError),
            "A line break in the name begins a line that you did not write. Whoever chooses the name can forge events. "
            "Refuse it: what is repaired in silence hides the attack.",
            did=f"frame('hello', {name!r})",
            got=repr(error) if error else exercise.frame("hello", name),
            expected="ValueError is raised",
        )


# --- TODO 4 ----------------------------------------------------------------------------------------


@task(4)
def check_the_fold(exercise: Any) -> None:
    equal(
        f"fold({ITEMS[:2]})",
        exercise.fold(ITEMS[:2]),
        {"text": "to be", "words": 2},
        "The words, joined by blanks, and how many there are.",
    )
    equal("fold([])", exercise.fold([]), {"text": "", "words": 0}, "Nothing was said. That is a batch too.")


# --- TODO 5 ----------------------------------------------------------------------------------------


def answered(exercise: Any, accept: str, words: ManualSource) -> httpx2.AsyncClient:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        response = await exercise.answer(accept, words)
        did = f"await answer({accept!r}, ...)"
        expect(
            isinstance(response, Response),
            "Return a response.",
            did=did,
            got=response,
            expected="a JSONResponse or a StreamingResponse",
        )
        await response(scope, receive, send)

    return httpx2.AsyncClient(
        transport=StreamingASGITransport(app, lifespan=False), base_url="http://exercise", timeout=None
    )


@task(5)
async def check_the_answers_say_what_they_are(exercise: Any) -> None:
    for accept in (JSON, SSE):
        async with answered(exercise, accept, spoken(*WORDS)) as client:
            response = await client.get("/")
        did = f"await answer({accept!r}, ...)"
        equal(
            f"the Content-Type of {did}",
            response.headers.get("content-type", "").partition(";")[0],
            accept,
            "The answer says what it is. EventSource refuses a stream of any other type.",
        )
        equal(
            f"the Vary of {did}",
            response.headers.get("vary", "").title(),
            "Accept",
            "One address has two bodies. Without this header a cache gives one client what the other one has "
            "asked for.",
        )


@task(5)
async def check_a_stream_begins_before_its_source_has_ended(exercise: Any) -> None:
    words = ManualSource()
    words.give("to")
    async with answered(exercise, SSE, words) as client:
        asking = asyncio.ensure_future(client.send(client.build_request("GET", "/"), stream=True))
        await settle()
        collects = (
            "The first word was spoken, but the client has nothing yet: you collected everything before sending. "
            "Give the StreamingResponse the generator itself, `frames(items(spoken))`."
        )
        expect(
            asking.done(),
            collects,
            did="the first event, while the second word is not spoken yet",
            got="no answer at all",
            expected=str(ITEMS[0]),
        )
        async with EventReader(await asking) as events:
            reading = asyncio.ensure_future(events.take(1))
            await settle()
            expect(
                reading.done(),
                collects,
                did="the first event, while the second word is not spoken yet",
                got="headers, and no event",
                expected=str(ITEMS[0]),
            )
            equal(
                "the first event", [event.data for event in await reading], ITEMS[:1], "It is the first item, as JSON."
            )


@task(5)
async def check_both_modes_have_the_same_value(exercise: Any) -> None:
    async with answered(exercise, JSON, spoken(*WORDS)) as client:
        batch = (await client.get("/")).json()
    equal(f"the batch of {WORDS}", batch, exercise.fold(ITEMS), "The batch is the fold of the items.")
    async with answered(exercise, SSE, spoken(*WORDS)) as client:
        events = SSEDecoder().feed((await client.get("/")).content)
    done = events.pop() if events else None
    expect(
        done is not None and done.event == "done",
        "A complete stream says so at its end. `frames` does it.",
        did="the last event",
        got=done or "nothing",
        expected="the event `done`",
    )
    equal(
        "fold(items of the stream)",
        exercise.fold([json.loads(event.data) for event in events]),
        batch,
        "Both modes have the same value: that is the law.",
    )
