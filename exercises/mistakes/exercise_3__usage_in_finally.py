# expect: TODO 3: ignored GeneratorExit
"""A generator that is being closed must not yield."""


async def metered(events, prompt, record):
    count = 0
    event = {}
    try:
        async with aclosing(events):
            async for event in events:
                count += bool(event["choices"][0]["delta"].get("content"))
                yield event
    finally:
        record(usage_of(prompt, count))
        yield {**event, "choices": [], "usage": usage_of(prompt, count)}
