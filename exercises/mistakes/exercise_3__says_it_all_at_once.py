# expect: TODO 2: belongs to the client
"""All tokens are collected before the first is sent."""


async def chunks(said, answer):
    yield chunk(answer, {"role": "assistant", "content": ""})
    for token in [token async for token in said]:
        yield chunk(answer, {"content": token})
    yield chunk(answer, {}, "stop")
