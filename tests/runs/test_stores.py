"""The stores that need no engine keep their promises, the suite sees broken ones, and SQLite's troubles are told."""

import asyncio
import sqlite3
import threading
from dataclasses import replace

import pytest

from asking import asked
from dual_mode_streaming.errors import RunNotFound, StoreError
from dual_mode_streaming.stores import Limits, MemoryStore, NewRun, Record, RunState, SQLiteStore, Store
from dual_mode_streaming.stores import _sqlite_tables as tables
from dual_mode_streaming.testing import check_store


@pytest.mark.asyncio
async def test_the_memory_store_keeps_its_promises():
    store = MemoryStore()
    checked = await check_store(lambda: store)
    assert len(checked) == 15
    assert any(promise.startswith("Of many callers with one key") for promise in checked)


@pytest.mark.asyncio
async def test_the_sqlite_store_keeps_its_promises(tmp_path):
    async def factory():
        return SQLiteStore(tmp_path / "runs.db")

    assert len(await check_store(factory)) == 15
    assert len(await check_store(lambda: SQLiteStore(tmp_path / "runs.db", durable=True), record_bytes=10)) == 15


# --- the suite sees what is broken -------------------------------------------------------------------------


class LosesRecords(MemoryStore):
    async def append(self, run_id, epoch, records):
        return await super().append(run_id, epoch, [*records[:-2], *(r._replace(data=b"") for r in records[-2:])])


class KeepsRepeats(MemoryStore):
    async def append(self, run_id, epoch, records):
        last = self._runs[run_id].last if run_id in self._runs else 0
        again = [record._replace(seq=last + n) for n, record in enumerate(records, 1)]
        return await super().append(run_id, epoch, again if records and records[0].seq <= last else records)


class RacesForKeys(MemoryStore):
    async def claim(self, run):
        if (run.owner, run.key) not in self._by_key:
            await asyncio.sleep(0)
            self._by_key.pop((run.owner, run.key), None)
        return await super().claim(run)


class MixesOwners(MemoryStore):
    async def claim(self, run):
        return await super().claim(replace(run, owner=run.owner or "None"))


class TakesZombies(MemoryStore):
    async def append(self, run_id, epoch, records):
        self._get(run_id).closed = False
        return await super().append(run_id, epoch, records)


class TakesForeignEpochs(MemoryStore):
    async def renew(self, run_id, epoch):
        return await super().renew(run_id, self._get(run_id).run.epoch)


class ClosesTheLiving(MemoryStore):
    async def close(self, run_id, event, data, *, if_lost=False):
        return await super().close(run_id, event, data)


class NeverTrims(MemoryStore):
    async def claim(self, run):
        return await super().claim(replace(run, limits=replace(run.limits, max_items=None, max_bytes=None)))


class NeverExpires(MemoryStore):
    async def claim(self, run):
        return await super().claim(replace(run, limits=replace(run.limits, ttl=99.0, ttl_after=99.0)))


class NeverRings(MemoryStore):
    def watch(self, run_id):
        return super().watch(run_id + "x")


class ReadsOneTooMany(MemoryStore):
    async def read(self, run_id, after=0, limit=1000):
        return await super().read(run_id, max(0, after - 1), limit)


class LeaksItsErrors(MemoryStore):
    async def read(self, run_id, after=0, limit=1000):
        if run_id not in self._runs:
            raise KeyError(run_id)
        return await super().read(run_id, after, limit)


class HasNoLease(MemoryStore):
    async def read(self, run_id, after=0, limit=1000):
        head, records = await super().read(run_id, after, limit)
        return replace(head, lease=0.0), records


class AddsTwiceTheSameNumber(MemoryStore):
    async def add(self, run_id, epoch, records):
        last = self._get(run_id).last
        await asyncio.sleep(0)
        await super().add(run_id, epoch, records)
        return last + 1


class AddsPartByPart(MemoryStore):
    async def add(self, run_id, epoch, records):
        firsts = []
        for record in records:
            firsts.append(await super().add(run_id, epoch, [record]))
            await asyncio.sleep(0)
        return firsts[0]


class AddsAfterTheEnd(MemoryStore):
    async def add(self, run_id, epoch, records):
        if self._get(run_id).ended:
            return self._get(run_id).last + 1
        return await super().add(run_id, epoch, records)


