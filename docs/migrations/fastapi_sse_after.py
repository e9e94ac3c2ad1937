"""Hits of a search, from one endpoint that documents both modes."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from pydantic import BaseModel

from dual_mode_streaming import dual_mode, to_list
from dual_mode_streaming.fastapi import DualModeRoute

app = FastAPI()
app.router.route_class = DualModeRoute


class Hit(BaseModel):
    title: str


@app.get("/search")
@dual_mode(fold=to_list, validate_items=True)
async def search(q: str) -> AsyncIterator[Hit]:
    for number in (1, 2):
        yield Hit(title=f"{q} {number}")
