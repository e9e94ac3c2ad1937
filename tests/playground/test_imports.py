"""An import tells its progress, keeps the good rows, and leaves nothing behind, however it ends."""

from __future__ import annotations

import asyncio
import io
import itertools
import sqlite3
import tempfile
import threading
import tracemalloc
from contextlib import aclosing

import anyio
import pytest
from starlette.exceptions import HTTPException

from dual_mode_streaming.playground import imports
from dual_mode_streaming.playground.imports import MAX_BAD_ROWS, STEP_ROWS, Progress, Summary, import_csv


class Databases(list[sqlite3.Connection]):
    """The connections that were opened."""

    def are_closed(self) -> bool:
        for connection in self:
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                connection.execute("SELECT 1")
        return True


@pytest.fixture
def databases(monkeypatch, tmp_path) -> Databases:
    """Spy on SQLite, and prove that no file with a name was ever made."""
    opened = Databases()
    connect = sqlite3.connect

    def spy(*args, **options) -> sqlite3.Connection:
        opened.append(connect(*args, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", spy)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    return opened


def stopped() -> float:
    return 0.0


def start(data: bytes, clock=stopped):
    return import_csv(io.BytesIO(data), len(data), clock=clock)


async def run(data: bytes, clock=stopped) -> list[Progress | Summary]:
    return [item async for item in start(data, clock)]


async def summary(data: bytes) -> Summary:
    last = (await run(data))[-1]
    assert isinstance(last, Summary)
    return last


@pytest.mark.asyncio
async def test_a_small_file():
    data = b"name;price;note\nx;1,5;\n\ny;2;ok\nz\n"
    progress, last = await run(data)
    assert progress.model_dump() == {
        "type": "progress",
        "rows": 2,
        "rejected": 1,
        "bytes_read": len(data),
        "bytes_total": len(data),
        "percent": 100.0,
    }
    assert last.model_dump() == {
        "type": "summary",
        "rows": 2,
        "rejected": 1,
        "delimiter": ";",
        "columns": [
            {"name": "name", "type": "text", "empty": 0},
            {"name": "price", "type": "text", "empty": 0},
            {"name": "note", "type": "text", "empty": 1},
        ],
        "bad_rows": [{"line": 5, "reason": "has 1 field where the header has 3"}],
        "seconds": 0.0,
        "rows_per_second": 0.0,
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("data", [b"a,b", b"a,b\n", b"\xef\xbb\xbfa,b\r\n\r\n"])
async def test_a_file_with_only_a_header_has_no_rows(data):
    last = await summary(data)
    assert (last.rows, last.rejected) == (0, 0)
    assert [(column.name, column.type, column.empty) for column in last.columns] == [
        ("a", "empty", 0),
        ("b", "empty", 0),
    ]


@pytest.mark.asyncio
async def test_the_rows_are_in_the_database_as_they_were_written(databases):
    data = b'a,"b ""c""",select\n1,,"x\ny"\n007,1e3,z\nbad\n'
    async with aclosing(start(data)) as items:
        await anext(items)
        (connection,) = databases
        assert connection.execute("SELECT * FROM data").fetchall() == [("1", None, "x\ny"), ("007", "1e3", "z")]
        assert connection.execute('SELECT "b ""c""", "select" FROM data WHERE a = ?', ["007"]).fetchall() == [
            ("1e3", "z")
        ]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-20", "+3", "0"], "integer"),
        (["1", "", "3"], "integer"),
        (["9" * 18], "integer"),
        (["9" * 19], "text"),
        (["1", "2.5"], "real"),
        (["2.5", "1"], "real"),
        (["2.5", "1", "-1e-9", ".5", "1E3"], "real"),
        (["1", "2.5", "x", "3"], "text"),
        (["007"], "text"),
        (["1", "007"], "text"),
        (["1.5", "9" * 19], "text"),
        (["1,5"], "text"),
        (["١"], "text"),
        (["nan"], "text"),
        (["-"], "text"),
        (["", ""], "empty"),
        ([], "empty"),
    ],
)
async def test_the_type_of_a_column_fits_all_its_values(values, expected):
    rows = "".join(f"{value};x\n" for value in values)
    last = await summary(f"a;b\n{rows}".encode())
    assert last.rows == len(values)
    assert last.columns[0].type == expected
    assert last.columns[0].empty == values.count("")


@pytest.mark.asyncio
async def test_progress_comes_after_so_many_rows():
    data = b"a,b\n" + b"1,2\n" * (2 * STEP_ROWS + 1000)
    *progress, last = await run(data)
    assert [item.rows for item in progress] == [10_000, 20_000, 21_000]
    assert [item.percent for item in progress] == [47.6, 95.2, 100.0]
    assert [item.bytes_read for item in progress] == [40_004, 80_004, len(data)]
    assert last.rows == 21_000


@pytest.mark.asyncio
async def test_progress_comes_after_so_much_time():
    ticks = itertools.count()
    *progress, last = await run(b"a,b\n" + b"1,2\nbad\n" * 10, clock=lambda: next(ticks) * 0.025)
    assert [(item.rows, item.rejected) for item in progress] == [(2, 2), (4, 4), (6, 6), (8, 8), (10, 10), (10, 10)]
    assert last.seconds == pytest.approx(27 * 0.025, abs=0.001)
    assert last.rows_per_second == pytest.approx(10 / (27 * 0.025), abs=0.1)


@pytest.mark.asyncio
async def test_bad_rows_are_described_up_to_a_number_and_counted_beyond():
    bad = b"bad\n" * (MAX_BAD_ROWS + 50)
    last = await summary(b"a,b\n" + bad + b"1,2\n")
    assert (last.rows, last.rejected) == (1, 150)
    assert [row.line for row in last.bad_rows] == list(range(2, 102))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"\n\n", "only empty lines"),
        (b"1,2\n", "no header row"),
        (b"a,a\n", "the same name"),
        (b"\xff\xfea\0", "UTF-16"),
        ("ü,b\n".encode("latin-1"), "not UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "not UTF-8"),
        (b"x" * 3_000_000, "longer than"),
    ],
)
async def test_a_file_that_is_no_csv_is_refused_before_the_first_item(databases, data, detail):
    with pytest.raises(HTTPException) as caught:
        await anext(start(data))
    assert caught.value.status_code == 422
    assert detail in caught.value.detail
    assert databases == []


