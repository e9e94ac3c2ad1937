"""The protocol of a store: where the records of runs are kept, so that any process can read them.

A run is work that outlives the connections of its clients. One process produces its records; any number of processes
follow it. A store has few verbs, because all that a run means is decided above it (the package `runs`).

What every store promises (`check_store` proves it):

- The records of one run have the numbers 1, 2, 3 and so on, without a gap, in the order in which they were appended.
- An append is atomic: all of its records are kept, or none. Appended twice, as after a reply that was lost, they are
  kept once.
- Only the producer that holds the epoch appends. One that was given up is refused, however late it comes back.
- Where a run has many producers they add: the store gives the numbers, and each addition is atomic too.
- A run ends once. Its last record is final; nothing comes after it, whoever tries.
- `claim` begins a run for a key at most once, however many callers there are.
- What was appended can be read at once, by every process.
- Every error of an engine is raised as a `StoreError`. None of its own reaches the user.

What no store promises: that `watch` tells of every record. It is a bell; the history is the truth. And how long records
last when the engine itself is lost: that is the engine's configuration (docs/scaling.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

__all__ = [
    "PAGE_BYTES",
    "Head",
    "Limits",
    "NewRun",
    "Record",
    "RunState",
    "Store",
    "Watch",
    "check_additions",
    "numbered",
]

PAGE_BYTES = 1_048_576
"""After how many bytes of records `read` ends a page."""


class RunState(Enum):
    """What becomes of a run."""

    LIVE = "live"
    """Its producer holds the lease."""
    LOST = "lost"
    """Its lease has run out, and nobody has closed it yet."""
    ENDED = "ended"
    """Its final record is there."""


class Record(NamedTuple):
    """One record of a run. Thousands are made at once, so it is a tuple: a frozen dataclass takes five times as long.

    Attributes:
        seq: Its number in the run: 1, 2, 3 and so on. The producer counts; where there are many, the store.
        data: The JSON of the item. To the store it is bytes.
        event: The name of the event; `""` for none.
        final: Whether the run ends with this record.
    """

    seq: int
    data: bytes
    event: str = ""
    final: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one run. None is no bound.

    Attributes:
        max_items: How many records to keep. The oldest are dropped.
        max_bytes: How many bytes of records to keep. The oldest are dropped.
        ttl: Seconds that a run which is still live is kept after its last sign of life.
        ttl_after: Seconds that a run is kept after its end.
        lease: Seconds without a sign of life after which the producer counts as lost.

    Raises:
        ValueError: A bound is not above zero.
    """

    max_items: int | None = 100_000
    max_bytes: int | None = 64 * 1_048_576
    ttl: float = 3600.0
    ttl_after: float = 600.0
    lease: float = 10.0

    def __post_init__(self) -> None:
        for name in ("max_items", "max_bytes", "ttl", "ttl_after", "lease"):
            value = getattr(self, name)
            if value is None and name.startswith("max_"):
                continue
            if value is None or not value > 0:
                raise ValueError(f"{name}={value!r} must be above zero")


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a run begins with.

    Attributes:
        run_id: Its id, which nobody can guess.
        epoch: Random, new for each producer. It is the fence: who appends must name it.
        owner: Whose run it is; None for nobody's.
        key: The idempotency key. Of all claims of one owner with one key only the first begins a run, as long as that
            run is kept. None begins one in any case.
        limits: The bounds of the run.
    """

    run_id: str
    epoch: str
    owner: str | None = None
    key: str | None = None
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a run without reading its records.

    Attributes:
        run_id: Its id.
        epoch: The epoch of its producer.
        owner: Whose run it is.
        key: The idempotency key it was begun with.
        state: What has become of it.
        first: The number of the oldest record that is kept. 1 as long as none was dropped.
        last: The number of the newest record; 0 if there is none.
        lease: Seconds until the producer counts as lost if it gives no further sign of life; 0 if the run is not live.
    """

    run_id: str
    epoch: str
    owner: str | None
    key: str | None
    state: RunState
    first: int
    last: int
    lease: float = 0.0


def check_additions(records: Sequence[Record]) -> None:
    """See that records can be added.

    Raises:
        ValueError: There are none, or one is final.
    """
    if not records:
        raise ValueError("there is nothing to add")
    if any(record.final for record in records):
        raise ValueError("a final record cannot be added: close the run")


def numbered(records: Sequence[Record], first: int) -> list[Record]:
    """Give the records with the numbers from `first` on."""
    return [Record(seq, record.data, record.event) for seq, record in enumerate(records, first)]


