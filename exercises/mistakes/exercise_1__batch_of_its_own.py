# expect: TODO 5: The batch is the fold of the items
"""The batch is made by other code than the fold."""


async def answer(accept, spoken):
    vary = {"Vary": "Accept"}
    if choose(accept) == JSON:
        return JSONResponse({"data": [item async for item in items(spoken)]}, headers=vary)
    return StreamingResponse(frames(items(spoken)), media_type=SSE, headers=vary)
