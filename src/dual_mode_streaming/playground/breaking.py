"""A source that breaks where it is told to: before its first item, or after some."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal

import anyio
from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel

from dual_mode_streaming import dual_mode
from dual_mode_streaming.fastapi import DualModeRoute

__all__ = ["Failure", "Step", "router"]

Failure = Literal["unavailable", "bug"]
"""`unavailable` is an error that the author raises for the client, `bug` one that nobody expected."""

router = APIRouter(route_class=DualModeRoute, include_in_schema=False)


class Step(BaseModel):
    """One item."""

    step: int


@router.get("/breaking")
@dual_mode
async def breaking(
    after: Annotated[int | None, Query(ge=0, le=100, description="After how many items to break.")] = None,
    how: Annotated[Failure, Query(description="What goes wrong.")] = "unavailable",
    items: Annotated[int, Query(ge=0, le=100, description="How many items there would be.")] = 5,
    pace: Annotated[float, Query(ge=0, le=2, description="Seconds before each.")] = 0.2,
) -> AsyncIterator[Step]:
    """Give some items, and break."""
    for number in range(items + 1):
        if number == after:
            if how == "unavailable":
                raise HTTPException(503, "The warehouse does not answer.", {"Retry-After": "3"})
            raise RuntimeError("the password of the warehouse is swordfish")  # which no client is told
        if number < items:
            await anyio.sleep(pace)
            yield Step(step=number + 1)
