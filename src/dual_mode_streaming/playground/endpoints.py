"""Three sources of real data as endpoints, each written once and answered in both modes.

Everything that has to do with modes is in two places: `@dual_mode` above a generator, and `DualModeRoute`, which
documents them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from dual_mode_streaming import Runs, dual_mode, last
from dual_mode_streaming.fastapi import DualModeRoute

from .imports import Progress, Summary, import_csv
from .metrics import Sample, samples
from .search import Hit, find, ranked
from .uploads import Upload, receive_upload

__all__ = ["router"]

_FILE: dict[str, Any] = {"type": "string", "format": "binary"}
_CSV_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {"schema": _FILE},
            "application/octet-stream": {"schema": _FILE},
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": _FILE}},
            },
        },
    }
}

# What the parameters' types cannot say is told as text.
_REFUSED: dict[int | str, dict[str, Any]] = {
    422: {
        "description": "Something is wrong with the request",
        "content": {"application/json": {"schema": {"type": "object", "required": ["detail"]}}},
    }
}

router = APIRouter(route_class=DualModeRoute)


def runs_of(request: Request) -> Runs:
    """Give the runs of the application."""
    runs: Runs = request.app.state.runs
    return runs


@router.get("/metrics", summary="Watch this machine")
@dual_mode
async def metrics(
    runs: Annotated[Runs, Depends(runs_of)],
    seconds: Annotated[float, Query(gt=0, le=3600, description="How long to watch.")] = 10,
    interval: Annotated[float, Query(ge=0.05, le=60, description="Seconds between two samples.")] = 1,
    watch: Annotated[
        str | None,
        Query(min_length=1, max_length=64, description="Requests that name the same watch get the same samples."),
    ] = None,
) -> AsyncIterator[Sample]:
    """CPU, memory, disk and network, live.

    A stream gives each sample when it is taken. The batch answer comes when the time is over and has all of them. No
    two watches read the same numbers, so who wants to compare both modes lets them follow one: `watch` names it.
    """
    if watch is None:
        async for sample in samples(seconds, interval):
            yield sample
        return
    run = await runs.start(samples(seconds, interval), key=f"metrics {seconds} {interval} {watch}")
    async with aclosing(runs.follow(run.id)) as events:
        async for event in events:
            yield Sample.model_validate(event.data)


@router.get("/search", summary="Search the Python language reference", responses=_REFUSED)
@dual_mode(fold=ranked)
async def search(
    q: Annotated[str, Query(min_length=1, max_length=200, description='Words and "phrases"; all must occur.')],
    limit: Annotated[int, Query(ge=1, le=100, description="Stop after so many topics.")] = 100,
) -> AsyncIterator[Hit]:
    """Topics in which all words occur.

    A stream gives each hit when it is found, topics with a word in their title first. The batch answer has them
    ranked.
    """
    async for hit in find(q, limit=limit):
        yield hit


async def uploaded(request: Request) -> AsyncIterator[Upload]:
    """Receive the file before the answer begins, and keep it until the answer has ended."""
    async with receive_upload(request) as upload:
        yield upload


@router.post(
    "/import", summary="Import a CSV file", response_model=Summary, openapi_extra=_CSV_BODY, responses=_REFUSED
)
@dual_mode(fold=last)
def import_file(upload: Annotated[Upload, Depends(uploaded)]) -> AsyncIterator[Progress | Summary]:
    """Read a CSV file of any size into SQLite.

    Send it as the body, or as the field `file` of a form. It is in UTF-8, its first row names the columns, and
    commas, semicolons, tabs or bars separate them. A stream tells the progress and ends with the summary; the batch
    answer is the summary. Bad rows are named by their line, and the rest is kept. The database is gone afterwards.
    """
    # Handed over as it is. Around it another generator would have to see to it that this one is closed.
    return import_csv(upload.file, upload.size)
