"""A channel that several processes share, over real engines: SQLite, Valkey and NATS."""

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from dual_mode_streaming import Channel
from dual_mode_streaming.errors import StoreError
from dual_mode_streaming.testing import TCPProxy
from runs.workers import Workers, follow
from stores.engines import store_on

KINDS = ["sqlite", "redis", "nats"]
each_kind = pytest.mark.parametrize("kind", KINDS)
each_network = pytest.mark.parametrize("kind", KINDS[1:])
TESTS = Path(__file__).parents[1]


@pytest.fixture
def address(kind, request, tmp_path):
    if kind == "sqlite":
        return str(tmp_path / "channels.db")
    return request.getfixturevalue("nats_engine" if kind == "nats" else "valkey_engine").address


@pytest_asyncio.fixture
async def connect(kind, address, prefix):
    """Make channels of one name, each with a store of its own as another process has it, and close them in the end."""
    channels = []

    def make(at=address, timeout=5.0, **options):
        times = {} if kind == "sqlite" else {"timeout": timeout}
        store = store_on(kind, at, prefix, **times)
        channels.append((Channel(store=store, name="talk", **options), store))
        return channels[-1][0]

    yield make
    for channel, store in channels:
        await channel.aclose()
        await store.aclose()


async def take(subscription, count):
    async with asyncio.timeout(20):
        return [await anext(subscription) for _ in range(count)]


def member(kind, address, prefix, count, total):
    command = [sys.executable, "-m", "stores.member", kind, address, prefix, str(count), str(total)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


@each_kind
def test_all_processes_get_everything_in_one_order(kind, address, prefix):
    members = [member(kind, address, prefix, 40, 120) for _ in range(3)]
    try:
        for one in members:
            assert one.stdout.readline() == "ready\n"
        for one in members:
            one.stdin.write("\n")
            one.stdin.flush()
        got = [one.communicate(timeout=60)[0].splitlines() for one in members]
    finally:
        for one in members:
            one.kill()
            one.wait()
    assert got[0] == got[1] == got[2]
    events = [json.loads(line) for line in got[0]]
    epoch = events[0][0].partition("-")[0]
    assert [event_id for event_id, _ in events] == [f"{epoch}-{seq}" for seq in range(1, 121)]
    for one in members:
        assert [data["n"] for _, data in events if data["from"] == one.pid] == list(range(40))


@pytest.mark.asyncio
@each_kind
async def test_a_process_that_is_killed_while_it_publishes_harms_no_other(kind, address, prefix, connect):
    channel = connect(history=1000)
    await channel.open()
    subscription = channel.subscribe()
    with member(kind, address, prefix, 100_000, 100_000) as process:
        try:
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
            process.stdin.write("\n")
            process.stdin.flush()
            got = await take(subscription, 20)
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
    last = await channel.publish("the last word")
    while got[-1].id != last:
        got += await take(subscription, 1)
    assert [event.id for event in got] == [f"{channel.epoch}-{seq}" for seq in range(1, len(got) + 1)]
    assert [event.data["n"] for event in got[:-1]] == list(range(len(got) - 1))
    again = await take(connect(history=1000).subscribe(last_event_id=got[4].id), len(got) - 5)
    assert again == got[5:]


@each_kind
def test_clients_that_leave_come_back_to_another_process_and_miss_nothing(kind, address, prefix):
    workers = Workers("stores.channel_app:app", CHANNEL_STORE=f"{kind} {address} {prefix}")
    total = 60
    try:
        urls = [workers.alone()[0] for _ in range(2)]
        results, began = {}, threading.Barrier(5)

        def read(number):
            rng = random.Random(number)
            got, last_id, turn = [], "", number
            while not got or got[-1].event != "done":
                events = follow(urls[turn % 2], "/talk", last_id, began.wait if not got else lambda: None)
                left, turn = rng.randint(1, 20), turn + 1
                for event in events:
                    got.append(event)
                    last_id = event.id
                    left -= 1
                    if not left:
                        break
                events.close()
            results[number] = got

        threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        began.wait(30)  # all have their headers: from here on nothing may be missed
        for number in range(total):
            assert httpx2.post(f"{urls[number % 2]}/talk", json=number, timeout=20).status_code == 200
        assert httpx2.get(f"{urls[1]}/talk", timeout=20).json() == {"data": list(range(total))}
        assert httpx2.delete(f"{urls[0]}/talk", timeout=20).status_code == 200
        for thread in threads:
            thread.join(60)
    finally:
        workers.stop()
    assert len(results) == 4
    for number, got in results.items():
        assert [event.event for event in got] == [None] * total + ["done"], number
        assert [json.loads(event.data) for event in got[:-1]] == list(range(total)), number
        assert len({event.id.partition("-")[0] for event in got[:-1]}) == 1


@pytest.mark.asyncio
@each_network
async def test_a_connection_that_is_cut_is_no_gap(kind, address, connect):
    with TCPProxy(address) as proxy:
        here, there = connect(at=proxy.url.removeprefix("http://"), history=10), connect(history=10)
        subscription = here.subscribe()
        await asyncio.gather(here.open(), there.open())
        await there.publish(1)
        assert [event.data for event in await take(subscription, 1)] == [1]
        await asyncio.to_thread(proxy.cut)
        for number in range(2, 6):
            await there.publish(number)
        assert [event.data for event in await take(subscription, 4)] == [2, 3, 4, 5]
        await here.aclose()
        await here._store.aclose()


@pytest.mark.asyncio
@each_network
async def test_an_engine_that_stays_away_is_told_to_publishers_and_subscribers(kind, address, connect, monkeypatch):
    monkeypatch.setattr("dual_mode_streaming.channels.link.PATIENCE", 0.2)
    with TCPProxy(address) as proxy:
        channel = connect(at=proxy.url.removeprefix("http://"), timeout=0.5)
        subscription = channel.subscribe()
        await channel.open()
    with pytest.raises(StoreError) as caught:
        await channel.publish(1)
    assert (caught.value.status, int(caught.value.headers["retry-after"]) > 0) == (503, True)
    with pytest.raises(StoreError):
        await take(subscription, 1)
