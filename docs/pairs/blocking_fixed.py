"""A plain generator runs in a thread. Where there is an async way, such as `await asyncio.sleep(1)`, take that."""

import time
from collections.abc import Iterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.get("/readings")
@dual_mode
def readings() -> Iterator[float]:
    for celsius in (19.5, 20.0):
        time.sleep(1)  # a driver that can only block
        yield celsius
