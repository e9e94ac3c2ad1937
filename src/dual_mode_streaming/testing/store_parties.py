"""What a store promises of those who use it: who begins a run, who may write, who ends it, and who hears of it."""

from __future__ import annotations

import asyncio
import secrets

from dual_mode_streaming.errors import RunEnded, RunNotFound
from dual_mode_streaming.stores.base import Head, Limits, NewRun, Record, RunState, Store

from .expecting import expect, refused
from .store_checks import SHORT, StoreChecks, records_of

__all__ = ["PartyChecks"]

CALLERS = 50
"""How many callers race for one key."""


class PartyChecks(StoreChecks):
    """The checks, in order."""

    async def claims(self) -> None:
        """Of many callers with one key exactly one begins a run, and all get it."""
        key = secrets.token_hex(8)
        runs = [NewRun(secrets.token_urlsafe(16), secrets.token_hex(8), "ann", key) for _ in range(CALLERS)]
        stores = [self.one, self.other]
        heads = await asyncio.gather(*(stores[n % 2].claim(run) for n, run in enumerate(runs)))
        winners = {head.run_id for head in heads}
        expect(f"how many runs {CALLERS} callers have begun", len(winners), 1)
        expect("whose it is", winners <= {run.run_id for run in runs}, True)
        for run in runs:
            if run.run_id not in winners:
                await refused("reading a run that was not begun", RunNotFound, self.one.read(run.run_id))
        epoch = next(run.epoch for run in runs if run.run_id in winners)
        expect("the epoch in all heads", {head.epoch for head in heads}, {epoch})
        (winner,) = winners
        await self.one.append(winner, epoch, [Record(1, b"{}", "done", final=True)])
        head = await self.other.claim(NewRun(secrets.token_urlsafe(16), secrets.token_hex(8), "ann", key))
        expect("a claim after the end of the run", (head.run_id, head.state), (winner, RunState.ENDED))
        expect("the run that is found by its key", (await self.other.find("ann", key)).run_id, winner)
        await refused("finding a run by a key that nobody has used", RunNotFound, self.other.find("ann", f"{key}?"))
        await refused("finding the run of another owner", RunNotFound, self.other.find("bob", key))

    async def isolation(self) -> None:
        """Keys are an owner's own: the same key of another owner, or of nobody, is another run."""
        key = secrets.token_hex(8)
        owners = ("ann", "bob", None, "", "None", "null")
        runs = [await self.begun(owner=owner, key=key) for owner in owners]
        await self.begun(owner=f"ann:{key}", key="")
        await self.begun(owner="ann", key=f"{key}:")
        for run in runs:
            await self.one.append(run.run_id, run.epoch, [Record(1, repr(run.owner).encode())])
        for run in runs:
            head = await self.other.claim(NewRun("x" + run.run_id, "e", run.owner, key))
            expect(f"the run of {run.owner!r}", (head.run_id, head.owner), (run.run_id, run.owner))
            expect("its records", [r.data for r in await self.all(run.run_id)], [repr(run.owner).encode()])
        await self.begun(owner="ann")
        await self.begun(owner="ann")

    async def fencing(self) -> None:
        """A producer that was given up is refused, however late it comes back."""
        run = await self.begun(limits=Limits(lease=SHORT))
        await self.one.append(run.run_id, run.epoch, records_of(1, 2))
        head = await self.other.close(run.run_id, "error", b"too early", if_lost=True)
        expect("a close of a live run that is to be done only if it is lost", head.state, RunState.LIVE)
        wrong = self.other.append(run.run_id, "0" * 16, records_of(3, 3))
        await refused("an append with another epoch", RunEnded, wrong)
        await refused("a renewal with another epoch", RunEnded, self.other.renew(run.run_id, "0" * 16))
        head = await self.until("the lease runs out", lambda head: head.state is RunState.LOST, run.run_id)
        expect("the lease of a run that is lost", head.lease, 0.0)
        head = await self.one.renew(run.run_id, run.epoch)
        expect("a producer that is late, but was not given up, goes on", head.state, RunState.LIVE)
        await self.until("the lease runs out", lambda head: head.state is RunState.LOST, run.run_id)
        head = await self.other.close(run.run_id, "error", b"lost", if_lost=True)
        expect("a close of a lost run", (head.state, head.last), (RunState.ENDED, 3))
        late = records_of(3, 4)
        await refused("an append of the late producer", RunEnded, self.one.append(run.run_id, run.epoch, late))
        repeat = self.one.append(run.run_id, run.epoch, records_of(1, 2))
        await refused("a repeated append of the late producer", RunEnded, repeat)
        await refused("a renewal of the late producer", RunEnded, self.one.renew(run.run_id, run.epoch))
        expected = [*records_of(1, 2), Record(3, b"lost", "error", final=True)]
        expect("the records after that", await self.all(run.run_id), expected)

    async def races(self) -> None:
        """Whoever ends a run first has ended it: the others change nothing."""
        for _ in range(10):
            run = await self.begun()
            await self.one.append(run.run_id, run.epoch, records_of(1, 1))
            done = self.one.append(run.run_id, run.epoch, [Record(2, b"done", "done", final=True)])
            closes = [self.other.close(run.run_id, "cancelled", b"cancelled %d" % n) for n in range(3)]
            results = await asyncio.gather(done, *closes, return_exceptions=True)
            for result in results[1:]:
                expect("a close that comes second gives the head", isinstance(result, Head), True)
            finals = [record for record in await self.all(run.run_id) if record.final]
            expect("how many final records there are", len(finals), 1)
            expect("the number of the final record", finals[0].seq, 2)
            first = results[0]
            if finals[0].event == "done":
                expect("the append that ended the run", isinstance(first, Head), True)
            else:
                expect("the append that came after a close is refused", isinstance(first, RunEnded), True)

    async def additions(self) -> None:
        """Where many add to one run, each addition is kept once, whole, and in the order of whoever has made it."""
        run = await self.begun(limits=Limits(lease=SHORT))
        firsts: list[int] = []

        async def add(store: Store, name: str) -> None:
            for number in range(5):
                names = [f"{name} {number} {part}".encode() for part in range(3)]
                firsts.append(await store.add(run.run_id, run.epoch, [Record(0, data, "tick") for data in names]))

        await asyncio.gather(*(add(store, f"{n}") for n, store in enumerate([self.one, self.other] * 4)))
        expect("the numbers that additions of three records were given", sorted(firsts), list(range(1, 121, 3)))
        kept = await self.all(run.run_id)
        expect("the numbers of all records", [record.seq for record in kept], list(range(1, 121)))
        expect("the name of an event that was added", {record.event for record in kept}, {"tick"})
        for n in range(8):
            mine = [record.data.decode() for record in kept if record.data.startswith(b"%d " % n)]
            expect("the order of what one has added", mine, [f"{n} {m} {part}" for m in range(5) for part in range(3)])
        expect("an addition is whole", {tuple(r.seq for r in kept[f - 1 : f + 2]) for f in firsts}, _threes(120))
        await self.until("the lease runs out", lambda head: head.state is RunState.LOST, run.run_id)
        await self.one.add(run.run_id, run.epoch, records_of(0, 0))
        head, _ = await self.other.read(run.run_id, 0, 0)
        expect("an addition is a sign of life", (head.state, head.last), (RunState.LIVE, 121))
        await refused("an addition of nothing", ValueError, self.one.add(run.run_id, run.epoch, []))
        final = [Record(0, b"{}", "done", final=True)]
        await refused("an addition of a final record", ValueError, self.one.add(run.run_id, run.epoch, final))
        wrong = self.one.add(run.run_id, "0" * 16, records_of(1, 1))
        await refused("an addition with another epoch", RunEnded, wrong)
        async with self.other.watch(run.run_id) as watch:
            await self.one.add(run.run_id, run.epoch, records_of(1, 2))
            await self.heard(watch.next, self.other, run.run_id, 121, 123)
        await self.other.close(run.run_id, "done", b"{}")
        late = self.one.add(run.run_id, run.epoch, records_of(1, 1))
        await refused("an addition after the end", RunEnded, late)
        expect("the end of a run that many have added to", (await self.all(run.run_id, 123))[0].seq, 124)
        small = await self.begun(limits=Limits(max_items=4))
        for _ in range(4):
            await self.one.add(small.run_id, small.epoch, records_of(1, 3))
        kept = await self.all(small.run_id)
        expect("what is left of twelve records with max_items=4", [r.seq for r in kept], [9, 10, 11, 12])

    async def bells(self) -> None:
        """A watch is rung for records and for the end of the run, from this process and from another one."""
        for writer, listener in ((self.one, self.other), (self.one, self.one)):
            run = await self.begun()
            async with listener.watch(run.run_id) as watch:
                await writer.append(run.run_id, run.epoch, records_of(1, 1))
                await self.heard(watch.next, listener, run.run_id, 0, 1)
                await writer.append(run.run_id, run.epoch, records_of(2, 5))
                await self.heard(watch.next, listener, run.run_id, 1, 5)
                await listener.close(run.run_id, "cancelled", b"{}")
                await self.heard(watch.next, listener, run.run_id, 5, 6)
        run = await self.begun()
        async with self.one.watch(run.run_id) as producer:
            await self.other.close(run.run_id, "cancelled", b"{}")
            await self.heard(producer.next, self.one, run.run_id, 0, 1)

    async def strangers(self) -> None:
        """Every verb says of a run that was never there that it is not there; to watch it is allowed."""
        unknown = secrets.token_urlsafe(16)
        await refused("read", RunNotFound, self.one.read(unknown))
        await refused("append", RunNotFound, self.one.append(unknown, "e", records_of(1, 1)))
        await refused("add", RunNotFound, self.one.add(unknown, "e", records_of(1, 1)))
        await refused("renew", RunNotFound, self.one.renew(unknown, "e"))
        await refused("close", RunNotFound, self.one.close(unknown, "cancelled", b"{}"))
        async with self.one.watch(unknown):
            pass


def _threes(last: int) -> set[tuple[int, int, int]]:
    return {(first, first + 1, first + 2) for first in range(1, last, 3)}