@pytest.mark.asyncio
async def test_the_most_columns_that_are_allowed_fit_the_database(databases):
    width = imports.Records.__init__.__globals__["MAX_COLUMNS"]
    header = ",".join(f"c{number}" for number in range(width))
    last = await summary(f"{header}\n{',' * (width - 1)}\n".encode())
    assert (last.rows, len(last.columns)) == (1, 2000)


@pytest.mark.asyncio
async def test_nothing_is_left_when_it_is_done(databases, tmp_path):
    data = b"a,b\n" + b"1,%s\n" % (b"x" * 50_000) * 200  # 10 MB, more than SQLite keeps in memory
    async for _ in start(data):
        assert list(tmp_path.iterdir()) == []
    assert len(databases) == 1
    assert databases.are_closed()


@pytest.mark.asyncio
async def test_nothing_is_left_when_the_client_goes(databases, tmp_path):
    data = b"a,b\n" + b"1,2\n" * (3 * STEP_ROWS)
    async with aclosing(start(data)) as items:
        assert (await anext(items)).rows == STEP_ROWS
    assert len(databases) == 1
    assert databases.are_closed()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_nothing_is_left_when_the_request_is_cancelled(databases, tmp_path):
    data = b"a,b\n" + b"1,2\n" * (3 * STEP_ROWS)
    with anyio.CancelScope() as scope:
        async with aclosing(start(data)) as items:
            async for _ in items:
                scope.cancel()
    assert scope.cancelled_caught
    assert databases.are_closed()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_the_database_is_not_closed_under_a_running_step(databases):
    """A task's own `cancel()` leaves the thread behind, other than a cancel scope. SQLite would crash."""
    reading, go_on = threading.Event(), threading.Event()

    class Held(io.BytesIO):
        def readline(self, *args):
            if self.tell() > 400:
                reading.set()
                assert go_on.wait(5)
            return super().readline(*args)

    data = b"a,b\n" + b"1,2\n" * STEP_ROWS
    file = Held(data)

    async def consume() -> None:
        async with aclosing(import_csv(file, len(data), clock=stopped)) as items:
            async for _ in items:
                pytest.fail("the step has not ended")

    task = asyncio.create_task(consume())
    assert await asyncio.to_thread(reading.wait, 5)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=0.05)
    assert not done
    (connection,) = databases
    assert connection.in_transaction
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert databases.are_closed()
    assert file.tell() < 500


