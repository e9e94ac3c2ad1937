# expect: TODO 4: Closing one generator does not close the one inside it
"""The inner generator stays open until the garbage collector finds it."""


async def exclusive(events, table):
    table.lock()
    try:
        async for event in events:
            yield event
    finally:
        table.unlock()
