"""What `doctor` concludes from what it has seen: case by case, and the laws that hold for whatever it sees."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dual_mode_streaming.cli.findings import judge
from dual_mode_streaming.cli.observation import End, Observation

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    "vary": "Accept",
    "server": "uvicorn",
}
TIMES = tuple(0.2 * number for number in range(10))
GOOD = Observation(headers=HEADERS, chunks=TIMES, items=TIMES, terminal="done", ended_at=1.8)
LATE = replace(GOOD, headers_at=1.8, chunks=(1.8,), items=(1.8,) * 10)


def codes(seen: Observation, direct: Observation | None = None, **known: object) -> set[str]:
    return {finding.code for finding in judge(seen, direct, **known) if not finding.is_note}


def headers(**changed: str | None) -> dict[str, str]:
    new = {**HEADERS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return {name: value for name, value in new.items() if value is not None}


def test_a_good_stream_has_nothing_to_mend() -> None:
    assert codes(GOOD) == codes(GOOD, GOOD) == codes(GOOD, has_two_modes=True) == set()
    assert [finding.code for finding in judge(GOOD)] == ["never_silent"]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        # How it arrives
        (LATE, {"at_once"}),
        (replace(GOOD, halves=(0.3,)), {"buffered"}),
        (replace(GOOD, headers=headers(content_encoding="gzip")), {"compressed"}),
        (replace(GOOD, headers=headers(content_encoding="identity")), set()),
        (replace(GOOD, headers=headers(content_length="100")), {"gathered"}),
        (replace(GOOD, items=(0.0,), chunks=(0.0,)), set()),
        (replace(LATE, items=(1.8,), chunks=(1.8,)), set()),
        # It began in time, and then a source may give what it has at once.
        (replace(LATE, chunks=(0.1, 1.8)), set()),
        (replace(GOOD, ended_at=17.9), {"no_heartbeat"}),
        (replace(GOOD, ended_at=17.9, chunks=(*TIMES, 10.0)), set()),
        (replace(LATE, headers_at=20.0, chunks=(20.0,), items=(20.0,), ended_at=20.0), {"no_heartbeat"}),
        # How it ends
        (replace(GOOD, terminal=None), {"no_end"}),
        (replace(GOOD, terminal=None, headers=headers(content_type="application/x-ndjson")), set()),
        (replace(GOOD, terminal=None, end=End.OPEN), set()),
        (replace(GOOD, terminal=None, end=End.CUT), {"cut"}),
        (replace(GOOD, terminal=None, end=End.CUT, ended_at=4.0), {"timeout"}),
        (replace(GOOD, terminal=None, problem="500"), {"failed"}),
        (replace(GOOD, terminal=None, problem="500", end=End.CUT), {"failed"}),
        (replace(GOOD, terminal=None, problem="500", items=()), {"early_error"}),
        (replace(GOOD, terminal=None, too_large=1024, end=End.OPEN), {"too_large"}),
        # What it is made of
        (replace(GOOD, is_utf8=False), {"not_utf8"}),
        (replace(GOOD, headers=headers(content_type="text/event-stream; charset=ISO-8859-1")), {"charset"}),
        (replace(GOOD, headers=headers(content_type='text/event-stream;charset="UTF-8"')), set()),
        (replace(GOOD, headers=headers(content_type="text/event-stream")), set()),
        (replace(GOOD, bad=2), {"bad_records"}),
        (replace(GOOD, http_version="HTTP/1.0"), {"http_version"}),
        # What it says to hops
        (replace(GOOD, headers=headers(cache_control=None)), {"cache_control"}),
        (replace(GOOD, headers=headers(cache_control="no-cache")), {"cache_control"}),
        (replace(GOOD, headers=headers(cache_control="no-store, No-Transform")), set()),
        (replace(GOOD, headers=headers(cache_control="no-transform")), {"cache_control"}),
        (replace(GOOD, headers=headers(x_accel_buffering=None)), {"accel_buffering"}),
        (replace(GOOD, headers=headers(x_accel_buffering="yes")), {"accel_buffering"}),
        # nginx does not pass it on.
        (replace(GOOD, headers=headers(x_accel_buffering=None, server="nginx/1.22.1")), set()),
        # No stream
        (Observation(headers={"content-type": "application/json"}), {"no_stream"}),
        (Observation(headers={}), {"no_stream"}),
        *[(Observation(status=status), {"status"}) for status in (204, 304, 401, 404, 405, 500, 502, 504)],
    ],
)
def test_what_is_found(seen: Observation, expected: set[str]) -> None:
    assert codes(seen) == expected


def test_the_server_itself_tells_who_is_to_blame() -> None:
    assert codes(LATE, GOOD) == {"buffered"}
    assert codes(LATE, LATE) == set()
    assert "source_at_once" in {finding.code for finding in judge(LATE, LATE)}
    bare = replace(GOOD, headers={"content-type": "text/event-stream", "server": "uvicorn"})
    (lost,) = judge(replace(GOOD, headers=headers(cache_control="private")), GOOD)[:1]
    assert "a hop has replaced it" in lost.text
    assert codes(replace(GOOD, headers=headers(x_accel_buffering=None, server="nginx")), bare) == {"accel_buffering"}
    zipped = replace(GOOD, headers=headers(content_encoding="gzip"))
    assert "a hop does it" in judge(zipped, GOOD)[0].text
    assert "the server does it" in judge(zipped, zipped)[0].text


@pytest.mark.parametrize(
    ("lags", "expected"),
    [
        ([0.2] * 10, {"delayed"}),
        ([0.2, 0.0] * 5, {"delayed"}),  # haproxy: every second item
        ([0.05] * 10, set()),
        ([0.0] * 9 + [3.0], set()),  # one item that was late once
        ([-0.2] * 10, set()),
    ],
)
def test_items_that_are_late(lags: list[float], expected: set[str]) -> None:
    late = tuple(at + lag for at, lag in zip(TIMES, lags, strict=True))
    assert codes(replace(GOOD, items=late, chunks=late), GOOD) == expected


@pytest.mark.parametrize(
    ("has_two_modes", "is_get", "vary", "expected"),
    [
        (True, True, None, {"vary"}),
        (True, True, "Origin", {"vary"}),
        (True, True, "Origin, accept", set()),
        (True, True, "*", set()),
        (False, True, None, set()),
        (None, True, None, set()),
        (True, False, None, set()),
    ],
)
def test_vary(has_two_modes: bool | None, is_get: bool, vary: str | None, expected: set[str]) -> None:
    seen = replace(GOOD, headers=headers(vary=vary))
    assert codes(seen, has_two_modes=has_two_modes, is_get=is_get) == expected


@pytest.mark.parametrize(
    ("media_type", "mend"),
    [
        ("text/event-stream", "heartbeat=15"),
        ("application/x-ndjson", "heartbeat=15, heartbeat_lines=True"),
        ("application/json-seq", "another format: JSON text sequences have no heartbeat"),
    ],
)
def test_the_remedy_for_a_silence_is_that_of_the_format(media_type: str, mend: str) -> None:
    silent = replace(GOOD, headers=headers(content_type=media_type), ended_at=30.0)
    assert dict(judge(silent)[0].mend)["application"] == mend


# --- laws ------------------------------------------------------------------------------------------

moments = st.floats(0, 100).map(lambda seconds: round(seconds, 3))
rising = st.lists(moments, max_size=12).map(lambda times: tuple(sorted(times)))
header_values = st.sampled_from(
    ["", "no", "no-cache, no-transform", "gzip", "nginx", "text/event-stream", "application/jsonl;charset=x", "*"]
)
observations = st.builds(
    Observation,
    status=st.sampled_from([200, 200, 200, 206, 204, 304, 404, 504]),
    http_version=st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2"]),
    headers=st.dictionaries(st.sampled_from([*HEADERS, "content-encoding", "content-length"]), header_values),
    headers_at=moments,
    chunks=rising,
    items=rising,
    heartbeats=rising,
    halves=rising,
    terminal=st.none() | st.just("done"),
    problem=st.none() | st.text(max_size=5),
    bad=st.integers(0, 3),
    too_large=st.none() | st.integers(1, 10),
    is_utf8=st.booleans(),
    end=st.sampled_from(End),
    ended_at=moments,
)


@given(observations, st.none() | observations, st.sampled_from([True, False, None]), st.booleans())
def test_there_is_a_judgement_for_whatever_was_seen(
    seen: Observation, direct: Observation | None, has_two_modes: bool | None, is_get: bool
) -> None:
    findings = judge(seen, direct, has_two_modes=has_two_modes, is_get=is_get)
    assert len({finding.code for finding in findings}) == len(findings)
    # What is to be mended stands before what is only to be known, and a note has nothing to mend.
    assert [finding.is_note for finding in findings] == sorted(finding.is_note for finding in findings)
    assert all(finding.text.endswith(".") or ": " in finding.text for finding in findings)
    assert not any(finding.mend for finding in findings if finding.is_note)
    if seen.status >= 300 or not seen.is_stream:
        assert len(findings) == 1


@given(st.lists(st.floats(0.001, 15), min_size=3, max_size=30))
def test_no_spacing_of_a_source_is_held_against_a_hop(gaps: list[float]) -> None:
    """However a source spaces its items: if it says something at once, and never keeps silent, nothing is found."""
    times, at = [0.0], 0.0
    for gap in gaps:
        at += gap
        times.append(at)
    seen = replace(GOOD, items=tuple(times), chunks=tuple(times), ended_at=at)
    assert codes(seen) == codes(seen, seen) == set()


@given(st.integers(3, 50), st.floats(1.0, 30), st.floats(0, 0.09))
def test_what_is_held_back_to_the_end_is_always_found(count: int, length: float, spread: float) -> None:
    direct_times = tuple(length * number / count for number in range(count))
    held = tuple(length + spread * length * number / count for number in range(count))
    direct = replace(GOOD, items=direct_times, chunks=direct_times, ended_at=length)
    seen = replace(GOOD, headers_at=length, items=held, chunks=held, ended_at=held[-1])
    assert "buffered" in codes(seen, direct)
    assert "at_once" in codes(seen)


@given(observations, st.sampled_from([("cache-control", "cache_control"), ("x-accel-buffering", "accel_buffering")]))
def test_a_remedy_removes_its_finding_and_adds_none(seen: Observation, remedy: tuple[str, str]) -> None:
    name, code = remedy
    mended = replace(seen, headers={**seen.headers, name: HEADERS[name]})
    before, after = codes(seen), codes(mended)
    assert code not in after
    assert after <= before
