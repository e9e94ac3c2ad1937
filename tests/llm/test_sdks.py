"""The vendors' own clients read our streams as they read our batches.

The bytes go through the real clients, over a transport that answers from memory. What a client does wrong with a right
stream is listed here, one test each.
"""

import anthropic
import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dual_mode_streaming.errors import Problem
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.llm.dialects import Anthropic, OpenAIChat, OpenAIResponses, Stamp
from dual_mode_streaming.llm.events import Finish, Logprobs, Reasoning, Refusal, Text, ToolArguments, ToolCall, Usage
from dual_mode_streaming.llm.fold import fold_all
from llm.samples import ANSWERS, LAW, REQUEST, rendered, token

FEWER = settings(LAW, max_examples=25)  # the clients take their time

STAMP = Stamp("x1", 1_700_000_000)
CHAT, RESPONSES, MESSAGES = OpenAIChat(), OpenAIResponses(), Anthropic()

answers = pytest.mark.parametrize("events", ANSWERS.values(), ids=ANSWERS)


class Server:
    """Answers every request with the same events, in the mode that its body asks for."""

    def __init__(self, dialect, events, stream=None, status=200):
        self.dialect = dialect
        self.events = list(events)
        self.stream = stream
        self.status = status

    def __call__(self, request):
        asked = self.dialect.parse_request(request.content)
        if self.status != 200:
            return httpx2.Response(self.status, content=self.stream)
        if not asked.stream:
            document = self.dialect.batch(fold_all(self.events), asked, STAMP)
            return httpx2.Response(200, content=encode_json(document), headers={"content-type": "application/json"})
        content = rendered(self.dialect, self.events, asked, STAMP) if self.stream is None else self.stream
        return httpx2.Response(200, content=content, headers={"content-type": self.dialect.media_type})


def openai_client(dialect, events, **options):
    transport = httpx2.MockTransport(Server(dialect, events, **options))
    return openai.OpenAI(
        api_key="none", base_url="http://x/v1", max_retries=0, http_client=httpx2.Client(transport=transport)
    )


def anthropic_client(events, **options):
    transport = httpx2.MockTransport(Server(MESSAGES, events, **options))
    return anthropic.Anthropic(
        api_key="none", base_url="http://x", max_retries=0, http_client=httpx2.Client(transport=transport)
    )


ASK = {"model": "toy-1", "messages": [{"role": "user", "content": "Hi"}]}
ASK_CHAT = {**ASK, "n": 3, "stream_options": {"include_usage": True}}
ASK_RESPONSES = {"model": "toy-1", "input": "Hi"}
ASK_MESSAGES = {**ASK, "max_tokens": 100}


# --- what a sane model says: every choice from 0 on is there and ends; arguments are JSON objects ------------------


@st.composite
def answer(draw, choices=2):
    events = []
    for choice in range(draw(st.integers(1, choices))):
        own = []
        for number in range(draw(st.integers(0, 2))):
            own += draw(st.lists(st.builds(Text, st.text(max_size=4), st.just(choice)), max_size=3))
            own.append(ToolCall(number, f"call_{choice}_{number}", draw(st.sampled_from(["f", "g"])), choice=choice))
            arguments = encode_json({"é": draw(st.text(max_size=3)), "n": [1, {"x": None}]}).decode()
            place = draw(st.integers(0, len(arguments)))
            own += [ToolArguments(number, part, choice) for part in (arguments[:place], arguments[place:])]
        kind = draw(st.sampled_from([Text, Reasoning, Refusal]))
        own += draw(st.lists(st.builds(kind, st.text(max_size=4), st.just(choice)), max_size=3))
        if kind is Text and draw(st.booleans()):
            own += [Logprobs([token("ab")], choice=choice), Text("ab", choice)]
        own.append(Finish(draw(st.sampled_from(["stop", "tool_calls", "content_filter"])), choice))
        # Interleave with the choices before.
        places = sorted(draw(st.integers(0, len(events))) for _ in own)
        for offset, (place, event) in enumerate(zip(places, own, strict=True)):
            events.insert(place + offset, event)
    events.append(Usage(draw(st.integers(0, 9)), draw(st.integers(0, 9))))
    return events


# --- OpenAI Chat Completions -----------------------------------------------------------------------


