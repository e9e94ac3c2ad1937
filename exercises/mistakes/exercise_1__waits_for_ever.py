# expect: TODO 1: waits for something that never comes
"""It waits for an event that nobody sets."""


async def items(spoken):
    ready = asyncio.Event()
    await ready.wait()
    async for word in spoken:
        yield {"number": 1, "word": word}