class IsDown(MemoryStore):
    async def claim(self, run):
        raise StoreError


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (LosesRecords, "what another process reads after an append"),
        (KeepsRepeats, "the head after the same append"),
        (RacesForKeys, "how many runs 50 callers have begun"),
        (MixesOwners, "just begun names it"),
        (TakesZombies, "late producer"),
        (TakesForeignEpochs, "a renewal with another epoch"),
        (ClosesTheLiving, "only if it is lost"),
        (NeverTrims, "max_items=5"),
        (NeverExpires, "still there"),
        (NeverRings, "not rung for record 1"),
        (ReadsOneTooMany, "begins with"),
        (LeaksItsErrors, "KeyError was raised"),
        (HasNoLease, "the lease of a live run"),
        (AddsTwiceTheSameNumber, "numbers that additions"),
        (AddsPartByPart, "numbers that additions"),
        (AddsAfterTheEnd, "an addition after the end"),
        (IsDown, "unexpectedly raised StoreError"),
    ],
)
async def test_the_suite_refuses_a_store_that_breaks_a_promise(kind, told, monkeypatch):
    monkeypatch.setattr("dual_mode_streaming.testing.store_checks.PATIENCE", 0.7)
    store = kind()
    with pytest.raises(AssertionError, match=told):
        await check_store(lambda: store)


@pytest.mark.asyncio
async def test_the_suite_sees_a_store_that_hangs(monkeypatch):
    class Hangs(MemoryStore):
        async def renew(self, run_id, epoch):
            await asyncio.Event().wait()

    monkeypatch.setattr("dual_mode_streaming.testing.store_checks.PATIENCE", 0.05)
    store = Hangs()
    with pytest.raises(AssertionError, match="it hangs"):
        await check_store(lambda: store)


def test_a_store_of_ones_own_has_to_have_all_verbs():
    class Half(Store):
        async def claim(self, run):
            raise AssertionError

    with pytest.raises(TypeError, match="abstract"):
        Half()


# --- bounds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max_items", "max_bytes", "ttl", "ttl_after", "lease"])
def test_limits_are_above_zero(name):
    with pytest.raises(ValueError, match=f"{name}=0 must be above zero"):
        Limits(**{name: 0})
    if name.startswith("max_"):
        assert getattr(Limits(**{name: None}), name) is None


@pytest.mark.asyncio
async def test_a_full_memory_store_refuses_new_runs_until_others_are_over():
    with pytest.raises(ValueError, match="max_runs=0"):
        MemoryStore(max_runs=0)
    store = MemoryStore(max_runs=2)
    await store.claim(NewRun("a", "e", limits=Limits(ttl=0.9)))
    await store.claim(NewRun("b", "e"))
    with pytest.raises(StoreError, match="max_runs=2"):
        await store.claim(NewRun("c", "e"))
    store._runs["a"].touched -= 1
    assert (await store.claim(NewRun("c", "e"))).run_id == "c"
    with pytest.raises(RunNotFound):
        await store.read("a")


@pytest.mark.asyncio
async def test_a_bell_that_nobody_hears_says_only_that_there_is_something():
    store = MemoryStore()
    await store.claim(NewRun("a", "e"))
    async with store.watch("a") as watch:
        for first in range(1, 1502, 500):
            await store.append("a", "e", [Record(seq, b"1") for seq in range(first, first + 500)])
        assert list(await watch.next()) == []
        await store.append("a", "e", [Record(2001, b"1")])
        assert [record.seq for record in await watch.next()] == [2001]


# --- SQLite ------------------------------------------------------------------------------------------------


def test_sqlite_needs_a_file():
    for no_file in ("", ":memory:"):
        with pytest.raises(ValueError, match="needs a file"):
            SQLiteStore(no_file)


@pytest.mark.asyncio
@pytest.mark.parametrize("what", ["no folder", "no database", "another schema"])
async def test_a_file_that_cannot_be_used(tmp_path, what):
    path = tmp_path / "runs.db"
    if what == "no folder":
        path = tmp_path / "missing" / "runs.db"
    elif what == "no database":
        path.write_bytes(b"this is no database at all, but it is long enough to be one" * 100)
    else:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
    store = SQLiteStore(path, busy_timeout=0.1)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"unable to open|not a database|schema 99"):
            await store.open()
    await store.aclose()


@pytest.mark.asyncio
async def test_a_file_that_somebody_locks_is_an_error_after_the_timeout_and_works_afterwards(tmp_path):
    store = SQLiteStore(tmp_path / "runs.db", busy_timeout=0.05)
    await store.claim(NewRun("a", "e"))
    other = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        await store.append("a", "e", [Record(1, b"1")])
    assert (await store.read("a"))[0].last == 0  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    assert (await store.append("a", "e", [Record(1, b"1")])).last == 1
    await store.aclose()


