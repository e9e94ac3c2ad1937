"""Errors of a server that has as many open responses as it may have. `errors` has the list and the rules."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from .root import DualModeError

__all__ = ["Draining", "TooManyStreams"]


class TooManyStreams(DualModeError):
    """As many streams are open as may be: in all (503), or of this client (429).

    Attributes:
        limit: The bound that was hit.
        per_key: Whether it is the bound for one client, or for whatever the `key` of the registry tells apart.
        retry_after: Seconds after which to ask again.
    """

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "too_many_streams"

    def __init__(self, limit: int, *, per_key: bool, retry_after: int) -> None:
        whose = "You have" if per_key else "The server has"
        super().__init__(f"{whose} {limit} open streams and may have no more. Ask again in {retry_after} s.")
        self.limit = limit
        self.per_key = per_key
        self.retry_after = retry_after
        if per_key:
            self.status = HTTPStatus.TOO_MANY_REQUESTS

    @property
    def extensions(self) -> Mapping[str, Any]:
        return {"limit": self.limit, "retry_after": self.retry_after}

    @property
    def headers(self) -> Mapping[str, str]:
        return {"retry-after": str(self.retry_after)}


class Draining(DualModeError):
    """The server is going down: it takes no new responses and ends the open ones.

    Attributes:
        retry_after: Seconds after which to ask again.
        closes: Whether the client is to close its connection, so that the next request finds another server.
    """

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "draining"

    def __init__(self, retry_after: int, *, closes: bool = False) -> None:
        super().__init__(f"The server is going down. Ask again in {retry_after} s.")
        self.retry_after = retry_after
        self.closes = closes

    @property
    def extensions(self) -> Mapping[str, Any]:
        return {"retry_after": self.retry_after}

    @property
    def headers(self) -> Mapping[str, str]:
        return {"retry-after": str(self.retry_after), **({"connection": "close"} if self.closes else {})}
