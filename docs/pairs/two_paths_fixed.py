"""The batch is the fold of the stream. There is nothing that could drift."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from dual_mode_streaming import dual_mode
from dual_mode_streaming.fastapi import DualModeRoute

app = FastAPI()
app.router.route_class = DualModeRoute
PRICES = [10.005, 20.0]


@app.get("/prices")
@dual_mode
async def prices() -> AsyncIterator[dict[str, float]]:
    for price in PRICES:
        yield {"price": round(price, 2)}
