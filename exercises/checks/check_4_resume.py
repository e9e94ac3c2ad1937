"""Checks of exercise 4: cut and continue."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dual_mode_streaming import ServerSentEvent
from dual_mode_streaming.testing import EventReader, StreamingASGITransport
from exercises.checks.expecting import Broken, equal, expect, raised, settle, task

EPOCH = "b7"


def said(event: ServerSentEvent) -> tuple[Any, Any]:
    return (event.id, event.data)


def expect_gap(exercise: Any, did: str, error: Exception | None, got: Any, why: str) -> None:
    expect(isinstance(error, exercise.Gap), why, did=did, got=got, expected="Gap is raised")


# --- TODO 1 ----------------------------------------------------------------------------------------


@task(1)
def check_an_id(exercise: Any) -> None:
    equal("id_of('b7', 1)", exercise.id_of("b7", 1), "b7-1", "The epoch, a hyphen, the number.")
    for epoch, number in (("b7", 12), ("2026-11-29", 3)):
        event_id = f"{epoch}-{number}"
        equal(
            f"place_of({event_id!r}, {epoch!r})",
            exercise.place_of(event_id, epoch),
            number,
            "The number behind the last hyphen. An epoch may have hyphens in it.",
        )


@task(1)
def check_what_is_no_id(exercise: Any) -> None:
    for event_id in ("a1-7", "b71-7", "b7-", "b7-x", "b7--1", "b7-1.5", "b7", "7", "-7", "", "xb7-7"):
        equal(
            f"place_of({event_id!r}, 'b7')",
            exercise.place_of(event_id, "b7"),
            None,
            "It is no id of the epoch b7, and ids come from strangers. None says that it is no place; an "
            "exception would be a 500.",
        )


# --- TODO 2 ----------------------------------------------------------------------------------------


def filled(exercise: Any, count: int, limit: int, *, over: bool = False) -> Any:
    """A history with so many events, made without the learner's `append`."""
    history = exercise.History(EPOCH, limit)
    for number in range(1, count + 1):
        history.kept.append(ServerSentEvent(f"line {number}", id=f"{EPOCH}-{number}"))
    history.count = count
    if over:
        history.over = True
        history.count += 1
        history.kept.append(ServerSentEvent({"items": count}, event="done", id=f"{EPOCH}-{count + 1}"))
    while len(history.kept) > limit:
        history.kept.popleft()
    return history


@task(2)
async def check_events_are_numbered_and_kept(exercise: Any) -> None:
    history = exercise.History(EPOCH, 10)
    history.append("one")
    history.append("two", "warning")
    equal(
        "(id, data) of the kept events, after append('one'), append('two', 'warning')",
        [said(event) for event in history.kept],
        [("b7-1", "one"), ("b7-2", "two")],
        "The first event has number 1.",
    )
    equal(
        "their names",
        [event.event for event in history.kept],
        [None, "warning"],
        "The name is that of the event: `event=name`.",
    )
    equal("history.count", history.count, 2, "It counts all events.")


@task(2)
async def check_the_history_is_bounded(exercise: Any) -> None:
    history = exercise.History(EPOCH, 3)
    for number in range(1, 101):
        history.append(number)
    equal(
        "the ids of the kept events, of 100 with limit=3",
        [event.id for event in history.kept],
        ["b7-98", "b7-99", "b7-100"],
        "Only the last ones are kept, or memory grows with the log. The numbers count all events, not those that "
        "are kept.",
    )
    equal("history.count", history.count, 100, "It counts all events, also those that are not kept any more.")


@task(2)
async def check_who_waits_is_woken(exercise: Any) -> None:
    history = exercise.History(EPOCH, 3)
    waiting = asyncio.ensure_future(history.bell.wait())
    await settle()
    history.append("one")
    await settle()
    expect(
        waiting.done(),
        "Who follows the log waits for the bell. Without it a new event is not seen: `self.bell.ring()`.",
        did="who waits for the bell, after append('one')",
        got="still waits",
        expected="is woken",
    )


# --- TODO 3 ----------------------------------------------------------------------------------------


@task(3)
async def check_what_comes_after_a_place(exercise: Any) -> None:
    history = filled(exercise, 12, 100)
    for number in range(13):
        wanted = [f"{EPOCH}-{later}" for later in range(number + 1, 13)]
        equal(
            f"the ids of after({number}), of 12 events",
            [event.id for event in history.after(number)],
            wanted,
            "All events with a higher number, in order. After the last one there is nothing, and that is no gap.",
        )
    equal("after(0), of a log without events", filled(exercise, 0, 9).after(0), [], "Nothing was written yet.")


