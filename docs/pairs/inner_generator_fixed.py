"""`aclosing` closes the inner generator where the outer one leaves it."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()
events: list[str] = []


async def rows() -> AsyncGenerator[int]:
    try:
        for number in range(1000):
            yield number
    finally:
        events.append("cursor closed")


@app.get("/doubled")
@dual_mode(on_finish=lambda *_: events.append("response ended"))
async def doubled() -> AsyncIterator[int]:
    async with aclosing(rows()) as inner:
        async for number in inner:
            if number == 3:
                return
            yield number * 2
