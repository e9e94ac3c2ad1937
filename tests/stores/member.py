"""A member of a shared channel in a process of its own: `python -m stores.member KIND ADDRESS PREFIX COUNT TOTAL`.

It subscribes, says so, waits for a line, publishes COUNT items, and writes down the TOTAL events that it gets.
"""

import asyncio
import json
import os
import sys

from dual_mode_streaming import Channel
from stores.engines import store_on


async def take_part(kind, address, prefix, count, total):
    store = store_on(kind, address, prefix)
    channel = Channel(store=store, name="talk", history=1000, max_items=5000)
    async with channel.lifespan():
        subscription = channel.subscribe()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

        async def publish():
            for number in range(count):
                await channel.publish({"from": os.getpid(), "n": number})

        publishing = asyncio.create_task(publish())
        for _ in range(total):
            event = await anext(subscription)
            print(json.dumps([event.id, event.data]), flush=True)
        await publishing


if __name__ == "__main__":
    asyncio.run(take_part(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])))
