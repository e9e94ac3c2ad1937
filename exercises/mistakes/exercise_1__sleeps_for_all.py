# expect: TODO 1: `sleep` (here `await asyncio.sleep(...)` is wanted
"""The sleep of one request is that of all."""

import time


async def items(spoken):
    number = 0
    async for word in spoken:
        time.sleep(0.1)
        number += 1
        yield {"number": number, "word": word}
