"""A model that is elsewhere: any server that speaks OpenAI Chat Completions, by OpenAI's own client.

The client sends the request and knows the key, the address, the time limits and the retries. The stream is read here,
because a stream that was cut looks complete to the client's own reader.

- A status of the server is the status of our answer, with its message, its code and the headers that clients act upon.
- An answer that is no stream, breaks off, or ends without a finish reason is an error, never a shorter text.
- The server is always asked for a stream, so that a client that leaves stops it, and both modes take one way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from dual_mode_streaming.errors import DualModeError, ModelError, RemoteError, StreamInterrupted
from dual_mode_streaming.jsonbytes import decode_json
from dual_mode_streaming.llm.dialects.openai_chat import OpenAIChat
from dual_mode_streaming.llm.events import Event
from dual_mode_streaming.llm.requests import Request

from ._chat_body import chat_body

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["Upstream", "UpstreamEvents"]

_PASSED = ("retry-after", "retry-after-ms", "x-should-retry")
_PASSED_STEMS = ("x-request-id", "x-ratelimit-")
_SENT_BY_US = frozenset({"model", "messages", "stream"})


class Upstream:
    """Asks another server.

    Args:
        client: An `openai.AsyncOpenAI`, whose `base_url` is the server's.
        names: The names under which clients ask for it; none means that any will do, and the server decides.
        model: The name by which the server knows it; None for the name that the client gives.
    """

    def __init__(self, client: AsyncOpenAI, *, names: Sequence[str] = (), model: str | None = None) -> None:
        self._client = client
        self._names = tuple(names)
        self._model = model

    @property
    def names(self) -> Sequence[str]:
        """The names under which clients ask for it."""
        return self._names

    def generate(self, request: Request) -> UpstreamEvents:
        """Answer a request.

        Raises:
            ModelError: When it is read: the server refuses, cannot be reached, or answers what is no answer.
        """
        name = self._model or request.model or (self._names[0] if self._names else "")
        return UpstreamEvents(self._client, chat_body(request, name))


class UpstreamEvents(AsyncIterator[Event]):
    """The events of one answer.

    Attributes:
        headers: Headers of the server's answer that our own answer repeats. Empty until the first event.
    """

    def __init__(self, client: AsyncOpenAI, body: dict[str, Any]) -> None:
        self.headers: Mapping[str, str] = {}
        self._events = self._read(client, body)

    async def __anext__(self) -> Event:
        return await self._events.__anext__()

    async def aclose(self) -> None:
        """Break off. The server sees that nobody reads any more."""
        await self._events.aclose()  # type: ignore[attr-defined]

    async def _read(self, client: AsyncOpenAI, body: dict[str, Any]) -> AsyncIterator[Event]:
        extra = {name: value for name, value in body.items() if name not in _SENT_BY_US}
        create = client.chat.completions.with_streaming_response.create
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(
                    create(model=body["model"], messages=body["messages"], stream=True, extra_body=extra)
                )
            except Exception as error:
                raise _refusal(error) from error
            self.headers = _passed(response.headers)
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind == "application/json":
                # It does not stream. That is a whole answer all the same, or an error with a 200.
                for event in _from_document(await _whole(response)):
                    yield event
                return
            if kind != "text/event-stream":
                raise ModelError(f"The upstream server answered {kind or 'nothing that says what it is'}, no stream.")
            parser = OpenAIChat().parser()
            chunks = response.iter_bytes()
            while True:
                try:
                    data = await anext(chunks, None)
                except Exception as error:
                    raise _cut() from error
                for event in _parsed(parser, data):
                    yield event
                if data is None:
                    return


async def _whole(response: Any) -> bytes:
    try:
        return await response.read()  # type: ignore[no-any-return]
    except Exception as error:
        raise _cut() from error


def _parsed(parser: Any, data: bytes | None) -> list[Event]:
    try:
        return parser.flush() if data is None else parser.feed(data)  # type: ignore[no-any-return]
    except StreamInterrupted as error:
        raise _cut() from error
    except RemoteError as error:
        raise _told(error.status, error) from error
    except DualModeError as error:
        raise ModelError(f"The upstream server sent what cannot be read: {error.detail}") from error


def _from_document(data: bytes) -> list[Event]:
    try:
        document = decode_json(data)
        if not isinstance(document, Mapping):
            raise ModelError("The upstream server answered JSON that is no answer.")
        return list(OpenAIChat().parse_batch(document).events())
    except RemoteError as error:
        raise _told(error.status, error) from error
    except ModelError:
        raise
    except ValueError as error:
        raise ModelError("The upstream server answered JSON that cannot be read.") from error
    except DualModeError as error:
        raise ModelError(f"The upstream server answered JSON that is no answer: {error.detail}") from error


def _cut() -> ModelError:
    return ModelError("The upstream server broke off its answer before it was complete.", code="upstream_interrupted")


def _told(status: int, error: RemoteError) -> ModelError:
    detail = error.document.get("detail")
    said = detail if isinstance(detail, str) else f"The upstream server answered {status}."
    return ModelError(said, status=status, code=error.code)


def _refusal(error: Exception) -> ModelError:
    """Make an error of what OpenAI's client raises: a status, or no connection."""
    import openai

    if isinstance(error, openai.APIStatusError):
        body = error.body if isinstance(error.body, Mapping) else {}
        said, code, parameter = body.get("message"), body.get("code"), body.get("param")
        return ModelError(
            said if isinstance(said, str) else f"The upstream server answered {error.status_code}.",
            status=error.status_code if error.status_code >= 400 else 502,
            code=code if isinstance(code, str) else "upstream_error",
            headers=_passed(error.response.headers),
            parameter=parameter if isinstance(parameter, str) else None,
        )
    if isinstance(error, openai.APITimeoutError):
        return ModelError("The upstream server did not answer in time.", status=504, code="upstream_timeout")
    if isinstance(error, openai.APIConnectionError):
        return ModelError("The upstream server cannot be reached.", code="upstream_unreachable")
    raise error


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name.lower(): value
        for name, value in headers.items()
        if name.lower() in _PASSED or name.lower().startswith(_PASSED_STEMS)
    }
