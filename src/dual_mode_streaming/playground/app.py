"""The demo application: three sources of real data, each written once and answered in both modes; and a language model.

Everything that has to do with modes is in two places: `@dual_mode` above a generator, and `DualModeRoute`, which
documents them. The language model has the endpoints of its vendors' clients, by `llm_router`. `make run` starts it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from dual_mode_streaming import dual_mode, last
from dual_mode_streaming.fastapi import DualModeRoute
from dual_mode_streaming.llm import LlamaModel, Model, Simulator, llm_router

from .imports import Progress, Summary, import_csv
from .metrics import Sample, samples
from .search import Hit, find, ranked
from .uploads import Upload, receive_upload

__all__ = ["app", "create_app"]

_STATIC = Path(__file__).parent / "static"

# The page loads its own files and nothing else, and nobody may frame it.
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

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


@router.get("/metrics", summary="Watch this machine")
@dual_mode
async def metrics(
    seconds: Annotated[float, Query(gt=0, le=3600, description="How long to watch.")] = 10,
    interval: Annotated[float, Query(ge=0.05, le=60, description="Seconds between two samples.")] = 1,
) -> AsyncIterator[Sample]:
    """CPU, memory, disk and network, live.

    A stream gives each sample when it is taken. The batch answer comes when the time is over and has all of them.
    """
    async for sample in samples(seconds, interval):
        yield sample


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


async def index() -> FileResponse:
    """Show what there is, with commands to copy."""
    return FileResponse(_STATIC / "index.html", headers=_PAGE_HEADERS)


def language_model() -> Model:
    """Give the real model if `make local-model` has installed it, else a simulated one. Both are called `demo` too."""
    if LlamaModel.available():
        return LlamaModel(names=("demo", "smollm2-135m-instruct"))
    return Simulator(pace=0.03, first_token=0.2, names=("demo", "simulator"))


def create_app(model: Model | None = None) -> FastAPI:
    """Make the demo application.

    Args:
        model: The language model; None for the best one that is installed.
    """
    app = FastAPI(
        title="dual-mode-streaming: the demo",
        description="Every endpoint is one async generator. `Accept` or `?stream=true` chooses the mode.",
    )
    app.include_router(router)
    app.include_router(llm_router(model or language_model()))
    app.add_api_route("/", index, methods=["GET", "HEAD"], include_in_schema=False)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    return app


app = create_app()
