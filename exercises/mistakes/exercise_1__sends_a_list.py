# expect: TODO 5: you collected everything before sending
"""The frames are collected before the response is made."""


async def answer(accept, spoken):
    vary = {"Vary": "Accept"}
    if choose(accept) == JSON:
        return JSONResponse(fold([item async for item in items(spoken)]), headers=vary)
    return StreamingResponse([part async for part in frames(items(spoken))], media_type=SSE, headers=vary)
