# expect: TODO 2: All of the progress, and then the result
"""The progress is read, and not passed on."""


async def report(rows, total):
    imported = 0
    async for _ in progress(rows, total):
        imported += 1
    yield ServerSentEvent({"imported": imported}, event="result")
