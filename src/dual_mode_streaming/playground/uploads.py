"""Takes an uploaded file in, whatever its size, and gives it as a file on disk.

Rules of this file:

- The body is written to disk piece by piece as it arrives; memory holds one piece. The disk is only touched in
  threads.
- The temporary file has no name, so nothing can be left behind, not even by a process that is killed. It is closed,
  and its space free again, when the context ends, for whatever reason.
- Everything that is wrong with the request is an `HTTPException` that says what to do.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import BinaryIO

import anyio.to_thread
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

__all__ = ["Upload", "receive_upload"]

_HOW = "Send it with curl -X POST -T data.csv, or as the field `file` of a form with curl -F file=@data.csv."


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was sent.

    Attributes:
        file: The file, open at its beginning. Its methods may block.
        size: Its size in bytes, which is not 0.
    """

    file: BinaryIO
    size: int


@asynccontextmanager
async def receive_upload(request: Request) -> AsyncIterator[Upload]:
    """Receive the file of a request: its whole body, or the field `file` of a multipart form.

    Raises:
        HTTPException: 400, the form is broken or the client left. 415, the body is of a kind that cannot be a CSV
            file, or compressed. 422, there is no file or it is empty. 507, the disk is full.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "The body is compressed. Send the file as it is.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        raise HTTPException(415, f"The body is {kind}, and a CSV file is wanted. {_HOW}")
    async with AsyncExitStack() as stack:
        try:
            receive = _from_form if kind == "multipart/form-data" else _from_body
            upload = await stack.enter_async_context(receive(request))
        except ClientDisconnect:
            # Nobody reads this. It keeps a client that changed its mind out of the server's error log.
            raise HTTPException(400, "The client left before its file was complete.") from None
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise HTTPException(507, "The disk of the server is full.") from error
            raise
        if upload.size == 0:
            raise HTTPException(422, f"There is no file, or it is empty. {_HOW}")
        yield upload


@asynccontextmanager
async def _from_body(request: Request) -> AsyncIterator[Upload]:
    with TemporaryFile() as file:
        size = 0
        async with aclosing(request.stream()) as body:
            async for piece in body:
                size += await anyio.to_thread.run_sync(file.write, piece)
        await anyio.to_thread.run_sync(file.seek, 0)
        yield Upload(file, size)


@asynccontextmanager
async def _from_form(request: Request) -> AsyncIterator[Upload]:
    # Starlette holds a file of a form in memory up to 1 MiB, and beyond that in a temporary file without a name.
    async with Request(request.scope, _until_last_boundary(request)).form(max_files=1, max_fields=20) as form:
        field = form.get("file")
        if isinstance(field, str):
            raise HTTPException(422, f"The field `file` holds text and not a file. {_HOW}")
        if not isinstance(field, UploadFile):
            raise HTTPException(422, f"The form has no field `file`. {_HOW}")
        size = await anyio.to_thread.run_sync(field.file.seek, 0, os.SEEK_END)
        await anyio.to_thread.run_sync(field.file.seek, 0)
        yield Upload(field.file, size)


def _until_last_boundary(request: Request) -> Receive:
    """Refuse a form that was cut off. Starlette takes it for complete, and forgets to close the file it was in."""
    _, options = parse_options_header(request.headers["content-type"])
    last_boundary = b"--%s--" % options.get(b"boundary", b"")
    tail = b""

    async def receive() -> Message:
        nonlocal tail
        message = await request.receive()
        tail = (tail + message.get("body", b""))[-1024:]  # some clients send a line or two behind it
        is_last = message["type"] == "http.request" and not message.get("more_body", False)
        if is_last and b"boundary" in options and last_boundary not in tail:
            raise HTTPException(400, "The form is cut off: its last boundary is missing.")
        return message

    return receive
