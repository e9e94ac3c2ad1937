"""Checks of exercise 3: a simulator of a language model."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator
from copy import deepcopy
from typing import Any

from dual_mode_streaming import ServerSentEvent, errors
from dual_mode_streaming.llm.dialects import OpenAIChat
from dual_mode_streaming.llm.fold import fold_all
from dual_mode_streaming.sse import SSEDecoder
from dual_mode_streaming.testing import Crash, ManualSource
from exercises.checks.expecting import Broken, collected, equal, expect, raised, settle, source, task

PROMPT = "What is a river?"
ROLE = {"role": "assistant", "content": ""}


def answer_to(exercise: Any, prompt: str, seed: int) -> list[str]:
    """What the simulator has to say: the words in which it is described, once more."""
    chance = random.Random(f"{seed}:{prompt}")
    return [f"{chance.choice(exercise.WORDS)} " for _ in range(exercise.LENGTH)]


def chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "a1", "object": "chat.completion.chunk", "created": 0, "model": "simulator", "choices": [choice]}


THREE = [chunk(ROLE), *[chunk({"content": text}) for text in ("a ", "river ", "is ")], chunk({}, "stop")]


def deltas(chunks: list[Any]) -> list[Any]:
    return [one["choices"][0]["delta"] if isinstance(one, dict) and one.get("choices") else one for one in chunks]


def given(*items: Any) -> ManualSource:
    """Give these items, and nothing more."""
    items_of = ManualSource()
    items_of.give(*items)
    items_of.end()
    return items_of


# --- TODO 1 ----------------------------------------------------------------------------------------


@task(1)
async def check_the_words(exercise: Any) -> None:
    for prompt, seed in ((PROMPT, 0), (PROMPT, 1), ("Why?", 0)):
        did = f"tokens({prompt!r}, seed={seed})"
        equal(
            did,
            await collected(did, exercise.tokens(prompt, seed=seed)),
            answer_to(exercise, prompt, seed),
            'The words are those of `random.Random(f"{seed}:{prompt}")`, by its `choice`, each with a blank behind it. '
            "(`hash` of a text is another number in each process.)",
        )


@task(1)
async def check_two_requests_do_not_disturb_each_other(exercise: Any) -> None:
    one, other = source("tokens(...)", exercise.tokens(PROMPT)), source("tokens(...)", exercise.tokens("Why?"))
    said: list[str] = []
    async for token in one:
        said.append(token)
        random.seed(1)
        await anext(other, None)
    equal(
        "tokens('What is a river?'), while another answer is given as well",
        said,
        answer_to(exercise, PROMPT, 0),
        "It says something else than when it is alone: both use the one generator of the module `random`. Make "
        "one for each answer: `random.Random(...)`.",
    )


@task(1)
async def check_the_pace(exercise: Any) -> None:
    clock, times = asyncio.get_running_loop().time, []
    began = clock()
    async for _ in source("tokens(..., pace=2)", exercise.tokens(PROMPT, pace=2)):
        times.append(round(clock() - began))
    equal(
        "the seconds at which tokens came, with pace=2",
        times,
        [2 * number for number in range(1, exercise.LENGTH + 1)],
        "Wait before each token, `pace` seconds, with `await asyncio.sleep`. (The clock of the checks is fast: "
        "this took no time.)",
    )


# --- TODO 2 ----------------------------------------------------------------------------------------


@task(2)
async def check_the_deltas(exercise: Any) -> None:
    did = "chunks(['a ', 'river ', 'is '], 'a1')"
    came = await collected(did, exercise.chunks(given("a ", "river ", "is "), "a1"))
    equal(
        f"the deltas of {did}",
        deltas(came),
        deltas(THREE),
        "First the role, then what is new with each token, at last an empty delta. Clients join the contents: a "
        "delta that repeats what was said comes out twice.",
    )
    equal(did, came, THREE, 'All have the same id, and only the last one has a finish reason: "stop".')
    nothing = [chunk(ROLE), chunk({}, "stop")]
    equal(
        "chunks([], 'a1')",
        await collected(did, exercise.chunks(given(), "a1")),
        nothing,
        "An answer without a word begins and ends like any other.",
    )


@task(2)
async def check_a_token_is_not_held_back(exercise: Any) -> None:
    said = ManualSource()
    said.give("a ")
    came: list[Any] = []

    async def read() -> None:
        async for one in source("chunks(...)", exercise.chunks(said, "a1")):
            came.append(one)

    reading = asyncio.ensure_future(read())
    await settle()
    equal(
        "the deltas, while the second token is not there yet",
        deltas(came),
        [ROLE, {"content": "a "}],
        "The first token is there, and belongs to the client. Yield its chunk inside of the loop.",
    )
    said.end()
    await reading


# --- TODO 3 ----------------------------------------------------------------------------------------

USAGE = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
TWICE = (
    "It was to be recorded exactly once. At the end of the function it is too late if somebody leaves before; put it "
    "into `finally`, and nowhere else."
)


@task(3)
async def check_the_usage_comes_last(exercise: Any) -> None:
    bills: list[Any] = []
    did = "metered(three tokens, 'What is a river?', record)"
    came = await collected(did, exercise.metered(given(*deepcopy(THREE)), PROMPT, bills.append))
    equal(
        f"the first chunks of {did}", deltas(came[: len(THREE)]), deltas(THREE), "All chunks are passed on as they are."
    )
    equal(
        f"the last chunks of {did}",
        came[len(THREE) :],
        [{**chunk({}), "choices": [], "usage": USAGE}],
        "The usage is a chunk of its own behind all others: a copy of the last one, with no choices. Only deltas "
        "with content count as tokens.",
    )
    equal("what was recorded", bills, [USAGE], TWICE)


@task(3)
async def check_who_leaves_pays_too(exercise: Any) -> None:
    bills: list[Any] = []
    events = given(*deepcopy(THREE))
    passing = source("metered(...)", exercise.metered(events, PROMPT, bills.append))
    for _ in range(3):
        await anext(passing, None)
    equal("what was recorded while the answer is under way", bills, [], "It is not over yet.")
    await passing.aclose()  # type: ignore[attr-defined]
    wanted = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
    equal(
        "what was recorded, when the client has left after two tokens",
        bills,
        [wanted],
        "Two tokens were made and sent. Whoever leaves before the end would have them for nothing: record in "
        "`finally`, and count a token before you yield it.",
    )
    expect(
        events.closed,
        "The model still stands at its `yield` and holds what it holds. `async with aclosing(events):`.",
        did="`events`, when the client has left",
        got="still open",
        expected="closed",
    )


@task(3)
async def check_a_failure_is_paid_too(exercise: Any) -> None:
    bills: list[Any] = []
    events = ManualSource()
    events.give(*deepcopy(THREE[:2]))
    events.crash()
    came: list[Any] = []

    async def read() -> None:
        async for one in source("metered(...)", exercise.metered(events, PROMPT, bills.append)):
            came.append(one)

    expect(
        isinstance(await raised(read), Crash),
        "An error of the model passes through; the next TODO tells the client.",
        did="a model that fails after one token",
        got="no error",
        expected="the error is raised",
    )
    equal(
        "the chunks of a model that fails after one token",
        deltas(came),
        deltas(THREE[:2]),
        "A failure has no usage chunk: it would look like an end.",
    )
    equal(
        "what was recorded of a model that fails after one token",
        bills,
        [{"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}],
        TWICE,
    )


# --- TODO 4 ----------------------------------------------------------------------------------------


async def written(exercise: Any, *chunks: Any, error: Exception | None = None) -> bytes:
    """The bytes of some events, of which the last one may be an error."""

    async def events() -> AsyncIterator[ServerSentEvent]:
        for one in chunks:
            yield ServerSentEvent(one)
        if error is not None:
            raise error

    logging.disable()
    try:
        parts = await collected("wire(events)", exercise.wire(events()))
    except Exception as raised_instead:
        if raised_instead is not error:
            raise
        raise Broken(
            "The exception leaves `wire`. The server can only cut the connection then, and many clients take a "
            "cut for an end. Catch it, and "
            "write an event that says it.",
            did=f"wire(events that raise {error!r})",
            got="the exception is raised",
            expected="a last event with the error",
        ) from None
    finally:
        logging.disable(logging.NOTSET)
    expect(
        all(isinstance(part, bytes) for part in parts),
        "`encode_event` makes bytes of an event.",
        did="wire(events)",
        got=parts,
        expected="bytes",
    )
    return b"".join(parts)


def data_of(wire: bytes) -> list[Any]:
    return [json.loads(text) if (text := event.data).startswith("{") else text for event in SSEDecoder().feed(wire)]


@task(4)
async def check_a_complete_stream(exercise: Any) -> None:
    data = data_of(await written(exercise, *THREE))
    equal(
        "the deltas on the wire, and the end",
        [*deltas(data[:-1]), *data[-1:]],
        [*deltas(THREE), "[DONE]"],
        "Each event with its data as JSON, then `data: [DONE]` without quotes.",
    )


@task(4)
async def check_a_failure_says_so(exercise: Any) -> None:
    error = errors.ModelError("Too many words.", code="overloaded")
    data = data_of(await written(exercise, *THREE[:2], error=error))
    did = "the data behind the first token, of a model that raises ModelError('Too many words.', code='overloaded')"
    expect(
        "[DONE]" not in data,
        "`[DONE]` says that the answer is complete, and it is not. Only a stream without an error ends with it; "
        "`finally` runs after errors as well.",
        did=did,
        got=data[2:],
        expected="no [DONE]",
    )
    equal(
        did,
        data[2:],
        [{"error": {"message": "Too many words.", "code": "overloaded"}}],
        "One last event tells what has happened, in words that were made for clients.",
    )


@task(4)
async def check_other_errors_stay_here(exercise: Any) -> None:
    wire = await written(exercise, *THREE[:2], error=ValueError("password=1234"))
    did = "the data behind the first token, of a model that raises ValueError('password=1234')"
    expect(
        b"1234" not in wire,
        "The text of an exception that you did not make may say anything. It belongs into your log, not to a stranger.",
        did=did,
        got=data_of(wire)[2:],
        expected="nothing of its text",
    )
    equal(
        did,
        data_of(wire)[2:],
        [{"error": {"message": "The model has failed.", "code": "internal_error"}}],
        "The client still learns that it has failed.",
    )


@task(4)
async def check_who_leaves_is_no_failure(exercise: Any) -> None:
    events = ManualSource()
    events.give(ServerSentEvent(THREE[0]))
    writing = source("wire(events)", exercise.wire(events))
    await anext(writing, None)
    waiting = asyncio.ensure_future(anext(writing))
    await settle()
    waiting.cancel()
    await settle()
    expect(
        waiting.done() and waiting.cancelled(),
        "A client that leaves cancels you. That is no failure of the model, and nobody is there to be told: let "
        "the cancellation pass. `except Exception` does; `except BaseException` and a bare `except` do not.",
        did="a stream that is cancelled while it waits",
        got="it goes on" if not waiting.done() else "one more event",
        expected="CancelledError passes through",
    )


@task(4)
async def check_a_real_reader_understands_it(exercise: Any) -> None:
    """The reader of the library takes what OpenAI's own client would take."""
    parser = OpenAIChat().parser()
    read = fold_all([*parser.feed(await written(exercise, *THREE)), *parser.flush()])
    equal("the text that a client of OpenAI reads", read.first.text, "a river is ", "It joins the deltas.")


