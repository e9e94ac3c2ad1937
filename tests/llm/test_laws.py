"""The law of every dialect: its stream, read back and folded, is its batch."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dual_mode_streaming.errors import DualModeError, InvalidRequest, Problem, RemoteError, StreamInterrupted
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.llm.dialects import ALL, Stamp
from dual_mode_streaming.llm.events import Text
from dual_mode_streaming.llm.fold import fold_all
from llm.samples import ANSWERS, LAW, REQUEST, as_json, cut, rendered, said

STAMP = Stamp("x1", 1_700_000_000, elapsed=lambda: 7)

dialects = pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: type(dialect).__name__)
answers = pytest.mark.parametrize("events", ANSWERS.values(), ids=ANSWERS)


def read(dialect, chunks):
    parser = dialect.parser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return fold_all([*events, *parser.flush()])


def feed_all(parser, chunks):
    for chunk in chunks:
        parser.feed(chunk)
    parser.flush()


def batch(dialect, completion):
    return as_json(dialect.batch(completion, REQUEST, STAMP))


@dialects
@answers
def test_a_usual_answer_folds_to_its_batch(dialect, events):
    assert batch(dialect, read(dialect, [rendered(dialect, events, stamp=STAMP)])) == batch(dialect, fold_all(events))


@dialects
@LAW
@given(events=said(), data=st.data())
def test_whatever_is_said_folds_to_its_batch_however_the_bytes_are_cut(dialect, events, data):
    chunks = data.draw(cut(rendered(dialect, events, stamp=STAMP)))
    assert batch(dialect, read(dialect, chunks)) == batch(dialect, fold_all(events))


@dialects
@LAW
@given(events=said())
def test_a_batch_that_is_read_and_written_again_is_the_same(dialect, events):
    document = batch(dialect, fold_all(events))
    assert batch(dialect, dialect.parse_batch(document)) == document


@dialects
@LAW
@given(events=said())
def test_the_completion_itself_streams_to_the_same_batch(dialect, events):
    completion = fold_all(events)
    stream = rendered(dialect, completion.events(), stamp=STAMP)
    assert batch(dialect, read(dialect, [stream])) == batch(dialect, completion)


@dialects
@LAW
@given(events=said(), data=st.data())
def test_a_stream_that_is_cut_never_looks_complete(dialect, events, data):
    renderer = dialect.renderer(REQUEST, STAMP)
    whole = b"".join([renderer.start(), *map(renderer.event, events)])
    end = renderer.finish()
    if dialect.name == "openai_chat":
        # Readers take a finish reason of every choice for the end, as `[DONE]` may be missing.
        end = end.removesuffix(b"data: [DONE]\n\n")
    place = data.draw(st.integers(0, len(whole)))
    parser = dialect.parser()
    parser.feed(whole[:place])
    if dialect.name == "openai_chat" and b'"finish_reason":"' in whole[:place]:
        return
    with pytest.raises(StreamInterrupted):
        parser.flush()


@dialects
@LAW
@given(events=said(), data=st.data())
def test_an_error_late_in_the_stream_is_read_as_an_error(dialect, events, data):
    renderer = dialect.renderer(REQUEST, STAMP)
    stream = b"".join([renderer.start(), *map(renderer.event, events)])
    stream += renderer.error(Problem(503, "overloaded", "Too much to do."))
    parser = dialect.parser()
    chunks = data.draw(cut(stream))
    with pytest.raises(RemoteError, match="Too much to do"):
        feed_all(parser, chunks)
    # It stays an error.
    with pytest.raises(RemoteError):
        parser.feed(b"")
    with pytest.raises(RemoteError):
        parser.flush()


@dialects
def test_what_came_before_an_error_is_given_first(dialect):
    renderer = dialect.renderer(REQUEST, STAMP)
    stream = renderer.start() + renderer.event(Text("half")) + renderer.error(Problem(500, "internal_error"))
    parser = dialect.parser()
    assert Text("half") in parser.feed(stream)
    with pytest.raises(RemoteError):
        parser.feed(b"")


@dialects
@answers
def test_heartbeats_change_nothing(dialect, events):
    renderer = dialect.renderer(REQUEST, STAMP)
    frames = [renderer.start(), *map(renderer.event, events), renderer.finish()]
    quiet = read(dialect, frames)
    assert read(dialect, [renderer.heartbeat().join(frames)]) == quiet


@dialects
@LAW
@given(events=said(), junk=st.binary(max_size=30), data=st.data())
def test_a_parser_takes_any_bytes_and_raises_nothing_but_our_errors(dialect, events, junk, data):
    stream = rendered(dialect, events, stamp=STAMP)
    place = data.draw(st.integers(0, len(stream)))
    parser = dialect.parser()
    with suppress(DualModeError):
        parser.feed(stream[:place] + junk + stream[place:])
        parser.flush()


# fmt: off
NAMES = (
    "choices", "delta", "message", "content", "role", "tool_calls", "function", "index", "id", "name",
    "arguments", "usage", "type", "parts", "text", "output", "response", "done", "error", "item", "input",
    "metadata", "finish_reason", "logprobs", "messages", "stop", "tools", "stream", "options", "prompt",
    "parameters",
)
# fmt: on
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=3)
    | st.sampled_from(["text", "user", "function"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.fixed_dictionaries({"model": JSON, "max_tokens": st.just(5)}, optional=dict.fromkeys(NAMES, JSON))


@dialects
@LAW
@given(document=st.dictionaries(st.sampled_from(["choices", "output", "content", "message", "parts", "usage"]), JSON))
def test_a_batch_of_any_shape_raises_nothing_but_our_errors(dialect, document):
    with suppress(DualModeError):
        dialect.parse_batch(document)


@dialects
@LAW
@given(body=BODIES | JSON)
def test_a_request_of_any_shape_raises_nothing_but_our_errors(dialect, body):
    refused = None
    try:
        dialect.parse_request(encode_json(body))
    except InvalidRequest as error:
        refused = error
    assert refused is None or dialect.error_body(refused.problem)
