"""The models that need nothing: the simulator, what it draws from, and the operators between a model and a dialect."""

import asyncio
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dual_mode_streaming.errors import ModelError, StreamAborted
from dual_mode_streaming.llm.events import (
    Finish,
    Logprobs,
    Reasoning,
    Text,
    ToolArguments,
    ToolCall,
    Usage,
)
from dual_mode_streaming.llm.fold import fold_all
from dual_mode_streaming.llm.models import Script, Simulator
from dual_mode_streaming.llm.models._chat_body import chat_body
from dual_mode_streaming.llm.models.base import serves
from dual_mode_streaming.llm.requests import Image, Message, Request, Sampling, Tool
from dual_mode_streaming.llm.shaping import guard, shaped, smooth
from dual_mode_streaming.llm.timings import REQUEST_DURATION, TIME_PER_OUTPUT_TOKEN, TIME_TO_FIRST_TOKEN, Meter
from llm.samples import LAW


def ask(text="Hi", **fields):
    return Request("simulator", (Message("user", (text,)),), **fields)


async def all_of(events):
    return [event async for event in events]


def said_by(model, request):
    return asyncio.run(all_of(model.generate(request)))


# --- the simulator -------------------------------------------------------------------------------


@LAW
@given(seed=st.integers(0, 3), text=st.text(max_size=20), n=st.integers(1, 3), stream=st.booleans())
def test_the_same_request_gives_the_same_events_in_both_modes(seed, text, n, stream):
    one = said_by(Simulator(seed=seed), ask(text, n=n, stream=stream))
    other = said_by(Simulator(seed=seed), ask(text, n=n, stream=not stream, include_usage=True))
    assert one == other


def test_another_seed_or_question_gives_another_answer():
    texts = {fold_all(said_by(Simulator(seed=seed), ask(text))).first.text for seed in (1, 2) for text in ("a", "b")}
    assert len(texts) == 4


def test_choices_differ_and_come_side_by_side():
    events = said_by(Simulator(), ask(n=3))
    assert [event.choice for event in events[:6]] == [0, 1, 2, 0, 1, 2]
    completion = fold_all(events)
    assert len({choice.text for choice in completion.choices}) == 3
    assert [choice.finish for choice in completion.choices] == ["stop"] * 3
    assert completion.usage == Usage(2, sum(isinstance(event, Text) for event in events))


def test_a_bound_on_the_tokens_ends_with_length():
    completion = fold_all(said_by(Simulator(), ask(sampling=Sampling(max_tokens=5))))
    assert completion.first.finish == "length"
    assert len(completion.first.text.split()) == completion.usage.output_tokens == 5


def test_an_answer_ends_before_the_first_stop_sequence_even_across_tokens():
    model = Simulator(script=Script(text="one two three four"))
    choice = fold_all(said_by(model, ask(sampling=Sampling(stop=("four", "wo th", ""))))).first
    assert (choice.text, choice.finish, choice.stop_sequence) == ("one t", "stop", "wo th")
    choice = fold_all(said_by(model, ask(sampling=Sampling(stop=("nine",))))).first
    assert (choice.text, choice.stop_sequence) == ("one two three four", None)


def test_probabilities_come_before_their_token_and_are_asked_for():
    events = said_by(Simulator(), ask(logprobs=True, top_logprobs=1))
    pairs = list(zip(events[:-2:2], events[1:-2:2], strict=True))
    assert pairs
    for logprobs, text in pairs:
        assert isinstance(logprobs, Logprobs)
        (token,) = logprobs.tokens
        assert token["token"] == text.text
        assert token["logprob"] <= 0
        assert token["top_logprobs"][0]["logprob"] == token["logprob"]


SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 2, "maxLength": 12},
        "unit": {"enum": ["C", "F"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "exact": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "kind": {"const": "forecast"},
        "nothing": {"type": "null"},
        "either": {"anyOf": [{"type": ["integer", "null"]}, {"type": "string"}]},
        "node": {"$ref": "#/$defs/node"},
    },
    "required": ["city"],
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/node"}},
            "required": ["name"],
        }
    },
}


def arguments_valid(value):
    assert set(value) == set(SCHEMA["properties"])
    assert 2 <= len(value["city"]) <= 12
    assert value["unit"] in ("C", "F")
    assert type(value["days"]) is int
    assert 1 <= value["days"] <= 7
    assert 0 < value["share"] <= 1
    assert type(value["exact"]) is bool
    assert len(value["tags"]) >= 2
    assert value["kind"] == "forecast"
    assert value["nothing"] is None
    assert type(value["either"]) is int
    assert type(value["node"]["name"]) is str


