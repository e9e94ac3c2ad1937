"""The connection of `NATSStore`: what it asks of the server, bounded in time, and its own clock.

Rules:

- No call takes longer than `timeout`. Within it whatever was lost with a connection is asked again: all that is asked
  may be asked twice, because a message is only taken behind the one it names.
- As long as the connection lasts nothing is asked again. A process that is too busy to read its answers would make
  itself, and the server, busier with each question.
- The newest message of a subject is asked of the leader of the stream, never of a replica that may be behind.
- Time is the server's. It is asked for every few seconds; in between the clock of this process goes on from there.
- The stream is made when it is not there, with what the store needs of it.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

try:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.errors import Error, NoRespondersError, SlowConsumerError
except ModuleNotFoundError as missing:
    raise ImportError(
        f"{missing.name} is missing; it comes with an extra: pip install 'dual-mode-streaming[nats]'"
    ) from None

from dual_mode_streaming.errors import StoreError

from ._nats_messages import seconds

__all__ = ["Message", "NATSLink", "Unreachable"]

T = TypeVar("T")

CLOCK_SECONDS = 10.0
"""For how long the difference between the clocks is taken for known."""
BATCH = 500
"""How many messages are asked for at once."""
EOB, NOT_FOUND = "204", "404"
WRONG_LAST, NO_MESSAGE, NO_STREAM, NAME_IN_USE = 10071, 10037, 10059, 10058
OLDEST_VERSION = (2, 11)
"""The first version that gives many messages for one question."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the stream: its number there, its data, and when the server took it."""

    seq: int
    data: bytes
    at: float


class Unreachable(Exception):
    """The server gives no answer now; it may be asked again."""