@task(3)
async def check_a_place_that_is_gone(exercise: Any) -> None:
    history = filled(exercise, 12, 5)
    equal(
        "the ids of after(7), where 8 to 12 are kept",
        [event.id for event in history.after(7)],
        [f"{EPOCH}-{number}" for number in range(8, 13)],
        "The client has number 7, and needs 8: that is the oldest event, so nothing is missing.",
    )
    for number, why in (
        (
            6,
            "The client needs number 7, and the oldest that is kept is 8. Nobody would notice that one is lost.",
        ),
        (0, "A new client needs number 1, which is not kept any more."),
        (13, "There are 12 events. Whoever has seen number 13 has seen another log."),
    ):
        error = await raised(history.after, number)
        came = repr(error) if error else [event.id for event in history.after(number)]
        expect_gap(exercise, f"after({number}), where 8 to 12 are kept", error, came, why)


# --- TODO 4 ----------------------------------------------------------------------------------------


def client_of(exercise: Any, history: Any) -> httpx2.AsyncClient:
    async def show(request: Request) -> Response:
        response = exercise.answer(history, request.headers.get("last-event-id"))
        expect(
            isinstance(response, Response),
            "Return a response.",
            did="answer(history, ...)",
            got=response,
            expected="a Response",
        )
        return response  # type: ignore[no-any-return]

    app = Starlette(routes=[Route("/", show)])
    return httpx2.AsyncClient(
        transport=StreamingASGITransport(app, lifespan=False), base_url="http://exercise", timeout=None
    )


def asking(number: int | None) -> dict[str, str]:
    return {} if number is None else {"last-event-id": f"{EPOCH}-{number}"}


@task(4)
async def check_a_client_that_comes_back(exercise: Any) -> None:
    async with client_of(exercise, filled(exercise, 4, 100, over=True)) as client:
        for number in (None, 0, 1, 4):
            wanted = [f"{EPOCH}-{later}" for later in range((number or 0) + 1, 6)]
            did = f"answer(history, {asking(number).get('last-event-id')!r}), of a log with 4 lines that is over"
            async with client.stream("GET", "/", headers=asking(number)) as response:
                equal(
                    f"the status of {did}",
                    response.status_code,
                    200,
                    "There is something left for this client, if only the end.",
                )
                kind = response.headers.get("content-type", "").partition(";")[0]
                equal(f"the Content-Type of {did}", kind, "text/event-stream", "It is a stream of events.")
                async with EventReader(response) as events:
                    equal(
                        f"the ids of {did}",
                        [event.id async for event in events],
                        wanted,
                        "The client gets what comes after its last event.",
                    )


@task(4)
async def check_a_client_that_has_everything(exercise: Any) -> None:
    async with client_of(exercise, filled(exercise, 4, 100, over=True)) as client:
        response = await client.get("/", headers=asking(5))
        equal(
            "the status for a client that has seen `done`, whose id is b7-5",
            response.status_code,
            204,
            "A browser's EventSource comes back after every end, for ever. 204 makes it stop.",
        )
    async with client_of(exercise, filled(exercise, 4, 100)) as client:
        waiting = asyncio.ensure_future(client.send(client.build_request("GET", "/", headers=asking(4)), stream=True))
        await settle()
        status = (await waiting).status_code if waiting.done() else 200  # without an answer yet it waits
        waiting.cancel()
        equal(
            "the status for a client that has all of a log that goes on",
            status,
            200,
            "More is to come: it waits. 204 would send it away for ever.",
        )


@task(4)
async def check_a_client_with_a_gap(exercise: Any) -> None:
    history = filled(exercise, 12, 5)
    for header, why in (
        (
            "b7-3",
            "Its events are not kept any more. Call `after` before you make the response: then there is a status.",
        ),
        ("a1-9", "The id is of another log. Number 9 of that one is not number 9 of this one."),
        ("nonsense", "This is no id."),
        ("b7-13", "This event has not happened yet."),
        (None, "A new client needs the log from its beginning, and that is not kept any more."),
    ):
        async with client_of(exercise, history) as client:
            headers = {} if header is None else {"last-event-id": header}
            status: Any = None
            try:
                async with client.stream("GET", "/", headers=headers) as response:
                    status = response.status_code
            except exercise.Gap as gap:
                status = f"{gap!r} is raised, and the connection is cut"
            equal(f"the status of answer(history, {header!r}), where 8 to 12 are kept", status, 410, why)


