"""What a client reads in the head of an answer, and in the body of one that is an error.

Rules of this file:

- An error is told from whatever the server sent: a problem document, another JSON object, a page of HTML, nothing.
- A header that is not well formed counts as not sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from dual_mode_streaming.errors import RemoteError, UnexpectedAnswer
from dual_mode_streaming.jsonbytes import decode_json

__all__ = ["Answer", "media_type_of", "problem_error", "remote_error", "retry_after", "unreadable"]

MOST_TEXT = 500
"""How many characters of a text that is no JSON are told."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer.

    Attributes:
        status: The HTTP status.
        headers: The headers; names in any letter case.
        url: The URL that was answered, after redirects.
    """

    status: int
    headers: Mapping[str, str]
    url: str

    @property
    def media_type(self) -> str:
        """The media type, in lower case and without parameters; empty if there is none."""
        return media_type_of(self.headers.get("content-type"))

    @property
    def succeeded(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300


def media_type_of(content_type: str | None) -> str:
    """Give the media type in a `Content-Type`, in lower case and without parameters; empty if there is none."""
    return (content_type or "").partition(";")[0].strip().lower()


def retry_after(value: str | None, now: float) -> float | None:
    """Read a `Retry-After` (RFC 9110, section 10.2.3).

    Args:
        value: The header: seconds, or a date. None if there is none.
        now: Unix time.

    Returns:
        The seconds to wait, from 0 on; None if the header says nothing.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:20])
    try:
        date = parsedate_to_datetime(text)
        # A date without a zone is one of UTC (RFC 5322, section 3.3).
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def remote_error(answer: Answer, body: bytes, now: float) -> RemoteError:
    """Give the error that an answer stands for.

    Args:
        answer: Its head.
        body: Its body, or the beginning of it.
        now: Unix time.
    """
    try:
        document: Any = decode_json(body)
    except ValueError:
        document = body.decode("utf-8", "replace").strip()[:MOST_TEXT]
    wait = retry_after(answer.headers.get("retry-after"), now)
    return RemoteError(answer.status, _members(document), answer.headers, retry_after=wait)


def problem_error(answer: Answer | None, said: Any) -> RemoteError:
    """Give the error that the last frame of a stream stands for. Its status is that of the document, or else 500."""
    document = _members(said)
    status = document.get("status", document.get("status_code"))
    if not isinstance(status, int) or not 400 <= status <= 599:
        status = 500
    return RemoteError(status, document, None if answer is None else answer.headers)


def unreadable(answer: Answer) -> UnexpectedAnswer:
    """Give the error for an answer that is a success, but neither JSON nor a stream."""
    what = answer.media_type or "nothing that says its media type"
    return UnexpectedAnswer(f"{answer.url} answered {answer.status} with {what}, which is neither JSON nor a stream.")


def _members(said: Any) -> dict[str, Any]:
    """Make members of a document of what was said."""
    if isinstance(said, dict):
        return said
    return {} if said in (None, "") else {"detail": said}
