"""What a model may say, for the tests of the LLM layer: by hand, and by hypothesis."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dual_mode_streaming.jsonbytes import decode_json, encode_json
from dual_mode_streaming.llm.events import (
    Finish,
    Logprobs,
    Reasoning,
    Refusal,
    Text,
    ToolArguments,
    ToolCall,
    Usage,
)
from dual_mode_streaming.llm.requests import Message, Request

LAW = settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

REQUEST = Request("toy-1", (Message("user", ("Hi",)),), n=3, include_usage=True)


def token(text, logprob=-0.5):
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}


# One answer of each kind, as a well-behaved model gives it.
ANSWERS = {
    "a text": [Text("Hé"), Text("llo "), Text("\u2028😀"), Usage(3, 3), Finish()],
    "nothing": [Finish(), Usage(3, 0)],
    "empty texts": [Text(""), Text("a"), Text(""), Finish("length"), Usage(1, 1)],
    "reasoning": [Reasoning("Let me "), Reasoning("think."), Text("42"), Finish(), Usage(5, 9, 2, 6)],
    "a refusal": [Refusal("I "), Refusal("won't."), Finish(), Usage(1, 2)],
    "a text and a refusal": [Text("Well. "), Refusal("No."), Finish("content_filter"), Usage(1, 2)],
    "a call": [
        ToolCall(0, "call_a", "weather"),
        ToolArguments(0, '{"city":'),
        ToolArguments(0, '"Paris"}'),
        Finish("tool_calls"),
        Usage(7, 7),
    ],
    "two calls after a text": [
        Text("Let me look."),
        ToolCall(0, "call_a", "weather"),
        ToolArguments(0, '{"city":"Paris"}'),
        ToolCall(1, "call_b", "time", '{"zone":'),
        ToolArguments(1, "1}"),
        Finish("tool_calls"),
        Usage(7, 7),
    ],
    "interleaved calls": [
        ToolCall(0, "call_a", "weather"),
        ToolCall(1, "call_b", "time"),
        ToolArguments(1, '{"zone":'),
        ToolArguments(0, '{"city":"Rome"'),
        ToolArguments(1, "2}"),
        ToolArguments(0, "}"),
        Text("Both."),
        Finish("tool_calls"),
        Usage(7, 7),
    ],
    "a call without arguments": [ToolCall(0, "call_a", "now"), Finish("tool_calls"), Usage(1, 1)],
    "a stop sequence": [Text("one two"), Finish("stop", stop_sequence="three"), Usage(2, 2)],
    "two choices": [
        Text("B", 1),
        Text("A", 0),
        Text("b", 1),
        Finish("stop", 0),
        Finish("length", 1),
        Usage(2, 3),
    ],
    "logprobs": [
        Logprobs([token("Hi")]),
        Text("Hi"),
        Logprobs([token("!"), token("?")]),
        Text("!?"),
        Finish(),
        Usage(1, 3),
    ],
}

CHOICES = st.sampled_from([0, 0, 0, 1, 2])
INDEXES = st.sampled_from([0, 0, 1, 2])
PIECES = st.sampled_from(
    ["", " ", "{}", "{", "}", '"a":1', '{"a":[1,"x', '"]}', ",", '{"é":"\\u00e9"}', "nonsense", "\n"]
)
TOKENS = st.lists(st.builds(token, st.text(max_size=3)), max_size=3)
NUMBERS = st.none() | st.integers(0, 10)
EVENTS = st.one_of(
    st.builds(Text, st.text(max_size=4), CHOICES),
    st.builds(Text, st.text(max_size=4), CHOICES),
    st.builds(Reasoning, st.text(max_size=4), CHOICES),
    st.builds(Refusal, st.text(max_size=4), CHOICES),
    st.builds(
        ToolCall, INDEXES, st.sampled_from(["", "a", "b", "c"]), st.sampled_from(["", "f", "g"]), PIECES, CHOICES
    ),
    st.builds(ToolArguments, INDEXES, PIECES, CHOICES),
    st.builds(ToolArguments, INDEXES, PIECES, CHOICES),
    st.builds(Logprobs, TOKENS, st.booleans(), CHOICES),
    st.builds(Usage, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
)
ENDS = st.builds(
    Finish,
    st.sampled_from(["stop", "length", "tool_calls", "content_filter", "strange"]),
    CHOICES,
    st.none() | st.just("END"),
)


@st.composite
def said(draw):
    """Anything a model may say, in any order, also what no sane model does."""
    events = draw(st.lists(EVENTS, max_size=20))
    for end in draw(st.lists(ENDS, max_size=4)):
        events.insert(draw(st.integers(0, len(events))), end)
    return events


@st.composite
def cut(draw, data):
    """Cut bytes anywhere."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def rendered(dialect, events, request=REQUEST, stamp=None):
    """The bytes of a whole stream."""
    renderer = dialect.renderer(request, stamp)
    return b"".join([renderer.start(), *map(renderer.event, events), renderer.finish()])


def as_json(value):
    """What a client gets of a value."""
    return decode_json(encode_json(value))
