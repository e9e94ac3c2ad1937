# expect: TODO 1: Numbers begin with 1
"""The first item has number 0."""


async def items(spoken):
    number = 0
    async for word in spoken:
        yield {"number": number, "word": word}
        number += 1
