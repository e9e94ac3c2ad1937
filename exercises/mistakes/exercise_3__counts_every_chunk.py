# expect: TODO 3: Only deltas with content count as tokens
"""The role and the end are counted as tokens."""


async def metered(events, prompt, record):
    count = 0
    try:
        async with aclosing(events):
            async for event in events:
                count += 1
                yield event
        yield {**event, "choices": [], "usage": usage_of(prompt, count)}
    finally:
        record(usage_of(prompt, count))
