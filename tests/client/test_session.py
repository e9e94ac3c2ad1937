"""The laws of a stream that is cut and resumed, shown on the sans-IO core: no bytes, no clock, no chance but given."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dual_mode_streaming import errors
from dual_mode_streaming.client.options import Reconnect, StreamOptions
from dual_mode_streaming.client.places import Places
from dual_mode_streaming.client.reconnecting import Session, State
from dual_mode_streaming.client.replies import Answer, retry_after
from dual_mode_streaming.events import ServerSentEvent
from dual_mode_streaming.formats import format_for

SSE, NDJSON, SEQ = "text/event-stream", "application/x-ndjson", "application/json-seq"
ATTEMPTS = 3

items = st.lists(st.one_of(st.integers(), st.text(max_size=8), st.just({"error": 1}), st.just({"data": 2})), max_size=8)


class Server:
    """Gives the bytes of a stream from where it is asked for.

    Attributes:
        with_ids: Which events have an id.
        begins: How the server resumes: `behind` the id, `at` it, or `anew`.
    """

    def __init__(self, data, with_ids, begins, media_type):
        self.data = data
        self.with_ids = with_ids
        self.begins = begins
        self.format = format_for(media_type)
        self.media_type = media_type

    def body(self, last_event_id):
        start = 0
        if last_event_id and self.begins != "anew":
            start = int(last_event_id.removeprefix("e-")) + (self.begins == "behind")
        frames = [
            self.format.event(ServerSentEvent(item, id=f"e-{index}" if self.with_ids[index] else None))
            for index, item in enumerate(self.data)
        ]
        return b"".join(frames[start:]) + self.format.done(len(frames[start:]))


def read(session, server, cuts, chunk_size):
    """Read a stream over connections that are cut behind so many bytes; give the items, and the error."""
    got = []
    cuts = list(cuts)
    while True:
        body = server.body(session.headers().get("Last-Event-ID", ""))
        assert session.opened(Answer(200, {"content-type": server.media_type}, "http://a/"))
        cut = min(cuts.pop(0), len(body)) if cuts else None
        part = body[:cut]
        for at in range(0, len(part), chunk_size):
            if session.state is State.OPEN:
                got += session.feed(part[at : at + chunk_size])
        if session.state is State.OPEN:
            if cut is None:
                got += session.end()
            else:
                session.broke(ConnectionError("cut"))
        if session.complete:
            return [event.data for event in got], None
        if session.failure is not None:
            return [event.data for event in got], session.failure
        try:
            assert session.lost(0.5) >= 0
        except errors.StreamInterrupted as error:
            return [event.data for event in got], error


@settings(max_examples=400, deadline=None)
@given(
    data=items,
    cuts=st.lists(st.integers(0, 300), max_size=4),
    chunk_size=st.integers(1, 40),
    begins=st.sampled_from(["behind", "at", "anew"]),
    media_type=st.sampled_from([SSE, NDJSON, SEQ]),
    method=st.sampled_from(["GET", "POST"]),
)
def test_no_item_is_missing_and_none_comes_twice(data, cuts, chunk_size, begins, media_type, method):
    server = Server(data, [True] * len(data), begins, media_type)
    options = StreamOptions(reconnect=Reconnect(attempts=ATTEMPTS))
    got, error = read(Session(method, options), server, cuts, chunk_size)
    if error is None:
        assert got == data
    else:
        assert isinstance(error, errors.StreamInterrupted)
        assert got == data[: len(got)]
        assert error.count == len(got)
        assert method == "POST" or len(cuts) >= ATTEMPTS
        # What was reached can be taken up by another session, and nothing is missing or twice over the two.
        if error.last_event_id:
            rest, late = read(Session("GET", options, last_event_id=error.last_event_id), server, [], chunk_size)
            if begins != "anew":
                assert (got + rest, late) == (data, None)


@settings(max_examples=400, deadline=None)
@given(
    data=items,
    with_ids=st.lists(st.booleans(), min_size=8, max_size=8),
    cuts=st.lists(st.integers(0, 300), max_size=4),
    chunk_size=st.integers(1, 40),
    begins=st.sampled_from(["behind", "at"]),
    media_type=st.sampled_from([SSE, NDJSON]),
)
def test_where_some_items_have_no_id_it_is_the_same_or_an_error(data, with_ids, cuts, chunk_size, begins, media_type):
    server = Server(data, with_ids, begins, media_type)
    got, error = read(Session("GET", StreamOptions()), server, cuts, chunk_size)
    if error is None:
        assert got == data
    else:
        assert isinstance(error, errors.StreamInterrupted)
        assert got == data[: len(got)]


@settings(max_examples=200, deadline=None)
@given(data=items, cuts=st.lists(st.integers(0, 300), max_size=3), media_type=st.sampled_from([SSE, NDJSON, SEQ]))
def test_without_ids_nothing_comes_twice(data, cuts, media_type):
    server = Server(data, [False] * len(data), "anew", media_type)
    got, error = read(Session("GET", StreamOptions()), server, cuts, 7)
    assert got == (data if error is None else data[: len(got)])


def test_the_memory_of_ids_is_bounded_and_a_server_that_begins_anew_is_then_told():
    places = Places(remembers=3)
    assert [places.move(f"e-{n}") for n in range(8)] == [False] * 8
    places.reconnected()
    assert places.move("e-5")  # it is remembered
    assert places.move("e-7")  # the place of the cut
    assert not places.move("e-8")
    places.reconnected()
    assert places.move("e-0")
    assert places.lost


def test_a_session_says_that_the_memory_was_too_short(monkeypatch):
    session = Session("GET", StreamOptions())
    session.places = Places(remembers=2)
    server = Server([1, 2, 3, 4], [True] * 4, "anew", SSE)
    cut = len(server.body("")) - len(server.format.done(4))
    got, error = read(session, server, [cut], 1000)
    assert got == [1, 2, 3, 4]
    assert "no longer remembered" in str(error)


def test_ids_that_come_back_on_one_connection_are_no_places():
    places = Places()
    assert [places.move(new) for new in ("m1", "m2", "m1")] == [False, False, False]
    assert not places.unique
    assert not places.resumable


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 0 ", 0),
        ("Wed, 31 Dec 1969 23:59:59 GMT", 0),
        ("Thu, 01 Jan 1970 00:20:00 -0000", 200),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200),
        ("-1", None),
        ("soon", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
        (None, None),
        ("9" * 5000, 1e20),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_retry_after(header, seconds):
    assert retry_after(header, now=1000.0) == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize(("asked", "waits"), [("0", 3), ("2", 3), ("7", 7)])
def test_a_server_that_says_when_to_come_back_is_waited_for_at_least_so_long(asked, waits):
    session = Session("GET", StreamOptions(reconnect=Reconnect(delay=3, jitter=0)))
    assert not session.opened(Answer(503, {"retry-after": asked}, "http://a/"))
    assert session.refused(b"", now=0, chance=0) == waits


def test_refused_is_asked_after_an_answer():
    with pytest.raises(RuntimeError, match="no answer"):
        Session("GET", StreamOptions()).refused(b"", 0, 0)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), chunk_size=st.integers(1, 50), media_type=st.sampled_from([SSE, NDJSON, SEQ]))
def test_any_bytes_are_read_or_refused(data, chunk_size, media_type):
    session = Session("GET", StreamOptions(max_event_size=64))
    session.opened(Answer(200, {"content-type": media_type}, "http://a/"))
    for at in range(0, len(data), chunk_size):
        if session.state is State.OPEN:
            session.feed(data[at : at + chunk_size])
    if session.state is State.OPEN:
        session.end()
    if session.state is State.FAILED:
        assert isinstance(session.failure, (errors.ProtocolError, errors.RemoteError, errors.StreamInterrupted))
