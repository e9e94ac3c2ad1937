# expect: TODO 5: EventSource refuses a stream of any other type
"""The stream says that it is a document."""


async def answer(accept, spoken):
    vary = {"Vary": "Accept"}
    if choose(accept) == JSON:
        return JSONResponse(fold([item async for item in items(spoken)]), headers=vary)
    return StreamingResponse(frames(items(spoken)), media_type=JSON, headers=vary)
