"""The root of all errors, and the form in which an error travels. `errors` has the list and the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar

__all__ = ["DualModeError", "Problem", "problem_from"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document (RFC 9457): what went wrong, in a form that a program can read.

    Attributes:
        status: The HTTP status code. It is repeated in the document, because a late error travels under a 200.
        code: A stable name for programs, such as `not_acceptable`. An extension member (RFC 9457, section 3.2).
        detail: What happened this time and what to do about it.
        extensions: Further members with the data of the error. They cannot replace the standard ones.
    """

    status: int
    code: str
    detail: str | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict)

    media_type: ClassVar[str] = "application/problem+json"

    @property
    def title(self) -> str:
        """The phrase of the status code, as RFC 9457 (section 4.2.1) asks for the type `about:blank`."""
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return "Error"

    def as_dict(self) -> dict[str, Any]:
        """Give the members of the document, ready to be encoded as JSON."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "code": self.code,
        }
        if self.detail is not None:
            document["detail"] = self.detail
        return {**self.extensions, **document}

    @classmethod
    def from_dict(cls, members: Mapping[str, Any]) -> Problem:
        """Read the members of a document that `as_dict` has given."""
        rest = {name: value for name, value in members.items() if name not in _STANDARD}
        return cls(members["status"], members["code"], members.get("detail"), rest)


_STANDARD = ("type", "title", "status", "code", "detail")


class DualModeError(Exception):
    """The root of all errors of this library.

    Attributes:
        status: The HTTP status the error is answered with if nothing was sent yet.
        code: A stable name for programs.
        detail: What happened this time. Safe to send to a client.
    """

    status: int = HTTPStatus.INTERNAL_SERVER_ERROR
    code: str = "internal_error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def extensions(self) -> Mapping[str, Any]:
        """The data of the error, as further members of its problem document."""
        return {}

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that belong to an answer with this error."""
        return {}

    @property
    def problem(self) -> Problem:
        """The error as a problem document."""
        return Problem(int(self.status), self.code, self.detail, self.extensions)


def problem_from(error: BaseException, *, debug: bool = False) -> Problem:
    """Describe any error as a problem document, for a stream whose status line is already sent.

    An error that says of itself what a client may know (ours, or one with `status_code` and `detail` as
    Starlette's `HTTPException` has them) keeps it. Of any other nothing is told but that it happened.

    Args:
        error: What ended the source.
        debug: Tell the type and the text of unexpected errors too. Never in production.
    """
    if isinstance(error, DualModeError):
        return error.problem
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status <= 599:
        detail = getattr(error, "detail", None)
        if isinstance(detail, str):
            return Problem(status, "http_error", detail)
        return Problem(status, "http_error", extensions={} if detail is None else {"data": detail})
    return Problem(
        int(HTTPStatus.INTERNAL_SERVER_ERROR),
        "internal_error",
        f"{type(error).__name__}: {error}" if debug else None,
    )
