# expect: TODO 1: It has to be an async generator
"""A coroutine that returns a list is no source."""


async def items(spoken):
    said = []
    async for word in spoken:
        said.append({"number": len(said) + 1, "word": word})
    return said
