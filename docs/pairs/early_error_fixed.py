"""The headers wait for the first item or the first error, so the error has its own status."""

from collections.abc import AsyncIterator

from fastapi import FastAPI, HTTPException

from dual_mode_streaming import dual_mode

app = FastAPI()


@app.get("/orders/{order}")
@dual_mode
async def stream(order: int) -> AsyncIterator[dict[str, str]]:
    if order != 1:
        raise HTTPException(404, "There is no such order.")
    yield {"state": "packing"}
