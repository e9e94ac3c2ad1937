"""The page and its files, with headers that let it load its own and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

__all__ = ["add_page"]

_STATIC = Path(__file__).parent / "static"

# No script and no style but those of our files, no other host, and nobody may frame it.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",  # asked for anew each time, so that a new version is never mixed with an old one
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Files(StaticFiles):
    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers.update(_HEADERS)
        return response


async def _index() -> FileResponse:
    """Give the page."""
    return FileResponse(_STATIC / "index.html", headers=_HEADERS)


def add_page(app: FastAPI) -> None:
    """Put the page at `/`, and its files under `/static`."""
    app.add_api_route("/", _index, methods=["GET", "HEAD"], include_in_schema=False)
    app.mount("/static", _Files(directory=_STATIC), name="static")
