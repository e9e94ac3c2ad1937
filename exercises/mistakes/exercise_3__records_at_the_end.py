# expect: TODO 3: would have them for nothing
"""Whoever leaves before the end pays nothing."""


async def metered(events, prompt, record):
    count = 0
    async with aclosing(events):
        async for event in events:
            count += bool(event["choices"][0]["delta"].get("content"))
            yield event
    usage = usage_of(prompt, count)
    yield {**event, "choices": [], "usage": usage}
    record(usage)
