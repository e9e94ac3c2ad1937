"""What each dialect writes, byte by byte for a small answer, and where it has rules of its own."""

import pytest

from dual_mode_streaming.errors import ItemNotEncodable, Problem, ProtocolError, RemoteError, StreamInterrupted
from dual_mode_streaming.jsonbytes import decode_json, encode_json
from dual_mode_streaming.llm.dialects import (
    AISDK,
    ALL,
    Anthropic,
    OllamaChat,
    OllamaGenerate,
    OpenAIChat,
    OpenAIResponses,
    Stamp,
)
from dual_mode_streaming.llm.dialects._arguments import arguments_object
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
from dual_mode_streaming.llm.fold import fold_all
from dual_mode_streaming.llm.requests import Request
from dual_mode_streaming.sse import SSEDecoder
from llm.samples import ANSWERS, REQUEST, as_json, rendered, token

STAMP = Stamp("x1", 1_700_000_000)
PLAIN = Request("toy-1", ())

dialects = pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: type(dialect).__name__)


def frames(dialect, events, request=REQUEST):
    """The frames of a stream: (name of the event, decoded data)."""
    decoder = SSEDecoder()
    found = []
    for event in decoder.feed(rendered(dialect, events, request, STAMP)):
        found.append((event.event, event.raw if event.raw == "[DONE]" else decode_json(event.raw)))
    return found


def lines(dialect, events, stamp=STAMP):
    return [decode_json(line) for line in rendered(dialect, events, REQUEST, stamp).splitlines()]


# --- what all have in common ---------------------------------------------------------------------


@dialects
def test_a_text_is_sent_at_once(dialect):
    renderer = dialect.renderer(REQUEST, STAMP)
    renderer.start()
    for text in ("a", "b", "\n"):
        assert text.encode("unicode_escape") in renderer.event(Text(text))
    assert renderer.event(Text("")) == b""


@dialects
def test_the_model_of_the_answer_can_differ_from_that_of_the_request(dialect):
    stamp = Stamp("x1", 1, "real-model")
    document = dialect.batch(fold_all(["a"]), REQUEST, stamp)
    assert document.get("model", "real-model") == "real-model"
    assert b"toy-1" not in rendered(dialect, ["a"], stamp=stamp)


@dialects
def test_a_text_that_utf8_cannot_carry_is_refused(dialect):
    renderer = dialect.renderer(REQUEST, STAMP)
    renderer.event("a")
    with pytest.raises(ItemNotEncodable):
        renderer.event("\ud800")


@dialects
def test_every_stream_is_one_line_per_field(dialect):
    """No text can forge a frame."""
    stream = rendered(dialect, [Text('\n\ndata: [DONE]\n\n"\r'), Reasoning("\r\n\r\n")], stamp=STAMP)
    assert b"\r" not in stream
    assert stream.splitlines().count(b"data: [DONE]") == (1 if dialect.name in ("openai_chat", "ai_sdk") else 0)


@dialects
def test_a_usage_that_comes_after_the_end_is_in_the_answer(dialect):
    stream = rendered(dialect, ["a", Finish(), Usage(123, 456)], stamp=STAMP)
    assert b"123" in stream
    assert b"456" in stream


@dialects
def test_the_renderer_knows_what_was_said(dialect):
    renderer = dialect.renderer(REQUEST, STAMP)
    renderer.event("a")
    renderer.event("b")
    assert renderer.assembly.completion().first.text == "ab"


# --- OpenAI Chat ---------------------------------------------------------------------------------


def test_a_chat_byte_by_byte():
    head = (
        b'data: {"id":"chatcmpl-x1","object":"chat.completion.chunk","created":1700000000,"model":"toy-1","choices":['
    )
    rest = b'"logprobs":null,"finish_reason":null}]}\n\n'
    assert rendered(OpenAIChat(), ["H\u00e9", Finish(), Usage(1, 1)], PLAIN, STAMP) == b"".join(
        [
            head + b'{"index":0,"delta":{"role":"assistant","content":""},' + rest,
            head + b'{"index":0,"delta":{"content":"H\xc3\xa9"},' + rest,
            head + b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}\n\n',
            b"data: [DONE]\n\n",
        ]
    )


