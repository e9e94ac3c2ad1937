# expect: TODO 3: count a token before you yield it
"""The token at which the client leaves is not counted."""


async def metered(events, prompt, record):
    count = 0
    try:
        async with aclosing(events):
            async for event in events:
                yield event
                count += bool(event["choices"][0]["delta"].get("content"))
        yield {**event, "choices": [], "usage": usage_of(prompt, count)}
    finally:
        record(usage_of(prompt, count))
