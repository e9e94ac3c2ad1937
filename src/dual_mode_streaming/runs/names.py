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
from dual_mode_streaming.stores.base import Limits, NewRun, Record, Store

__all__ = ["Names"]

KEPT = 64
"""How many runs that had a name are kept: more than can be given it at the same moment."""


class Names:
    """The names of runs in a store.

    Args:
        store: Where the runs are.
        keep_for: Seconds for which a name is kept after it was given to a run.
    """

    def __init__(self, store: Store, *, keep_for: float = 3600.0) -> None:
        self._store = store
        # Nobody gives a sign of life in between, and nobody is to take the name for a run that is lost.
        self._limits = Limits(max_items=KEPT, max_bytes=None, ttl=keep_for, ttl_after=keep_for, lease=keep_for)

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
                await self._store.append(head.run_id, head.epoch, [Record(head.last + 1, run_id.encode())])
                _, records = await self._store.read(head.run_id, max(0, head.last - 1), 2)
            except RunNotFound:
                continue  # its time was over just now
            given = {record.seq: record.data.decode() for record in records}
            # If somebody else was faster, the record is theirs, and ours was dropped as one that is there already.
            if given.get(head.last + 1) == run_id:
                return given.get(head.last)

    async def find(self, name: str, *, owner: str | None = None) -> str | None:
        """Give the id of the run that has a name; None if none has.

        Raises:
            StoreError: The store does not answer.
        """
        try:
            head = await self._store.find(_owner(owner), _key(name))
            _, records = await self._store.read(head.run_id, max(0, head.last - 1))
        except RunNotFound:
            return None
        return records[-1].data.decode() if records else None


def _key(name: str) -> str:
    return f"name of a run: {name}"


def _owner(owner: str | None) -> str:
    # Nobody who asks by an id is this owner, so a name cannot be followed or cancelled.
    return "names of runs" if owner is None else f"names of runs of {owner}"
