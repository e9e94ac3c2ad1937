"""The client for programs without an event loop. `client` says what holds for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from dual_mode_streaming.modes import JSON

from .base import (
    Call,
    ClientBase,
    request_failed,
    require_httpx2,
    stream_friendly,
)
from .options import Reconnect, StreamOptions
from .reconnecting import Session
from .sync_stream import SyncStream

if TYPE_CHECKING:
    import httpx2

__all__ = ["DualModeSyncClient"]

Value = TypeVar("Value")
Refresh = Callable[[], Mapping[str, str] | None]


class DualModeSyncClient(ClientBase):
    """Reads dual-mode endpoints, and other servers of JSON, server-sent events and lines of JSON.

    It is a context manager. It can be used by many threads at once.

    Args:
        base_url: What stands before the URLs of the requests.
        client: An `httpx2.Client` of your own, which you close. Then there can be no `base_url` and no options.
        refresh: Called when a request is answered with 401; gives the headers to send from then on, such as
            `{"Authorization": "Bearer ..."}`, or None to let the 401 stand. The request is then sent once more.
        reconnect: When streams are connected again; `Reconnect(attempts=1)` for never.
        idle_timeout: How many seconds a stream may be silent, heartbeats included; None for no bound.
        max_event_size: The largest event, line or record of a stream in bytes; None for no bound.
        media_type: The media type that streams are asked for first; None for server-sent events.
        require_done: Whether server-sent events that end cleanly without `done` or `[DONE]` count as cut. Say False
            for a server that sends neither.
        options: The options of `httpx2.Client`: headers, auth, proxy, verify, timeout, transport and others.

    Raises:
        ImportError: httpx2 is not installed; it comes with the extra `client`.
        RequestFailed: `base_url` is no URL.
        TypeError: Options are given beside a client.
    """

    def __init__(
        self,
        base_url: str = "",
        *,
        client: httpx2.Client | None = None,
        refresh: Refresh | None = None,
        reconnect: Reconnect | None = None,
        idle_timeout: float | None = 60.0,
        max_event_size: int | None = 1_048_576,
        media_type: str | None = None,
        require_done: bool = True,
        **options: Any,
    ) -> None:
        require_httpx2()
        import httpx2

        stream_options = StreamOptions(reconnect or Reconnect(), require_done, max_event_size, media_type)
        http = client
        if http is None:
            try:
                http = httpx2.Client(base_url=base_url, **stream_friendly(options))
            except httpx2.InvalidURL as error:
                raise request_failed(error) from error
        elif base_url or options:
            raise TypeError("give base_url and options to the httpx2 client, if you give one")
        super().__init__(http, client is None, stream_options, idle_timeout)
        self.refresh = refresh

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. A client that was given is left open."""
        if self._owned:
            self._http.close()

    @overload
    def request(
        self, method: str, url: str, *, type: type[Value], json: Any = None, fold: Any = None, **options: Any
    ) -> Value: ...
    @overload
    def request(
        self, method: str, url: str, *, type: Any = None, json: Any = None, fold: Any = None, **options: Any
    ) -> Any: ...
    def request(
        self,
        method: str,
        url: str,
        *,
        type: Any = None,  # noqa: A002  as everybody calls it
        json: Any = None,
        fold: Any = None,
        **options: Any,
    ) -> Any:
        """Ask for the batch, and give its value. The request is sent once.

        A server that streams all the same is read to the end, and its items are folded.

        Args:
            method: The method.
            url: The URL, or what comes behind `base_url`.
            type: What to make of the value: a Pydantic model, a dataclass, any type that Pydantic knows. None for
                decoded JSON.
            json: A body, sent as JSON: anything that `encode_json` takes. None for no body.
            fold: What becomes of the items of a server that streams; `collect` if None.
            options: Further options of the request, as httpx2 has them: params, headers, content, data, files, auth,
                timeout and others.

        Returns:
            The value; None for an answer without a body (204).

        Raises:
            RemoteError: The server answered with an error.
            RequestFailed: There was no answer.
            ProtocolError: The answer is not JSON, or not of the type.
            StreamInterrupted: The server streams, and the stream came to no end.
        """
        call = Call(method, url, json, None, options, streams=False)
        batch = StreamOptions(Reconnect(attempts=1), self._options.require_done, self._options.max_event_size, JSON)
        with SyncStream(self.send, call, Session(method, batch), fold) as stream:
            return stream.value(type)

    def stream(
        self,
        method: str,
        url: str,
        *,
        type: Any = None,  # noqa: A002  as everybody calls it
        json: Any = None,
        fold: Any = None,
        last_event_id: str = "",
        decode: bool = True,
        media_type: str | None = None,
        require_done: bool | None = None,
        reconnect: Reconnect | None = None,
        idle_timeout: float | EllipsisType | None = ...,
        max_event_size: int | EllipsisType | None = ...,
        **options: Any,
    ) -> SyncStream:
        """Ask for a stream: a context manager over its events, which connects when it is entered.

        Args:
            method: The method.
            url: The URL, or what comes behind `base_url`.
            type: What to make of each item; None for decoded JSON, or the text of an item that is not JSON.
            json: A body, sent as JSON. None for no body.
            fold: What `result()` makes of all items; `collect` if None.
            last_event_id: Where to go on, for a stream that was read before.
            decode: Whether to decode the items. If not, `data` is the text of each, which is faster and enough to pass
                it on. A `type` is made all the same.
            media_type: As for the client, which is asked if this is None. So are the following.
            require_done: See there.
            reconnect: See there.
            idle_timeout: See there.
            max_event_size: See there.
            options: Further options of the request, as httpx2 has them.

        Raises:
            TypeError: The type needs Pydantic, or Pydantic does not know it; or `fold` is no fold.
        """
        options_of_stream = self.options_for(reconnect, require_done, max_event_size, media_type, decode)
        call = Call(method, url, json, self.idle_timeout if idle_timeout is ... else idle_timeout, options)
        session = Session(
            method,
            options_of_stream,
            item_type=type,
            last_event_id=last_event_id,
            repeatable=call.repeatable,
        )
        return SyncStream(self.send, call, session, fold)

    def send(self, call: Call, session: Session) -> httpx2.Response:
        """Send the request of a stream; once more if it is not authorized and a refresh gives other headers.

        Raises:
            RequestFailed: No answer came.
        """
        import httpx2

        refresh = self.refresh
        unauthorized: httpx2.Response | None = None
        try:
            while True:
                request, sending = self.request_for(call, session)
                response: httpx2.Response = self._http.send(request, stream=True, **sending)
                if response.status_code != 401 or refresh is None or unauthorized is not None or not call.repeatable:
                    return response
                unauthorized = response
                given = refresh()
                if not self.refreshed(given):
                    return response
                response.close()
        except httpx2.RequestError as error:
            raise request_failed(error) from error
