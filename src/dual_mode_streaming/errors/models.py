"""The errors of serving language models. Import them from `errors`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from .root import DualModeError

__all__ = ["AnswerNotFound", "AnswerTooLarge", "InvalidKey", "ModelError", "ModelNotFound", "RequestTooLarge"]


class ModelError(DualModeError):
    """A model cannot answer, or not any more. A model raises it to say with which status.

    Attributes:
        status: The HTTP status of the answer if nothing was sent yet. From 400 to 599.
        code: A stable name for programs.
        headers: Headers of that answer, such as `retry-after`.
        parameter: Which field of the request is at fault; None for none.
    """

    status: int = HTTPStatus.BAD_GATEWAY
    code = "model_error"

    def __init__(
        self,
        detail: str,
        *,
        status: int = HTTPStatus.BAD_GATEWAY,
        code: str = "model_error",
        headers: Mapping[str, str] | None = None,
        parameter: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = int(status)
        self.code = code
        self.parameter = parameter
        self._headers = dict(headers or {})

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of an answer with this error."""
        return self._headers

    @property
    def extensions(self) -> Mapping[str, Any]:
        """Which field it is, if it is one."""
        return {} if self.parameter is None else {"parameter": self.parameter}


class AnswerTooLarge(DualModeError):
    """A model has said more than one answer may have.

    Attributes:
        bound: The bound that was hit, in words.
    """

    status = HTTPStatus.BAD_GATEWAY
    code = "answer_too_large"

    def __init__(self, bound: str, why: str = "taken of one") -> None:
        super().__init__(f"The answer is larger than {bound}, which is the most that is {why}. Ask for less at a time.")
        self.bound = bound


class ModelNotFound(DualModeError):
    """The client asks for a model that is not served here.

    Attributes:
        model: The name.
    """

    status = HTTPStatus.NOT_FOUND
    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(f"There is no model {model!r} here. GET /v1/models lists those that there are.")
        self.model = model

    @property
    def extensions(self) -> Mapping[str, Any]:
        """The field that names it."""
        return {"parameter": "model"}


class AnswerNotFound(DualModeError):
    """There is no such answer, or it is not kept any more, or it is somebody else's."""

    status = HTTPStatus.NOT_FOUND
    code = "not_found"

    def __init__(self) -> None:
        super().__init__(
            "There is no such answer. It may not be kept any more, or was not asked for in the background."
        )


class InvalidKey(DualModeError):
    """The request has no API key, or one that is not accepted."""

    status = HTTPStatus.UNAUTHORIZED
    code = "invalid_api_key"

    def __init__(self) -> None:
        super().__init__("The API key is missing or wrong. Send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.")

    @property
    def headers(self) -> Mapping[str, str]:
        """The way to authenticate (RFC 9110, section 11.6.1)."""
        return {"www-authenticate": "Bearer"}


class RequestTooLarge(DualModeError):
    """The body of a request is larger than the endpoint reads.

    Attributes:
        limit: The bound, in bytes.
    """

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "request_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request is larger than {limit} bytes, which is the most that is read here.")
        self.limit = limit

    @property
    def extensions(self) -> Mapping[str, Any]:
        """The bound."""
        return {"limit": self.limit}
