"""CSV as it is found in the wild: every good row is kept, every bad one is named by its line."""

from __future__ import annotations

import csv
import io
from tempfile import SpooledTemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dual_mode_streaming.playground import records as module
from dual_mode_streaming.playground.records import MAX_COLUMNS, MAX_RECORD, BadRow, NotCsv, Records

HUGE = b"x" * (2 * MAX_RECORD + 17)


def read(data: bytes) -> list[list[str] | tuple[int, str]]:
    """Read all records; a bad one as (line, reason)."""
    found = Records(io.BytesIO(data))
    return [(record.line, record.reason) if isinstance(record, BadRow) else record for record in found]


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"a,b\n1,2\n3,4\n", [["1", "2"], ["3", "4"]]),
        (b"a,b\n1,2", [["1", "2"]]),
        (b"a,b\r\n1,2\r\n", [["1", "2"]]),
        (b"\xef\xbb\xbfa,b\n1,2\n", [["1", "2"]]),
        (b"\n\r\na,b\n\n1,2\n\n", [["1", "2"]]),
        (b"a,b\n", []),
        (b"a,b", []),
        (b"a,b\n,\n", [["", ""]]),
        (b'a,b\n"1, ""x""",2\n', [['1, "x"', "2"]]),
        (b'a,b\n"line 1\nline 2",2\n3,4\n', [["line 1\nline 2", "2"], ["3", "4"]]),
        (b'a,b\r\n"line 1\r\nline 2",2\r\n', [["line 1\r\nline 2", "2"]]),
        (b'a,b\n5" pipe,2\n', [['5" pipe', "2"]]),
        (b'"a","b"\n1,2\n', [["1", "2"]]),
        ("a,ä\nü,\u2028\n".encode(), [["ü", "\u2028"]]),
        (b"name\nx\n\ny\n", [["x"], ["y"]]),
    ],
)
def test_good_files(data, rows):
    assert read(data) == rows


@pytest.mark.parametrize(
    ("data", "delimiter", "rows"),
    [
        (b"a;b\n1,5;2,5\n", ";", [["1,5", "2,5"]]),
        (b"a\tb\n1,5\t2;5\n", "\t", [["1,5", "2;5"]]),
        (b"a|b\n1|2\n", "|", [["1", "2"]]),
        (b"a,b\n1,x;y\n2,x;y\n", ",", [["1", "x;y"], ["2", "x;y"]]),
        (b'name;"price, EUR";n\nx;1;2\ny;3;4\n', ";", [["x", "1", "2"], ["y", "3", "4"]]),
        (b"name, first;price\nx;1\ny;2\n", ";", [["x", "1"], ["y", "2"]]),
        (b"only\nx\n", ",", [["x"]]),
        (b"a;b\n" + b"1;2\n" * 50_000, ";", [["1", "2"]] * 50_000),
    ],
)
def test_the_delimiter_is_guessed(data, delimiter, rows):
    found = Records(io.BytesIO(data))
    assert found.delimiter == delimiter
    assert list(found) == rows


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"1\n", "has 1 field where the header has 2"),
        (b"1,2,3\n", "has 3 fields where the header has 2"),
        (b"1,\xff\xfe\n", "is not UTF-8 (byte 0xff)"),
        ("1,ü\n".encode("latin-1"), "is not UTF-8 (byte 0xfc)"),
        (b"1,\0\n", "holds a NUL byte"),
        (b'"a"b,2\n', "is not valid CSV (',' expected after '\"')"),
        (b"1,%s\n" % HUGE, f"is longer than {MAX_RECORD} bytes"),
        (b"1,%s\n" % HUGE[:200_000], "is not valid CSV (field larger than field limit (131072))"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_bad_row_is_named_and_its_neighbours_are_kept(bad, reason, end):
    bad = bad.replace(b"\n", end)
    good = b"a,b\n1,1\n".replace(b"\n", end)
    assert read(good + bad + b"3,3" + end) == [["1", "1"], (3, reason), ["3", "3"]]
    assert read(good + bad.removesuffix(end)) == [["1", "1"], (3, reason)]


@pytest.mark.parametrize("size", [MAX_RECORD - 1, MAX_RECORD, MAX_RECORD + 1, 2 * MAX_RECORD, 2 * MAX_RECORD + 1])
def test_lines_about_the_bound_are_counted_as_one(size):
    fields = b",".join([b"x" * 99_999] * 10)
    line = fields + b"," + b"x" * (size - len(fields) - 2) + b"\n"
    assert len(line) == size
    columns = b",".join(b"c%d" % number for number in range(11)) + b"\n"
    first, second = read(columns + line + b"bad\n")
    assert isinstance(first, tuple) is (size > MAX_RECORD)
    assert second[0] == 3


def test_line_numbers_count_the_lines_of_the_file():
    data = b'a,b\n"1\n2\n3",ok\n\nbad\n"x\ny\n",1,2\nbad\n'
    assert [record[0] if isinstance(record, tuple) else None for record in read(data)] == [None, 6, 7, 10]


def test_a_flaw_inside_quotes_costs_the_whole_record_and_no_more():
    assert read(b'a,b\n"1\n\xff\n2",x\n3,4\n') == [(2, "is not UTF-8 (byte 0xff)"), ["3", "4"]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'a,b\n1,"open\n2,2\n3,3\n', "opens a quote that is never closed"),
        (
            b'a,b\n1,"open\n2,"2"\n3,3\n',
            "is not valid CSV (',' expected after '\"'), perhaps because a quote is not closed",
        ),
    ],
)
def test_rows_that_a_quote_swallowed_are_read_again(data, reason):
    assert read(data) == [(2, reason), ["2", "2"], ["3", "3"]]


