# expect: TODO 1: Your code never comes back from here
"""A loop whose condition nothing in it changes."""


async def items(spoken):
    number = 1
    while number:
        word = "to"
    yield {"number": number, "word": word}