@pytest.mark.parametrize("seed", range(20))
def test_tools_are_called_with_arguments_that_their_schema_allows(seed):
    tools = (Tool("weather", parameters=SCHEMA), Tool("time", parameters={"type": "object"}))
    request = ask(tools=tools, tool_choice="required", forced_tool="weather")
    events = said_by(Simulator(seed=seed), request)
    assert isinstance(events[0], ToolCall)
    assert sum(isinstance(event, ToolArguments) for event in events) > 3
    choice = fold_all(events).first
    assert choice.finish == "tool_calls"
    (call,) = choice.tool_calls
    assert call.name == "weather"
    arguments_valid(json.loads(call.arguments))


def test_a_tool_is_called_only_if_it_may_be_and_its_result_ends_that():
    tools = (Tool("time"),)
    model = Simulator()
    assert fold_all(said_by(model, ask(tools=tools))).first.tool_calls
    assert not fold_all(said_by(model, ask(tools=tools, tool_choice="none"))).first.tool_calls
    answered = Request("simulator", (Message("user", ("Hi",)), Message("tool", ("12:00",))), tools=tools)
    assert fold_all(said_by(model, answered)).first.finish == "stop"


def test_an_answer_follows_the_schema_that_is_asked_for():
    arguments_valid(json.loads(fold_all(said_by(Simulator(), ask(schema=SCHEMA))).first.text))


def test_a_cut_call_ends_with_length():
    choice = fold_all(
        said_by(Simulator(), ask(tools=(Tool("f", parameters=SCHEMA),), sampling=Sampling(max_tokens=3)))
    ).first
    assert choice.finish == "length"


@pytest.mark.parametrize("place", [0, 1, 5])
@pytest.mark.parametrize(
    ("failure", "kind", "status"),
    [("rate_limit", ModelError, 429), ("error", ModelError, 500), ("cut", StreamAborted, 500)],
)
@pytest.mark.asyncio
async def test_a_script_fails_at_its_token(place, failure, kind, status):
    model = Simulator(script=lambda request: Script(fail_at=place, failure=failure))
    events = []

    async def read():
        async for event in model.generate(ask()):
            events.append(event)

    with pytest.raises(kind) as raised:
        await read()
    assert len(events) == place
    assert raised.value.status == status
    if failure == "rate_limit":
        assert raised.value.headers == {"retry-after": "1"}


def test_a_script_that_fails_after_the_last_token_fails_before_the_end():
    model = Simulator(script=Script(text="a b", fail_at=9))
    with pytest.raises(ModelError):
        said_by(model, ask())


@pytest.mark.asyncio
async def test_it_takes_the_time_that_it_is_told_to(monkeypatch):
    slept = []
    real = asyncio.sleep

    async def sleep(seconds):
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    await all_of(Simulator(pace=0.25, first_token=2.0, script=Script(text="a b c")).generate(ask()))
    assert slept == [2.0, 0.25, 0.25]


def test_a_model_serves_its_names_and_clients_that_name_none():
    model = Simulator(names=("a", "b"))
    assert [serves(model, name) for name in ("a", "b", "", "c")] == [True, True, True, False]
    assert serves(Simulator(names=()), "anything")


# --- the body for other servers ----------------------------------------------------------------


def test_everything_that_is_asked_for_is_asked_for_upstream():
    request = Request(
        "m",
        (
            Message("system", ("Be brief.",)),
            Message("user", ("What is this?", Image("data:image/png;base64,AA=="))),
            Message("assistant", (), (ToolCall(0, "call_1", "look", '{"a":1}'),)),
            Message("tool", ("A cat.",), tool_call_id="call_1", name="look"),
        ),
        tools=(Tool("look", "Looks.", {"type": "object"}, strict=True),),
        tool_choice="required",
        forced_tool="look",
        sampling=Sampling(max_tokens=5, temperature=0, stop=("x",), seed=7),
        n=2,
        schema={"type": "object", "properties": {}},
        extra={"keep_alive": "5m"},
        dialect="ollama",
    )
    assert chat_body(request, "big") == {
        "model": "big",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
                ],
            },
            {"role": "tool", "content": "A cat.", "name": "look", "tool_call_id": "call_1"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "temperature": 0,
        "seed": 7,
        "stop": ["x"],
        "n": 2,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "look",
                    "description": "Looks.",
                    "parameters": {"type": "object"},
                    "strict": True,
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object", "properties": {}}},
        },
    }


def test_fields_that_only_chat_completions_has_are_passed_on():
    body = {"max_completion_tokens": 4, "response_format": {"type": "json_object"}}
    request = ask(
        sampling=Sampling(max_tokens=4), body=body, extra={"mirostat": 2, "model": "forged"}, dialect="openai_chat"
    )
    sent = chat_body(request, "big")
    assert (sent["mirostat"], sent["model"]) == (2, "big")
    assert sent["max_completion_tokens"] == 4
    assert "max_tokens" not in sent
    assert sent["response_format"] == {"type": "json_object"}


# --- operators -----------------------------------------------------------------------------------


def operated(events, *shapes, stream=True):
    async def source():
        for event in events:
            yield event

    return asyncio.run(all_of(shaped(source(), ask(stream=stream), shapes)))


def without(*words):
    return lambda text: not any(word in text for word in words)


