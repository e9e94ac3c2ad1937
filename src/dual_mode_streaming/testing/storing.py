"""`check_store`: what every store promises (`stores/base.py`), promise by promise.

Each check makes runs of its own with ids that nobody has used, so the suite can be run on an engine that is in use, and
again and again.
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from time import monotonic

from dual_mode_streaming.errors import DualModeError, RunEnded, RunNotFound
from dual_mode_streaming.stores.base import Head, Limits, NewRun, Record, RunState, Store

from .expecting import expect, refused

__all__ = ["StoreFactory", "check_store"]

StoreFactory = Callable[[], Store | Awaitable[Store]]

PATIENCE = 10.0
"""Seconds after which something that should happen counts as not happening."""
SHORT = 0.3
"""Seconds of a lease or of a life that a check waits for."""
CALLERS = 50
"""How many callers race for one key."""


async def check_store(factory: StoreFactory, *, record_bytes: int = 600_000) -> list[str]:
    """Check that a store keeps its promises.

    Args:
        factory: Makes a store, or a coroutine that makes one. Each call gives fresh connections to the same engine, as
            another process would have them. A store that lives in one process gives the same object each time.
        record_bytes: The size of the largest record that is tried.

    Returns:
        What was checked, promise by promise.

    Raises:
        AssertionError: A promise is broken. The text says which, what was expected and what came.
    """
    checked: list[str] = []
    async with AsyncExitStack() as stack:
        stores: list[Store] = []
        for _ in range(2):
            made = factory()
            store = await made if inspect.isawaitable(made) else made
            assert isinstance(store, Store)  # noqa: S101
            if not any(store is other for other in stores):
                stack.push_async_callback(store.aclose)
            stores.append(store)
            await store.open()
        bench = _Bench(*stores, record_bytes=record_bytes)
        for name, check in vars(_Bench).items():
            if not name.startswith("_"):
                try:
                    async with asyncio.timeout(6 * PATIENCE):
                        await check(bench)
                except TimeoutError:
                    raise AssertionError(f"{_said(check)}: it hangs") from None
                except DualModeError as error:
                    raise AssertionError(f"{_said(check)}: unexpectedly raised {error!r}") from error
                checked.append(_said(check))
    return checked


def _said(check: Callable[..., object]) -> str:
    return (check.__doc__ or "").partition("\n")[0].rstrip(".")


def _records(first: int, last: int, *, size: int = 0) -> list[Record]:
    return [Record(seq, b"%d" % seq + b" " * size, "tick" if seq % 2 else "") for seq in range(first, last + 1)]


class _Bench:
    """The checks, in order. `one` and `other` are connections of two processes."""

    def __init__(self, one: Store, other: Store, *, record_bytes: int) -> None:
        self._one = one
        self._other = other
        self._record_bytes = min(record_bytes, one.max_record_bytes or record_bytes)

    # --- helpers ---------------------------------------------------------------------------------

    async def _begun(self, *, owner: str | None = None, key: str | None = None, limits: Limits | None = None) -> NewRun:
        run = NewRun(secrets.token_urlsafe(16), secrets.token_hex(8), owner, key, limits or Limits())
        expect("the head of a run that was just begun names it", (await self._one.claim(run)).run_id, run.run_id)
        return run

    async def _all(self, run_id: str, after: int = 0, limit: int = 1000) -> list[Record]:
        """Read page by page, as another process."""
        records: list[Record] = []
        while True:
            head, page = await self._other.read(run_id, after, limit)
            if not page:
                expect("a page is only empty at the end of the run", after, head.last)
                return records
            if len(page) > limit:
                raise AssertionError(f"a page of at most {limit} records has {len(page)}")
            if page[0].seq <= after:
                raise AssertionError(f"a page of what comes after {after} begins with {page[0].seq}")
            records += page
            after = page[-1].seq

    async def _until(self, what: str, true: Callable[[Head], bool], run_id: str) -> Head:
        end = monotonic() + PATIENCE
        while True:
            head, _ = await self._other.read(run_id, 0, 0)
            if true(head):
                return head
            if monotonic() > end:
                raise AssertionError(f"{what}: not after {PATIENCE:g} s; the head is {head}")
            await asyncio.sleep(0.02)

    # --- the checks ------------------------------------------------------------------------------

    async def order(self) -> None:
        """Records come back as they were appended, in their order, for every process."""
        run = await self._begun(owner="ann", key=secrets.token_hex(8))
        head, page = await self._other.read(run.run_id)
        expected = (run.run_id, run.epoch, "ann", run.key, RunState.LIVE, 1, 0)
        got = (head.run_id, head.epoch, head.owner, head.key, head.state, head.first, head.last)
        expect("the head of an empty run", got, expected)
        expect("the records of an empty run", list(page), [])
        if not 0 < head.lease <= run.limits.lease:
            raise AssertionError(f"the lease of a live run: expected up to {run.limits.lease} s, got {head.lease}")
        expected_records = _records(1, 25)
        for first, last in ((1, 1), (2, 2), (3, 20), (21, 25)):
            head = await self._one.append(run.run_id, run.epoch, expected_records[first - 1 : last])
            expect("the head after an append", (head.first, head.last, head.state), (1, last, RunState.LIVE))
            expect("what another process reads after an append", await self._all(run.run_id), expected_records[:last])

    async def cuts(self) -> None:
        """A reader can go on after every record, with pages of any size."""
        run = await self._begun()
        expected = _records(1, 12)
        await self._one.append(run.run_id, run.epoch, expected)
        for after in range(13):
            for limit in (1, 5, 1000):
                got = await self._all(run.run_id, after, limit)
                expect(f"the records after {after}, {limit} at a time", got, expected[after:])
        expect("a page after the last record", list((await self._other.read(run.run_id, 10**15))[1]), [])
        expect("a page of none", list((await self._other.read(run.run_id, 0, 0))[1]), [])

    async def contents(self) -> None:
        """Data and names come back byte by byte, whatever is in them."""
        key = f"key with 'quotes' and \"more\" \n 🗝 {secrets.token_hex(8)}"
        run = await self._begun(owner="ünïcode/\u2028 𝄞:{}*", key=key)
        expected = [
            Record(1, '"gr\u00fc\u00df \U0001d11e \u2028 \\u0000"'.encode(), "naïve·event"),
            Record(2, b""),
            Record(3, bytes(range(256))),
            Record(4, b"null", "a: b"),
            Record(5, b"7" * self._record_bytes),
            Record(6, b"{}"),
        ]
        await self._one.append(run.run_id, run.epoch, expected[:4])
        await self._one.append(run.run_id, run.epoch, expected[4:])
        got = await self._all(run.run_id)
        for record, other in zip(expected, got, strict=False):
            expect(f"record {record.seq}", other, record)
        expect("the number of records", len(got), len(expected))
        head, _ = await self._other.read(run.run_id, 0, 0)
        expect("owner and key", (head.owner, head.key), (run.owner, run.key))

    async def end(self) -> None:
        """A run ends with its final record, and keeps it; nothing comes after it."""
        run = await self._begun()
        final = Record(3, b'{"items":2}', "done", final=True)
        head = await self._one.append(run.run_id, run.epoch, [*_records(1, 2), final])
        expect("the head of a run that has ended", (head.state, head.last, head.lease), (RunState.ENDED, 3, 0.0))
        expect("the final record, for another process", (await self._all(run.run_id))[-1], final)
        await refused("an append after the end", RunEnded, self._one.append(run.run_id, run.epoch, _records(4, 4)))
        await refused("a renewal after the end", RunEnded, self._one.renew(run.run_id, run.epoch))
        head = await self._other.close(run.run_id, "cancelled", b"{}")
        expect("a close after the end changes nothing", (head.state, head.last), (RunState.ENDED, 3))
        expect("the records after that", (await self._all(run.run_id))[2:], [final])
        empty = await self._begun()
        await self._one.append(empty.run_id, empty.epoch, [Record(1, b'{"items":0}', "done", final=True)])
        expect("the end of an empty run", [record.final for record in await self._all(empty.run_id)], [True])

    async def repeats(self) -> None:
        """An append that is repeated, as after a reply that was lost, is kept once."""
        run = await self._begun()
        await self._one.append(run.run_id, run.epoch, _records(1, 3))
        head = await self._one.append(run.run_id, run.epoch, _records(1, 3))
        expect("the head after the same append", head.last, 3)
        head = await self._one.append(run.run_id, run.epoch, _records(2, 6))
        expect("the head after an append that overlaps", head.last, 6)
        final = Record(7, b"{}", "done", final=True)
        for _ in range(2):
            head = await self._one.append(run.run_id, run.epoch, [final])
            expect("the head after the append that ends the run", (head.last, head.state), (7, RunState.ENDED))
        expect("the records after all repeats", await self._all(run.run_id), [*_records(1, 6), final])
        other = await self._begun()
        hole = self._one.append(other.run_id, other.epoch, _records(2, 3))
        await refused("an append that leaves a number out", ValueError, hole)
        expect("what it has left behind", await self._all(other.run_id), [])

    async def trims(self) -> None:
        """The oldest records are dropped at the bounds, never the newest; the head says which are left."""
        run = await self._begun(limits=Limits(max_items=5))
        for last in range(4, 21, 4):
            head = await self._one.append(run.run_id, run.epoch, _records(last - 3, last))
            expect("the head of a run with max_items=5", (head.first, head.last), (max(1, last - 4), last))
        expect("what is left", await self._all(run.run_id), _records(16, 20))
        expect("a page from the middle", await self._all(run.run_id, 18), _records(19, 20))
        run = await self._begun(limits=Limits(max_bytes=1000))
        head = await self._one.append(run.run_id, run.epoch, _records(1, 9, size=297))
        expect("the head of a run with 298 bytes a record and max_bytes=1000", (head.first, head.last), (7, 9))
        await self._one.append(run.run_id, run.epoch, [Record(10, b"x" * 5000)])
        expect("a record over the bound is kept alone", [record.seq for record in await self._all(run.run_id)], [10])

    async def claims(self) -> None:
        """Of many callers with one key exactly one begins a run, and all get it."""
        key = secrets.token_hex(8)
        runs = [NewRun(secrets.token_urlsafe(16), secrets.token_hex(8), "ann", key) for _ in range(CALLERS)]
        stores = [self._one, self._other]
        heads = await asyncio.gather(*(stores[n % 2].claim(run) for n, run in enumerate(runs)))
        winners = {head.run_id for head in heads}
        expect(f"how many runs {CALLERS} callers have begun", len(winners), 1)
        expect("whose it is", winners <= {run.run_id for run in runs}, True)
        for run in runs:
            if run.run_id not in winners:
                await refused("reading a run that was not begun", RunNotFound, self._one.read(run.run_id))
        epoch = next(run.epoch for run in runs if run.run_id in winners)
        expect("the epoch in all heads", {head.epoch for head in heads}, {epoch})
        (winner,) = winners
        await self._one.append(winner, epoch, [Record(1, b"{}", "done", final=True)])
        head = await self._other.claim(NewRun(secrets.token_urlsafe(16), secrets.token_hex(8), "ann", key))
        expect("a claim after the end of the run", (head.run_id, head.state), (winner, RunState.ENDED))
        expect("the run that is found by its key", (await self._other.find("ann", key)).run_id, winner)
        await refused("finding a run by a key that nobody has used", RunNotFound, self._other.find("ann", f"{key}?"))
        await refused("finding the run of another owner", RunNotFound, self._other.find("bob", key))

    async def isolation(self) -> None:
        """Keys are an owner's own: the same key of another owner, or of nobody, is another run."""
        key = secrets.token_hex(8)
        owners = ("ann", "bob", None, "", "None", "null")
        runs = [await self._begun(owner=owner, key=key) for owner in owners]
        await self._begun(owner=f"ann:{key}", key="")
        await self._begun(owner="ann", key=f"{key}:")
        for run in runs:
            await self._one.append(run.run_id, run.epoch, [Record(1, repr(run.owner).encode())])
        for run in runs:
            head = await self._other.claim(NewRun("x" + run.run_id, "e", run.owner, key))
            expect(f"the run of {run.owner!r}", (head.run_id, head.owner), (run.run_id, run.owner))
            expect("its records", [r.data for r in await self._all(run.run_id)], [repr(run.owner).encode()])
        await self._begun(owner="ann")
        await self._begun(owner="ann")

    async def fencing(self) -> None:
        """A producer that was given up is refused, however late it comes back."""
        run = await self._begun(limits=Limits(lease=SHORT))
        await self._one.append(run.run_id, run.epoch, _records(1, 2))
        head = await self._other.close(run.run_id, "error", b"too early", if_lost=True)
        expect("a close of a live run that is to be done only if it is lost", head.state, RunState.LIVE)
        wrong = self._other.append(run.run_id, "0" * 16, _records(3, 3))
        await refused("an append with another epoch", RunEnded, wrong)
        await refused("a renewal with another epoch", RunEnded, self._other.renew(run.run_id, "0" * 16))
        head = await self._until("the lease runs out", lambda head: head.state is RunState.LOST, run.run_id)
        expect("the lease of a run that is lost", head.lease, 0.0)
        head = await self._one.renew(run.run_id, run.epoch)
        expect("a producer that is late, but was not given up, goes on", head.state, RunState.LIVE)
        await self._until("the lease runs out", lambda head: head.state is RunState.LOST, run.run_id)
        head = await self._other.close(run.run_id, "error", b"lost", if_lost=True)
        expect("a close of a lost run", (head.state, head.last), (RunState.ENDED, 3))
        late = _records(3, 4)
        await refused("an append of the late producer", RunEnded, self._one.append(run.run_id, run.epoch, late))
        repeat = self._one.append(run.run_id, run.epoch, _records(1, 2))
        await refused("a repeated append of the late producer", RunEnded, repeat)
        await refused("a renewal of the late producer", RunEnded, self._one.renew(run.run_id, run.epoch))
        expected = [*_records(1, 2), Record(3, b"lost", "error", final=True)]
        expect("the records after that", await self._all(run.run_id), expected)

    async def races(self) -> None:
        """Whoever ends a run first has ended it: the others change nothing."""
        for _ in range(10):
            run = await self._begun()
            await self._one.append(run.run_id, run.epoch, _records(1, 1))
            done = self._one.append(run.run_id, run.epoch, [Record(2, b"done", "done", final=True)])
            closes = [self._other.close(run.run_id, "cancelled", b"cancelled %d" % n) for n in range(3)]
            results = await asyncio.gather(done, *closes, return_exceptions=True)
            for result in results[1:]:
                expect("a close that comes second gives the head", isinstance(result, Head), True)
            finals = [record for record in await self._all(run.run_id) if record.final]
            expect("how many final records there are", len(finals), 1)
            expect("the number of the final record", finals[0].seq, 2)
            first = results[0]
            if finals[0].event == "done":
                expect("the append that ended the run", isinstance(first, Head), True)
            else:
                expect("the append that came after a close is refused", isinstance(first, RunEnded), True)

    async def bells(self) -> None:
        """A watch is rung for records and for the end of the run, from this process and from another one."""
        for writer, listener in ((self._one, self._other), (self._one, self._one)):
            run = await self._begun()
            async with listener.watch(run.run_id) as watch:
                await writer.append(run.run_id, run.epoch, _records(1, 1))
                await self._heard(watch.next, listener, run.run_id, 0, 1)
                await writer.append(run.run_id, run.epoch, _records(2, 5))
                await self._heard(watch.next, listener, run.run_id, 1, 5)
                await listener.close(run.run_id, "cancelled", b"{}")
                await self._heard(watch.next, listener, run.run_id, 5, 6)
        run = await self._begun()
        async with self._one.watch(run.run_id) as producer:
            await self._other.close(run.run_id, "cancelled", b"{}")
            await self._heard(producer.next, self._one, run.run_id, 0, 1)

    async def _heard(
        self, listen: Callable[[], Awaitable[Sequence[Record]]], reader: Store, run_id: str, after: int, last: int
    ) -> None:
        """Listen until the record `last` is known; check that what the bell carries is what the history has."""
        end = monotonic() + PATIENCE
        known = after
        while known < last:
            try:
                async with asyncio.timeout(max(0.0, end - monotonic())):
                    carried = await listen()
            except TimeoutError:
                raise AssertionError(f"a watch was not rung for record {known + 1} within {PATIENCE:g} s") from None
            _, history = await reader.read(run_id, after)
            by_seq = {record.seq: record for record in history}
            for record in carried:
                if record.seq > after:
                    expect("a record that a bell carries", record, by_seq.get(record.seq))
            known = max([known, *by_seq])

    async def lives(self) -> None:
        """A run is kept for its time, and is then unknown to every verb; its key is free again."""
        key = secrets.token_hex(8)
        ended = await self._begun(key=key, limits=Limits(ttl_after=SHORT))
        await self._one.append(ended.run_id, ended.epoch, [*_records(1, 2), Record(3, b"{}", "done", final=True)])
        live = await self._begun(limits=Limits(ttl=SHORT, lease=SHORT / 3))
        kept = await self._begun(key=key + "kept")
        await self._one.append(kept.run_id, kept.epoch, _records(1, 1))
        for run in (ended, live):
            await self._gone(run.run_id)
            await self._one.expire()
            for name, verb in (
                ("append", self._one.append(run.run_id, run.epoch, _records(1, 1))),
                ("renew", self._one.renew(run.run_id, run.epoch)),
                ("close", self._one.close(run.run_id, "cancelled", b"{}")),
                ("read", self._other.read(run.run_id)),
            ):
                await refused(f"{name} of a run that is over its time", RunNotFound, verb)
        await refused("finding a run that is over its time", RunNotFound, self._other.find(None, key))
        again = await self._begun(key=key)
        expect("a run that begins anew under the key", await self._all(again.run_id), [])
        expect("another run, which is still kept", await self._all(kept.run_id), _records(1, 1))

    async def _gone(self, run_id: str) -> None:
        end = monotonic() + PATIENCE
        while monotonic() < end:
            try:
                await self._other.read(run_id, 0, 0)
            except RunNotFound:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"a run whose time of {SHORT:g} s is over is still there after {PATIENCE:g} s")

    async def strangers(self) -> None:
        """Every verb says of a run that was never there that it is not there; to watch it is allowed."""
        unknown = secrets.token_urlsafe(16)
        await refused("read", RunNotFound, self._one.read(unknown))
        await refused("append", RunNotFound, self._one.append(unknown, "e", _records(1, 1)))
        await refused("renew", RunNotFound, self._one.renew(unknown, "e"))
        await refused("close", RunNotFound, self._one.close(unknown, "cancelled", b"{}"))
        async with self._one.watch(unknown):
            pass

    async def crowds(self) -> None:
        """Many producers at once do not mix: each run has its own records, complete and in order."""
        runs = [await self._begun() for _ in range(10)]

        async def produce(store: Store, run: NewRun) -> None:
            for seq in range(1, 21):
                await store.append(run.run_id, run.epoch, [Record(seq, f"{run.run_id} {seq}".encode())])

        stores = [self._one, self._other]
        await asyncio.gather(*(produce(stores[n % 2], run) for n, run in enumerate(runs)))
        for run in runs:
            expected = [f"{run.run_id} {seq}".encode() for seq in range(1, 21)]
            expect("the records of one of ten runs", [r.data for r in await self._all(run.run_id)], expected)
