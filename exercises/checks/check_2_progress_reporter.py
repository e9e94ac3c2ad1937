"""Checks of exercise 2: a progress reporter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dual_mode_streaming import DualModeResponse, ServerSentEvent
from dual_mode_streaming.testing import Crash, EventReader, ManualSource, StreamingASGITransport
from exercises.checks.expecting import Broken, collected, equal, expect, raised, settle, source, task

SSE = {"accept": "text/event-stream"}
ROWS = [("tea", 250), ("salt", 90), ("rice", 310)]
PROGRESS = [({"done": number, "of": 3}, "progress") for number in (1, 2, 3)]
RESULT = ({"imported": 3}, "result")


def given(*items: Any) -> ManualSource:
    """Give these items, and nothing more."""
    items_of = ManualSource()
    items_of.give(*items)
    items_of.end()
    return items_of


def plain(event: Any) -> Any:
    """What an event says, as far as the checks look at it."""
    return (event.data, event.event) if isinstance(event, ServerSentEvent) else event


def client_of(make: Any, did: str) -> httpx2.AsyncClient:
    """Make a client of an application that answers with what `make` returns."""

    async def endpoint(request: Request) -> Response:  # noqa: ARG001  what an endpoint is given
        response = make()
        expect(
            isinstance(response, DualModeResponse),
            "Return a DualModeResponse: it answers in both modes.",
            did=did,
            got=response,
            expected="a DualModeResponse",
        )
        return response  # type: ignore[no-any-return]

    app = Starlette(routes=[Route("/", endpoint)])
    return httpx2.AsyncClient(
        transport=StreamingASGITransport(app, lifespan=False), base_url="http://exercise", timeout=None
    )


# --- TODO 1 ----------------------------------------------------------------------------------------


@task(1)
async def check_each_row_is_reported(exercise: Any) -> None:
    did = "progress(three rows, 3)"
    events = await collected(did, exercise.progress(given(*ROWS), 3))
    equal(
        f"(data, name) of each event of {did}",
        [plain(event) for event in events],
        PROGRESS,
        "One ServerSentEvent for each row, with the name `progress`. The rows that are done are counted from 1.",
    )
    equal(
        "progress(no rows, 0)",
        await collected(did, exercise.progress(given(), 0)),
        [],
        "Nothing was read, so there is nothing to report.",
    )


@task(1)
async def check_a_row_is_reported_before_the_next_one(exercise: Any) -> None:
    rows = ManualSource()
    rows.give(ROWS[0])
    first = asyncio.ensure_future(anext(source("progress(...)", exercise.progress(rows, 3))))
    await settle()
    expect(
        first.done(),
        "One row was read, and nothing was reported yet. A bar that only moves at the end is no progress: yield "
        "inside of the loop.",
        did="the first event, while the second row is not there yet",
        got="nothing: it waits for the second row",
        expected=str(PROGRESS[0]),
    )
    await first


# --- TODO 2 ----------------------------------------------------------------------------------------


async def events_of_three() -> AsyncIterator[ServerSentEvent]:
    for data, name in [*PROGRESS, RESULT]:
        yield ServerSentEvent(data, event=name)


@task(2)
async def check_the_result_comes_last(exercise: Any) -> None:
    did = "report(three rows, 3)"
    events = [plain(event) for event in await collected(did, exercise.report(given(*ROWS), 3))]
    equal(
        f"the last event of {did}",
        events[-1:],
        [RESULT],
        "The last event has the name `result`, and says how many rows were imported.",
    )
    equal(
        f"(data, name) of the events of {did}", events, [*PROGRESS, RESULT], "All of the progress, and then the result."
    )
    fewer = [plain(event) for event in await collected(did, exercise.report(given(*ROWS[:2]), 3))]
    equal(
        "the last event of report(two rows, 3)",
        fewer[-1:],
        [({"imported": 2}, "result")],
        "Three rows were promised, and two came. The result is what was imported.",
    )


@task(2)
async def check_a_batch_is_the_result(exercise: Any) -> None:
    did = "respond(source)"
    async with client_of(lambda: exercise.respond(events_of_three()), did) as client:
        batch = (await client.get("/")).json()
        equal(
            f"the batch of {did}",
            batch,
            RESULT[0],
            "A script wants the result alone. Without `fold=` a batch is a list of all items; there is a fold "
            "that keeps the last one.",
        )
        async with client.stream("GET", "/", headers=SSE) as response, EventReader(response) as events:
            came = [(event.data, event.event) async for event in events]
        equal(f"the stream of {did}", came[:-1], [*PROGRESS, RESULT], "A stream still has all of them.")


# --- TODO 3 ----------------------------------------------------------------------------------------


@task(3)
async def check_good_lines(exercise: Any) -> None:
    did = "prices(['tea;250', 'salt;90', 'rice;310'])"
    equal(
        did,
        await collected(did, exercise.prices(given("tea;250", "salt;90", "rice;310"))),
        ROWS,
        "The name, and the price as a number.",
    )


@task(3)
async def check_a_bad_line(exercise: Any) -> None:
    for line in ("sugar", "sugar;much", "sugar;", ";5"):
        did = f"prices(['tea;250', {line!r}])"
        items: list[Any] = []

        async def read() -> None:
            items.extend([item async for item in source(did, exercise.prices(given("tea;250", line)))])  # noqa: B023

        error = await raised(read)
        if not isinstance(error, HTTPException) or error.status_code != 422:
            raise Broken(
                "A line that cannot be read is an error of the client: 422. If it were an item, the batch would "
                "say 200 and look "
                "like success.",
                did=did,
                got=f"{error!r} is raised" if error else str(items),
                expected="HTTPException(422, ...) is raised at the second line",
            )
        expect(
            "2" in str(error.detail),
            "The client has to find the line. Count from 1.",
            did=did,
            got=error.detail,
            expected="'Line 2 is no name and price.'",
        )


@task(3)
async def check_what_becomes_of_an_error(exercise: Any) -> None:
    for lines, what in ((("sugar",), "in line 1"), (("tea;250", "sugar"), "in line 2")):

        def source_of(lines: tuple[str, ...] = lines) -> Any:
            return DualModeResponse(exercise.prices(given(*lines)))

        async with client_of(source_of, "DualModeResponse(prices(...))") as client:
            batch = await client.get("/")
            equal(
                f"the status of a batch with an error {what}",
                batch.status_code,
                422,
                "A batch has not been sent yet, so it has the status of the error.",
            )
            if len(lines) == 1:
                stream = await client.get("/", headers=SSE)
                equal(
                    f"the status of a stream with an error {what}",
                    stream.status_code,
                    422,
                    "Before the first item the status is not sent yet, in no mode.",
                )


@task(3)
async def check_other_errors_pass(exercise: Any) -> None:
    lines = ManualSource()
    lines.give("tea;250")
    lines.crash(ValueError("password=1234"))
    did = "prices(lines that raise ValueError('password=1234'))"
    error = await raised(collected, did, exercise.prices(lines))
    expect(
        type(error) is ValueError,
        "This error does not come from a line, but from what reads the lines. Its text is not for clients. Do not "
        "put the whole loop into `try`: "
        "let what you did not expect pass, the library answers 500 without its text.",
        did=did,
        got=repr(error),
        expected="the ValueError passes through",
    )


# --- TODO 4 ----------------------------------------------------------------------------------------


async def stands(exercise: Any) -> tuple[Any, ManualSource, Any]:
    """An import that has given one event and stands there."""
    table, events = exercise.Table(), ManualSource()
    events.give(ServerSentEvent(PROGRESS[0][0], event="progress"))
    passing = source("exclusive(events, table)", exercise.exclusive(events, table))
    first = await anext(passing, None)
    equal("the first event of exclusive(events, table)", plain(first), PROGRESS[0], "Pass on each event when it comes.")
    expect(
        table.locked,
        "The table has to be locked while events are passed on.",
        did="table.locked, after the first event",
        got=table.locked,
        expected="True",
    )
    return table, events, passing


def unlocked(table: Any, when: str) -> None:
    expect(
        not table.locked,
        "The table stays locked for ever, and no import can run any more. What has to happen in any case belongs "
        "into `finally`.",
        did=f"table.locked, {when}",
        got=table.locked,
        expected="False",
    )


@task(4)
async def check_the_lock_is_given_back_at_the_end(exercise: Any) -> None:
    table, events, passing = await stands(exercise)
    events.end()
    equal("the events after the first", [event async for event in passing], [], "There are no more.")
    unlocked(table, "when all events have been passed on")
    table, events, passing = await stands(exercise)
    events.crash()
    expect(
        isinstance(await raised(anext, passing), Crash),
        "An error of `events` passes through.",
        did="the next event, where `events` raises",
        expected="the error is raised",
    )
    unlocked(table, "when `events` has raised an error")


@task(4)
async def check_a_client_that_leaves_while_it_waits(exercise: Any) -> None:
    for headers, mode in ((SSE, "stream"), ({}, "batch")):
        table, events = exercise.Table(), ManualSource()
        events.give(ServerSentEvent(PROGRESS[0][0], event="progress"))
        transport = StreamingASGITransport(DualModeResponse(exercise.exclusive(events, table)), lifespan=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://exercise", timeout=None) as client:
            asking = asyncio.ensure_future(client.get("/", headers=headers))
            await events.until_waiting()
            (call,) = transport.calls
            asking.cancel()
            call.leave()
            await call.until_ended()
            unlocked(table, f"when the client of a {mode} has left")


@task(4)
async def check_the_cancellation_passes(exercise: Any) -> None:
    table, _, passing = await stands(exercise)
    waiting = asyncio.ensure_future(anext(passing))
    await settle()
    waiting.cancel()
    await settle()
    expect(
        waiting.done() and waiting.cancelled(),
        "The cancellation was swallowed. Whoever waits for this source waits in vain, or believes that it has "
        "ended well. Clean up in `finally`, "
        "or end `except asyncio.CancelledError` with `raise`.",
        did="a source that is cancelled while it waits",
        got="it has ended as if nothing had happened" if waiting.done() else "it goes on",
        expected="CancelledError passes through",
    )
    unlocked(table, "when the source was cancelled")


@task(4)
async def check_the_inner_generator_is_closed(exercise: Any) -> None:
    table, events, passing = await stands(exercise)
    await passing.aclose()
    unlocked(table, "when the source was closed at its `yield`")
    expect(
        events.closed,
        "You were closed at your `yield`, and `events` still stands at its own, with all that it holds open: a "
        "file, a cursor. Closing one "
        "generator does not close the one inside it. `async with aclosing(events):` does.",
        did="`events`, when the source was closed at its `yield`",
        got="still open",
        expected="closed",
    )


# --- TODO 5 ----------------------------------------------------------------------------------------


@task(5)
async def check_only_the_newest_is_kept(exercise: Any) -> None:
    newest = exercise.Newest()
    for number in range(1000):
        newest.put(number)
    newest.close()
    equal(
        "1000 items are put, then it is closed; what a reader gets",
        await collected("Newest()", newest),
        [999],
        "Nobody has read meanwhile. The newest item counts, and the last one is never lost.",
    )


@task(5)
async def check_a_quick_reader_gets_everything(exercise: Any) -> None:
    newest, got = exercise.Newest(), []

    async def read() -> None:
        async for item in source("Newest()", newest):
            got.append(item)

    reading = asyncio.ensure_future(read())
    for item in (None, 0, "two"):
        await settle()
        newest.put(item)
    await settle()
    equal(
        "None, 0 and 'two' are put, and a reader takes each before the next",
        got,
        [None, 0, "two"],
        "A reader that waits is woken by each item. None and 0 are items too.",
    )
    expect(
        not reading.done(),
        "It was not closed, so the reader waits for more.",
        did="a reader, when everything was taken",
        got="it has ended",
        expected="it waits",
    )
    newest.close()
    await settle()
    expect(
        reading.done(),
        "A reader that waits has to be woken by `close`, too.",
        did="a reader that waits, when it is closed",
        got="it waits for ever",
        expected="it ends",
    )
    await reading


@task(5)
async def check_a_slow_reader_gets_the_newest(exercise: Any) -> None:
    newest, got = exercise.Newest(), []
    for number in range(1, 10):
        newest.put(number)
        if number % 3 == 0:
            got.append(await anext(source("Newest()", newest)))
    equal(
        "three items are put, one is taken, three times",
        got,
        [3, 6, 9],
        "Each time it is the newest, and each item comes once.",
    )