@task(4)
async def check_a_client_that_waits_for_what_is_new(exercise: Any) -> None:
    history = filled(exercise, 2, 100)
    async with client_of(exercise, history) as client, client.stream("GET", "/", headers=asking(1)) as response:
        async with EventReader(response) as events:
            (event,) = await events.take(1)
            equal("the first event after b7-1", said(event), ("b7-2", "line 2"), "First what there is already.")
            reading = asyncio.ensure_future(events.take(1))
            await settle()
            history.append("line 3")
            (event,) = await reading
            equal(
                "the next event, which is written meanwhile",
                said(event),
                ("b7-3", "line 3"),
                "Then what is new, at once.",
            )


# --- TODO 5 ----------------------------------------------------------------------------------------


def event_of(number: int) -> ServerSentEvent:
    return ServerSentEvent(f"line {number}", id=f"{EPOCH}-{number}")


DONE = ServerSentEvent({"items": 3}, event="done", id=f"{EPOCH}-4")


def follower_after(exercise: Any, *numbers: int) -> Any:
    follower = exercise.Follower(EPOCH)
    taken: list[int] = []
    for number in numbers:
        try:
            follower.take(event_of(number))
        except exercise.Gap:
            raise Broken(
                "Nothing is missing here. An event that it has already is dropped, and the next one is taken.",
                did=f"take(the event with number {number}), after {taken}",
                got="Gap is raised",
                expected="no exception",
            ) from None
        taken.append(number)
    return follower


@task(5)
def check_events_are_taken(exercise: Any) -> None:
    follower = follower_after(exercise, 1, 2, 3)
    equal(
        "follower.items, after the events 1, 2, 3",
        follower.items,
        ["line 1", "line 2", "line 3"],
        "The data of each event.",
    )
    equal(
        "follower.number, after the events 1, 2, 3",
        follower.number,
        3,
        "This is what it sends as Last-Event-ID when it comes back.",
    )
    expect(
        not follower.complete,
        "Three lines are no end. Only the event `done` says that it is complete.",
        did="follower.complete",
        got=follower.complete,
        expected="False",
    )
    follower.take(DONE)
    equal("follower.complete, after the event `done`", follower.complete, True, "Now it is.")
    equal("follower.items, after the event `done`", len(follower.items), 3, "`done` is no item.")


@task(5)
def check_nothing_is_taken_twice(exercise: Any) -> None:
    follower = follower_after(exercise, 1, 2, 3, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 9, 10, 11)
    equal(
        "follower.items, after 1, 2, 3, then (a new connection) 2, 3, 4, 4, 5 … 10, then 9, 10, 11",
        follower.items,
        [f"line {number}" for number in range(1, 12)],
        "A server that is not sure sends an event again. Whoever has its number already drops it; "
        '"10" is greater than "9" only as a number.',
    )


@task(5)
async def check_a_gap_is_noticed(exercise: Any) -> None:
    for event, why in (
        (
            event_of(4),
            "After number 2 comes 3. Number 4 means that one was lost on the way, and only the number says so.",
        ),
        (
            ServerSentEvent("line 3", id="a1-3"),
            "The id is of another epoch: the server was started anew, and this is another log.",
        ),
        (ServerSentEvent("line 3"), "Without an id nobody knows whether something is missing."),
    ):
        follower = follower_after(exercise, 1, 2)
        error = await raised(follower.take, event)
        came = repr(error) if error else follower.items
        expect_gap(exercise, f"take(the event with id {event.id!r}), after 1, 2", error, came, why)
        equal(
            "(number, items), after a Gap",
            (follower.number, follower.items),
            (2, ["line 1", "line 2"]),
            "What it has is still true: it comes back with number 2.",
        )


@task(5)
async def check_a_cut_at_every_place(exercise: Any) -> None:
    """The two sides together, over a connection that breaks."""
    lines = [f"line {number}" for number in range(1, 12)]
    for cut in range(1, 13):
        follower = exercise.Follower(EPOCH)
        async with client_of(exercise, filled(exercise, 11, 100, over=True)) as client:
            for wanted in (cut, 100):
                headers = asking(follower.number) if follower.number else {}
                async with client.stream("GET", "/", headers=headers) as response:
                    if response.status_code == 204:
                        break
                    async with EventReader(response) as events:
                        for event in await events.take(min(wanted, 12 - follower.number)):
                            follower.take(event)
        equal(
            f"the items of a log of 11 lines, cut after {cut} events and resumed",
            follower.items,
            lines,
            "None missing, none twice.",
        )
        equal(
            f"follower.complete, cut after {cut} events and resumed",
            follower.complete,
            True,
            "The last event was `done`.",
        )
