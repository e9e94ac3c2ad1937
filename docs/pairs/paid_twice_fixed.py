"""A run belongs to the application. The same Idempotency-Key attaches to it instead of beginning another."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, Header

from dual_mode_streaming import DualModeResponse, Runs

runs = Runs()
app = FastAPI(lifespan=runs.lifespan)
app.router.routes.append(runs.router("/runs"))
bills: list[str] = []


async def report() -> AsyncIterator[str]:
    bills.append("one report")
    for page in ("one", "two"):
        yield page


@app.post("/reports")
async def start(idempotency_key: Annotated[str | None, Header()] = None) -> DualModeResponse:
    return runs.answer(report(), key=idempotency_key)
