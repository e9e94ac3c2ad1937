"""A run: a report on the language reference, made topic by topic, that goes on whoever watches.

It is begun by `POST /reports` and followed at `/runs/{id}`, in both modes, from any place and by any number of clients.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from pydoc_data.topics import topics
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, Field

from dual_mode_streaming import DualModeResponse, Runs

__all__ = ["Report", "Topic", "read_topics", "report_routes", "summed"]

_WORD = re.compile(r"\w+")
_ACCEPTED: dict[str, Any] = {
    "description": "The report is being made, as `Prefer: respond-async` asked; `Location` has it.",
    "headers": {"Location": {"schema": {"type": "string"}, "description": "Where to follow the run."}},
    "content": {"application/json": {"schema": {"type": "object"}}},
}


class Topic(BaseModel):
    """What was found in one topic."""

    number: int = Field(description="1 for the first topic.")
    topic: str
    words: int
    longest: str = Field(description="The longest word; of several that are as long the first in the alphabet.")


class Report(BaseModel):
    """What all topics have together."""

    topics: int
    words: int
    longest: str


def summed(parts: Sequence[Topic]) -> Report:
    """Add the topics up."""
    longest = min((part.longest for part in parts), key=lambda word: (-len(word), word), default="")
    return Report(topics=len(parts), words=sum(part.words for part in parts), longest=longest)


async def read_topics(count: int, pace: float) -> AsyncIterator[Topic]:
    """Read topics in the order of the alphabet.

    Args:
        count: How many; if there are fewer, all.
        pace: Seconds to rest before each, so that there is something to watch.
    """
    for number, name in enumerate(sorted(topics)[:count], 1):
        await anyio.sleep(pace)
        words = _WORD.findall(topics[name])
        longest = min(words, key=lambda word: (-len(word), word), default="")
        yield Topic(number=number, topic=name, words=len(words), longest=longest)


def report_routes(runs: Runs) -> APIRouter:
    """Give the endpoint that begins a report."""
    router = APIRouter()

    @router.post(
        "/reports",
        summary="Begin a report",
        response_class=DualModeResponse,
        responses={
            200: {"model": Report, "content": {"text/event-stream": {}, "application/x-ndjson": {}}},
            202: _ACCEPTED,
        },
    )
    async def begin(
        topics: Annotated[int, Query(ge=1, le=80, description="How many topics to read.")] = 40,
        pace: Annotated[float, Query(ge=0, le=2, description="Seconds to rest before each.")] = 0.15,
        idempotency_key: Annotated[
            str | None, Header(min_length=1, max_length=200, description="Requests with one key share one run.")
        ] = None,
    ) -> DualModeResponse:
        """Count the words of the language reference, as a run: it goes on when its clients have left.

        A stream gives each topic when it was read, with an id; after a cut a client goes on where it was. The batch
        has the sums. With `Prefer: respond-async` the answer is 202, and the run is found at its `Location`.
        """
        key = None if idempotency_key is None else f"report {topics} {pace} {idempotency_key}"
        return runs.answer(read_topics(topics, pace), fold=summed, key=key)

    return router
