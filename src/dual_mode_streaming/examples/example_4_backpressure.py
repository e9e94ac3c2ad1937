"""Example 4: backpressure. A fast producer, a slow reader; what becomes of the items in between?

Every policy of a `Channel` plays the same scene: the reader keeps up, then it is slow for a while, then it is quick
again. The producer never slows down by itself. The chart shows how much waits for the reader, and the table what
became of each item. Nothing is lost without a word: a `gap` event says how many items are missing, in their place.

Run it with `make example-4` or `python -m dual_mode_streaming.examples.example_4_backpressure`.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import psutil  # type: ignore[import-untyped]
from rich import box
from rich.console import Console
from rich.table import Table

from dual_mode_streaming import Channel, ServerSentEvent, errors
from dual_mode_streaming.channels import Policy, Subscription
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.sse import encode_event

console = Console(highlight=False)
if not console.is_terminal:
    console.width = 124

TICKS = 40
PER_TICK = 200
"""How many readings the producer has in a tick."""
SIZE = 1000
"""About how many bytes a reading has, so a run is 8 MB."""
ROOM = 2000
"""How many of them may wait for the reader."""
BYTES = 1_000_000
"""And how many bytes. Of the two bounds the one that is hit first counts; here it is this one."""
SENSORS = 300
LEVELS = " ▁▂▃▄▅▆▇█"


def appetite(tick: int) -> int:
    """Say how many events the reader takes in a tick: enough, then few, then many."""
    return 250 if tick < 8 else 10 if tick < 28 else 400


def reading(number: int) -> dict[str, Any]:
    """Give a reading of one of the sensors."""
    return {"sensor": number * 7 % SENSORS, "number": number, "trace": "x" * (SIZE - 40)}


@dataclass
class Scene:
    """What was seen of a run."""

    published: int = 0
    depths: list[int] = field(default_factory=list)
    """How many bytes waited for the reader, tick by tick."""
    gaps: list[ServerSentEvent] = field(default_factory=list)
    evicted: errors.SlowClient | None = None
    delivered: int = 0
    dropped: int = 0
    conflated: int = 0


async def play(policy: Policy) -> Scene:
    """Play the scene under one policy."""
    channel = Channel(
        policy=policy,
        max_items=ROOM,
        max_bytes=BYTES,
        key=(lambda item: item["sensor"]) if policy == "latest" else None,
    )
    subscription = channel.subscribe()
    scene = Scene()
    may_publish = asyncio.Semaphore(0)

    async def produce() -> None:
        for number in range(TICKS * PER_TICK):
            await may_publish.acquire()
            # The one place where a producer can be held back. Only `block` does it.
            await channel.publish(reading(number))
            scene.published += 1

    producer = asyncio.create_task(produce())
    for tick in range(TICKS):
        for _ in range(PER_TICK):
            may_publish.release()
        # Until the producer is done with this tick, or is held back, which it cannot tell.
        while scene.published < PER_TICK * (tick + 1) and not (policy == "block" and is_full(subscription)):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        scene.depths.append(subscription.stats.buffered_bytes)
        try:
            for _ in range(min(appetite(tick), subscription.stats.buffered_items)):
                take(scene, await anext(subscription))
            if not channel.subscriptions:
                await anext(subscription)  # It was ended, and says so to whoever reads.
        except errors.SlowClient as error:
            scene.evicted = error
            break
    producer.cancel()
    with suppress(asyncio.CancelledError):
        await producer
    channel.close()
    if scene.evicted is None:
        async for event in subscription:
            take(scene, event)
    stats = subscription.stats
    scene.delivered, scene.dropped, scene.conflated = stats.delivered, stats.dropped, stats.conflated
    return scene


def take(scene: Scene, event: ServerSentEvent) -> None:
    """Be the reader."""
    if event.event == "gap":
        scene.gaps.append(event)


def is_full(subscription: Subscription) -> bool:
    """Say whether another reading would be too much."""
    return subscription.stats.buffered_bytes + len(encode_json(reading(9999))) > BYTES


def chart(scene: Scene) -> str:
    """Draw how much waits for the reader, tick by tick."""
    return "".join(LEVELS[-(-8 * depth // BYTES)] for depth in scene.depths)


def heading(text: str) -> None:
    """Print what comes next."""
    console.print(f"\n{text}", style="bold", soft_wrap=True)


def main() -> None:
    """Play the scene under every policy."""
    process = psutil.Process()
    asyncio.run(play("block"))  # what is loaded or grows on first use does so now
    gc.collect()
    before = process.memory_info().rss
    scenes = {policy: asyncio.run(play(policy)) for policy in get_args(Policy)}
    gc.collect()
    after = process.memory_info().rss

    total = PER_TICK * TICKS
    heading(f"1. {total} readings, {total * SIZE // 10**6} MB. The reader may be {BYTES // 1000} kB behind")
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("policy", no_wrap=True)
    for column in ("published", "delivered", "dropped", "conflated", "most kB"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("how much waits for the reader", no_wrap=True)
    for policy, scene in scenes.items():
        figures = [scene.published, scene.delivered, scene.dropped, scene.conflated, max(scene.depths) // 1000]
        end = " [red]ended[/]" if scene.evicted else ""
        table.add_row(f"[cyan]{policy}[/]", *map(str, figures), f"[green]{chart(scene)}[/]{end}")
    console.print(table)
    console.print("  block      the producer waits, for the slowest of all readers")
    console.print("  drop_*     the producer does not wait, and the reader is told what is missing")
    console.print("  latest     the reader gets the newest reading of each sensor, and never one that is out of date")
    console.print("  disconnect the reader is ended, and may come back for what the history still has")

    heading("2. What a client is told")
    for policy in ("drop_oldest", "drop_newest"):
        for gap in scenes[policy].gaps[:1]:
            lines = encode_event(replace(gap, id=f"epoch-{str(gap.id).rpartition('-')[2]}")).decode().splitlines()
            console.print(f"  [cyan]{policy:12}[/]{'   '.join(filter(None, lines))}")
    console.print(f"  [cyan]{'disconnect':12}[/]{scenes['disconnect'].evicted}", soft_wrap=True)

    heading(f"3. Memory after {len(scenes)} runs of {total * SIZE // 10**6} MB each")
    console.print(f"  {before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB after")
    # The allocator keeps some of what it had at its fullest. What is not bounded would keep all that was published.
    flat = after - before < len(scenes) * total * SIZE / 2
    console.print("  [green]it stayed flat[/]" if flat else "  [red]it grew[/]")


if __name__ == "__main__":
    main()
