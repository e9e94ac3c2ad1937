# expect: TODO 1: A bar that only moves at the end
"""All rows are read before the first event is given."""


async def progress(rows, total):
    read = [row async for row in rows]
    for done, _ in enumerate(read, 1):
        yield ServerSentEvent({"done": done, "of": total}, event="progress")
