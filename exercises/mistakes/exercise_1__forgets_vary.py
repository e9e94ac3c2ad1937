# expect: TODO 5: a cache gives one client what the other one has asked for
"""No header tells a cache that there are two bodies."""


async def answer(accept, spoken):
    if choose(accept) == JSON:
        return JSONResponse(fold([item async for item in items(spoken)]))
    return StreamingResponse(frames(items(spoken)), media_type=SSE)
