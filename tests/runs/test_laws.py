"""Cut a run anywhere, come back anywhere: no item is missing, none comes twice, however it was read and stored."""

import asyncio
import itertools
import json
import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from asgi import Call
from dual_mode_streaming import Runs
from dual_mode_streaming.jsonlines import NDJSONDecoder
from dual_mode_streaming.stores import MemoryStore, SQLiteStore
from runs.work import SSE, app_of, events, followed, until

ITEMS = st.lists(
    st.one_of(st.integers(), st.text(max_size=20), st.dictionaries(st.sampled_from("abc"), st.none()), st.booleans()),
    max_size=30,
)


@asynccontextmanager
async def processes(kind):
    """Two `Runs` as two processes have them, with one engine below."""
    if kind == "memory":
        store = MemoryStore()
        yield Runs(store), Runs(store)
        return
    with tempfile.TemporaryDirectory() as folder:
        stores = [SQLiteStore(Path(folder) / "runs.db") for _ in range(2)]
        try:
            yield tuple(map(Runs, stores))
        finally:
            for store in stores:
                await store.aclose()


async def ended(runs):
    for _, task in list(runs._producers.values()):
        await task


@settings(max_examples=40, deadline=None)
@given(
    items=ITEMS,
    bursts=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    cuts=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1)), max_size=6),
    kind=st.sampled_from(["memory", "sqlite"]),
)
def test_cut_anywhere_and_resume_anywhere(items, bursts, cuts, kind):
    async def source():
        for index, item in enumerate(items):
            yield item
            if index % bursts[index % len(bursts)] == 0:
                await asyncio.sleep(0)

    async def go():
        async with processes(kind) as both:
            run = await both[0].start(source())
            got, last_id = [], None
            for count, which in cuts:
                follower = both[which].follow(run.id, after=last_id)
                while count:
                    count -= 1
                    try:
                        event = await anext(follower)
                    except StopAsyncIteration:
                        break
                    got.append(event.data)
                    last_id = event.id
                await follower.aclose()
            got += [event.data for event in await followed(both[1], run.id, after=last_id)]
            assert got == items
            await ended(both[0])

    asyncio.run(go())


@settings(max_examples=25, deadline=None)
@given(items=ITEMS, kind=st.sampled_from(["memory", "sqlite"]))
def test_every_place_of_a_complete_run_and_every_form_of_it(items, kind):
    async def source():
        for item in items:
            yield item

    async def go():
        async with processes(kind) as both:
            run = await both[0].start(source())
            await ended(both[0])
            app, path = app_of(both[1]), f"/runs/{run.id}"
            whole = events((await Call(app, path, headers=SSE).run()).body)
            assert [data for name, data, _ in whole[:-1]] == items
            assert whole[-1][:2] == ("done", {"items": len(items)})
            epoch = whole[-1][2].partition("-")[0]
            assert [place for *_, place in whole] == [f"{epoch}-{n}" for n in range(1, len(items) + 2)]
            for seq in range(len(items) + 1):
                call = await Call(app, path, headers={**SSE, "last-event-id": f"{epoch}-{seq}"}).run()
                assert events(call.body) == whole[seq:]
            assert (await Call(app, path, headers={**SSE, "last-event-id": whole[-1][2]}).run()).status == 204
            lines = (await Call(app, path, headers={"accept": "application/x-ndjson"}).run()).body
            assert [line["data"] for line in NDJSONDecoder().feed(lines)] == items
            assert json.loads((await Call(app, path).run()).body) == {"data": items}

    asyncio.run(go())


def test_a_long_history_is_read_in_pages_that_many_share():
    async def source():
        for number in range(5000):
            yield {"n": number}

    async def go():
        store = MemoryStore()
        runs = Runs(store)
        run = await runs.start(source())
        await ended(runs)
        reads = []

        async def read(run_id, after=0, limit=1000):
            reads.append(after)
            return await MemoryStore.read(store, run_id, after, limit)

        store.read = read
        calls = [Call(app_of(runs), f"/runs/{run.id}", headers=SSE).begin() for _ in range(20)]
        for call in calls:
            await call.end()
            assert [data["n"] for _, data, _ in events(call.body)[:-1]] == list(range(5000))
        assert len(reads) < 10
        await until(lambda: not runs._feeds)

    asyncio.run(go())


class WildBells(MemoryStore):
    """A store whose bells keep no promise but to ring: records are left out, come twice, or come late."""

    def __init__(self, tampering):
        super().__init__()
        self._tampering = itertools.cycle(tampering)

    async def read(self, run_id, after=0, limit=1000):
        """Say that the lease ends soon, so that followers look again soon; for the producer it is long."""
        head, records = await super().read(run_id, after, limit)
        return replace(head, lease=min(head.lease, 0.05)), records

    @asynccontextmanager
    async def watch(self, run_id):
        async with super().watch(run_id) as bell:
            yield WildBell(bell, self._tampering)


class WildBell:
    def __init__(self, bell, tampering):
        self._bell = bell
        self._tampering = tampering
        self._before = []

    async def next(self):
        heard = list(await self._bell.next())
        before, self._before = self._before, heard
        return {"as it is": heard, "none": [], "again": before + heard, "late": heard[1:], "old": before}[
            next(self._tampering)
        ]


@settings(max_examples=60, deadline=None)
@given(
    bursts=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    tampering=st.lists(st.sampled_from(["as it is", "none", "again", "late", "old"]), min_size=1, max_size=6),
)
def test_bells_that_lie_lose_nothing_and_double_nothing(bursts, tampering):
    async def source():
        number = 0
        for burst in bursts:
            for _ in range(burst):
                yield number
                number += 1
            for _ in range(12):  # let what was written be heard
                await asyncio.sleep(0)

    async def go():
        # An old bell leaves the newest record to the next one; the last one is found when the lease is looked at.
        runs = Runs(WildBells(tampering))
        run = await runs.start(source())
        early = asyncio.create_task(followed(runs, run.id))
        call = Call(app_of(runs), f"/runs/{run.id}", headers=SSE).begin()
        got = await early
        assert [event.data for event in got] == list(range(sum(bursts)))
        epoch = got[0].id.partition("-")[0]
        assert [event.id for event in got] == [f"{epoch}-{seq}" for seq in range(1, sum(bursts) + 1)]
        await call.end()
        assert [data for _, data, _ in events(call.body)[:-1]] == list(range(sum(bursts)))
        await ended(runs)

    asyncio.run(go())
