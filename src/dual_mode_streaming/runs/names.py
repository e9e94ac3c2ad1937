"""Names that stand for the newest of several runs, such as that of a chat for the answer that is under way.

A key names one run for as long as that is kept. A name is given to one run after the other. It is kept as a run of its
own, which nobody produces: its newest record is the id of the run that has the name.

Rules:

- The store decides who is first, as for all records. Who comes second, comes after.
- A name is an owner's own, as a key is.
- A name is forgotten when it was not given to a run for `keep_for` seconds.
"""

from __future__ import annotations

import secrets

from dual_mode_streaming.errors import RunNotFound
from dual_mode_streaming.stores.base import Head, Limits, NewRun, Record, Store

__all__ = ["Names"]


class Names:
    """The names of runs in a store.

    Args:
        store: Where the runs are.
        keep_for: Seconds for which a name is kept after it was given to a run.
    """

    def __init__(self, store: Store, *, keep_for: float = 3600.0) -> None:
        self._store = store
        # Nobody gives a sign of life in between, and nobody is to take the name for a run that is lost.
        self._limits = Limits(max_items=1, max_bytes=None, ttl=keep_for, ttl_after=keep_for, lease=keep_for)

    async def give(self, name: str, run_id: str, *, owner: str | None = None) -> str | None:
        """Give a name to a run.

        Returns:
            The id of the run that had it before; None if none had.

        Raises:
            StoreError: The store does not answer.
        """
        key = _key(name)
        while True:
            new = NewRun(secrets.token_urlsafe(16), secrets.token_hex(8), _owner(owner), key, self._limits)
            head = await self._store.claim(new)
            try:
                before = await self._newest(head)
                await self._store.append(head.run_id, head.epoch, [Record(head.last + 1, run_id.encode())])
                _, records = await self._store.read(head.run_id, head.last, 1)
            except RunNotFound:
                continue  # its time was over just now
            if records and (records[0].seq > head.last + 1 or records[0].data == run_id.encode()):
                return before

    async def find(self, name: str, *, owner: str | None = None) -> str | None:
        """Give the id of the run that has a name; None if none has.

        Raises:
            StoreError: The store does not answer.
        """
        try:
            return await self._newest(await self._store.find(_owner(owner), _key(name)))
        except RunNotFound:
            return None

    async def _newest(self, head: Head) -> str | None:
        if not head.last:
            return None
        _, records = await self._store.read(head.run_id, head.last - 1)
        return records[-1].data.decode() if records else None


def _key(name: str) -> str:
    return f"name of a run: {name}"


def _owner(owner: str | None) -> str:
    # Nobody who asks by an id is this owner, so a name cannot be followed or cancelled.
    return "names of runs" if owner is None else f"names of runs of {owner}"