def test_a_quote_that_swallows_more_than_a_record_may_hold():
    rows = 50_000
    found = read(b'a,b\n1,"open\n' + b"2,2\n" * rows)
    assert found[0][0] == 2
    assert "perhaps because a quote is not closed" in found[0][1]
    assert found[1:] == [["2", "2"]] * rows
    wide = b",".join(b"c%d" % number for number in range(100))
    open_fields = b",".join([b'"' + b"y" * 100_000 + b'\n"'] * 99)
    found = read(wide + b"\n" + open_fields + b',"z\n')
    assert found[0] == (2, f"opens a quote not closed for {MAX_RECORD} bytes")


def test_reading_again_has_an_end(monkeypatch):
    """Every line of this file opens a quote, whether or not one is open before it."""
    monkeypatch.setattr(module, "MAX_REWINDS", 3)
    found = read(b"a,b\n" + b'x",",\n' * 60_000)
    assert [record[0] for record in found[:4]] == [2, 3, 4, 5]
    assert "lines 5 to" in found[3][1]
    assert len(found) < 20


def test_the_offset_reaches_the_end_and_never_goes_back():
    data = b"\xef\xbb\xbfa,b\n1,2\n" + HUGE + b'\n1,"open\n2,2\n3,3\n4,4\n'
    found = Records(io.BytesIO(data))
    offsets = [found.offset, *(found.offset for _ in found)]
    assert offsets[0] == 7
    assert offsets == sorted(offsets)
    assert offsets[-1] == len(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "only empty lines"),
        (b"\n\r\n\n", "only empty lines"),
        (b"\xef\xbb\xbf", "only empty lines"),
        (b"1,2\n3,4\n", "There is no header row"),
        (b"2024;-1.5e3\n", "There is no header row"),
        (b",\n1,2\n", "There is no header row"),
        ("a,ü\n1,2\n".encode("latin-1"), "The header row (line 1) cannot be read: it is not UTF-8 (byte 0xfc)."),
        (b"\n\na,\0\n1,2\n", "The header row (line 3) cannot be read: it holds a NUL byte."),
        (HUGE + b"\n1,2\n", "The header row (line 1) cannot be read: it is longer than"),
        (b'a,"b\n1,2\n', "The header row (line 1) cannot be read: it opens a quote that is never closed"),
        (b"a,b,a\n", "Columns 1 and 3 have the same name, 'a'."),
        (b"id,ID\n", "Columns 1 and 2 have the same name, 'ID'."),
        (b"a, a\n", "Columns 1 and 2 have the same name, 'a'."),
        (b",column_1\n", "Columns 1 and 2 have the same name, 'column_1'."),
        (b",".join(b"c%d" % number for number in range(MAX_COLUMNS + 1)), "has 2001 columns"),
        ("a,b\n1,2\n".encode("utf-16"), "in UTF-16"),
        (b"a,b\r1,2\r", "in a lone CR"),
    ],
)
def test_files_that_cannot_be_used(data, message):
    with pytest.raises(NotCsv) as caught:
        read(data)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


def test_columns_are_named_by_the_header():
    assert Records(io.BytesIO(b' a ,,"b ""c""",2024\n')).columns == ["a", "column_2", 'b "c"', "2024"]


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@given(
    rows=st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=8),
    delimiter=st.sampled_from(",;\t|"),
    ending=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
)
def test_what_python_writes_is_read(rows, delimiter, ending, bom):
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_MINIMAL if ending == "\r\n" else csv.QUOTE_ALL  # else it leaves a lone CR bare
    writer = csv.writer(text, delimiter=delimiter, lineterminator=ending, quoting=quoting)
    writer.writerows([("one", "two", "three"), *rows])
    found = Records(io.BytesIO(text.getvalue().encode("utf-8-sig" if bom else "utf-8")))
    assert found.columns == ["one", "two", "three"]
    assert list(found) == [list(row) for row in rows]


@given(st.lists(st.sampled_from([b'"', b",", b";", b"\n", b"\r", b"\r\n", b"a", b"\xff", b"\0", b'""', b"1"])))
def test_whatever_the_bytes_are_each_record_is_good_or_bad(pieces):
    data = b"a,b\n" + b"".join(pieces)
    found = Records(io.BytesIO(data))
    lines = [record.line for record in found if isinstance(record, BadRow)]
    assert lines == sorted(set(lines))
    assert found.offset == len(data)


def test_a_spooled_file_will_do():
    with SpooledTemporaryFile(max_size=10) as file:
        file.write(b'a,b\n1,"open\n2,2\n')
        file.seek(0)
        assert [record for record in Records(file) if isinstance(record, list)] == [["2", "2"]]
