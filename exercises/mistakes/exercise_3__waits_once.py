# expect: TODO 1: Wait before each token
"""It waits before the first token alone."""


async def tokens(prompt, seed=0, pace=0.0):
    chance = random.Random(f"{seed}:{prompt}")
    await asyncio.sleep(pace)
    for _ in range(LENGTH):
        yield f"{chance.choice(WORDS)} "