def deltas(events):
    return [
        (choice["index"], choice["delta"], choice["finish_reason"])
        for _, chunk in frames(OpenAIChat(), events)[:-1]
        for choice in chunk["choices"]
    ]


def test_the_usage_of_a_chat_comes_only_if_it_was_asked_for():
    events = ANSWERS["a text"]
    asked = frames(OpenAIChat(), events)
    assert asked[-2][1]["choices"] == []
    assert asked[-2][1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert all(chunk["usage"] is None for _, chunk in asked[:-2])
    assert all("usage" not in chunk for _, chunk in frames(OpenAIChat(), events, PLAIN)[:-1])
    # Nothing is made up.
    assert b'"prompt_tokens"' not in rendered(OpenAIChat(), ["a"], REQUEST, STAMP)


def test_the_choices_of_a_chat_are_opened_in_order():
    """Clients keep them in a list. OpenAI's own fails if the first chunk is of choice 1."""
    opened = [index for index, delta, _ in deltas([Text("c", 2), Text("a", 0)]) if "role" in delta]
    assert opened == [0, 1, 2]


def test_a_choice_that_no_client_has_asked_for_does_not_open_all_below_it():
    assert rendered(OpenAIChat(), [Text("a", 10**9), Text("b", -1)], REQUEST, STAMP).count(b'"role"') == 128


def test_the_calls_of_a_chat():
    assert deltas(ANSWERS["a call"]) == [
        (0, {"role": "assistant", "content": None}, None),
        (
            0,
            {
                "tool_calls": [
                    {"index": 0, "id": "call_a", "type": "function", "function": {"name": "weather", "arguments": ""}}
                ]
            },
            None,
        ),
        (0, {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}, None),
        (0, {"tool_calls": [{"index": 0, "function": {"arguments": '"Paris"}'}}]}, None),
        (0, {}, "tool_calls"),
    ]


def test_probabilities_travel_with_their_text():
    chunks = [chunk["choices"][0] for _, chunk in frames(OpenAIChat(), ANSWERS["logprobs"])[:-2]]
    found = [(one["delta"].get("content"), one["logprobs"] and one["logprobs"]["content"]) for one in chunks]
    assert found == [(None, None), ("Hi", [token("Hi")]), ("!?", [token("!"), token("?")]), (None, None)]


@pytest.mark.parametrize("after", [Finish(), ToolCall(0, "x", "f"), Logprobs([token("b")]), Text("b", 1)])
def test_probabilities_without_a_text_are_not_lost(after):
    events = [Logprobs([token("a")], refusal=True), after]
    stream = rendered(OpenAIChat(), [*events, Finish()], REQUEST, STAMP)
    parser = OpenAIChat().parser()
    assert fold_all(parser.feed(stream)).first.refusal_logprobs == (token("a"),)


def test_a_cut_that_is_noticed_late_is_told_all_the_same():
    reasons = [reason for _, _, reason in deltas([ToolCall(0, "x", "f", "{"), Finish("tool_calls"), Finish("length")])]
    assert [reason for reason in reasons if reason] == ["tool_calls", "length"]


# What servers that speak like OpenAI do differently.
SERVERS = {
    "an id and a name in every fragment": [
        {"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": ":1}"}}]},
    ],
    "empty ids behind the first": [
        {"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "id": "", "function": {"name": "", "arguments": '{"a":1}'}}]},
    ],
    "no index": [
        {"tool_calls": [{"index": None, "id": "x", "function": {"name": "f", "arguments": '{"a":1}'}}]},
    ],
    "two fragments in one chunk": [
        {
            "tool_calls": [
                {"index": 0, "id": "x", "function": {"name": "f"}},
                {"index": 0, "function": {"arguments": '{"a":1}'}},
            ]
        },
    ],
}


@pytest.mark.parametrize("given", SERVERS.values(), ids=SERVERS)
def test_calls_of_other_servers(given):
    parser = OpenAIChat().parser()
    events = []
    for delta in given:
        events += parser.feed(b"data: %b\n\n" % as_bytes({"choices": [{"index": 0, "delta": delta}]}))
    assert fold_all(events).first.tool_calls == (ToolCall(0, "x", "f", '{"a":1}'),)


def as_bytes(value):
    from dual_mode_streaming.jsonbytes import encode_json

    return encode_json(value)


