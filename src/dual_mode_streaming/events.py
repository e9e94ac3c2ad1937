"""The two values that every layer speaks of: an event on the wire, and the way a response ended."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import Any

__all__ = ["Missed", "Outcome", "ServerSentEvent"]


class Missed(dict[str, int | None]):
    """The data of a `gap` event: `{"missed": N}`, where N is None if nobody knows how many items are missing.

    Only the library makes it. By this type it knows its own gap events from an author's, which it refuses.
    """


@dataclass(frozen=True, slots=True, init=False)
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

    def __init__(
        self,
        data: Any = None,
        *,
        event: str | None = None,
        id: str | None = None,  # noqa: A002  the field's word
        retry: int | None = None,
        comment: str | None = None,
        raw: str | None = None,
    ) -> None:
        # One is made for each event of a stream. The __init__ of a frozen dataclass would look every field up.
        _set_data(self, data)
        _set_event(self, event)
        _set_id(self, id)
        _set_retry(self, retry)
        _set_comment(self, comment)
        _set_raw(self, raw)

    @property
    def has_data(self) -> bool:
        """Whether the event carries data, be it null; one that has only a comment or a retry time does not."""
        if self.comment is None and self.retry is None:
            return True
        return self.data is not None or self.raw is not None or self.event is not None or self.id is not None

    @property
    def is_item(self) -> bool:
        """Whether the event carries an item: it has data, and does not only tell of a gap."""
        return self.has_data and self.data.__class__ is not Missed


_set_data = ServerSentEvent.__dict__["data"].__set__
_set_event = ServerSentEvent.__dict__["event"].__set__
_set_id = ServerSentEvent.__dict__["id"].__set__
_set_retry = ServerSentEvent.__dict__["retry"].__set__
_set_comment = ServerSentEvent.__dict__["comment"].__set__
_set_raw = ServerSentEvent.__dict__["raw"].__set__


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
