"""`NATSStore`: runs in NATS JetStream (2.11 or later), for any number of processes on any number of machines.

One stream holds all runs. The records of a run are the messages of one subject, and the last message tells its head
(`_nats_messages.py`).

Rules:

- A message is only taken behind the one that its writer knows as the last. So every step on a run is atomic: an append,
  a sign of life and a close exclude each other, and whoever comes second looks again. A message that is sent twice is
  taken once.
- A claim with an idempotency key takes two steps: first the run is begun, then the pointer of the key is set, if nobody
  else has been faster. So whoever reads a pointer finds its run, and exactly one run has the pointer.
- Nothing expires by itself: a run that is over its time counts as gone, and `expire` deletes it.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from hashlib import sha256
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from dual_mode_streaming.errors import RunEnded, RunNotFound, StoreError

from ._frames import check_numbers, pack, text, utf8
from ._nats_bell import NATSBell
from ._nats_history import History
from ._nats_link import Message, NATSLink
from ._nats_messages import Told
from .base import Head, NewRun, Record, RunState, Store, Watch, check_additions, numbered

__all__ = ["NATSStore"]

CLAIMS = 10
"""How often a claim begins anew if the run it has found is gone a moment later."""
MOST_KNOWN = 1000
"""Of how many runs the last message is remembered."""
HEADROOM = 32_768
"""Bytes of a message that are left to what is not a record."""


@dataclass(slots=True)
class _Addition:
    """Records on their way: the token of their message, behind which message it was last tried, and their first number.

    It outlives the loss of a reply, so that what was taken is not written again.
    """

    token: str
    after: int = 0
    first: int = 0


class NATSStore(Store):
    """Keeps runs in NATS JetStream, 2.11 or later.

    How long records last when a server itself dies is its configuration: with files, what was taken outlives the
    process, and what is lost with the machine depends on `sync_interval` and on `replicas`. A stream that is lost is
    made anew, and every run is answered with `RunNotFound`. Call `expire` from time to time, for NATS deletes nothing
    by itself.

    Args:
        servers: The URL of a server, as `nats://127.0.0.1:4222`, or several.
        prefix: The name of the stream, and with what its subjects begin. Stores with the same prefix share their runs.
        timeout: Seconds that a call may take, with all that is repeated when a connection is lost. After so many
            seconds without a server watches fail, too.
        replicas: How many servers keep the stream, if the store has to make it.
        in_memory: Whether the stream is kept in memory alone, if the store has to make it.
        options: Further options of `nats.connect`, as `user_credentials` or `tls`.

    Raises:
        ImportError: nats-py is not installed; it comes with the extra `nats`.
        ValueError: A URL cannot be used, the prefix is no name of a stream, or a number is not above zero.
    """

    max_record_bytes = 1_048_576 - HEADROOM

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        prefix: str = "dms",
        timeout: float = 5.0,
        replicas: int = 1,
        in_memory: bool = False,
        **options: Any,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout={timeout!r} must be above zero")
        if not replicas > 0:
            raise ValueError(f"replicas={replicas!r} must be above zero")
        urls = [servers] if isinstance(servers, str) else list(servers)
        if not urls or not all(map(_can_be_used, urls)):  # which one is not said: it may hold a password
            raise ValueError("the URLs of NATS cannot be used; one looks like nats://user:password@host:4222")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", prefix):
            raise ValueError(f"prefix={prefix!r} may only have letters, digits, _ and -")
        self._prefix = prefix
        stream = {"storage": "memory" if in_memory else "file", "num_replicas": replicas}
        self._link = NATSLink(
            urls, prefix, timeout, stream, lambda: self._bell.lost(), lambda: self._bell.returned(), options
        )
        self._bell = NATSBell(self._link, lambda run_id: f"{prefix}.bell.{_token(run_id)}", timeout)
        self._history = History(self._link, self._log)
        self._known: OrderedDict[str, Told] = OrderedDict()
        """The last messages of runs, as far as this process knows."""

    async def claim(self, run: NewRun) -> Head:
        """Begin a run, or find the one that was begun with the same owner and key."""
        return await self._link.bounded(lambda: self._claim(run))

    async def find(self, owner: str | None, key: str) -> Head:
        """Find the run that was begun with an owner and a key."""

        async def find() -> Head:
            pointer = await self._link.last(self._pointer(owner, key))
            if pointer is None:
                raise RunNotFound
            return (await self._fetch(text(pointer.data))).head(await self._link.now())

        return await self._link.bounded(find)

    async def append(self, run_id: str, epoch: str, records: Sequence[Record]) -> Head:
        """Append records, and renew the lease: one message, or several that count together."""
        check_numbers(records)
        return await self._link.bounded(lambda: self._append(run_id, epoch, records))

    async def add(self, run_id: str, epoch: str, records: Sequence[Record]) -> int:
        """Append records behind whatever is there: one message, which is written again if another one comes before."""
        check_additions(records)
        addition = _Addition(token_hex(8))
        return await self._link.bounded(lambda: self._add(run_id, epoch, records, addition))

    async def renew(self, run_id: str, epoch: str) -> Head:
        """Begin the lease anew."""
        return await self._link.bounded(lambda: self._append(run_id, epoch, ()))

    async def read(self, run_id: str, after: int = 0, limit: int = 1000) -> tuple[Head, Sequence[Record]]:
        """Give the head and a page of records."""

        async def read() -> tuple[Head, Sequence[Record]]:
            told = await self._fetch(run_id)
            head = told.head(await self._link.now())
            return head, await self._history.read(told, max(0, after) + 1, limit)

        return await self._link.bounded(read)

    def watch(self, run_id: str) -> AbstractAsyncContextManager[Watch]:
        """Hear of new records; the bell carries them."""
        return self._bell.watch(run_id)

    async def close(self, run_id: str, event: str, data: bytes, *, if_lost: bool = False) -> Head:
        """End a run in the place of its producer: one message, which is refused if anything has come before it."""
        return await self._link.bounded(lambda: self._close(run_id, event, data, if_lost))

    async def expire(self) -> int:
        """Delete the runs that are over their time."""
        return await self._link.bounded(self._expire)

    async def open(self) -> None:
        """Connect, and see that JetStream is there."""
        await self._link.bounded(self._link.client)
        await self._link.bounded(lambda: self._link.now(exactly=True))

    async def aclose(self) -> None:
        """Let go of the connection; watches that are left fail."""
        await self._bell.aclose()
        await self._link.aclose()

    # --- steps; each may be begun anew ---------------------------------------------------------------

    async def _claim(self, run: NewRun) -> Head:
        if run.key is None:
            return await self._begin(run)
        pointer = self._pointer(run.owner, run.key)
        for _ in range(CLAIMS):
            seen = await self._link.last(pointer)
            if seen is not None and (told := await self._found(text(seen.data))) is not None:
                return told.head(await self._link.now())
            head = await self._begin(run)
            if await self._link.publish(pointer, utf8(run.run_id), seen.seq if seen else 0) is not None:
                if seen is not None:
                    await self._link.delete(seen.seq)
                return head
            first = await self._link.last(pointer)
            if first is not None and text(first.data) == run.run_id:
                return head  # the reply to an attempt before was lost
            await self._drop(run.run_id)
        raise StoreError("The runs of this idempotency key expire faster than they can be found.")

    async def _begin(self, run: NewRun) -> Head:
        told = Told(run, at=await self._link.now())
        seq = await self._link.publish(self._log(run.run_id), told.encode(), 0)
        if seq is None:
            return (await self._fetch(run.run_id)).head(told.at)
        self._remember(replace(told, seq=seq))
        return told.head(told.at)

    async def _append(self, run_id: str, epoch: str, records: Sequence[Record]) -> Head:
        told = self._known.get(run_id)
        while True:
            fresh = told is None
            told = told or await self._fetch(run_id)
            now = await self._link.now()
            if told.over_at <= now:
                told = None  # but who knows whether somebody has ended it meanwhile
                continue
            new = [record for record in records if record.seq > told.last]
            if told.run.epoch != epoch or told.ended == "closed" or (told.ended and (new or not records)):
                raise RunEnded
            if told.ended:
                return told.head(now)
            if not new or new[0].seq == told.last + 1:
                written = await self._write(told, new, "done" if new and new[-1].final else "")
                if written is not None:
                    return written.head(written.at)
            elif fresh:
                raise ValueError(f"the record after {told.last} has the number {new[0].seq}")
            told = None  # somebody else has written, or this process has forgotten something: look again

    async def _add(self, run_id: str, epoch: str, records: Sequence[Record], addition: _Addition) -> int:
        if addition.after and await self._is_added(run_id, addition):
            return addition.first
        told = self._known.get(run_id)
        while True:
            told = told or await self._fetch(run_id)
            if told.over_at <= await self._link.now():
                told = None  # but who knows whether somebody has added to it meanwhile
                continue
            if told.run.epoch != epoch or told.ended:
                raise RunEnded
            addition.first = told.last + 1
            written = await self._write(told, numbered(records, addition.first), "", addition)
            if written is not None:
                return addition.first
            addition.after, told = 0, None

    async def _is_added(self, run_id: str, addition: _Addition) -> bool:
        """Look whether a message was taken, the reply to which was lost."""
        message = await self._link.following(self._log(run_id), addition.after)
        if message is not None:
            told = _told(message)
            if told.token == addition.token:
                return True
            if told.first > addition.first:
                raise StoreError("The reply to an addition was lost, and it is not kept any more, if it was taken.")
        addition.after = 0
        self._known.pop(run_id, None)
        return False

    async def _close(self, run_id: str, event: str, data: bytes, if_lost: bool) -> Head:
        while True:
            told = await self._fetch(run_id)
            head = told.head(await self._link.now(exactly=if_lost))
            if head.state is RunState.ENDED or (if_lost and head.state is not RunState.LOST):
                return head
            written = await self._write(told, [Record(told.last + 1, data, event, final=True)], "closed")
            if written is not None:
                return written.head(written.at)

    async def _write(
        self, told: Told, new: Sequence[Record], ended: str, addition: _Addition | None = None
    ) -> Told | None:
        """Write behind what was told; None if something else is there by now."""
        subject, client = self._log(told.run.run_id), await self._link.client()
        last = told.last + len(new)
        first, size = await self._history.trimmed(told, new)
        final = replace(
            told.alive(), first=first, last=last, size=size, ended=ended, at=await self._link.now(), begins=last + 1
        )
        if addition is not None:
            final = replace(final, token=addition.token)
        frames = [pack(record) for record in new]
        begins, after, parts = told.last + 1, told.seq, 0
        written = final
        most = client.max_payload - final.overhead
        while frames or not parts:
            count, room = 0, most
            while count < len(frames) and len(frames[count]) <= room:
                room -= len(frames[count])
                count += 1
            if frames and not count:
                raise StoreError(
                    f"A record is too large for NATS: the server takes messages up to {client.max_payload}."
                )
            more, parts = count < len(frames), parts + 1
            # What counts before the last part is what counted before all of them.
            state = replace(told.alive(), at=final.at) if more else final
            message = replace(
                state, begins=begins, frames=b"".join(frames[:count]), more=more, completes=not more and parts > 1
            )
            if addition is not None and not more:
                addition.after = after
            seq = await self._link.publish(subject, message.encode(), after)
            if seq is None:
                self._known.pop(told.run.run_id, None)
                return None
            del frames[:count]
            begins, after = begins + count, seq
            written = replace(message, seq=seq, frames=b"")
        if told.begins > told.last and not told.more and told.seq:
            await self._link.delete(told.seq)  # it was a sign of life, or the beginning, and this message tells as much
        if first > told.first:
            await self._history.drop(final, written.seq, new)
        return self._remember(written)

    async def _expire(self) -> int:
        count = 0
        for subject in await self._link.subjects(f"{self._prefix}.log.*"):
            last = await self._link.last(subject)
            if last is None:
                continue
            told = _told(last)
            if told.over_at <= await self._link.now():
                await self._link.purge(subject, last.seq + 1)
                count += 1
                if told.run.key is not None:
                    pointer = await self._link.last(self._pointer(told.run.owner, told.run.key))
                    if pointer is not None and text(pointer.data) == told.run.run_id:
                        await self._link.delete(pointer.seq)
        return count

    # --- inside --------------------------------------------------------------------------------------

    async def _fetch(self, run_id: str) -> Told:
        last = await self._link.last(self._log(run_id))
        if last is not None:
            told = _told(last)
            if told.over_at > await self._link.now():
                self._remember(replace(told, frames=b""))
                return told
        self._known.pop(run_id, None)
        self._history.forget(run_id)
        raise RunNotFound

    async def _found(self, run_id: str) -> Told | None:
        try:
            return await self._fetch(run_id)
        except RunNotFound:
            return None

    async def _drop(self, run_id: str) -> None:
        """Forget a run that has lost the race for its key."""
        self._known.pop(run_id, None)
        last = await self._link.last(self._log(run_id))
        if last is not None:
            await self._link.purge(self._log(run_id), last.seq + 1)

    def _remember(self, told: Told) -> Told:
        known = self._known
        known[told.run.run_id] = told
        known.move_to_end(told.run.run_id)
        if len(known) > MOST_KNOWN:
            self._history.forget(known.popitem(last=False)[0])
        return told

    def _log(self, run_id: str) -> str:
        return f"{self._prefix}.log.{_token(run_id)}"

    def _pointer(self, owner: str | None, key: str) -> str:
        return f"{self._prefix}.key.{sha256(json.dumps([owner, key]).encode()).hexdigest()}"


def _told(message: Message) -> Told:
    return Told.decode(message.data, message.seq, message.at)


def _can_be_used(url: str) -> bool:
    try:
        parts = urlsplit(url if "//" in url else f"nats://{url}")
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _token(run_id: str) -> str:
    """Give the part of a subject that stands for a run: subjects cannot have every character."""
    return f"r{run_id}" if re.fullmatch(r"[A-Za-z0-9_-]{1,128}", run_id) else f"x{sha256(utf8(run_id)).hexdigest()}"
