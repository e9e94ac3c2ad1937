"""An upload is a body or a form, is bounded in memory, and leaves nothing behind."""

from __future__ import annotations

import errno
import gc
import tempfile
import threading
import tracemalloc

import pytest
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import Request

from dual_mode_streaming.playground import uploads
from dual_mode_streaming.playground.uploads import receive_upload

DATA = b"a,b\n1,2\n"
FORM = "multipart/form-data; boundary=XX"


@pytest.fixture(autouse=True)
def temporary(monkeypatch, tmp_path) -> list:
    """Spy on temporary files: none may have a name or stay open."""
    made = []
    make = uploads.TemporaryFile

    def spy(*args, **options):
        made.append(make(*args, **options))
        return made[-1]

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(uploads, "TemporaryFile", spy)
    monkeypatch.setattr(MultiPartParser, "spool_max_size", 100)
    yield made
    assert all(file.closed for file in made)
    assert list(tmp_path.iterdir()) == []
    gc.collect()  # a file that is only now closed is a ResourceWarning, which is an error here


def request(*pieces: bytes, content_type: str | None = None, leave: bool = False, **headers: str) -> Request:
    """A request whose body arrives in these pieces; at the end the client may leave instead of finishing."""
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    if content_type is not None:
        lines.append((b"content-type", content_type.encode()))
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.disconnect"} if leave else {"type": "http.request", "body": b""})
    left = iter(messages)

    async def receive():
        return next(left)

    return Request({"type": "http", "method": "POST", "headers": lines, "app": None}, receive)


def part(name: str, content: bytes, *, filename: str | None = "data.csv") -> bytes:
    of_file = "" if filename is None else f'; filename="{filename}"'
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"{of_file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--XX--\r\n"


async def receive(of: Request) -> bytes:
    async with receive_upload(of) as upload:
        content = upload.file.read()
        assert upload.size == len(content)
        return content


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "content_type",
    [None, "text/csv", "text/csv; charset=utf-8", "application/octet-stream", "application/x-www-form-urlencoded"],
)
async def test_the_whole_body_is_the_file(content_type, temporary):
    assert await receive(request(b"a,", b"b\n1", b"", b",2\n", content_type=content_type)) == DATA
    assert len(temporary) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("content", [DATA, b"a,b\n" + b"1,2\n" * 1000], ids=["in memory", "on disk"])
async def test_the_file_of_a_form(content):
    body = form(part("note", b"hello", filename=None), part("file", content))
    assert await receive(request(body, content_type=FORM)) == content
    assert await receive(request(*(body[i : i + 7] for i in range(0, len(body), 7)), content_type=FORM)) == content


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("of", "status", "detail"),
    [
        (lambda: request(), 422, "There is no file, or it is empty. Send it with curl -X POST -T"),
        (lambda: request(b"", b"", content_type="text/csv"), 422, "There is no file, or it is empty"),
        (lambda: request(form(part("file", b"")), content_type=FORM), 422, "There is no file, or it is empty"),
        (lambda: request(form(part("data", DATA)), content_type=FORM), 422, "no field `file`"),
        (lambda: request(form(), content_type=FORM), 422, "no field `file`"),
        (lambda: request(form(part("file", DATA, filename=None)), content_type=FORM), 422, "text and not a file"),
        (lambda: request(form(part("file", DATA), part("x", DATA)), content_type=FORM), 400, "Too many files"),
        (lambda: request(DATA, content_type="multipart/form-data"), 400, "boundary"),
        (lambda: request(DATA, b"--XX--", content_type=FORM), 400, "multipart"),
        (lambda: request(b"{}", content_type="application/json"), 415, "The body is application/json"),
        (lambda: request(b"{}", content_type="application/ld+json; x=1"), 415, "The body is application/ld+json"),
        (lambda: request(DATA, content_encoding="gzip"), 415, "compressed"),
    ],
)
async def test_requests_that_are_refused(of, status, detail):
    with pytest.raises(HTTPException) as caught:
        await receive(of())
    assert caught.value.status_code == status
    assert detail in caught.value.detail


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "body", [part("file", b"1,2\n" * 1000), part("file", b"1,2\n" * 1000)[:-9], form(part("file", DATA))[:-4], b""]
)
async def test_a_form_that_is_cut_off(body):
    with pytest.raises(HTTPException) as caught:
        await receive(request(body, content_type=FORM))
    assert (caught.value.status_code, caught.value.detail) == (
        400,
        "The form is cut off: its last boundary is missing.",
    )


@pytest.mark.asyncio
async def test_what_follows_the_last_boundary_does_not_count():
    assert await receive(request(form(part("file", DATA)) + b"more", content_type=FORM)) == DATA
    assert await receive(request(form(part("file", DATA))[:-5], b"X--", content_type=FORM)) == DATA


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "of",
    [
        lambda: request(b"a,b\n", b"1,2\n" * 1000, leave=True),
        lambda: request(part("file", b"1,2\n" * 1000)[:-9], content_type=FORM, leave=True),
        lambda: request(leave=True),
    ],
    ids=["body", "form", "at once"],
)
async def test_a_client_that_leaves_while_it_sends(of):
    with pytest.raises(HTTPException, match="The client left"):
        await receive(of())


@pytest.mark.asyncio
@pytest.mark.parametrize("content_type", ["text/csv", FORM])
async def test_an_error_of_the_endpoint_closes_the_file(content_type):
    body = DATA if content_type == "text/csv" else form(part("file", b"1,2\n" * 1000))
    with pytest.raises(ZeroDivisionError):
        async with receive_upload(request(body, content_type=content_type)) as upload:
            raise ZeroDivisionError
    assert upload.file.closed


class Watched:
    """A temporary file whose `write` is watched."""

    def __init__(self, before_write) -> None:
        self.file = uploads.TemporaryFile()
        self.before_write = before_write

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        self.before_write()
        return self.file.write(data)


@pytest.mark.asyncio
@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EIO, None)])
async def test_a_disk_that_is_full_or_broken(monkeypatch, number, status):
    def fail():
        raise OSError(number, "no")

    watched = Watched(fail)
    monkeypatch.setattr(uploads, "TemporaryFile", lambda: watched)
    with pytest.raises(OSError if status is None else HTTPException) as caught:
        await receive(request(DATA))
    assert getattr(caught.value, "status_code", None) == status
    assert watched.file.closed


@pytest.mark.asyncio
async def test_the_disk_is_written_in_a_thread(monkeypatch):
    threads = []
    watched = Watched(lambda: threads.append(threading.current_thread()))
    monkeypatch.setattr(uploads, "TemporaryFile", lambda: watched)
    assert await receive(request(b"a,b\n", b"1,2\n")) == DATA
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.asyncio
@pytest.mark.parametrize("content_type", ["text/csv", FORM])
async def test_memory_stays_flat(content_type):
    piece = b"x" * 65_536
    frame = (b"", b"") if content_type == "text/csv" else (part("file", b"")[:-2], b"\r\n--XX--\r\n")
    of = request(frame[0], *[piece] * 320, frame[1], content_type=content_type)
    tracemalloc.start()
    try:
        async with receive_upload(of) as upload:
            assert upload.size == 320 * 65_536
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
