"""`on_finish` is called once, however it ended, in both modes, with the fold of what was given until then."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import Outcome, dual_mode

app = FastAPI()
bills: list[int] = []


def bill(outcome: Outcome, partial: dict[str, list[str]]) -> None:
    bills.append(len(partial["data"]))


@app.post("/answer")
@dual_mode(on_finish=bill)
async def answer() -> AsyncIterator[str]:
    for word in ("Hello", "and", "goodbye"):
        yield word
        await asyncio.sleep(0.01)
