# expect: TODO 1: You collect the words
"""All words are collected before the first item is given."""


async def items(spoken):
    words = [word async for word in spoken]
    for number, word in enumerate(words, 1):
        yield {"number": number, "word": word}
