"""Exercise 3: a simulator of a language model.

No key, no network, no cost, and the same answer each time: good for tests. You build one that speaks as OpenAI's Chat
Completions do, so that real clients could read it. Each TODO is a part of one pipeline:

    tokens  ->  chunks  ->  metered  ->  numbered  ->  wire

`make check-3` says how far you are, `make hint-3` helps, and `make example-3` shows where it leads. To see your own
simulator, run `.venv/bin/python exercises/exercise_3_llm_simulator.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dual_mode_streaming import ServerSentEvent
from dual_mode_streaming.errors import ModelError
from dual_mode_streaming.sse import encode_event

logger = logging.getLogger(__name__)

WORDS = ("a", "river", "is", "water", "that", "moves", "slowly", "to", "the", "sea")
LENGTH = 12

Chunk = dict[str, Any]
Usage = dict[str, int]


# TODO 1: say words, slowly, and always the same ones.
#
# Yield LENGTH tokens. Each is a word and a blank, "river ", chosen from WORDS by the `choice` of
# `random.Random(f"{seed}:{prompt}")`. A generator of its own, so that no other request changes what this one says.
# Before each token wait `pace` seconds.
#
# Read docs/concepts.md#source-and-item
async def tokens(prompt: str, seed: int = 0, pace: float = 0.0) -> AsyncGenerator[str, None]:
    """Give the tokens of an answer. The same prompt and seed give the same answer."""
    chance = random.Random(f"{seed}:{prompt}")
    for _ in range(LENGTH):
        await asyncio.sleep(pace)
        yield f"{chance.choice(WORDS)} "


def chunk(answer: str, delta: dict[str, str], finish: str | None = None) -> Chunk:
    """Make one chunk of the stream of an answer. This one is done."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": answer, "object": "chat.completion.chunk", "created": 0, "model": "simulator", "choices": [choice]}


# TODO 2: deltas in the shape of one vendor.
#
# The first chunk has the delta {"role": "assistant", "content": ""}. Then each token is a chunk with the delta
# {"content": "river "}: what is new, not all that was said so far. The last one has an empty delta, {}, and the finish
# reason "stop". `chunk` makes them; all have the same id, `answer`.
#
# Read docs/llm.md#openai-chat-completions
async def chunks(said: AsyncIterator[str], answer: str) -> AsyncGenerator[Chunk, None]:
    """Give the chunks of an answer."""
    yield chunk(answer, {"role": "assistant", "content": ""})
    async for token in said:
        yield chunk(answer, {"content": token})
    yield chunk(answer, {}, "stop")


def usage_of(prompt: str, output: int) -> Usage:
    """Count the tokens of a request and its answer. This one is done."""
    words = len(prompt.split())
    return {"prompt_tokens": words, "completion_tokens": output, "total_tokens": words + output}


# TODO 3: the usage, last, and whatever happens.
#
# Pass all chunks on, and count those whose delta has a "content" that is not empty. Then yield a last chunk: a copy of
# the chunk before it, with "choices": [] and "usage": `usage_of(prompt, count)`. And call `record(usage)`, exactly
# once, in any case. When the client leaves after three tokens, or the model fails, three tokens are to be paid all the
# same. Give `events` back with `aclosing`.
#
# Read docs/patterns.md#graceful-client-disconnection
async def metered(
    events: AsyncGenerator[Chunk, None], prompt: str, record: Callable[[Usage], None]
) -> AsyncGenerator[Chunk, None]:
    """Pass chunks on, end with the usage, and record it."""
    count = 0
    event: Chunk = {}
    try:
        async with aclosing(events):
            async for event in events:
                count += bool(event["choices"][0]["delta"].get("content"))
                yield event
        yield {**event, "choices": [], "usage": usage_of(prompt, count)}
    finally:
        record(usage_of(prompt, count))


def failure(message: str, code: str) -> bytes:
    """Write the last event of a stream that has failed. This one is done."""
    return encode_event(ServerSentEvent({"error": {"message": message, "code": code}}))


# TODO 4: a failure in mid-stream must not look like an end.
#
# The status 200 is long gone. Write each event with `encode_event`. When `events` raises an exception, write a last
# event whose data is {"error": {"message": TEXT, "code": CODE}}, and nothing after it. A ModelError was made for
# clients: its text is `str(error)`, its code `error.code`. The text of any other exception is for the log: say "The
# model has failed." and "internal_error". Only a complete stream ends with `data: [DONE]`, which is no JSON: use
# `raw=`.
#
# Read docs/concepts.md#the-end-of-a-stream
async def wire(events: AsyncIterator[ServerSentEvent]) -> AsyncGenerator[bytes, None]:
    """Write events as bytes, with an end that says how it was."""
    try:
        async for event in events:
            yield encode_event(event)
    except ModelError as error:
        yield failure(str(error), error.code)
    except Exception:
        logger.exception("The simulator has failed")
        yield failure("The model has failed.", "internal_error")
    else:
        yield encode_event(ServerSentEvent(raw="[DONE]"))


# TODO 5: come back and go on.
#
# Number the chunks: each is an event `ServerSentEvent(chunk, id="1")`, "2", and so on. A client that has lost its
# connection sends the id of its last event, and gets what comes after it, with the numbers that it would have had. The
# model is a function of prompt and seed, so it says the same once more: skip what the client has. An id that is no
# number, or None, is no place: begin at the beginning.
#
# Read docs/protocol.md#reconnecting
async def numbered(events: AsyncIterator[Chunk], last_event_id: str | None) -> AsyncGenerator[ServerSentEvent, None]:
    """Give chunks as events with ids, from the one after `last_event_id`."""
    seen = int(last_event_id) if last_event_id and last_event_id.isdecimal() else 0
    number = 0
    async for event in events:
        number += 1
        if number > seen:
            yield ServerSentEvent(event, id=str(number))


# --- from here on there is nothing to do: an application, so that you can see what you have made -----------------


async def chat(request: Request) -> Response:
    """Answer POST /v1/chat/completions, always with a stream."""
    prompt = json.loads(await request.body())["messages"][-1]["content"]
    said = chunks(tokens(prompt, pace=0.2), "chatcmpl-1")
    events = metered(said, prompt, lambda usage: print("to be paid:", usage))
    body = wire(numbered(events, request.headers.get("last-event-id")))
    return StreamingResponse(body, media_type="text/event-stream")


app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])


if __name__ == "__main__":
    import uvicorn

    print("Try:  curl -N http://localhost:8000/v1/chat/completions \\")
    print("""           -d '{"messages": [{"content": "What is a river?"}]}'""")
    uvicorn.run(app, port=8000, log_level="warning")
