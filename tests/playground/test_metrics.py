"""Samples are differences of readings, taken at times that do not drift."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from dual_mode_streaming.playground import metrics
from dual_mode_streaming.playground.metrics import Reading, Sample, difference, read_machine, samples

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

ZERO = Reading(
    time=START,
    clock=100.0,
    cores=((10.0, 50.0), (20.0, 50.0)),
    memory=(600, 1000, 55.0),
    disk_percent=12.5,
    disk_bytes=(1000, 2000),
    network_bytes=(30, 40),
)


class Machine:
    """A machine with its own time: waiting moves its clock and the counters go on with it."""

    def __init__(self, *, oversleep: dict[int, float] | None = None) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self.oversleep = oversleep or {}

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds + self.oversleep.get(len(self.waits), 0.0)

    def read(self) -> Reading:
        passed = self.now - 100.0
        return replace(
            ZERO,
            time=START + timedelta(seconds=passed),
            clock=self.now,
            cores=((10.0 + 0.25 * passed, 50.0 + passed), (20.0 + 0.75 * passed, 50.0 + passed)),
            disk_bytes=(1000 + int(100 * passed), 2000),
            network_bytes=(30, 40 + int(8 * passed)),
        )

    async def watch(self, seconds: float, interval: float) -> list[Sample]:
        return [
            sample async for sample in samples(seconds, interval, read=self.read, clock=self.clock, sleep=self.sleep)
        ]


def ticks(found: list[Sample]) -> list[float]:
    return [round((sample.time - START).total_seconds(), 6) for sample in found]


def test_a_sample_is_the_difference_of_two_readings():
    later = replace(
        ZERO,
        time=START + timedelta(seconds=2),
        clock=102.0,
        cores=((11.0, 52.0), (20.0, 52.0)),
        memory=(700, 1000, 65.0),
        disk_percent=13.0,
        disk_bytes=(1500, 2000),
        network_bytes=(130, 41),
    )
    assert difference(ZERO, later).model_dump(mode="json") == {
        "time": "2026-01-02T03:04:07Z",
        "cpu": {"percent": 25.0, "cores": [50.0, 0.0]},
        "memory": {"used": 700, "total": 1000, "percent": 65.0},
        "disk": {"percent": 13.0, "read_per_second": 250.0, "written_per_second": 0.0},
        "network": {"sent_per_second": 50.0, "received_per_second": 0.5},
    }


def test_counters_the_machine_does_not_offer_are_null():
    sample = difference(replace(ZERO, disk_bytes=None), replace(ZERO, clock=101.0, network_bytes=None))
    assert (sample.disk.read_per_second, sample.disk.written_per_second) == (None, None)
    assert (sample.network.sent_per_second, sample.network.received_per_second) == (None, None)


def test_counters_that_start_anew_give_no_negative_rates():
    sample = difference(ZERO, replace(ZERO, clock=101.0, cores=((0.0, 1.0), (20.5, 51.0)), disk_bytes=(5, 2001)))
    assert sample.cpu.cores == [0.0, 50.0]
    assert (sample.disk.read_per_second, sample.disk.written_per_second) == (0.0, 1.0)


def test_no_time_between_two_readings_is_no_division_by_zero():
    sample = difference(ZERO, ZERO)
    assert sample.cpu.percent == 0.0
    assert sample.network.sent_per_second == 0.0


def test_a_core_that_went_offline_is_left_out():
    sample = difference(ZERO, replace(ZERO, clock=101.0, cores=((10.5, 51.0),)))
    assert sample.cpu.cores == [50.0]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("seconds", "interval", "expected"),
    [
        (3, 1, [1, 2, 3]),
        (2.5, 1, [1, 2]),
        (0.3, 0.1, [0.1, 0.2, 0.3]),
        (0.5, 60, [0.5]),
        (1, 1, [1]),
    ],
)
async def test_samples_come_at_each_interval_and_one_at_least(seconds, interval, expected):
    machine = Machine()
    found = await machine.watch(seconds, interval)
    assert ticks(found) == expected
    assert {sample.cpu.percent for sample in found} == {50.0}
    assert machine.waits == pytest.approx([min(interval, seconds)] * len(expected))


@pytest.mark.asyncio
async def test_ticks_do_not_drift():
    machine = Machine(oversleep={1: 0.3, 2: 0.1})
    assert ticks(await machine.watch(4, 1)) == [1.3, 2.1, 3, 4]
    assert machine.waits == pytest.approx([1, 0.7, 0.9, 1])


@pytest.mark.asyncio
async def test_missed_ticks_are_left_out():
    machine = Machine(oversleep={2: 3.5})
    assert ticks(await machine.watch(8, 1)) == [1, 5.5, 5.5, 6, 7, 8]


@pytest.mark.asyncio
async def test_a_machine_that_slept_past_the_end_gives_one_last_sample():
    machine = Machine(oversleep={1: 1000})
    assert ticks(await machine.watch(3, 1)) == [1001, 1001]


@pytest.mark.asyncio
async def test_each_stream_has_its_own_rates():
    first, second = Machine(), Machine()
    async with aclosing(samples(2, 1, read=first.read, clock=first.clock, sleep=first.sleep)) as watched:
        await anext(watched)
        await second.watch(2, 0.1)
        assert (await anext(watched)).disk.read_per_second == 100.0


def test_reading_this_machine():
    reading = read_machine()
    assert reading.time.tzinfo is UTC
    assert len(reading.cores) == psutil.cpu_count()
    assert all(0 <= busy <= everything for busy, everything in reading.cores)
    assert 0 < reading.memory[0] <= reading.memory[1]
    assert 0 <= reading.disk_percent <= 100


@pytest.mark.parametrize("error", [NotImplementedError("no /proc/diskstats"), FileNotFoundError("/proc/net/dev")])
def test_a_machine_without_disks_or_network(monkeypatch, error):
    def refuse():
        raise error

    monkeypatch.setattr(metrics.psutil, "disk_io_counters", refuse)
    monkeypatch.setattr(metrics.psutil, "net_io_counters", refuse)
    reading = read_machine()
    assert (reading.disk_bytes, reading.network_bytes) == (None, None)


@pytest.mark.asyncio
async def test_a_short_watch_of_this_machine():
    found = [sample async for sample in samples(0.15, 0.05)]
    assert 1 <= len(found) <= 3
    for sample in found:
        assert 0 <= sample.cpu.percent <= 100
        assert len(sample.cpu.cores) == psutil.cpu_count()
        assert 0 < sample.memory.percent <= 100
