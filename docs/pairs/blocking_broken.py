"""While this sleeps nothing else happens in the process: no other request, no heartbeat, no disconnect."""

import time
from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.get("/readings")
@dual_mode
async def readings() -> AsyncIterator[float]:
    for celsius in (19.5, 20.0):
        time.sleep(1)  # a driver that can only block
        yield celsius
