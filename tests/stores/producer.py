"""A producer in a process of its own: `python producer.py KIND ADDRESS PREFIX RUN EPOCH` appends until it is refused.

It writes the number of each record that it has appended, and `refused` in the end.
"""

import asyncio
import sys

from dual_mode_streaming.errors import RunEnded
from dual_mode_streaming.stores import Record
from stores.engines import store_on


async def produce(kind, address, prefix, run_id, epoch):
    store = store_on(kind, address, prefix)
    seq = 0
    try:
        while True:
            seq += 1
            await store.append(run_id, epoch, [Record(seq, b"%d" % seq)])
            print(seq, flush=True)
            await asyncio.sleep(0.01)  # the pace of a model; nothing waits for it
    except RunEnded:
        print("refused", flush=True)
    finally:
        await store.aclose()


if __name__ == "__main__":
    asyncio.run(produce(*sys.argv[1:]))