@pytest.mark.asyncio
async def test_a_full_disk_is_an_error_that_leaves_nothing_behind(tmp_path):
    store = SQLiteStore(tmp_path / "runs.db")
    await store.claim(NewRun("a", "e"))
    await store._writer.run(lambda db: db.execute("PRAGMA max_page_count = 30").fetchone())
    with pytest.raises(StoreError, match="full") as caught:
        await store.append("a", "e", [Record(seq, b"x" * 4000) for seq in range(1, 60)])
    assert caught.value.retry_after == 30
    head, records = await store.read("a")
    assert (head.last, records) == (0, [])
    assert (await store.append("a", "e", [Record(1, b"small")])).last == 1
    await store.aclose()


@pytest.mark.asyncio
async def test_writes_that_come_together_share_a_transaction_and_one_that_is_refused_harms_no_other(tmp_path):
    store = SQLiteStore(tmp_path / "runs.db")
    await store.open()
    transactions = []
    db = store._writer.db
    db.set_trace_callback(lambda statement: transactions.append(statement) if statement == "COMMIT" else None)
    claims = [store.claim(NewRun(f"run {n}", "e")) for n in range(50)]
    results = await asyncio.gather(*claims, store.renew("nobody's", "e"), return_exceptions=True)
    db.set_trace_callback(None)
    assert [head.run_id for head in results[:50]] == [f"run {n}" for n in range(50)]
    assert isinstance(results[50], RunNotFound)
    assert 1 <= len(transactions) <= 3
    await store.aclose()


@pytest.mark.asyncio
async def test_a_writer_that_is_cancelled_harms_no_other(tmp_path):
    store = SQLiteStore(tmp_path / "runs.db")
    await store.open()
    one = asyncio.create_task(store.claim(NewRun("one", "e")))
    two = asyncio.create_task(store.claim(NewRun("two", "e")))
    await asyncio.sleep(0)
    one.cancel()
    assert (await two).run_id == "two"
    await store.aclose()


@pytest.mark.asyncio
async def test_a_restart_of_the_machine_ends_leases_and_keeps_records(tmp_path, monkeypatch):
    """The monotonic clock begins anew then, so what was written lies in its future."""
    real = tables.monotonic
    monkeypatch.setattr(tables, "monotonic", lambda: real() + 10**6)
    store = SQLiteStore(tmp_path / "runs.db")
    await store.claim(NewRun("a", "e", limits=Limits(lease=60)))
    await store.append("a", "e", [Record(1, b"1")])
    await store.aclose()
    monkeypatch.setattr(tables, "monotonic", real)
    store = SQLiteStore(tmp_path / "runs.db")
    head, records = await store.read("a")
    assert (head.state, head.lease, [record.seq for record in records]) == (RunState.LOST, 0.0, [1])
    await store.aclose()


@pytest.mark.asyncio
async def test_a_step_of_the_wall_clock_changes_nothing(tmp_path, monkeypatch):
    store = SQLiteStore(tmp_path / "runs.db")
    await store.claim(NewRun("a", "e"))
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert (await store.read("a"))[0].state is RunState.LIVE
    await store.aclose()


@pytest.mark.asyncio
async def test_nobody_looks_while_nobody_watches_and_no_thread_stays(tmp_path):
    before = {thread.ident for thread in threading.enumerate()}
    store = SQLiteStore(tmp_path / "runs.db")
    await store.claim(NewRun("a", "e"))
    assert store._tailer is None
    async with store.watch("a"):
        assert store._tailer is not None
    looks = []
    store._tail.set_trace_callback(looks.append)
    await asked(lambda: not store._look.is_set())
    looks.clear()
    await asyncio.sleep(0.06)
    assert looks == []
    await store.aclose()
    for thread in threading.enumerate():
        if thread.ident not in before:
            await asyncio.to_thread(thread.join, 5) if "sqlite" in thread.name else None
    left = {thread for thread in threading.enumerate() if thread.ident not in before}
    assert not [thread for thread in left if "dual-mode-sqlite" in thread.name]


@pytest.mark.asyncio
async def test_a_watch_of_a_closed_store_ends_with_an_error(tmp_path):
    store = SQLiteStore(tmp_path / "runs.db")
    async with store.watch("a") as watch:
        hearing = asyncio.create_task(watch.next())
        await asyncio.sleep(0)
        await store.aclose()
        with pytest.raises(StoreError, match="closed"):
            await hearing
