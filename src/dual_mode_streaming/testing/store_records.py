"""What a store promises of records: their order, their bytes, their bounds, their end, and their life."""

from __future__ import annotations

import asyncio
import secrets

from dual_mode_streaming.errors import RunEnded, RunNotFound
from dual_mode_streaming.stores.base import Limits, NewRun, Record, RunState, Store

from .expecting import expect, refused
from .store_checks import SHORT, StoreChecks, records_of

__all__ = ["RecordChecks"]


class RecordChecks(StoreChecks):
    """The checks, in order."""

    async def order(self) -> None:
        """Records come back as they were appended, in their order, for every process."""
        run = await self.begun(owner="ann", key=secrets.token_hex(8))
        head, page = await self.other.read(run.run_id)
        expected = (run.run_id, run.epoch, "ann", run.key, RunState.LIVE, 1, 0)
        got = (head.run_id, head.epoch, head.owner, head.key, head.state, head.first, head.last)
        expect("the head of an empty run", got, expected)
        expect("the records of an empty run", list(page), [])
        if not 0 < head.lease <= run.limits.lease:
            raise AssertionError(f"the lease of a live run: expected up to {run.limits.lease} s, got {head.lease}")
        expected_records = records_of(1, 25)
        for first, last in ((1, 1), (2, 2), (3, 20), (21, 25)):
            head = await self.one.append(run.run_id, run.epoch, expected_records[first - 1 : last])
            expect("the head after an append", (head.first, head.last, head.state), (1, last, RunState.LIVE))
            expect("what another process reads after an append", await self.all(run.run_id), expected_records[:last])

    async def cuts(self) -> None:
        """A reader can go on after every record, with pages of any size."""
        run = await self.begun()
        expected = records_of(1, 12)
        await self.one.append(run.run_id, run.epoch, expected)
        for after in range(13):
            for limit in (1, 5, 1000):
                got = await self.all(run.run_id, after, limit)
                expect(f"the records after {after}, {limit} at a time", got, expected[after:])
        expect("a page after the last record", list((await self.other.read(run.run_id, 10**15))[1]), [])
        expect("a page of none", list((await self.other.read(run.run_id, 0, 0))[1]), [])

    async def contents(self) -> None:
        """Data and names come back byte by byte, whatever is in them."""
        key = f"key with 'quotes' and \"more\" \n 🗝 {secrets.token_hex(8)}"
        run = await self.begun(owner="ünïcode/\u2028 𝄞:{}*", key=key)
        expected = [
            Record(1, '"gr\u00fc\u00df \U0001d11e \u2028 \\u0000"'.encode(), "naïve·event"),
            Record(2, b""),
            Record(3, bytes(range(256))),
            Record(4, b"null", "a: b"),
            Record(5, b"7" * self.record_bytes),
            Record(6, b"{}"),
        ]
        await self.one.append(run.run_id, run.epoch, expected[:4])
        await self.one.append(run.run_id, run.epoch, expected[4:])
        got = await self.all(run.run_id)
        for record, other in zip(expected, got, strict=False):
            expect(f"record {record.seq}", other, record)
        expect("the number of records", len(got), len(expected))
        head, _ = await self.other.read(run.run_id, 0, 0)
        expect("owner and key", (head.owner, head.key), (run.owner, run.key))

    async def end(self) -> None:
        """A run ends with its final record, and keeps it; nothing comes after it."""
        run = await self.begun()
        final = Record(3, b'{"items":2}', "done", final=True)
        head = await self.one.append(run.run_id, run.epoch, [*records_of(1, 2), final])
        expect("the head of a run that has ended", (head.state, head.last, head.lease), (RunState.ENDED, 3, 0.0))
        expect("the final record, for another process", (await self.all(run.run_id))[-1], final)
        await refused("an append after the end", RunEnded, self.one.append(run.run_id, run.epoch, records_of(4, 4)))
        await refused("a renewal after the end", RunEnded, self.one.renew(run.run_id, run.epoch))
        head = await self.other.close(run.run_id, "cancelled", b"{}")
        expect("a close after the end changes nothing", (head.state, head.last), (RunState.ENDED, 3))
        expect("the records after that", (await self.all(run.run_id))[2:], [final])
        empty = await self.begun()
        await self.one.append(empty.run_id, empty.epoch, [Record(1, b'{"items":0}', "done", final=True)])
        expect("the end of an empty run", [record.final for record in await self.all(empty.run_id)], [True])

    async def repeats(self) -> None:
        """An append that is repeated, as after a reply that was lost, is kept once."""
        run = await self.begun()
        await self.one.append(run.run_id, run.epoch, records_of(1, 3))
        head = await self.one.append(run.run_id, run.epoch, records_of(1, 3))
        expect("the head after the same append", head.last, 3)
        head = await self.one.append(run.run_id, run.epoch, records_of(2, 6))
        expect("the head after an append that overlaps", head.last, 6)
        final = Record(7, b"{}", "done", final=True)
        for _ in range(2):
            head = await self.one.append(run.run_id, run.epoch, [final])
            expect("the head after the append that ends the run", (head.last, head.state), (7, RunState.ENDED))
        expect("the records after all repeats", await self.all(run.run_id), [*records_of(1, 6), final])
        other = await self.begun()
        hole = self.one.append(other.run_id, other.epoch, records_of(2, 3))
        await refused("an append that leaves a number out", ValueError, hole)
        expect("what it has left behind", await self.all(other.run_id), [])

    async def trims(self) -> None:
        """The oldest records are dropped at the bounds, never the newest; the head says which are left."""
        run = await self.begun(limits=Limits(max_items=5))
        for last in range(4, 21, 4):
            head = await self.one.append(run.run_id, run.epoch, records_of(last - 3, last))
            expect("the head of a run with max_items=5", (head.first, head.last), (max(1, last - 4), last))
        expect("what is left", await self.all(run.run_id), records_of(16, 20))
        expect("a page from the middle", await self.all(run.run_id, 18), records_of(19, 20))
        run = await self.begun(limits=Limits(max_bytes=1000))
        head = await self.one.append(run.run_id, run.epoch, records_of(1, 9, size=297))
        expect("the head of a run with 298 bytes a record and max_bytes=1000", (head.first, head.last), (7, 9))
        await self.one.append(run.run_id, run.epoch, [Record(10, b"x" * 5000)])
        expect("a record over the bound is kept alone", [record.seq for record in await self.all(run.run_id)], [10])

    async def lives(self) -> None:
        """A run is kept for its time, and is then unknown to every verb; its key is free again."""
        key = secrets.token_hex(8)
        ended = await self.begun(key=key, limits=Limits(ttl_after=SHORT))
        await self.one.append(ended.run_id, ended.epoch, [*records_of(1, 2), Record(3, b"{}", "done", final=True)])
        live = await self.begun(limits=Limits(ttl=SHORT, lease=SHORT / 3))
        kept = await self.begun(key=key + "kept")
        await self.one.append(kept.run_id, kept.epoch, records_of(1, 1))
        for run in (ended, live):
            await self.gone(run.run_id)
            await self.one.expire()
            for name, verb in (
                ("append", self.one.append(run.run_id, run.epoch, records_of(1, 1))),
                ("renew", self.one.renew(run.run_id, run.epoch)),
                ("close", self.one.close(run.run_id, "cancelled", b"{}")),
                ("read", self.other.read(run.run_id)),
            ):
                await refused(f"{name} of a run that is over its time", RunNotFound, verb)
        await refused("finding a run that is over its time", RunNotFound, self.other.find(None, key))
        again = await self.begun(key=key)
        expect("a run that begins anew under the key", await self.all(again.run_id), [])
        expect("another run, which is still kept", await self.all(kept.run_id), records_of(1, 1))

    async def crowds(self) -> None:
        """Many producers at once do not mix: each run has its own records, complete and in order."""
        runs = [await self.begun() for _ in range(10)]

        async def produce(store: Store, run: NewRun) -> None:
            for seq in range(1, 21):
                await store.append(run.run_id, run.epoch, [Record(seq, f"{run.run_id} {seq}".encode())])

        stores = [self.one, self.other]
        await asyncio.gather(*(produce(stores[n % 2], run) for n, run in enumerate(runs)))
        for run in runs:
            expected = [f"{run.run_id} {seq}".encode() for seq in range(1, 21)]
            expect("the records of one of ten runs", [r.data for r in await self.all(run.run_id)], expected)
