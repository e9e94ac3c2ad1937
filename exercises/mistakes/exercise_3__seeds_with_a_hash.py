# expect: TODO 1: `hash` of a text is another number in each process
"""The hash of a text is another one in each process."""


async def tokens(prompt, seed=0, pace=0.0):
    chance = random.Random(hash(prompt) + seed)
    for _ in range(LENGTH):
        await asyncio.sleep(pace)
        yield f"{chance.choice(WORDS)} "
