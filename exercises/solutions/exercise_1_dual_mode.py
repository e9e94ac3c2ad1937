"""Exercise 1: dual mode, by hand.

Somebody dictates a text, word by word. One endpoint gives it to two kinds of clients: those who want the whole text as
one document (a batch), and those who want each word when it is spoken (a stream). You write both, from one source.

`make check-1` says how far you are, `make hint-1` helps, and `make example-1` shows where it leads. To see your own
endpoint, run `.venv/bin/python exercises/exercise_1_dual_mode.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import TypedDict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from dual_mode_streaming import errors, negotiate

JSON = "application/json"
SSE = "text/event-stream"


class Word(TypedDict):
    """An item of the stream."""

    number: int
    word: str


class Text(TypedDict):
    """The batch."""

    text: str
    words: int


# TODO 1: a source gives its items one by one.
#
# `spoken` gives words. Yield an item for each: {"number": 1, "word": "to"}, {"number": 2, "word": "be"}, and so on.
# Yield it as soon as its word is there. Who collects the words first is no source, but a batch.
#
# Read docs/concepts.md#source-and-item
async def items(spoken: AsyncIterator[str]) -> AsyncIterator[Word]:
    """Give an item for each word that is spoken, at the moment in which it is."""
    number = 0
    async for word in spoken:
        number += 1
        yield {"number": number, "word": word}


# TODO 2: choose the mode.
#
# `accept` is the header of a request: None, or a list of wishes with weights, such as
# "application/json;q=0.5, text/event-stream". Return JSON or SSE, whichever the client likes better. Who likes both
# alike, or says nothing, gets JSON. `negotiate` of the library knows the rules; give it your offers in your order.
#
# Read docs/concepts.md#mode-detection
def choose(accept: str | None) -> str:
    """Give the media type of the answer: JSON or SSE."""
    return negotiate(accept, [JSON, SSE])


# TODO 3: write one event.
#
# An event is a block of lines: "event: NAME" if it has a name, then "data: " and the text, then a blank line. Every
# line of a text with several lines has its own "data: ". A name with a line break ("\n" or "\r") would begin a line of
# its own, so that a stranger could forge events: raise ValueError.
#
# Read docs/concepts.md#event-formatting
def frame(data: str, event: str | None = None) -> bytes:
    """Write an event as its bytes on the wire."""
    head = ""
    if event is not None:
        if "\n" in event or "\r" in event:
            raise ValueError(f"a line break in the name {event!r}")
        head = f"event: {event}\n"
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return (head + "".join(f"data: {line}\n" for line in lines) + "\n").encode()


# TODO 4: fold the items.
#
# The batch is made of the items of the stream, by one function. Give all words, joined by blanks, and their number:
# {"text": "to be", "words": 2}.
#
# Read docs/concepts.md#folds
def fold(said: Sequence[Word]) -> Text:
    """Make the batch of all items."""
    return {"text": " ".join(item["word"] for item in said), "words": len(said)}


async def frames(said: AsyncIterator[Word]) -> AsyncIterator[bytes]:
    """Write each item when it is there, and say at the end that this was the end. This one is done."""
    count = 0
    async for item in said:
        count += 1
        yield frame(json.dumps(item))
    yield frame(json.dumps({"items": count}), "done")


# TODO 5: one endpoint, both modes, the same value.
#
# Put it together. For JSON: collect the items, fold them, return a `JSONResponse`. For SSE: return a
# `StreamingResponse` of `frames`, with `media_type=SSE`. Both say "Vary: Accept" in their headers, so that a cache
# keeps them apart.
#
# Read docs/concepts.md#response-modes
async def answer(accept: str | None, spoken: AsyncIterator[str]) -> Response:
    """Answer a request with what is spoken, as a batch or as a stream."""
    vary = {"Vary": "Accept"}
    if choose(accept) == JSON:
        return JSONResponse(fold([item async for item in items(spoken)]), headers=vary)
    return StreamingResponse(frames(items(spoken)), media_type=SSE, headers=vary)


# --- from here on there is nothing to do: an application, so that you can see what you have made -----------------


async def dictation() -> AsyncIterator[str]:
    """Speak a text, slowly."""
    for word in ["To", "stream", "or", "not", "to", "stream"]:
        await asyncio.sleep(0.5)
        yield word


async def show(request: Request) -> Response:
    """Answer GET /text."""
    try:
        return await answer(request.headers.get("accept"), dictation())
    except errors.NotAcceptable as error:
        return JSONResponse(error.problem.as_dict(), 406, {"Vary": "Accept"})


app = Starlette(routes=[Route("/text", show)])


if __name__ == "__main__":
    import uvicorn

    print("Try:  curl http://localhost:8000/text")
    print("      curl -N -H 'Accept: text/event-stream' http://localhost:8000/text")
    uvicorn.run(app, port=8000, log_level="warning")