# --- TODO 5 ----------------------------------------------------------------------------------------


def seen(events: list[Any]) -> list[Any]:
    return [
        (event.id, event.data["n"]) if isinstance(event, ServerSentEvent) and isinstance(event.data, dict) else event
        for event in events
    ]


@task(5)
async def check_the_numbers(exercise: Any) -> None:
    for asked, why in (
        (None, "Ids are texts, and count from 1."),
        ("chatcmpl-1", "An id that is no number is not yours. Begin at the beginning."),
    ):
        did = f"numbered(three chunks, {asked!r})"
        came = seen(await collected(did, exercise.numbered(given(*({"n": n} for n in (1, 2, 3))), asked)))
        equal(f"(id, chunk) of {did}", came, [("1", 1), ("2", 2), ("3", 3)], why)


@task(5)
async def check_every_cut(exercise: Any) -> None:
    whole = [{"n": n} for n in range(1, 13)]
    for cut in range(13):
        did = f"numbered(12 chunks, '{cut}')"
        came = seen(await collected(did, exercise.numbered(given(*whole), str(cut))))
        equal(
            f"(id, chunk) of {did}",
            came,
            [(str(n), n) for n in range(cut + 1, 13)],
            "What comes after the client's last event, with the ids that it would have had: nothing missing, nothing "
            'twice. (Compared as texts, "10" is before "9".)',
        )
