# expect: TODO 4: The table stays locked for ever
"""What comes after the loop does not run when something is raised."""


async def exclusive(events, table):
    table.lock()
    async with aclosing(events):
        async for event in events:
            yield event
    table.unlock()
