"""What the async and the sync client share: everything but sending, reading and waiting.

Rules of this file:

- httpx2 comes with the extra `client`, so it is imported in functions. Without it a client says what to install.
- No error of httpx2 leaves the client. `request_failed` says what each of them is here.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from dual_mode_streaming.errors import DualModeError, ProtocolError, RequestFailed
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.folds import Fold, as_fold, collect
from dual_mode_streaming.jsonbytes import decode_json, encode_json
from dual_mode_streaming.modes import JSON, ResponseMode

from .options import Reconnect, StreamOptions
from .reconnecting import Session
from .replies import Answer
from .typed import convert, converter_for

if TYPE_CHECKING:
    import httpx2

__all__ = [
    "ERROR_BYTES",
    "Call",
    "ClientBase",
    "StreamBase",
    "answer_of",
    "batch_value",
    "request_failed",
    "require_httpx2",
    "stream_friendly",
    "typed_value",
]

ERROR_BYTES = 65_536
"""How much of an error's body is read."""

# What httpx2's clients take when a request is sent; all other options it takes when the request is made.
_OF_SENDING = frozenset({"auth", "follow_redirects"})


def require_httpx2() -> None:
    """Find out whether httpx2 is installed.

    Raises:
        ImportError: It is not.
    """
    try:
        import httpx2  # noqa: F401
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"{missing.name} is missing; it comes with an extra: pip install 'dual-mode-streaming[client]'"
        ) from None


def request_failed(error: Exception) -> RequestFailed:
    """Give the error that an error of httpx2 is to a caller, if no answer came."""
    import httpx2

    said = str(error) or type(error).__name__
    kinds: tuple[tuple[str, Any], ...] = (
        ("invalid_url", (httpx2.InvalidURL, httpx2.UnsupportedProtocol)),
        ("timeout", httpx2.TimeoutException),
        ("redirects", httpx2.TooManyRedirects),
        ("proxy", httpx2.ProxyError),
        ("connect", httpx2.ConnectError),
    )
    reason = next((reason for reason, kind in kinds if isinstance(error, kind)), "broken")
    if reason == "connect" and _by_tls(error):
        reason = "tls"
    text = {
        "invalid_url": f"The URL cannot be called: {said}",
        "timeout": f"No answer came in time ({type(error).__name__}). Options: timeout=, idle_timeout=",
        "redirects": "The server redirects without an end.",
        "proxy": f"The proxy refuses: {said}",
        "connect": f"No connection could be made: {said}",
        "tls": f"The server's certificate or encryption is not accepted: {said}",
        "broken": f"The connection broke before an answer came: {said}",
    }[reason]
    return RequestFailed(reason, text)


def _by_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def answer_of(response: httpx2.Response) -> Answer:
    """Give the head of an answer."""
    return Answer(response.status_code, response.headers, str(response.url))


def batch_value(body: bytes, wanted: Any) -> Any:
    """Give the value of a batch.

    Raises:
        ProtocolError: It is not JSON.
        UnexpectedAnswer: It is not of the type that was asked for.
    """
    if wanted is not None:
        return convert(converter_for(wanted), body)
    try:
        return decode_json(body)
    except ValueError as error:
        raise ProtocolError(f"The answer is not JSON: {error}.") from None


def typed_value(value: Any, wanted: Any) -> Any:
    """Make a value of the type that was asked for, of the fold of a stream."""
    return value if wanted is None else batch_value(encode_json(value), wanted)


def stream_friendly(options: dict[str, Any]) -> dict[str, Any]:
    """Add what is better for streams than httpx2's own defaults."""
    import httpx2

    return {
        # A batch may take as long as its stream; the five seconds of httpx2 are for pages.
        "timeout": httpx2.Timeout(10.0, read=60.0),
        # A stream holds its connection, so a bound of connections would be one of streams.
        "limits": httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        "follow_redirects": True,
        **options,
    }


class ClientBase:
    """The settings of a client, and the requests that it makes of them."""

    def __init__(
        self,
        http: Any,
        owned: bool,
        options: StreamOptions,
        idle_timeout: float | None,
    ) -> None:
        self._http = http
        self._owned = owned
        self._credentials: dict[str, str] = {}
        self._options = options
        self.idle_timeout = idle_timeout

    def options_for(
        self,
        reconnect: Reconnect | None,
        require_done: bool | None,
        max_event_size: int | EllipsisType | None,
        media_type: str | None,
        decode: bool,
    ) -> StreamOptions:
        """Give the options of a stream: those of the client, where it has none of its own."""
        own = self._options
        return StreamOptions(
            reconnect or own.reconnect,
            own.require_done if require_done is None else require_done,
            own.max_event_size if max_event_size is ... else max_event_size,
            media_type or own.media_type,
            decode,
        )

    def refreshed(self, headers: Mapping[str, str] | None) -> bool:
        """Take the headers that a refresh gave; say whether there were any."""
        self._credentials.update(headers or {})
        return bool(headers)

    def request_for(self, call: Call, session: Session) -> tuple[httpx2.Request, dict[str, Any]]:
        """Make the next request of a stream, and give the options to send it with.

        Raises:
            RequestFailed: The URL cannot be called.
            ItemNotEncodable: The body given as `json` has no JSON form.
        """
        import httpx2

        options = dict(call.options)
        headers = httpx2.Headers()
        # One by one: so they are sent as UTF-8, as WHATWG HTML (section 9.2.4) wants it for the id.
        for name, value in session.headers().items():
            headers[name] = value
        if call.json is not None:
            options["content"] = encode_json(call.json)
            headers["Content-Type"] = JSON
        headers.update(options.pop("headers", None))
        if session.places.last_id:
            headers["Last-Event-ID"] = session.places.last_id
        headers.update(self._credentials)
        sending = {name: options.pop(name) for name in _OF_SENDING & options.keys()}
        try:
            request = self._http.build_request(call.method, call.url, headers=headers, **options)
        except httpx2.InvalidURL as error:
            raise request_failed(error) from error
        if not request.url.host:
            raise RequestFailed("invalid_url", f"The URL {str(request.url)!r} names no host.")
        if call.streams:
            request.extensions["timeout"] = {**request.extensions["timeout"], "read": call.idle_timeout}
        return request, sending


