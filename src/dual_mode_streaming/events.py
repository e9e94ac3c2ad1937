"""The two values that every layer speaks of: an event on the wire, and the way a response ended."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import Any

__all__ = ["Outcome", "ServerSentEvent"]


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of a stream (WHATWG HTML, section 9.2).

    A source yields it instead of a plain item where it wants a say in the event's name, id or retry time.
    A decoder gives it back: then `data` and `raw` are both the text of the event, `event` is None for the
    default name `message`, and `id` is the last event id of the stream so far (`""` if there was none).

    Attributes:
        data: The item: anything that can be encoded as JSON.
        event: The name of the event. Without line breaks.
        id: The id that a client sends back as `Last-Event-ID` when it reconnects. Without line breaks and NUL.
        retry: How long a client waits before it reconnects, in milliseconds.
        comment: A text that clients ignore. An event that has only a comment, or only a retry time, is no item.
        raw: Text to send as it is, instead of `data` encoded as JSON.
    """

    data: Any = None
    _: KW_ONLY
    event: str | None = None
    id: str | None = None
    retry: int | None = None
    comment: str | None = None
    raw: str | None = None

    @property
    def is_item(self) -> bool:
        """Whether the event carries data, be it null; an event that has only a comment or a retry time does not."""
        if self.comment is None and self.retry is None:
            return True
        return self.data is not None or self.raw is not None or self.event is not None or self.id is not None


class Outcome(Enum):
    """How a response ended. Every response has exactly one outcome."""

    DONE = "done"
    """The source came to its end and the client was sent all of it."""
    ERROR = "error"
    """The source, the encoder or the fold raised."""
    CLIENT_GONE = "client_gone"
    """The client left before the end."""
    SLOW_CLIENT = "slow_client"
    """The client took no byte for `send_timeout` seconds."""
    DEADLINE = "deadline"
    """The response took longer than its `deadline`."""
    IDLE = "idle"
    """The source gave nothing for `idle_timeout` seconds."""
    DRAINED = "drained"
    """The server is going down and ended the stream politely."""
    CANCELLED = "cancelled"
    """The server cancelled the request."""