def essence_of_chat(completion):
    """What both answers have to agree in. The client adds what it has parsed, and the places of list members."""
    document = completion.to_dict()
    choices = []
    for choice in document["choices"]:
        message = choice["message"]
        calls = [
            {"id": call["id"], "type": call["type"], "name": call["function"]["name"]}
            | {"arguments": call["function"]["arguments"]}
            for call in message.get("tool_calls") or ()
        ]
        texts = {name: message.get(name) for name in ("role", "content", "refusal", "reasoning_content")}
        logprobs = choice.get("logprobs") or {}
        tokens = {name: logprobs.get(name) for name in ("content", "refusal")}
        choices.append([choice["index"], choice["finish_reason"], texts, calls, tokens])
    return {name: document.get(name) for name in ("id", "object", "created", "model", "usage")} | {"choices": choices}


def chat_by_helper(client):
    with client.chat.completions.stream(**ASK_CHAT) as stream:
        for _ in stream:
            pass
        return stream.current_completion_snapshot


@answers
def test_openai_chat(events):
    client = openai_client(CHAT, events)
    assert essence_of_chat(chat_by_helper(client)) == essence_of_chat(client.chat.completions.create(**ASK_CHAT))


@FEWER
@given(answer())
def test_openai_chat_for_any_answer(events):
    client = openai_client(CHAT, events)
    assert essence_of_chat(chat_by_helper(client)) == essence_of_chat(client.chat.completions.create(**ASK_CHAT))


