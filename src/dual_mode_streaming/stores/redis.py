"""`RedisStore`: runs in Redis (5 or later) or Valkey, for any number of processes on any number of machines.

Rules:

- Every step on a run is one script on the server, so it is atomic, and so is what the bell is told of it. Every script
  may be run twice: what a lost reply has done already is not done again.
- The keys of one run share a hash slot, and no script touches two slots. So a cluster works as one server does.
- A claim with an idempotency key takes two steps, because the key must be found without knowing the run: first the run
  is begun, then the pointer of the key is set, if nobody else has been faster. So whoever reads a pointer finds its
  run, and exactly one run has the pointer. The loser's run is dropped; if its process dies before that, nobody knows
  it, and it expires.
- A pointer lives longer than its run. One whose run has expired counts as none.
- No call takes longer than `timeout`, whatever redis-py repeats within it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NoReturn

try:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
    from redis.exceptions import NoScriptError, RedisError
except ModuleNotFoundError as missing:
    raise ImportError(
        f"{missing.name} is missing; it comes with an extra: pip install 'dual-mode-streaming[redis]'"
    ) from None

from dual_mode_streaming.errors import RunEnded, RunNotFound, StoreError

from ._frames import check_numbers, pack, text, unpack, utf8
from ._redis_bell import RedisBell, unreachable
from ._redis_scripts import ADD, APPEND, BEGIN, CLOSE, DROP, POINT, READ, Script
from .base import PAGE_BYTES, Head, Limits, NewRun, Record, RunState, Store, Watch, check_additions

if TYPE_CHECKING:
    from redis.asyncio.cluster import RedisCluster

__all__ = ["RedisStore"]

CARRIED_BYTES = 65_536
"""Up to how many bytes of records the bell carries. Larger ones are read by those who want them."""

CLAIMS = 10
"""How often a claim begins anew if the run it has found is gone a moment later."""


class RedisStore(Store):
    """Keeps runs in Redis 5 or later, or in Valkey, also in a cluster.

    How long records last when the server itself dies is its configuration: without an append-only file (`appendonly
    yes`) a restart begins with an empty server, and every run is answered with `RunNotFound`. Set `maxmemory-policy
    noeviction`, so that a server short of memory refuses new records and does not throw away old ones.

    Args:
        redis: The URL of the server, as `redis://127.0.0.1:6379/0`, `rediss://` or `unix://`; or a client of redis-py
            (`redis.asyncio.Redis` or `RedisCluster`) of your own, which you close and which repeats as you set it.
        prefix: With what the names of keys and channels begin. Stores of the same server and prefix share their runs.
        timeout: Seconds that a call may take, with all that is repeated when a connection is lost. After so many
            seconds without the server watches fail, too.
        max_connections: How many connections the pool of a URL has at most, beside the one for watches. Calls wait for
            a free one.

    Raises:
        ImportError: redis-py is not installed; it comes with the extra `redis`.
        ValueError: The URL cannot be used, the client decodes responses, or a number is not above zero.
    """

    max_record_bytes = 64 * 1_048_576

    def __init__(
        self,
        redis: str | Redis | RedisCluster,
        *,
        prefix: str = "dms",
        timeout: float = 5.0,
        max_connections: int = 32,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout={timeout!r} must be above zero")
        if not max_connections > 0:
            raise ValueError(f"max_connections={max_connections!r} must be above zero")
        if "{" in prefix:
            raise ValueError(f"prefix={prefix!r} has a brace, which would decide the slots of all keys in a cluster")
        self._owned = isinstance(redis, str)
        self._redis: Any = redis
        # The bell repeats nothing in silence: it has to know when it was cut off.
        self._listening: Any = redis
        if isinstance(redis, str):
            backoff = ExponentialWithJitterBackoff(base=0.02, cap=0.5)
            self._redis = _client(redis, timeout, max_connections, Retry(backoff, retries=10))
            self._listening = _client(redis, timeout, 1, Retry(NoBackoff(), retries=0))
        if self._redis.get_encoder().decode_responses:
            raise ValueError("the client decodes responses; give one with decode_responses=False")
        self._prefix = utf8(prefix)
        self._timeout = timeout
        self._bell = RedisBell(self._listening.pubsub, self._channel, timeout)

    async def claim(self, run: NewRun) -> Head:
        """Begin a run, or find the one that was begun with the same owner and key."""
        if run.key is None:
            return await self._begin(run)
        pointer = self._pointer(run.owner, run.key)
        for _ in range(CLAIMS):
            seen = await self._do(self._redis.get, pointer)
            if seen is not None and (head := await self._found(text(seen))) is not None:
                return head
            head = await self._begin(run)
            points = await self._call(POINT, [pointer], [seen or b"", utf8(run.run_id), _pointer_life(run.limits)])
            if text(points) == run.run_id:
                return head
            await self._call(DROP, self._keys(run.run_id), [utf8(run.epoch)])
            if (winner := await self._found(text(points))) is not None:
                return winner
        raise StoreError("The runs of this idempotency key expire faster than they can be found.")

    async def find(self, owner: str | None, key: str) -> Head:
        """Find the run that was begun with an owner and a key."""
        run_id = await self._do(self._redis.get, self._pointer(owner, key))
        if run_id is None:
            raise RunNotFound
        return (await self.read(text(run_id), limit=0))[0]

    async def append(self, run_id: str, epoch: str, records: Sequence[Record]) -> Head:
        """Append records, and renew the lease: one step."""
        check_numbers(records)
        frames = [pack(record) for record in records]
        carried = sum(map(len, frames)) <= CARRIED_BYTES
        first, final = (records[0].seq, records[-1].final) if records else (1, False)
        arguments = [utf8(epoch), self._channel(run_id), first, int(final), int(carried), *frames]
        answer = await self._call(APPEND, self._keys(run_id), arguments)
        if answer[0] == b"gap":
            raise ValueError(f"the record after {answer[1]} has the number {first}")
        head = _head(run_id, answer)
        await self._prolong(head, answer)
        return head

    async def add(self, run_id: str, epoch: str, records: Sequence[Record]) -> int:
        """Append records behind whatever is there: one step, which the server remembers while it may be repeated."""
        check_additions(records)
        frames = [pack(record) for record in records]
        carried = sum(map(len, frames)) <= CARRIED_BYTES
        keys = self._keys(run_id)
        keys.append(keys[0] + b":" + token_hex(8).encode())
        memory = _milliseconds(2 * self._timeout)
        arguments = [utf8(epoch), self._channel(run_id), memory, int(carried), *frames]
        answer = await self._call(ADD, keys, arguments)
        await self._prolong(_head(run_id, answer), answer)
        return int(answer[5])

    async def renew(self, run_id: str, epoch: str) -> Head:
        """Begin the lease anew."""
        return await self.append(run_id, epoch, ())

    async def read(self, run_id: str, after: int = 0, limit: int = 1000) -> tuple[Head, Sequence[Record]]:
        """Give the head and a page of records: one step."""
        answer = await self._call(READ, self._keys(run_id), [max(0, after), max(0, limit), PAGE_BYTES])
        if answer[0] == b"gone":
            raise RunNotFound
        head, first, frames = answer
        return _head(run_id, head), unpack(frames, first)

    def watch(self, run_id: str) -> AbstractAsyncContextManager[Watch]:
        """Hear of new records; the bell carries small ones."""
        return self._bell.watch(run_id)

    async def close(self, run_id: str, event: str, data: bytes, *, if_lost: bool = False) -> Head:
        """End a run in the place of its producer: one step."""
        frame = pack(Record(1, data, event, final=True))
        return _head(run_id, await self._call(CLOSE, self._keys(run_id), [self._channel(run_id), int(if_lost), frame]))

    async def expire(self) -> int:
        """Give 0: the server deletes what is over its time."""
        return 0

    async def open(self) -> None:
        """See that the server is there, and answers."""
        await self._do(self._redis.ping)

    async def aclose(self) -> None:
        """Let go of the connections; watches that are left fail."""
        await self._bell.aclose()
        if self._owned:
            await self._redis.aclose()
            await self._listening.aclose()

    # --- keys ----------------------------------------------------------------------------------------

    def _keys(self, run_id: str) -> list[bytes]:
        # The braces decide the slot. What is between them is never empty: empty ones would count for nothing.
        slot = b"%s:{run:%s}:" % (self._prefix, utf8(run_id))
        return [slot + b"head", slot + b"log"]

    def _channel(self, run_id: str) -> bytes:
        return b"%s:bell:%s" % (self._prefix, utf8(run_id))

    def _pointer(self, owner: str | None, key: str) -> bytes:
        digest = sha256(json.dumps([owner, key]).encode()).hexdigest()
        return b"%s:key:%s" % (self._prefix, digest.encode())

    # --- steps ---------------------------------------------------------------------------------------

    async def _begin(self, run: NewRun) -> Head:
        limits = run.limits
        fields: dict[str, Any] = {
            "epoch": utf8(run.epoch),
            "owner": None if run.owner is None else utf8(run.owner),
            "key": None if run.key is None else utf8(run.key),
            "lease": _milliseconds(limits.lease),
            "ttl": _milliseconds(limits.ttl),
            "ttl_after": _milliseconds(limits.ttl_after),
            "max_items": limits.max_items or None,
            "max_bytes": limits.max_bytes or None,
        }
        arguments = [part for name, value in fields.items() if value is not None for part in (name, value)]
        return _head(run.run_id, await self._call(BEGIN, self._keys(run.run_id), arguments))

    async def _prolong(self, head: Head, answer: Sequence[Any]) -> None:
        """Make the life of the pointer to a run longer, if the server says that it is due."""
        due, ttl, ttl_after = answer[4].split(b" ")[4:]
        if head.key is not None and due != b"0":
            life = int(2 * float(ttl) + float(ttl_after))
            await self._do(self._redis.pexpire, self._pointer(head.owner, head.key), life)

    async def _found(self, run_id: str) -> Head | None:
        try:
            return (await self.read(run_id, limit=0))[0]
        except RunNotFound:
            return None

    async def _call(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Any]) -> Any:
        """Run a script; a server that does not know it, or not any more, is given its text."""

        async def run() -> Any:
            try:
                return await self._redis.evalsha(script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await self._redis.eval(script.text, len(keys), *keys, *arguments)

        return await self._do(run)

    async def _do(self, command: Any, *arguments: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await command(*arguments)
        except (RedisError, OSError, TimeoutError) as error:
            raise unreachable(error) from error


def _client(url: str, timeout: float, max_connections: int, retry: Retry) -> Redis:
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            decode_responses=False,
            protocol=2,  # Redis 5 knows no other
            max_connections=max_connections,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=retry,
        )
    except (ValueError, TypeError):
        pool = None
    if pool is None:  # not in the handler: the error of redis-py may hold a part of the URL, a password for one
        raise ValueError("the URL of Redis cannot be used; it should look like redis://user:password@host:6379/0")
    return Redis.from_pool(pool)


_STATES = {state.value.encode(): state for state in RunState}


def _head(run_id: str, answer: Sequence[Any]) -> Head:
    if answer[0] != b"ok":
        _refuse(answer[0])
    _, epoch, owner, key, rest = answer[:5]
    state, first, last, left, *_ = rest.split(b" ")
    return Head(
        run_id,
        text(epoch),
        None if owner is None else text(owner),
        None if key is None else text(key),
        _STATES[state],
        int(first),
        int(last),
        float(left) / 1000,
    )


def _refuse(why: bytes) -> NoReturn:
    if why == b"gone":
        raise RunNotFound
    raise RunEnded


def _milliseconds(seconds: float) -> int:
    return max(1, round(1000 * seconds))


def _pointer_life(limits: Limits) -> int:
    """Give for how long a pointer lives: until its life is made longer for the third time. Two of them may fail."""
    return 2 * _milliseconds(limits.ttl) + _milliseconds(limits.ttl_after)
