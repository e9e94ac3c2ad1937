# expect: TODO 3: It was to be recorded exactly once
"""A complete answer is recorded at its end and once more in `finally`."""


async def metered(events, prompt, record):
    count = 0
    try:
        async with aclosing(events):
            async for event in events:
                count += bool(event["choices"][0]["delta"].get("content"))
                yield event
        record(usage_of(prompt, count))
        yield {**event, "choices": [], "usage": usage_of(prompt, count)}
    finally:
        record(usage_of(prompt, count))
