# expect: TODO 2: All have the same id
"""Clients put the chunks of an answer together by their id."""


async def chunks(said, answer):
    yield chunk(answer, {"role": "assistant", "content": ""})
    number = 0
    async for token in said:
        number += 1
        yield chunk(f"{answer}-{number}", {"content": token})
    yield chunk(answer, {}, "stop")