def test_a_chat_of_another_server():
    parser = OpenAIChat().parser()
    events = parser.feed(
        b': hello\n\ndata:\n\ndata: {"choices":[{"delta":{"role":"assistant","reasoning":"hm","content":[]}}],'
        b'"usage":null}\n\ndata: {"choices":[{"index":0,"delta":null,"finish_reason":"function_call"}]}\n\n'
        b'data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":true}}\n\n'
    )
    # It is complete without `[DONE]`, because the choice has ended.
    completion = fold_all([*events, *parser.flush()])
    assert completion.first.parts == (Reasoning("hm"),)
    assert completion.first.finish == "tool_calls"
    assert completion.usage == Usage(0)


def test_a_chat_is_not_complete_while_a_choice_is_open():
    stream = rendered(OpenAIChat(), [Text("a"), Text("b", 1), Finish()], PLAIN, STAMP)
    parser = OpenAIChat().parser()
    parser.feed(stream[: stream.index(b'"finish_reason":"stop"') + 30])
    with pytest.raises(StreamInterrupted) as caught:
        parser.flush()
    assert caught.value.count == 3


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        ({"message": "No.", "type": "invalid_request_error", "code": None}, 400, "invalid_request_error", "No."),
        ({"message": "No.", "type": "rate_limit_error", "code": "slow_down"}, 429, "slow_down", "No."),
        ({"message": "No.", "code": 503}, 503, "remote_error", "No."),
        ({"message": "No.", "code": "404", "type": "x"}, 404, "x", "No."),
        ({"message": "No.", "code": "9" * 5000, "type": "x"}, 500, "9" * 5000, "No."),
        ({"message": 5, "code": 200}, 500, "remote_error", "no reason"),
        ("No.", 500, "remote_error", "No."),
        ([1], 500, "remote_error", "no reason"),
    ],
)
def test_errors_of_other_servers(error, status, code, message):
    parser = OpenAIChat().parser()
    with pytest.raises(RemoteError, match=message) as caught:
        parser.feed(b"data: %b\n\n" % as_bytes({"error": error}))
    assert (caught.value.status, caught.value.code) == (status, code)


@pytest.mark.parametrize("dialect", [OpenAIChat(), OpenAIResponses(), Anthropic(), AISDK()], ids=lambda one: one.name)
@pytest.mark.parametrize("data", [b"data: nonsense\n\n", b"data: [1]\n\n"])
def test_frames_that_are_no_json_objects(dialect, data):
    with pytest.raises(ProtocolError, match="holds no JSON"):
        dialect.parser().feed(data)


@dialects
def test_documents_of_another_kind(dialect):
    with pytest.raises(ProtocolError):
        dialect.parse_batch({"hello": 1})


@pytest.mark.parametrize(
    "dialect", [OpenAIChat(), OpenAIResponses(), Anthropic(), OllamaChat()], ids=lambda one: one.name
)
def test_documents_that_are_errors(dialect):
    with pytest.raises(RemoteError, match="Too much"):
        dialect.parse_batch(as_json(dialect.error_body(Problem(429, "rate_limited", "Too much."))))


# --- OpenAI Responses ----------------------------------------------------------------------------