@dataclass(frozen=True, slots=True)
class Call:
    """What a caller asked for.

    Attributes:
        method: The method.
        url: The URL, or the part behind the client's base URL.
        json: What is sent as JSON; None for nothing.
        idle_timeout: The longest silence of a stream, in seconds; None for no bound.
        options: Further options of httpx2 for this request.
        streams: Whether a stream is asked for, and not a batch.
    """

    method: str
    url: str
    json: Any
    idle_timeout: float | None
    options: Mapping[str, Any]
    streams: bool = True

    @property
    def repeatable(self) -> bool:
        """Whether the body can be sent more than once."""
        content = self.options.get("content")
        return isinstance(content, (str, bytes, type(None))) and not self.options.get("files")


FIRST_PART = 4096
"""How many bytes are read at once as long as nobody knows how large the events are."""
TOGETHER = 256
"""About how many events are made at once. Python's garbage collector looks at what is there whenever there are 700 more
objects, and what was taken and dropped by then costs it nothing."""


class StreamBase:
    """What is known of a stream, and what becomes of its items."""

    def __init__(self, session: Session, fold: Any) -> None:
        self._session = session
        self._fold: Fold[Any, Any] | None = None if fold is None else as_fold(fold)
        self._begun = False
        self._error: DualModeError | None = None
        # The event that the caller has in hand, if more may have been read already.
        self._at: ServerSentEvent | None = None
        # What came last, how much of it was read already, and how much is read at once.
        self._chunk = b""
        self._fed = 0
        self._part = FIRST_PART

    @property
    def response(self) -> Answer:
        """The head of the newest answer: status, headers, media type, URL.

        Raises:
            RuntimeError: The stream is not entered yet.
        """
        if self._session.answer is None:
            raise RuntimeError("the stream is not open: use it as a context manager")
        return self._session.answer

    @property
    def mode(self) -> ResponseMode:
        """`STREAM`, or `BATCH` if the server answered with a JSON document although a stream was asked for."""
        return self._session.mode

    @property
    def count(self) -> int:
        """How many items were received so far."""
        return self._session.count

    @property
    def missed(self) -> int:
        """How many items the server says that it has dropped, in events named `gap`."""
        return self._session.missed

    @property
    def reconnects(self) -> int:
        """How often the stream was opened again."""
        return self._session.reconnects

    @property
    def last_event_id(self) -> str:
        """The id of the last event that was handed out; empty if there is none. Give it to `stream` to go on there."""
        at = self._at
        return self._session.places.last_id if at is None else at.id or ""

    def _feed(self) -> list[ServerSentEvent]:
        """Read the next part of what came last; give its events."""
        start, length = self._fed, self._part
        part = self._chunk[start : start + length]
        self._fed = start + length
        if self._fed >= len(self._chunk):
            self._chunk = b""
            self._fed = 0
        events = self._session.feed(part)
        if len(part) == length:
            self._part = max(1, length * TOGETHER // max(1, len(events)))
        return events

    def _begin(self) -> Any:
        """Begin a fold over all items, and give its state."""
        if self._begun:
            raise RuntimeError("result() folds all items, so it has to be called before any of them is taken")
        return (self._fold or collect).start()

    def _step(self, state: Any, event: ServerSentEvent) -> Any:
        return state if event.event == "gap" else (self._fold or collect).step(state, event.data)

    def _result(self, state: Any, last: ServerSentEvent | None) -> Any:
        """Give the value of the complete stream.

        Raises:
            StreamInterrupted: The server has dropped items, so the value would be another one than the batch.
        """
        session = self._session
        if session.missed:
            raise session.interrupted(f"The server dropped {session.missed} items, so there is no complete result.")
        batch = session.batch
        if batch is not None and last is not None:
            # The server has folded the items already.
            if batch.is_whole:
                return last.data
            if self._fold is None and batch.is_array:
                return state
        return (self._fold or collect).result(state)
