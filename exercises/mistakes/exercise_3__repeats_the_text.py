# expect: TODO 2: a delta that repeats what was said comes out twice
"""Each delta has the whole text so far."""


async def chunks(said, answer):
    yield chunk(answer, {"role": "assistant", "content": ""})
    text = ""
    async for token in said:
        text += token
        yield chunk(answer, {"content": text})
    yield chunk(answer, {}, "stop")
