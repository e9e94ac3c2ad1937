# expect: TODO 1: with the name `progress`
"""A page cannot tell these events from others."""


async def progress(rows, total):
    done = 0
    async for _ in rows:
        done += 1
        yield ServerSentEvent({"done": done, "of": total})