def test_the_events_of_responses():
    events = [Reasoning("Hm."), Text("A"), Refusal("No."), ToolCall(0, "c1", "f"), ToolArguments(0, "{}"), Finish()]
    found = frames(OpenAIResponses(), events)
    assert all(name == data["type"] for name, data in found)
    assert [data["sequence_number"] for _, data in found] == list(range(len(found)))
    where = [
        (name.removeprefix("response."), data.get("output_index"), data.get("content_index"), data.get("item_id"))
        for name, data in found
    ]
    assert where == [
        ("created", None, None, None),
        ("in_progress", None, None, None),
        ("output_item.added", 0, None, None),
        ("content_part.added", 0, 0, "rs_x1_0"),
        ("reasoning_text.delta", 0, 0, "rs_x1_0"),
        ("reasoning_text.done", 0, 0, "rs_x1_0"),
        ("content_part.done", 0, 0, "rs_x1_0"),
        ("output_item.done", 0, None, None),
        ("output_item.added", 1, None, None),
        ("content_part.added", 1, 0, "msg_x1_1"),
        ("output_text.delta", 1, 0, "msg_x1_1"),
        ("output_text.done", 1, 0, "msg_x1_1"),
        ("content_part.done", 1, 0, "msg_x1_1"),
        ("content_part.added", 1, 1, "msg_x1_1"),
        ("refusal.delta", 1, 1, "msg_x1_1"),
        ("refusal.done", 1, 1, "msg_x1_1"),
        ("content_part.done", 1, 1, "msg_x1_1"),
        ("output_item.done", 1, None, None),
        ("output_item.added", 2, None, None),
        ("function_call_arguments.delta", 2, None, "fc_x1_2"),
        ("function_call_arguments.done", 2, None, "fc_x1_2"),
        ("output_item.done", 2, None, None),
        ("completed", None, None, None),
    ]
    response = found[-1][1]["response"]
    assert response == as_json(OpenAIResponses().batch(fold_all(events), REQUEST, STAMP))
    done = [data["item"] for name, data in found if name == "response.output_item.done"]
    assert done == response["output"]


@pytest.mark.parametrize(("reason", "details"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_responses_that_were_cut(reason, details):
    found = frames(OpenAIResponses(), ["cu", Finish(reason)])
    assert found[-1][0] == "response.incomplete"
    response = found[-1][1]["response"]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": details})
    assert response["output"][0]["status"] == "incomplete"
    assert found[-2][1]["item"] == response["output"][0]


def test_the_life_of_a_response():
    dialect = OpenAIResponses()
    request = Request("toy-1", (), background=True, body={"metadata": {"a": "b"}, "instructions": "Be kind."})
    queued = dialect.response("queued", request, STAMP)
    assert (queued["status"], queued["output"], queued["usage"]) == ("queued", [], None)
    assert (queued["background"], queued["metadata"], queued["instructions"]) == (True, {"a": "b"}, "Be kind.")
    half = fold_all(["half", Usage(1, 1)])
    assert dialect.response("in_progress", request, STAMP, half)["output"][0]["status"] == "in_progress"
    failed = dialect.response("failed", request, STAMP, half, Problem(429, "x", "Slow down."))
    assert failed["error"] == {"code": "rate_limit_exceeded", "message": "Slow down."}
    assert failed["output"][0]["status"] == "incomplete"
    assert dialect.response("cancelled", request, STAMP, half)["incomplete_details"] is None


def test_an_error_of_responses_in_its_flat_form():
    with pytest.raises(RemoteError, match=r"No\.") as caught:
        OpenAIResponses().parser().feed(b'data: {"type":"error","code":"server_error","message":"No."}\n\n')
    assert caught.value.code == "server_error"


# --- Anthropic -----------------------------------------------------------------------------------


def test_a_message_byte_by_byte():
    assert rendered(Anthropic(), ["H\u00e9", Usage(3, 2, 1)], REQUEST, STAMP).decode() == (
        'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_x1","type":"message",'
        '"role":"assistant","model":"toy-1","content":[],"stop_reason":null,"stop_sequence":null,'
        '"usage":{"input_tokens":0,"output_tokens":0}}}\n\n'
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        '"content_block":{"type":"text","text":""}}\n\n'
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        '"delta":{"type":"text_delta","text":"H\u00e9"}}\n\n'
        'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        '"usage":{"input_tokens":2,"output_tokens":2,"cache_read_input_tokens":1}}\n\n'
        'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
    assert Anthropic().renderer(REQUEST, STAMP).heartbeat() == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_a_call_waits_for_the_one_before_it():
    """Blocks follow each other, so what is said while a call is open is sent when it is complete."""
    renderer = Anthropic().renderer(REQUEST, STAMP)
    sent = [
        renderer.event(event)
        for event in [
            ToolCall(0, "a", "f"),
            ToolCall(1, "b", "g"),
            ToolArguments(1, '{"n":'),
            ToolArguments(0, "{"),
            ToolArguments(0, "}"),
            ToolArguments(1, "1}"),
            Text("done"),
        ]
    ]
    assert [b'"name":"f"' in frame for frame in sent] == [True, *[False] * 6]
    assert sent[1] == sent[2] == sent[5] == b""
    assert b'"{"' in sent[3]
    assert b'"}"' in sent[4]
    # At the text both calls are complete.
    assert [frame.count(b"content_block_stop") for frame in sent[:-1]] == [0] * 6
    assert sent[6].index(b'"name":"g"') < sent[6].index(b'"{\\"n\\":1}"') < sent[6].index(b'"done"')


@pytest.mark.parametrize(
    ("reason", "stop_reason"),
    [
        (Finish(), "end_turn"),
        (Finish("stop", stop_sequence="END"), "stop_sequence"),
        (Finish("length"), "max_tokens"),
        (Finish("tool_calls"), "tool_use"),
        (Finish("content_filter"), "refusal"),
        (Finish("pause_turn"), "pause_turn"),
    ],
)
def test_why_a_message_ends(reason, stop_reason):
    dialect = Anthropic()
    document = dialect.batch(fold_all([reason]), REQUEST, STAMP)
    assert document["stop_reason"] == stop_reason
    assert dialect.parse_batch(document).first.finish == reason.reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a":1}', {"a": 1}),
        ("", {}),
        ("[1]", {}),
        ("nonsense", {}),
        ('{"a":1', {}),
        ('{"a":1,', {"a": 1}),
        ('{"a":[1,2', {"a": [1]}),
        ('{"a":{"b":"x,}","c":"\\"', {"a": {"b": "x,}"}}),
        ('{"a":1,"b":tr', {"a": 1}),
        ('{"a":1} and more', {"a": 1}),
        ('{"a":"\\",","b":1', {"a": '",'}),
        ('{"a":"\\\\","b":{},"c":[[', {"a": "\\", "b": {}, "c": [[]]}),
    ],
)
def test_arguments_that_were_cut(text, expected):
    assert arguments_object(text) == expected


