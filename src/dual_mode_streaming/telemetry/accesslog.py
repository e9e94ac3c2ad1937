"""One line of log for each response, when it is over: how it ended, what was sent, how long it took.

Rules:

- A line says nothing that opens a door: no query, no header, no body, and no path as it was requested, since ids may be
  in it that are as good as passwords. The route stands for it.
- Each fact is a field of the log record as well (`extra=`), for formatters that write JSON.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

from starlette.types import Scope

from dual_mode_streaming.observers import Observed, Observer, route_of

__all__ = ["AccessLog"]


class AccessLog(Observer):
    """Writes a line for each response that is over, and for each request that was refused.

    Fields of the record: `method`, `route`, `status`, `mode`, `media_type`, `outcome`, `items`, `bytes`, `duration`,
    `first_after`, `heartbeats`, `silence` (seconds in which the client heard heartbeats alone), `resumed`, `behind`,
    `error` (its type), `trace_id` and `span_id` if there is a trace, `notes` as the author has made them, and what was
    asked for below.

    Args:
        logger: Where the lines go; None for the logger `dual_mode_streaming.access`.
        level: The level of the lines.
        path: Add the path as it was requested, without its query.
        client: Add the address of the client.
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        *,
        level: int = logging.INFO,
        path: bool = False,
        client: bool = False,
    ) -> None:
        self._logger = logging.getLogger("dual_mode_streaming.access") if logger is None else logger
        self._level = level
        self._path = path
        self._client = client

    def ended(self, response: Observed) -> None:
        """Write the line of a response."""
        if not self._logger.isEnabledFor(self._level) or response.outcome is None or response.duration is None:
            return
        mode = "stream" if response.streams else "batch"
        fields = {
            **self._of_request(response.scope),
            "status": response.status_code,
            "mode": mode,
            "media_type": response.media_type,
            "outcome": response.outcome.value,
            "items": response.items,
            "bytes": response.bytes,
            "duration": round(response.duration, 6),
            "first_after": None if response.first_after is None else round(response.first_after, 6),
            "heartbeats": response.heartbeats,
            "silence": round(response.silence, 6),
            "resumed": response.last_event_id is not None,
            "behind": response.behind,
            "error": None if response.error is None else type(response.error).__name__,
            "trace_id": response.trace_id,
            "span_id": response.span_id,
            "notes": dict(response.notes),
        }
        self._logger.log(
            self._level,
            "%s %s %s %s %s, %d items, %d bytes, %.3f s",
            fields["method"],
            fields.get("path", fields["route"]) or "-",
            "-" if response.status_code is None else response.status_code,
            mode,
            response.outcome.value,
            response.items,
            response.bytes,
            response.duration,
            extra=fields,
        )

    def refused(self, scope: Scope, error: Exception) -> None:
        """Write the line of a request that was refused."""
        code = getattr(error, "code", type(error).__name__)
        fields = {**self._of_request(scope), "status": int(getattr(error, "status", 503)), "outcome": "refused"}
        shown = fields.get("path", fields["route"]) or "-"
        self._logger.log(
            self._level,
            "%s %s %s refused, %s",
            fields["method"],
            shown,
            fields["status"],
            code,
            extra={**fields, "error": code},
        )

    def _of_request(self, scope: Scope) -> dict[str, Any]:
        fields: dict[str, Any] = {"method": scope.get("method", ""), "route": route_of(scope)}
        if self._path:
            # As on the wire: what is decoded may have line breaks in it, and forge a line.
            fields["path"] = quote(scope.get("path", ""))
        if self._client:
            client = scope.get("client")
            fields["client"] = None if client is None else client[0]
        return fields