def test_a_step_that_begins_too_late_does_nothing(databases):
    table = imports._Table(imports.Records(io.BytesIO(b"a,b\n1,2\n")), stopped)
    table.stop()
    table.close()
    table.step()
    assert table.rows == 0


@pytest.mark.asyncio
async def test_nothing_is_left_when_it_fails(databases, tmp_path):
    class Broken(io.BytesIO):
        def readline(self, *args):
            if self.tell() > 60_000:
                raise OSError("the disk is gone")
            return super().readline(*args)

    data = b"a,b\n" + b"1,2\n" * (3 * STEP_ROWS)
    rows = []

    async def consume() -> None:
        async for item in import_csv(Broken(data), len(data), clock=stopped):
            rows.append(item.rows)

    with pytest.raises(OSError, match="the disk is gone"):
        await consume()
    assert rows == [STEP_ROWS]
    assert databases.are_closed()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_a_full_disk_is_told(monkeypatch, databases):
    real = imports._Table

    def small(*args):
        table = real(*args)
        table._connection.execute("PRAGMA max_page_count = 20")
        return table

    monkeypatch.setattr(imports, "_Table", small)
    with pytest.raises(HTTPException) as caught:
        await run(b"a,b\n" + b"1,2\n" * (3 * STEP_ROWS))
    assert (caught.value.status_code, caught.value.detail) == (507, "The disk of the server is full.")
    assert databases.are_closed()


@pytest.mark.asyncio
async def test_any_other_trouble_of_the_database_is_an_error_of_the_server(monkeypatch, databases):
    real = imports._Table

    def broken(*args):
        table = real(*args)
        table._connection.execute("DROP TABLE data")
        return table

    monkeypatch.setattr(imports, "_Table", broken)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await run(b"a,b\n1,2\n")
    assert databases.are_closed()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("rows", "good", "bad"),
    [
        (b"1,%s\n" % (b"x" * 1000) * 20_000, 20_000, 0),
        (b"1,%s\n" % (b"x" * 20_000_000), 0, 1),
        (b'1,"%s\n' % (b"x" * 1000) * 20_000, 0, 100 + 19_900 // 2),
        (b"1\n" * 50_000, 0, 50_000),
    ],
    ids=["wide rows", "one huge line", "quotes never closed", "only bad rows"],
)
async def test_memory_stays_flat(tmp_path, rows, good, bad):
    path = tmp_path / "data.csv"
    path.write_bytes(b"a,b\n" + rows)
    size = path.stat().st_size
    del rows
    tracemalloc.start()
    try:
        with path.open("rb") as file:
            async for item in import_csv(file, size):
                last = item
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (last.rows, last.rejected) == (good, bad)
    assert peak < 5_000_000


@pytest.mark.asyncio
async def test_the_loop_is_free_while_rows_are_read():
    """The file ends only when a task of the loop says so, which it could not if the loop were blocked."""
    go_on = anyio.from_thread.run
    event = anyio.Event()

    class Waiting(io.BytesIO):
        def readline(self, *args):
            line = super().readline(*args)
            if not line:
                go_on(event.wait)
            return line

    data = b"a,b\n1,2\n"
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            items = []

            async def consume() -> None:
                items.extend([item async for item in import_csv(Waiting(data), len(data))])

            tasks.start_soon(consume)
            await anyio.lowlevel.checkpoint()
            event.set()
    assert isinstance(items[-1], Summary)
