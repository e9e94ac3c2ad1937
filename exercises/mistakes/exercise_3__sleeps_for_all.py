# expect: TODO 1: `sleep` (here `await asyncio.sleep(...)` is wanted
"""The pace of one answer stops all others."""

import time


async def tokens(prompt, seed=0, pace=0.0):
    chance = random.Random(f"{seed}:{prompt}")
    for _ in range(LENGTH):
        time.sleep(pace)
        yield f"{chance.choice(WORDS)} "