# --- Ollama --------------------------------------------------------------------------------------


def test_the_lines_of_ollama():
    clock = iter([3_000, 10_000])
    events = [Reasoning("Hm."), Text("A"), ToolCall(0, "c1", "f", '{"a":'), ToolArguments(0, "1}"), Usage(4, 5)]
    head = {"model": "toy-1", "created_at": "2023-11-14T22:13:20Z"}

    def line(content="", **more):
        return {**head, "message": {"role": "assistant", "content": content, **more}, "done": False}

    call = {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
    assert lines(OllamaChat(), events, Stamp("x1", 1_700_000_000, elapsed=lambda: next(clock))) == [
        line(thinking="Hm."),
        line("A"),
        line(tool_calls=[call]),
        {
            **line(),
            "done": True,
            "done_reason": "stop",
            "total_duration": 10_000,
            "load_duration": 0,
            "prompt_eval_duration": 3_000,
            "eval_duration": 7_000,
            "prompt_eval_count": 4,
            "eval_count": 5,
        },
    ]


def test_the_lines_of_generate_know_no_calls():
    found = lines(OllamaGenerate(), [Reasoning("Hm."), Text("A"), ToolCall(0, "c1", "f", "{}"), Finish("length")])
    assert [(line["response"], line.get("thinking"), line["done"]) for line in found] == [
        ("", "Hm.", False),
        ("A", None, False),
        ("", None, True),
    ]
    assert found[-1]["done_reason"] == "length"


def test_a_model_with_a_strange_name_is_no_trouble():
    request = Request("\x1a", ())
    stream = rendered(OllamaChat(), ["a"], request, STAMP)
    assert decode_json(stream.splitlines()[0])["message"]["content"] == "a"


def test_ollama_has_no_heartbeat():
    assert OllamaChat().renderer(REQUEST, STAMP).heartbeat() == b""


@pytest.mark.parametrize("line", [b"[1]\n", b"nonsense\n"])
def test_lines_that_are_no_objects(line):
    with pytest.raises(ProtocolError):
        OllamaChat().parser().feed(line)


def test_the_last_line_need_not_have_an_end():
    stream = rendered(OllamaChat(), ["a", Usage(1, 1)], stamp=STAMP)
    parser = OllamaChat().parser()
    assert fold_all([*parser.feed(stream[:-1]), *parser.flush()]) == fold_all(["a", Usage(1, 1)])
    parser = OllamaChat().parser()
    parser.feed(stream[:-3])
    with pytest.raises(StreamInterrupted):
        parser.flush()


# --- AI SDK --------------------------------------------------------------------------------------


def test_the_parts_of_the_ai_sdk():
    events = [Reasoning("Hm."), Text("A"), ToolCall(0, "c1", "f", '{"a":'), ToolArguments(0, "1}"), Usage(4, 5)]
    metadata = {"finishReason": "tool-calls", "usage": {"inputTokens": 4, "outputTokens": 5, "totalTokens": 9}}
    assert [data for _, data in frames(AISDK(), events)] == [
        {"type": "start", "messageId": "msg-x1"},
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "0"},
        {"type": "reasoning-delta", "id": "0", "delta": "Hm."},
        {"type": "reasoning-end", "id": "0"},
        {"type": "text-start", "id": "1"},
        {"type": "text-delta", "id": "1", "delta": "A"},
        {"type": "text-end", "id": "1"},
        {"type": "tool-input-start", "toolCallId": "c1", "toolName": "f"},
        {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '{"a":'},
        {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": "1}"},
        {"type": "tool-input-available", "toolCallId": "c1", "toolName": "f", "input": {"a": 1}},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "tool-calls", "messageMetadata": metadata},
        "[DONE]",
    ]
    assert AISDK().batch(fold_all(events), REQUEST, STAMP) == {
        "id": "msg-x1",
        "role": "assistant",
        "metadata": metadata,
        "parts": [
            {"type": "step-start"},
            {"type": "reasoning", "text": "Hm.", "state": "done"},
            {"type": "text", "text": "A", "state": "done"},
            {"type": "tool-f", "toolCallId": "c1", "state": "input-available", "input": {"a": 1}},
        ],
    }


