"""What the records of a run say: the ids of its events, and how it ended. Pure values; the store sees only bytes.

    an item     its JSON, and the name of its event
    `done`      {"items": N, "result": the fold}, or instead of the result the bound that it would have broken
    `error`     the problem document of what ended the work
    `cancelled` the same, of `RunCancelled`

The last three are final. The fold is written down with the end, so whoever reads a batch needs no fold of its own.
"""

from __future__ import annotations

import re
from typing import Any

from dual_mode_streaming.errors import (
    BatchTooLarge,
    DualModeError,
    InvalidRequest,
    Problem,
    RemoteError,
    RunCancelled,
    RunFailed,
    problem_from,
)
from dual_mode_streaming.jsonbytes import decode_json, encode_json
from dual_mode_streaming.stores.base import Record

__all__ = [
    "CANCELLED",
    "DONE",
    "ERROR",
    "done_record",
    "error_record",
    "event_id",
    "failure_of",
    "items_of",
    "problem_json",
    "read_event_id",
    "result_of",
]

DONE, ERROR, CANCELLED = "done", "error", "cancelled"

_HEADERS = "response_headers"
"""The member with the headers of an error, such as `retry-after`. It is for the answer, and never part of a body."""
_EVENT_ID = re.compile(r"([0-9A-Za-z]{1,64})-(0|[1-9][0-9]{0,17})", re.ASCII)


def event_id(epoch: str, seq: int) -> str:
    """Give the id that the event of a record has on the wire."""
    return f"{epoch}-{seq}"


def read_event_id(text: str) -> tuple[str, int]:
    """Read the id of an event: the epoch, and the number of the record.

    Raises:
        InvalidRequest: No run ever gave out such an id.
    """
    match = _EVENT_ID.fullmatch(text)
    if match is None:
        raise InvalidRequest("This is not the id of an event of a run. Send back the last id that was received.", "id")
    return match[1], int(match[2])


def done_record(seq: int, items: int, result: bytes | None, bound: tuple[str, int] | None = None) -> Record:
    """Give the final record of a run that is complete.

    Args:
        seq: Its number.
        items: How many items there were.
        result: The JSON of the fold; None if it would break a bound.
        bound: The name and the value of that bound.
    """
    if result is not None:
        data = b'{"items":%d,"result":%b}' % (items, result)
    else:
        name, limit = bound or ("max_result_bytes", 0)
        data = encode_json({"items": items, "bound": name, "limit": limit})
    return Record(seq, data, DONE, final=True)


def error_record(seq: int, error: BaseException, *, debug: bool = False) -> Record:
    """Give the final record of a run that failed, or that its own process has cancelled."""
    document = problem_from(error, debug=debug).as_dict()
    headers = None if isinstance(error, RemoteError) else getattr(error, "headers", None)
    if headers:
        document[_HEADERS] = dict(headers)
    return Record(seq, encode_json(document), CANCELLED if isinstance(error, RunCancelled) else ERROR, final=True)


def problem_json(error: DualModeError) -> bytes:
    """Give the data of a final record by which somebody else ends a run."""
    return encode_json(error.problem.as_dict())


def failure_of(final: Record) -> DualModeError | None:
    """Give the error with which a run ended; None if it is complete."""
    if final.event == DONE:
        return None
    if final.event == CANCELLED:
        return RunCancelled()
    document = decode_json(final.data)
    headers = document.pop(_HEADERS, None)
    return RunFailed(Problem.from_dict(document), headers)


def items_of(final: Record) -> int:
    """Give the number of items of a complete run."""
    return int(decode_json(final.data)["items"])


def result_of(final: Record) -> Any:
    """Give the fold of a complete run.

    Raises:
        BatchTooLarge: It was not kept, because it would have broken a bound.
    """
    members = decode_json(final.data)
    if "result" not in members:
        raise BatchTooLarge(members["bound"], members["limit"])
    return members["result"]