class NATSLink:
    """A connection to NATS, made when it is first needed.

    Args:
        servers: Their URLs.
        prefix: The name of the stream, and with what subjects begin.
        timeout: Seconds that a call may take.
        stream: What the stream is made with, beside what it needs to be.
        on_loss: Called when the connection is lost.
        on_return: Called when there is a connection again.
        options: Further options of `nats.connect`.
    """

    def __init__(
        self,
        servers: Sequence[str],
        prefix: str,
        timeout: float,
        stream: dict[str, Any],
        on_loss: Callable[[], None],
        on_return: Callable[[], None],
        options: dict[str, Any],
    ) -> None:
        self._servers = list(servers)
        self._prefix = prefix
        self._timeout = timeout
        self._stream = stream
        self._on_loss = on_loss
        self._on_return = on_return
        self._options = options
        self._client: Client | None = None
        self._lost: asyncio.Future[None]
        self._connecting = asyncio.Lock()
        self._inbox = ""
        self._replies: dict[str, asyncio.Queue[Msg]] = {}
        self._asked = 0
        self._offset = 0.0
        self._measured_at: float | None = None

    # --- calls ---------------------------------------------------------------------------------------

    async def bounded(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until there is an answer, for `timeout` seconds.

        Raises:
            StoreError: There was none, or the server refuses.
        """
        try:
            async with asyncio.timeout(self._timeout):
                pause = 0.01
                while True:
                    try:
                        return await call()
                    except Unreachable:
                        await asyncio.sleep(pause)
                        pause = min(2 * pause, 0.5)
        except (Error, OSError, TimeoutError) as error:
            raise self.failed(error) from error

    @staticmethod
    def failed(error: BaseException) -> StoreError:
        """Make the error for users. Its text says nothing of where: clients may see it."""
        return StoreError(f"NATS cannot be reached, or refuses ({type(error).__name__}).")

    async def client(self) -> Client:
        """Give the connection; make it, and the stream, if there is none."""
        if self._client is None:
            async with self._connecting:
                if self._client is None:
                    self._client = await self._connect()
        return self._client

    async def flush(self) -> None:
        """Wait until the server has heard everything that was said on this connection."""
        client = await self.client()
        if not client.is_connected:
            raise Unreachable  # a flush would return as if all were well
        await self._unless_lost(client.flush(max(1, round(self._timeout))))

    async def last(self, subject: str) -> Message | None:
        """Give the newest message of a subject."""
        return await self._message({"last_by_subj": subject})

    async def following(self, subject: str, seq: int) -> Message | None:
        """Give the first message of a subject whose number in the stream is larger."""
        return await self._message({"seq": seq + 1, "next_by_subj": subject})

    async def _message(self, question: dict[str, Any]) -> Message | None:
        answer = await self._ask(f"$JS.API.STREAM.MSG.GET.{self._prefix}", question)
        if "error" in answer:
            if answer["error"].get("err_code") == NO_MESSAGE:
                return None
            raise _refused(answer["error"])
        found = answer["message"]
        return Message(found["seq"], b64decode(found.get("data", "")), seconds(found["time"]))

    async def publish(self, subject: str, data: bytes, after: int) -> int | None:
        """Add a message if the newest one of the subject has this number (0: there is none); None if it has another."""
        answer = await self._ask(subject, data, {"Nats-Expected-Last-Subject-Sequence": str(after)})
        if "error" in answer:
            if answer["error"].get("err_code") == WRONG_LAST:
                return None
            raise _refused(answer["error"])
        seq: int = answer["seq"]
        return seq

    async def batch(self, subject: str, seq: int, size: int, count: int = BATCH) -> list[Message]:
        """Give messages of a subject from a number of the stream on, up to about so many bytes, but at least one."""
        client = await self.client()
        self._asked += 1
        token = str(self._asked)
        replies = self._replies[token] = asyncio.Queue()
        question = {"seq": max(1, seq), "next_by_subj": subject, "batch": count, "max_bytes": size}
        try:
            await client.publish(
                f"$JS.API.DIRECT.GET.{self._prefix}", json.dumps(question).encode(), reply=f"{self._inbox}.{token}"
            )
            messages: list[Message] = []
            while True:
                reply = await self._unless_lost(replies.get()) if replies.empty() else replies.get_nowait()
                headers = reply.headers or {}
                status = headers.get("Status")
                if status in (EOB, NOT_FOUND):
                    return messages
                if status is not None:
                    raise Unreachable
                messages.append(Message(int(headers["Nats-Sequence"]), reply.data, seconds(headers["Nats-Time-Stamp"])))
        finally:
            del self._replies[token]

    async def purge(self, subject: str, before: int) -> None:
        """Delete the messages of a subject whose number in the stream is smaller."""
        await self._ask(f"$JS.API.STREAM.PURGE.{self._prefix}", {"filter": subject, "seq": before})

    async def delete(self, seq: int) -> None:
        """Delete a message."""
        await self._ask(f"$JS.API.STREAM.MSG.DELETE.{self._prefix}", {"seq": seq, "no_erase": True})

    async def subjects(self, pattern: str) -> list[str]:
        """Give all subjects that have messages."""
        found: list[str] = []
        while True:
            question = {"subjects_filter": pattern, "offset": len(found)}
            answer = await self._ask(f"$JS.API.STREAM.INFO.{self._prefix}", question)
            page = (answer.get("state") or {}).get("subjects") or {}
            found += page
            if not page or len(found) >= answer.get("total", 0):
                return found

    async def now(self, *, exactly: bool = False) -> float:
        """Give the time of the server, in seconds."""
        loop = asyncio.get_running_loop()
        if exactly or self._measured_at is None or loop.time() - self._measured_at > CLOCK_SECONDS:
            answer = await self._ask(f"$JS.API.STREAM.INFO.{self._prefix}", {})
            if "ts" not in answer:
                raise Unreachable
            self._measured_at = loop.time()
            self._offset = seconds(answer["ts"]) - self._measured_at
        return loop.time() + self._offset

    async def aclose(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            # From Python 3.12 on a transport that was lost answers what is still to be written with a TypeError.
            with suppress(Error, OSError, TypeError):
                await client.close()

    # --- inside --------------------------------------------------------------------------------------

    @property
    def _patience(self) -> float:
        """Seconds to wait for the answer to a question about the stream, while the connection is made."""
        return min(1.0, self._timeout / 3)

    async def _unless_lost(self, answer: Coroutine[Any, Any, T]) -> T:
        """Wait for an answer; if the connection is lost meanwhile, nothing tells whether it will come."""
        waiting = asyncio.ensure_future(answer)
        try:
            await asyncio.wait((waiting, self._lost), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise Unreachable
            return waiting.result()
        finally:
            waiting.cancel()

    def _lose(self) -> None:
        """Have everything asked again that has no answer yet."""
        self._lost.set_result(None)
        self._lost = asyncio.get_running_loop().create_future()

    async def _ask(self, subject: str, data: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
        client = await self.client()
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        try:
            reply = await self._unless_lost(client.request(subject, body, timeout=self._timeout, headers=headers))
        except NoRespondersError:
            await self._make_stream(client)
            raise Unreachable from None
        answer: dict[str, Any] = json.loads(reply.data)
        if answer.get("error", {}).get("err_code") == NO_STREAM:
            await self._make_stream(client)
            raise Unreachable
        return answer

    async def _connect(self) -> Client:
        client = Client()

        self._lost = asyncio.get_running_loop().create_future()

        async def lost() -> None:
            self._lose()
            self._on_loss()

        async def back() -> None:
            self._lose()
            self._measured_at = None
            self._on_return()

        async def failed(error: Exception) -> None:
            if isinstance(error, SlowConsumerError):  # messages were dropped, as if the connection had been lost
                self._on_return()

        async def hear(reply: Msg) -> None:
            if (replies := self._replies.get(reply.subject.rpartition(".")[2])) is not None:
                replies.put_nowait(reply)

        try:
            await client.connect(
                self._servers,
                **{
                    "connect_timeout": self._timeout,
                    "reconnect_time_wait": 0.1,
                    "max_reconnect_attempts": -1,
                    "ping_interval": 5,
                    **self._options,
                    "disconnected_cb": lost,
                    "reconnected_cb": back,
                    "closed_cb": lost,
                    "error_cb": failed,
                },
            )
            version = client.connected_server_version
            if (version.major, version.minor) < OLDEST_VERSION:
                raise StoreError(f"NATS {version.major}.{version.minor} is too old; 2.11 is the oldest that will do.")
            self._inbox = client.new_inbox()
            await client.subscribe(f"{self._inbox}.*", cb=hear)
            await self._make_stream(client)
        except BaseException:
            # From Python 3.12 on a transport that was lost answers what is still to be written with a TypeError.
            with suppress(Error, OSError, TypeError):
                await client.close()
            raise
        return client

    async def _make_stream(self, client: Client) -> None:
        name = self._prefix
        wanted = {
            **self._stream,
            "name": name,
            "subjects": [f"{name}.log.*", f"{name}.key.*"],
            "retention": "limits",
            "discard": "new",
            "allow_direct": True,
            # What a core subscription hears is what the stream has taken, not what somebody has tried.
            "republish": {"src": f"{name}.log.*", "dest": f"{name}.bell.{{{{wildcard(1)}}}}"},
        }
        try:
            reply = await client.request(
                f"$JS.API.STREAM.CREATE.{name}", json.dumps(wanted).encode(), timeout=self._patience
            )
        except (NoRespondersError, TimeoutError):
            raise Unreachable from None
        error = json.loads(reply.data).get("error")
        if error is None:
            return
        if error.get("err_code") == NAME_IN_USE:  # with other options, as the number of replicas: that is their affair
            reply = await client.request(f"$JS.API.STREAM.INFO.{name}", b"", timeout=self._patience)
            config = json.loads(reply.data).get("config", {})
            if all(config.get(option) == wanted[option] for option in ("subjects", "allow_direct", "republish")):
                return
            raise StoreError(f"The stream {name} is there, but not made for this; choose another prefix.")
        raise _refused(error)


def _refused(error: dict[str, Any]) -> StoreError | Unreachable:
    if error.get("code") == 503:
        return Unreachable()
    return StoreError(f"NATS refuses: {error.get('description', 'without a reason')}.")