class Watch(Protocol):
    """Hears of new records of one run."""

    async def next(self) -> Sequence[Record]:
        """Wait until something may have happened to the run: a record, or its end. Only one task waits at a time.

        Returns:
            The new records if the bell carries them, in order and possibly with a gap to those before; otherwise
            nothing: read the run to see what is new.

        Raises:
            StoreError: The engine cannot be reached any more. Watch anew.
        """
        ...


class Store(ABC):
    """Keeps runs. Every verb may be called from any task of one event loop, and by many processes at once.

    Attributes:
        max_record_bytes: The largest `data` that one record may have; None for no bound but the memory. Whoever appends
            has to keep it.
    """

    max_record_bytes: int | None = None

    @abstractmethod
    async def claim(self, run: NewRun) -> Head:
        """Begin a run, or find the one that was begun with the same owner and key before.

        Returns:
            The head of the run. If its `run_id` is not the one that was given, somebody else was first.
        """

    @abstractmethod
    async def find(self, owner: str | None, key: str) -> Head:
        """Give the head of the run that was begun with an owner and a key. Nothing is begun.

        Raises:
            RunNotFound: There is no such run, or not any more.
        """

    @abstractmethod
    async def append(self, run_id: str, epoch: str, records: Sequence[Record]) -> Head:
        """Append records, and renew the lease. A final record ends the run.

        Records that are there already are left as they are: an append may be repeated if its reply was lost, the one
        that ended the run too. But once somebody else has closed the run, every append is refused, a repeat as well.

        The oldest records are dropped as the limits say, never the newest one.

        Raises:
            RunNotFound: There is no such run, or not any more.
            RunEnded: The run has ended, or has another epoch: this producer was given up.
            ValueError: A number is left out.
        """

    @abstractmethod
    async def add(self, run_id: str, epoch: str, records: Sequence[Record]) -> int:
        """Append records behind whatever is there, and renew the lease. For runs that many add to at the same time.

        The numbers of the records are not looked at: the store gives them. None of the records is final. A call that
        returns has added them once, whatever it had to repeat inside. One that raises `StoreError` may have added them.

        The oldest records are dropped as the limits say, never the newest one.

        Returns:
            The number of the first of them.

        Raises:
            RunNotFound: There is no such run, or not any more.
            RunEnded: The run has ended, or has another epoch.
            ValueError: There are none, or one is final.
        """

    @abstractmethod
    async def renew(self, run_id: str, epoch: str) -> Head:
        """Give a sign of life: the lease begins anew.

        Raises:
            RunNotFound: There is no such run, or not any more.
            RunEnded: The run has ended, or has another epoch: this producer was given up.
        """

    @abstractmethod
    async def read(self, run_id: str, after: int = 0, limit: int = 1000) -> tuple[Head, Sequence[Record]]:
        """Give the head, and up to `limit` records whose number is larger than `after`, oldest first.

        Dropped records are left out: the first record may be later than `after + 1`. There may be fewer than `limit`,
        so that a page stays in the size of `PAGE_BYTES`, but there is one if the run has one. With a limit of 0 only
        the head is read. Records that are given belong to a state not older than the head.

        Raises:
            RunNotFound: There is no such run, or not any more.
        """

    @abstractmethod
    def watch(self, run_id: str) -> AbstractAsyncContextManager[Watch]:
        """Hear of new records from the moment on in which this is entered. A run that is not there is watched as well.

        Raises:
            StoreError: The engine cannot be reached.
        """

    @abstractmethod
    async def close(self, run_id: str, event: str, data: bytes, *, if_lost: bool = False) -> Head:
        """End a run in the place of its producer, with a final record. If it has ended before, nothing is changed.

        Args:
            run_id: The run.
            event: The name of the final record.
            data: The JSON of the final record.
            if_lost: Do it only if the lease has run out.

        Returns:
            The head after that.

        Raises:
            RunNotFound: There is no such run, or not any more.
        """

    @abstractmethod
    async def expire(self) -> int:
        """Delete the runs that are over their time; give how many. Engines that do it by themselves give 0."""

    async def open(self) -> None:  # noqa: B027  an engine that needs no connection has nothing to open
        """Connect, and see that the engine is there. Verbs do it by themselves; this is for a clear start.

        Raises:
            StoreError: The engine cannot be reached.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of connections, files and tasks. The records stay."""