@pytest.mark.parametrize(
    ("role", "given", "used"), [("assistant", "m1", "m1"), ("user", "m1", "msg-x1"), ("assistant", None, "msg-x1")]
)
def test_an_answer_that_goes_on_with_a_message_has_its_id(role, given, used):
    parts = [{"type": "text", "text": "A"}]
    body = {"messages": [{"role": "user", "parts": parts}, {"id": given, "role": role, "parts": parts}]}
    request = AISDK().parse_request(encode_json(body))
    assert frames(AISDK(), ["B"], request)[0][1] == {"type": "start", "messageId": used}
    assert AISDK().batch(fold_all(["B"]), request, STAMP)["id"] == used


def test_an_answer_that_was_cancelled_is_aborted():
    problem = Problem(410, "cancelled", "Stopped.")
    part = AISDK().renderer(REQUEST, STAMP).error(problem)
    assert part == b'data: {"type":"abort","reason":"Stopped."}\n\n'
    parser = AISDK().parser()
    with pytest.raises(RemoteError, match="Stopped") as cancelled:
        [*parser.feed(part), *parser.flush()]
    assert (cancelled.value.status, cancelled.value.code) == (410, "cancelled")


def test_an_input_that_is_no_json_is_an_error_of_its_call():
    events = [ToolCall(0, "c1", "f", '{"a'), Finish("length")]
    error = frames(AISDK(), events)[-4][1]
    assert error == {
        "type": "tool-input-error",
        "toolCallId": "c1",
        "toolName": "f",
        "input": '{"a',
        "errorText": "The input of the tool is not JSON.",
    }
    part = AISDK().batch(fold_all(events), REQUEST, STAMP)["parts"][-1]
    assert (part["state"], part["rawInput"]) == ("output-error", '{"a')


def test_an_input_that_comes_at_once():
    stream = (
        b'data: {"type":"tool-input-available","toolCallId":"c1","toolName":"f","input":{"a":1}}\n\n'
        b'data: {"type":"finish"}\n\n'
    )
    parser = AISDK().parser()
    completion = fold_all([*parser.feed(stream), *parser.flush()])
    assert completion.first.tool_calls == (ToolCall(0, "c1", "f", '{"a":1}'),)
    assert completion.first.finish == "tool_calls"


def test_the_header_of_the_ai_sdk():
    assert AISDK().headers == {"x-vercel-ai-ui-message-stream": "v1"}
    assert OpenAIChat().headers == {}
    assert {dialect.media_type for dialect in ALL} == {"text/event-stream; charset=utf-8", "application/x-ndjson"}
