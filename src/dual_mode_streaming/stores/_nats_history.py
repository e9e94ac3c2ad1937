"""The older messages of a run in NATS: finding a record among them, and dropping what is over the limits.

The number of a record says nothing of the number that its message has in the stream, which many runs share. Where a
page has ended is remembered. Otherwise the message is searched for by halving: each message tells where it begins.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from dual_mode_streaming.errors import RunNotFound

from ._nats_link import Message, NATSLink, Unreachable
from ._nats_messages import Joining, Told, records_of
from .base import PAGE_BYTES, Record

__all__ = ["History"]

MOST_PLACES = 10_000
"""How many places of records are remembered."""
NEAR = 8
"""A search ends when it is so many messages away."""
LOOKED_AHEAD = 1000
"""Of how many of the oldest records the sizes are looked up at once."""

Place = tuple[int, int, int]
"""A record: its number, its size, and the number of its message in the stream."""


class History:
    """Reads and drops records.

    Args:
        link: The connection.
        subject: Gives the subject of a run.
    """

    def __init__(self, link: NATSLink, subject: Callable[[str], str]) -> None:
        self._link = link
        self._subject = subject
        self._places: OrderedDict[tuple[str, int], int] = OrderedDict()
        """Which message of the stream has a record, or is not far before it."""
        self._oldest: dict[str, deque[Place]] = {}
        """The oldest records of runs that are at their bounds."""

    async def read(self, told: Told, begins: int, limit: int) -> list[Record]:
        """Give up to `limit` records from a number on, as far as they are kept."""
        return [record for _, record in await self._found(told, begins, limit, PAGE_BYTES)]

    async def trimmed(self, told: Told, new: Sequence[Record]) -> tuple[int, int]:
        """Give the oldest number that is kept once records were added, and how many bytes are kept then."""
        limits = told.run.limits
        items, most = limits.max_items or float("inf"), limits.max_bytes or float("inf")
        first, last = told.first, told.last + len(new)
        size = told.size + sum(len(record.data) for record in new)
        while first < last and (last - first + 1 > items or size > most):
            size -= len(new[first - told.last - 1].data) if first > told.last else (await self._place(told, first))[1]
            first += 1
        return first, size

    async def drop(self, told: Told, seq: int, new: Sequence[Record]) -> None:
        """Delete the messages that hold only dropped records; `seq` is the message that has the new ones."""
        if told.first <= told.last - len(new):
            place = await self._place(told, told.first)
            seq = place[2]
        await self._link.purge(self._subject(told.run.run_id), seq)

    def forget(self, run_id: str) -> None:
        """Forget what is known of a run."""
        self._oldest.pop(run_id, None)

    async def _place(self, told: Told, number: int) -> Place:
        """Look up one of the oldest records, which are asked for in their order."""
        oldest = self._oldest.setdefault(told.run.run_id, deque())
        while oldest and oldest[0][0] < number:
            oldest.popleft()
        if not oldest or oldest[0][0] != number:
            found = await self._found(told, number, LOOKED_AHEAD, PAGE_BYTES)
            oldest.clear()
            oldest += [(record.seq, len(record.data), seq) for seq, record in found]
            if not oldest or oldest[0][0] != number:
                raise RunNotFound  # what the head speaks of is not there: the stream has lost messages
        return oldest[0]

    async def _found(self, told: Told, begins: int, limit: int, size: int) -> list[tuple[int, Record]]:
        """Give records with the numbers of their messages."""
        begins = max(begins, told.first)
        if limit <= 0 or begins > told.last:
            return []
        run_id, subject = told.run.run_id, self._subject(told.run.run_id)
        found: list[tuple[int, Record]] = []
        if told.frames and not told.more and told.begins <= begins:
            messages = [Message(told.seq, told.encode(), told.at)]  # the newest records are there already
        else:
            place = self._places.get((run_id, begins)) or await self._search(told, begins)
            messages = await self._link.batch(subject, place, size)
        joining = Joining()
        bytes_found = 0
        while messages:
            for message in messages:
                for seq, record in joining.feed(message.data, message.seq):
                    if begins <= record.seq <= told.last and len(found) < limit and bytes_found < size:
                        found.append((seq, record))
                        bytes_found += len(record.data)
            if found and (len(found) >= limit or bytes_found >= size or found[-1][1].seq == told.last):
                break
            messages = await self._link.batch(subject, messages[-1].seq + 1, size)
        if not found:
            raise Unreachable  # dropped in this moment, or a replica is behind: look again
        self._places[run_id, found[-1][1].seq + 1] = found[-1][0]
        if len(self._places) > MOST_PLACES:
            self._places.popitem(last=False)
        return found

    async def _search(self, told: Told, begins: int) -> int:
        """Give a message that has the record, or is not far before it."""
        subject = self._subject(told.run.run_id)
        first = await self._link.batch(subject, 1, 1, count=1)
        low, high = first[0].seq if first else 1, told.seq
        while high - low > NEAR:
            middle = (low + high) // 2
            message = await self._link.batch(subject, middle, 1, count=1)
            # Its number is no larger: the record cannot be before it. Otherwise it may be, but never before `low`.
            if message and message[0].seq < high and records_of(message[0].data)[0] <= begins:
                low = message[0].seq
            else:
                high = middle
        return low