def test_a_guard_ends_the_answer_before_what_may_not_be_said():
    events = ["The ", "sec", "ret is 42", " and more", Finish(), Usage(1, 4)]
    assert operated(events, guard(without("secret"), hold_back=6)) == [
        Finish("content_filter"),
        Usage(1, 4),
    ]
    assert operated(["fine, so far. ", *events], guard(without("secret"), hold_back=6)) == [
        Text("fine, so far. "),
        Finish("content_filter"),
        Usage(1, 4),
    ]


def test_a_guard_that_holds_nothing_back_lets_the_beginning_pass():
    assert operated(["The ", "sec", "ret"], guard(without("ret"))) == [
        Text("The "),
        Text("sec"),
        Finish("content_filter"),
    ]


@LAW
@given(
    text=st.text("abx", max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=8),
    hold_back=st.one_of(st.none(), st.integers(3, 9)),
)
def test_nothing_of_a_forbidden_phrase_is_said_however_it_is_cut(text, cuts, hold_back):
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    events = [Text(text[a:b]) for a, b in pairwise(places)] + [Finish()]
    said = fold_all(operated(events, guard(without("abx"), hold_back=hold_back))).first
    if "abx" in text:
        assert said.finish == "content_filter"
        assert len(said.text) <= text.index("abx")
        assert text.startswith(said.text)
    else:
        assert (said.text, said.finish) == (text, "stop")


def test_a_guard_sees_calls_and_thoughts_and_each_choice_for_itself():
    events = [
        Reasoning("hm", 1),
        ToolCall(0, "c", "f", choice=0),
        ToolArguments(0, '{"a":', 0),
        ToolArguments(0, '"bad"}', 0),
        Text("good", 1),
        Finish("tool_calls", 0),
        Finish("stop", 1),
    ]
    completion = fold_all(operated(events, guard(without("bad"))))
    assert [choice.finish for choice in completion.choices] == ["content_filter", "stop"]
    assert completion.choices[0].tool_calls[0].arguments == '{"a":'
    assert completion.choices[1].text == "good"


def test_a_check_may_be_async_and_may_see_the_whole_at_the_end():
    seen = []

    async def check(text):
        await asyncio.sleep(0)
        seen.append(text)
        return True

    events = ["a", "b", Finish(), Text("late"), Finish("length")]
    given = operated(events, guard(check, hold_back=None))
    assert given[:3] == [Text("a"), Text("b"), Finish()]
    assert seen[0] == "ab"


def test_a_guard_that_cannot_be():
    with pytest.raises(ValueError, match="hold_back=-1"):
        guard(without("x"), hold_back=-1)


def test_a_guard_closes_the_model_with_the_answer():
    closed = []

    async def source():
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    async def main():
        events = shaped(source(), ask(stream=True), (guard(without("x")), smooth(0)))
        assert await anext(events) == Text("a")
        await events.aclose()

    asyncio.run(main())
    assert closed == [True]


def test_smooth_gives_words_with_pauses_in_a_stream_only(monkeypatch):
    slept = []
    real = asyncio.sleep

    async def sleep(seconds):
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    events = ["One two", "  three \n", " ", ToolCall(0, "c", "f", "{}"), Finish()]
    given = operated(events, smooth(20))
    assert given == [Text("One"), Text(" two"), Text("  three \n"), Text(" "), ToolCall(0, "c", "f", "{}"), Finish()]
    assert slept == [0.02] * 4
    slept.clear()
    assert fold_all(operated(events, smooth(20), stream=False)) == fold_all(given)
    assert slept == []
    with pytest.raises(ValueError, match="negative"):
        smooth(-1)


@LAW
@given(st.lists(st.text(" ab\n\t", max_size=6), max_size=5))
def test_smooth_loses_nothing(texts):
    assert fold_all(operated([Text(text) for text in texts], smooth(0))).first.text == "".join(texts)


# --- times ---------------------------------------------------------------------------------------


def test_times_are_those_of_the_events():
    now = [10.0]
    meter = Meter(lambda: now[0])
    for seconds, event in [(1, Usage(3)), (1, Text("a")), (2, Text("b")), (4, Text("c")), (1, Usage(3, 3))]:
        now[0] += seconds
        meter.note(event)
    now[0] += 1
    timings = meter.timings(fold_all(["a", "b", "c", Usage(3, 3)]))
    assert timings.by_name == {REQUEST_DURATION: 10.0, TIME_TO_FIRST_TOKEN: 2.0, TIME_PER_OUTPUT_TOKEN: 3.0}
    assert meter.elapsed() == 10_000_000_000


def test_what_was_not_seen_has_no_time():
    assert set(Meter().timings(fold_all([])).by_name) == {REQUEST_DURATION}
    assert TIME_PER_OUTPUT_TOKEN == "gen_ai.server.time_per_output_token"
    assert TIME_TO_FIRST_TOKEN == "gen_ai.server.time_to_first_token"
