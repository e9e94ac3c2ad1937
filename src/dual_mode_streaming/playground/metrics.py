"""This machine's CPU, memory, disk and network, live.

Rules of this file:

- A sample is the difference of two readings of the kernel's counters. So every stream has its own rates, however
  many run at once; `psutil.cpu_percent` would share one "last time" between all of them.
- Reading the counters may block (a disk that hangs), so it is done in a thread.
- Ticks are counted from the start and not from the tick before, so they do not drift. Ticks that were missed,
  because the machine slept or is overloaded, are left out rather than sent in a burst.
- A counter that the machine does not offer, as disks in some containers, is null and not zero.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psutil  # type: ignore[import-untyped]
from pydantic import BaseModel, Field

__all__ = ["Cpu", "Disk", "Memory", "Network", "Reading", "Sample", "difference", "read_machine", "samples"]


class Cpu(BaseModel):
    """How busy the processor was, in percent."""

    percent: float
    cores: list[float]


class Memory(BaseModel):
    """Memory in bytes. `percent` is what programs cannot get any more, so it is not simply used / total."""

    used: int
    total: int
    percent: float


class Disk(BaseModel):
    """How full the main disk is, and what was read and written on all disks, in bytes per second."""

    percent: float
    read_per_second: float | None
    written_per_second: float | None


class Network(BaseModel):
    """What all network interfaces sent and received, in bytes per second."""

    sent_per_second: float | None
    received_per_second: float | None


class Sample(BaseModel):
    """The state of the machine at one time. Rates and percentages of the CPU are since the sample before."""

    time: datetime = Field(description="When the sample was taken, in UTC.")
    cpu: Cpu
    memory: Memory
    disk: Disk
    network: Network


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters of the machine at one moment. They only grow; two readings make a sample.

    Attributes:
        time: The moment, in UTC.
        clock: The same moment in seconds on a clock that never jumps.
        cores: For each core the seconds it was busy, and the seconds in all.
        memory: Used bytes, all bytes, percent.
        disk_percent: How full the main disk is.
        disk_bytes: Bytes read and written so far; None where the machine does not tell.
        network_bytes: Bytes sent and received so far; None where the machine does not tell.
    """

    time: datetime
    clock: float
    cores: tuple[tuple[float, float], ...]
    memory: tuple[int, int, float]
    disk_percent: float
    disk_bytes: tuple[int, int] | None
    network_bytes: tuple[int, int] | None


def read_machine() -> Reading:
    """Read the counters of this machine. It may block."""
    memory = psutil.virtual_memory()
    disk = _offered(psutil.disk_io_counters)
    network = _offered(psutil.net_io_counters)
    return Reading(
        time=datetime.now(UTC),
        clock=time.monotonic(),
        cores=tuple(map(_busy_and_all, psutil.cpu_times(percpu=True))),
        memory=(memory.used, memory.total, memory.percent),
        disk_percent=psutil.disk_usage(Path.home().anchor).percent,
        disk_bytes=None if disk is None else (disk.read_bytes, disk.write_bytes),
        network_bytes=None if network is None else (network.bytes_sent, network.bytes_recv),
    )


def difference(before: Reading, after: Reading) -> Sample:
    """Make a sample of two readings. Where no time has passed between them, its rates are zero."""
    seconds = after.clock - before.clock
    busy = [
        (max(new[0] - old[0], 0.0), max(new[1] - old[1], 0.0))
        for old, new in zip(before.cores, after.cores, strict=False)  # a core may have gone to sleep
    ]
    read, written = _rates(before.disk_bytes, after.disk_bytes, seconds)
    sent, received = _rates(before.network_bytes, after.network_bytes, seconds)
    used, total, percent = after.memory
    return Sample(
        time=after.time,
        cpu=Cpu(percent=_percent(*map(sum, zip(*busy, strict=True))), cores=[_percent(*core) for core in busy]),
        memory=Memory(used=used, total=total, percent=percent),
        disk=Disk(percent=after.disk_percent, read_per_second=read, written_per_second=written),
        network=Network(sent_per_second=sent, received_per_second=received),
    )


async def samples(
    seconds: float,
    interval: float,
    *,
    read: Callable[[], Reading] = read_machine,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> AsyncIterator[Sample]:
    """Watch the machine for a while.

    Args:
        seconds: How long.
        interval: The seconds between two samples. The first comes after one interval, as it needs two readings;
            if the interval is longer than the whole watch, one sample comes at its end.
        read: What reads the counters, in a thread.
        clock: What tells the time, in seconds.
        sleep: What waits.
    """
    interval = min(interval, seconds)
    ticks = int(seconds / interval + 1e-6)  # 0.3 / 0.1 is a little less than 3
    start = clock()
    before = await anyio.to_thread.run_sync(read)
    tick = 0
    while tick < ticks:
        missed = int((clock() - start) / interval)
        tick = min(max(tick + 1, missed), ticks)
        await sleep(max(start + tick * interval - clock(), 0.0))
        after = await anyio.to_thread.run_sync(read)
        yield difference(before, after)
        before = after


def _offered(counters: Callable[[], Any]) -> Any:
    """Read counters that not every machine has. psutil says so in either of two ways."""
    try:
        return counters()
    except (NotImplementedError, OSError):
        return None


def _busy_and_all(times: Any) -> tuple[float, float]:
    """Split the times of a core. Waiting for a disk is idle, and Linux counts the time of guests twice."""
    everything = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return everything - times.idle - getattr(times, "iowait", 0.0), everything


def _percent(busy: float, everything: float) -> float:
    return round(min(100.0 * busy / everything, 100.0), 1) if everything > 0 else 0.0


def _rates(
    before: tuple[int, int] | None, after: tuple[int, int] | None, seconds: float
) -> tuple[float, float] | tuple[None, None]:
    if before is None or after is None:
        return None, None
    if seconds <= 0:
        return 0.0, 0.0
    # A counter starts anew when a disk or an interface is taken away.
    first, second = (round(max(new - old, 0) / seconds, 1) for old, new in zip(before, after, strict=True))
    return first, second
