"""What the runs of the chaos consist of. It follows from the name of a run, so a client knows what it has to get."""

import asyncio
import random

__all__ = ["items_of", "work"]


def items_of(key):
    """Give the items of a run: some dozens or hundreds, of a few bytes or some thousand."""
    rng = random.Random(key)
    sizes = [0, 10, 200, 4000]
    return [{"n": number, "key": key, "pad": "ä" * rng.choice(sizes)} for number in range(rng.randrange(20, 300))]


async def work(key):
    """Give them: one by one with pauses, or many at once."""
    rng = random.Random(f"pace of {key}")
    pace = rng.choice([0.0, 0.002, 0.01])
    for item in items_of(key):
        yield item
        if rng.random() < 0.5:
            await asyncio.sleep(pace * rng.random())
