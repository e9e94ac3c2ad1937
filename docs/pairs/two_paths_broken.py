"""Two implementations of one answer. Somebody has fixed the rounding, in one of them."""

from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from dual_mode_streaming import DualModeResponse, ResponseMode, detect_mode

app = FastAPI()
PRICES = [10.005, 20.0]


async def streamed() -> AsyncIterator[dict[str, float]]:
    for price in PRICES:
        yield {"price": price}


@app.get("/prices")
async def prices(request: Request) -> Response:
    if detect_mode(request) is ResponseMode.STREAM:
        return DualModeResponse(streamed())
    rounded = [{"price": round(price, 2)} for price in PRICES]
    return JSONResponse({"data": rounded}, headers={"Vary": "Accept"})
