# expect: TODO 4: The table has to be locked
"""Two imports run at the same time."""


async def exclusive(events, table):
    async with aclosing(events):
        async for event in events:
            yield event
