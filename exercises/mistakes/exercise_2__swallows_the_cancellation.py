# expect: TODO 4: The cancellation was swallowed
"""CancelledError is caught, and not raised again."""


async def exclusive(events, table):
    table.lock()
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except asyncio.CancelledError:
        print("the client has left")
    finally:
        table.unlock()
