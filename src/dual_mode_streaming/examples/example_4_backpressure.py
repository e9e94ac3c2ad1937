"""Example 4: backpressure. A fast producer, a slow reader; what becomes of the items in between?

Every policy of a `Channel` plays the same scene: the reader keeps up, then it is slow for a while, then it is quick
again. The producer never slows down by itself. The chart shows how much waits for the reader, and the table what became
of each item. Nothing is lost without a word: a `gap` event says how many items are missing, in the place where they are.

Run it with `make example-4` or `python -m dual_mode_streaming.examples.example_4_backpressure`.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, get_args

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from dual_mode_streaming import Channel, ServerSentEvent, errors
from dual_mode_streaming.channels import Policy
from dual_mode_streaming.sse import encode_event

console = Console(highlight=False)
if not console.is_terminal:
    console.width = 124

TICKS = 40
PER_TICK = 200
"""How many readings the producer has in a tick. Each is about a kilobyte, so a run is 8 MB."""
ROOM = 1000
"""How many of them may wait for the reader."""
BYTES = 1_000_000
"""And how many bytes. The tighter bound of the two holds."""
SENSORS = 300
LEVELS = " ▁▂▃▄▅▆▇█"


def appetite(tick: int) -> int:
    """Say how many events the reader takes in a tick: enough, then few, then many."""
    return 250 if tick < 8 else 10 if tick < 28 else 400


def reading(number: int) -> dict[str, Any]:
    """Give a reading of one of the sensors."""
    return {"sensor": number * 7 % SENSORS, "number": number, "trace": "x" * 960}


@dataclass
class Scene:
    """What was seen of a run."""

    published: int = 0
    depths: list[int] = field(default_factory=list)
    most_bytes: int = 0
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
        await until_it_waits(scene, producer, may_publish)
        scene.depths.append(subscription.stats.buffered_items)
        scene.most_bytes = max(scene.most_bytes, subscription.stats.buffered_bytes)
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


async def until_it_waits(scene: Scene, producer: asyncio.Task[None], budget: asyncio.Semaphore) -> None:
    """Wait until the producer has published all that it may, or is held back: it does not get further any more."""
    while not producer.done():
        before = scene.published
        await asyncio.sleep(0.03)
        if scene.published == before:
            return
        if budget.locked():
            await asyncio.sleep(0)


def chart(scene: Scene) -> str:
    """Draw how much waits for the reader, tick by tick."""
    top = max(max(depths) for depths in [scene.depths, [1]])
    top = max(top, SENSORS)
    return "".join(LEVELS[min(8, -(-8 * depth // 980))] for depth in scene.depths)


def heading(text: str) -> None:
    """Print what comes next."""
    console.print(f"\n{text}", style="bold", soft_wrap=True)


def main() -> None:
    """Play the scene under every policy."""
    process = psutil.Process()
    asyncio.run(play("drop_oldest"))  # Whatever is loaded on first use is loaded now.
    gc.collect()
    before = process.memory_info().rss
    scenes = {policy: asyncio.run(play(policy)) for policy in get_args(Policy)}
    gc.collect()
    after = process.memory_info().rss

    megabytes = PER_TICK * TICKS / 1000
    heading(f"1. {PER_TICK * TICKS} readings, {megabytes:.0f} MB, for a reader who may be {BYTES // 1000} kB behind")
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("policy")
    for column in ("published", "delivered", "dropped", "conflated", "most kB"):
        table.add_column(column, justify="right")
    table.add_column(f"what waits for the reader, tick by tick: {'keeps up':8}|{'slow':^20}|{'quick again':>11}")
    for policy, scene in scenes.items():
        figures = [scene.published, scene.delivered, scene.dropped, scene.conflated, scene.most_bytes // 1000]
        end = " [red]ended[/]" if scene.evicted else ""
        table.add_row(f"[cyan]{policy}[/]", *map(str, figures), f"[green]{chart(scene)}[/]{end}")
    console.print(table)


if __name__ == "__main__":
    main()
