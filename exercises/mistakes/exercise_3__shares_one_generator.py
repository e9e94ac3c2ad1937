# expect: TODO 1: both use the one generator of the module
"""The generator of the module `random` belongs to all requests."""


async def tokens(prompt, seed=0, pace=0.0):
    random.seed(f"{seed}:{prompt}")
    for _ in range(LENGTH):
        await asyncio.sleep(pace)
        yield f"{random.choice(WORDS)} "
