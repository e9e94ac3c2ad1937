"""The response closes `doubled`. The generator inside it stays open until the garbage collector finds it."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()
events: list[str] = []


async def rows() -> AsyncIterator[int]:
    try:
        for number in range(1000):
            yield number
    finally:
        events.append("cursor closed")


@app.get("/doubled")
@dual_mode(on_finish=lambda *_: events.append("response ended"))
async def doubled() -> AsyncIterator[int]:
    inner = rows()
    kept.append(inner)  # a reference is enough, and a traceback is one
    async for number in inner:
        if number == 3:
            return
        yield number * 2


kept: list[AsyncIterator[int]] = []