@answers
def test_openai_chat_chunk_by_chunk(events):
    chunks = list(openai_client(CHAT, events).chat.completions.create(**ASK_CHAT, stream=True))
    assert {(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks} == {
        ("chatcmpl-x1", 1_700_000_000, "toy-1", "chat.completion.chunk")
    }
    for choice in fold_all(events).choices:
        own = [one for chunk in chunks for one in chunk.choices if one.index == choice.index]
        assert [one.delta.role for one in own if one.delta.role] == ["assistant"]
        assert own[0].delta.role == "assistant"
        assert "".join(one.delta.content or "" for one in own) == choice.text
        assert [one.finish_reason for one in own if one.finish_reason] == [choice.finish]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.prompt_tokens == fold_all(events).usage.input_tokens


def test_openai_chat_error_in_the_stream():
    renderer = CHAT.renderer(REQUEST, STAMP)
    stream = renderer.start() + renderer.event("half") + renderer.error(Problem(503, "overloaded", "Too much to do."))
    chunks = openai_client(CHAT, [], stream=stream).chat.completions.create(**ASK, stream=True)
    assert [next(chunks).choices[0].delta.content for _ in range(2)] == ["", "half"]
    with pytest.raises(openai.APIError, match="Too much to do"):
        next(chunks)


@pytest.mark.parametrize("stream", [False, True])
def test_openai_chat_error_before_the_answer(stream):
    problem = Problem(429, "rate_limited", "Slow down.", {"parameter": "n"})
    client = openai_client(CHAT, [], stream=encode_json(CHAT.error_body(problem)), status=429)
    with pytest.raises(openai.RateLimitError, match="Slow down") as caught:
        client.chat.completions.create(**ASK, stream=stream)
    assert (caught.value.code, caught.value.param, caught.value.type) == ("rate_limited", "n", "rate_limit_error")


# --- faults of OpenAI's client ---------------------------------------------------------------------------------------


def test_openai_takes_a_text_that_was_cut_for_an_error_if_a_tool_is_strict():
    """Its helper raises at `length` instead of giving what there is."""
    tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object"}}}
    client = openai_client(CHAT, [Text("cut"), Finish("length")])
    with (
        pytest.raises(openai.LengthFinishReasonError),
        client.chat.completions.stream(**ASK, tools=[tool]) as stream,
    ):
        stream.until_done()


def test_openai_has_no_final_response_for_an_answer_that_was_cut():
    """It waits for `response.completed`, though the vendor sends `response.incomplete`."""
    client = openai_client(RESPONSES, [Text("cut"), Finish("length")])
    with client.responses.stream(**ASK_RESPONSES) as stream:
        *_, last = stream
        assert last.type == "response.incomplete"
        with pytest.raises(RuntimeError, match=r"response\.completed"):
            stream.get_final_response()


def test_anthropic_refuses_arguments_that_are_no_json():
    """It reads the input of a tool with every piece. What a model writes wrong ends the stream."""
    client = anthropic_client([ToolCall(0, "a", "f"), ToolArguments(0, "nonsense"), Finish("tool_calls")])
    with (
        pytest.raises(ValueError, match="Unable to parse tool parameter JSON"),
        client.messages.stream(**ASK_MESSAGES) as stream,
    ):
        stream.until_done()


# --- OpenAI Responses ----------------------------------------------------------------------------------------------


def only_first_choice(events):
    return [event for event in events if getattr(event, "choice", 0) == 0]


def essence_of_response(response):
    document = response.to_dict()
    for item in document["output"]:
        item.pop("parsed_arguments", None)
        for part in item.get("content") or ():
            part.pop("parsed", None)
    return document


def check_responses(events):
    client = openai_client(RESPONSES, events)
    kinds = []
    with client.responses.stream(**ASK_RESPONSES) as stream:
        for event in stream:
            kinds.append(event.type)
    assert kinds[:2] == ["response.created", "response.in_progress"]
    batch = client.responses.create(**ASK_RESPONSES)
    assert kinds[-1] == f"response.{batch.status}"
    raw = list(client.responses.create(**ASK_RESPONSES, stream=True))
    assert [event.sequence_number for event in raw] == list(range(len(raw)))
    assert essence_of_response(raw[-1].response) == essence_of_response(batch)
    if batch.status == "completed":
        assert essence_of_response(stream.get_final_response()) == essence_of_response(batch)
    # What was said on the way is what the end says.
    assert [event.item.to_dict() for event in raw if event.type == "response.output_item.done"] == [
        item.to_dict() for item in batch.output
    ]
    texts = "".join(event.delta for event in raw if event.type == "response.output_text.delta")
    assert texts == batch.output_text


@answers
def test_openai_responses(events):
    check_responses(events)


@FEWER
@given(answer(choices=1))
def test_openai_responses_for_any_answer(events):
    check_responses(events)


def failing_responses():
    renderer = RESPONSES.renderer(REQUEST, STAMP)
    stream = renderer.start() + renderer.event("half") + renderer.error(Problem(503, "overloaded", "Too much to do."))
    return openai_client(RESPONSES, [], stream=stream)


def test_openai_responses_error_in_the_stream():
    """The client raises at a frame with a member `error`. What there is of the answer came in the one before."""
    events = failing_responses().responses.create(**ASK_RESPONSES, stream=True)
    *_, last = [next(events) for _ in range(6)]
    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert last.response.error.message == "Too much to do."
    assert last.response.output_text == "half"
    with pytest.raises(openai.APIError, match="Too much to do"):
        next(events)


def test_openai_responses_error_in_the_stream_of_the_helper():
    with (
        pytest.raises(openai.APIError, match="Too much to do"),
        failing_responses().responses.stream(**ASK_RESPONSES) as stream,
    ):
        stream.until_done()


def test_openai_responses_comes_back_where_it_was():
    events = ANSWERS["two calls after a text"]
    whole = rendered(RESPONSES, events, stamp=STAMP)
    frames = whole.split(b"\n\n")[:-1]
    for seen in range(len(frames)):
        renderer = RESPONSES.renderer(REQUEST, STAMP, starting_after=seen)
        rest = b"".join([renderer.start(), *map(renderer.event, events), renderer.finish()])
        assert rest == b"".join(frame + b"\n\n" for frame in frames[seen + 1 :])


# --- Anthropic Messages ----------------------------------------------------------------------------------------------


def check_messages(events):
    client = anthropic_client(events)
    with client.messages.stream(**ASK_MESSAGES) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    batch = client.messages.create(**ASK_MESSAGES)
    # The client sets a field that no server need send.
    assert final.to_dict(exclude_none=True) == batch.to_dict(exclude_none=True)
    raw = [event for event in client.messages.create(**ASK_MESSAGES, stream=True) if hasattr(event, "index")]
    order = [(event.index, event.type) for event in raw]
    # Each block begins after the one before has ended.
    assert [index for index, _ in order] == sorted(index for index, _ in order)
    for index in range(len(batch.content)):
        own = [kind for number, kind in order if number == index]
        assert own[0] == "content_block_start"
        assert own[-1] == "content_block_stop"
        assert set(own[1:-1]) <= {"content_block_delta"}


@answers
def test_anthropic_messages(events):
    check_messages(events)


@FEWER
@given(answer(choices=1))
def test_anthropic_messages_for_any_answer(events):
    check_messages(events)


def test_anthropic_error_in_the_stream():
    renderer = MESSAGES.renderer(REQUEST, STAMP)
    stream = renderer.start() + renderer.heartbeat() + renderer.event("half")
    stream += renderer.error(Problem(529, "overloaded", "Too much to do."))
    with pytest.raises(anthropic.APIStatusError, match="Too much to do") as caught:
        list(anthropic_client([], stream=stream).messages.create(**ASK_MESSAGES, stream=True))
    assert caught.value.body["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize("stream", [False, True])
def test_anthropic_error_before_the_answer(stream):
    body = encode_json(MESSAGES.error_body(Problem(429, "rate_limited", "Slow down.")))
    with pytest.raises(anthropic.RateLimitError, match="Slow down"):
        anthropic_client([], stream=body, status=429).messages.create(**ASK_MESSAGES, stream=stream)
