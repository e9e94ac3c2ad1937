"""Requests: what each dialect reads of a body, what it refuses, and in whose words."""

import pytest

from dual_mode_streaming import llm
from dual_mode_streaming.errors import InvalidRequest, Problem
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.llm.dialects import (
    AISDK,
    ALL,
    Anthropic,
    OllamaChat,
    OllamaGenerate,
    OpenAIChat,
    OpenAIResponses,
    dialects_named,
)
from dual_mode_streaming.llm.dialects.openai_responses import Retrieval
from dual_mode_streaming.llm.events import ToolCall
from dual_mode_streaming.llm.requests import Image, Message, Request, Sampling, Tool

CHAT, RESPONSES, MESSAGES, OLLAMA, GENERATE, UI = (
    OpenAIChat(),
    OpenAIResponses(),
    Anthropic(),
    OllamaChat(),
    OllamaGenerate(),
    AISDK(),
)
HI = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
SMALLEST = {
    CHAT: {"model": "m", "messages": HI},
    RESPONSES: {"model": "m", "input": "Hi"},
    MESSAGES: {"model": "m", "messages": HI, "max_tokens": 5},
    OLLAMA: {"model": "m", "messages": HI},
    GENERATE: {"model": "m", "prompt": "Hi"},
    UI: {"id": "c", "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}]},
}

dialects = pytest.mark.parametrize("dialect", SMALLEST, ids=lambda dialect: type(dialect).__name__)


def ask(dialect, **fields):
    return dialect.parse_request(encode_json({**SMALLEST[dialect], **fields}))


def refusal(dialect, body):
    with pytest.raises(InvalidRequest) as caught:
        dialect.parse_request(body if isinstance(body, bytes) else encode_json(body))
    assert caught.value.status == 400
    return caught.value


# --- what all have in common -----------------------------------------------------------------------


@dialects
def test_the_smallest_request(dialect):
    request = ask(dialect)
    assert request.messages == (Message("user", ("Hi",)),)
    assert request.messages[0].text == "Hi"
    assert request.stream is dialect.streams_by_default
    assert (request.tools, request.n, request.background) == ((), 1, False)
    assert request.body == SMALLEST[dialect]


def test_which_dialects_stream_by_default():
    assert [dialect.name for dialect in ALL if dialect.streams_by_default] == ["ollama", "ollama", "ai_sdk"]


@dialects
@pytest.mark.parametrize("stream", [True, False])
def test_the_switch(dialect, stream):
    assert ask(dialect, stream=stream).stream is stream
    assert ask(dialect, stream=None).stream is dialect.streams_by_default


@dialects
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "an array"),
        (b'"x"', "a string"),
        (b"null", "null"),
    ],
)
def test_a_body_that_is_no_object(dialect, body, said):
    assert said in refusal(dialect, body).detail


@dialects
def test_fields_that_nobody_knows_are_kept(dialect):
    assert ask(dialect, my_field={"a": 1}).extra["my_field"] == {"a": 1}


@dialects
@pytest.mark.parametrize("stream", ["true", 1, []])
def test_a_switch_of_a_wrong_type(dialect, stream):
    error = refusal(dialect, {**SMALLEST[dialect], "stream": stream})
    assert error.parameter == "stream"
    assert "true or false" in error.detail


@pytest.mark.parametrize("name", ["messages", "model"])
@pytest.mark.parametrize("value", [5, {"a": 1}])
@pytest.mark.parametrize("dialect", [CHAT, MESSAGES, OLLAMA], ids=lambda dialect: dialect.name)
def test_required_fields_of_a_wrong_type(dialect, name, value):
    assert refusal(dialect, {**SMALLEST[dialect], name: value}).parameter == name


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES, OLLAMA, GENERATE], ids=lambda dialect: dialect.path)
def test_a_request_without_a_model(dialect):
    body = {name: value for name, value in SMALLEST[dialect].items() if name != "model"}
    assert refusal(dialect, body).parameter == "model"
    assert refusal(dialect, {**body, "model": ""}).parameter == "model"


# --- OpenAI Chat ------------------------------------------------------------------------------------


def test_a_whole_chat_request():
    request = ask(
        CHAT,
        messages=[
            {"role": "developer", "content": "Be kind."},
            {
                "role": "user",
                "name": "Ada",
                "content": [
                    {"type": "text", "text": "What is "},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                    {"type": "text", "text": "this?"},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "A cat."},
        ],
        tools=[{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": SCHEMA}}],
        tool_choice={"type": "function", "function": {"name": "look"}},
        parallel_tool_calls=False,
        max_tokens=9,
        max_completion_tokens=7.0,
        temperature=0,
        top_p=0.5,
        seed=3,
        stop="END",
        presence_penalty=1,
        frequency_penalty=-1,
        n=2,
        logprobs=True,
        top_logprobs=3,
        stream_options={"include_usage": True},
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        user="u1",
    )
    assert request.messages == (
        Message("system", ("Be kind.",)),
        Message("user", ("What is ", Image("data:image/png;base64,AA=="), "this?"), name="Ada"),
        Message("assistant", tool_calls=(ToolCall(0, "c1", "look", "{}"),)),
        Message("tool", ("A cat.",), tool_call_id="c1"),
    )
    assert request.messages[1].text == "What is this?"
    assert request.tools == (Tool("look", "Looks.", SCHEMA),)
    assert (request.tool_choice, request.forced_tool) == ("required", "look")
    assert request.parallel_tool_calls is False
    assert request.sampling == Sampling(7, 0, 0.5, None, 3, ("END",), 1, -1)
    assert (request.n, request.logprobs, request.top_logprobs, request.include_usage) == (2, True, 3, True)
    assert request.schema == SCHEMA
    assert request.extra == {"user": "u1"}


@pytest.mark.parametrize(
    ("fields", "parameter", "said"),
    [
        ({"messages": []}, "messages", "at least one"),
        ({"messages": None}, "messages", "required"),
        ({"messages": [5]}, "messages[0]", "an object, not a number"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role", "'wizard'"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "required"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "required"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "an array, not a number"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "required"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0].type",
            "not offered",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "required"),
        ({"max_tokens": -1}, "max_tokens", "at least 1, not -1"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"max_tokens": "5"}, "max_tokens", "an integer, not a string"),
        ({"max_tokens": 1.5}, "max_tokens", "an integer"),
        ({"max_tokens": True}, "max_tokens", "an integer, not a boolean"),
        ({"temperature": 3}, "temperature", "at most 2"),
        ({"temperature": "hot"}, "temperature", "a number"),
        ({"n": 0}, "n", "at least 1"),
        ({"n": 129}, "n", "at most 128"),
        ({"stop": 5}, "stop", "an array"),
        ({"stop": ["a", 5]}, "stop[1]", "a string"),
        ({"stop": list("abcde")}, "stop", "at most 4"),
        ({"tools": {}}, "tools", "an array"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "only functions"),
        ({"tools": [{"type": "function"}]}, "tools[0].function.name", "required"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": "x"}}]},
            "tools[0].function.parameters",
            "an object, not a string",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
            "tools[0].function.parameters",
            'of the type "object", not',
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": []}}}]},
            "tools[0].function.parameters.properties",
            "an object",
        ),
        ({"tool_choice": "maybe"}, "tool_choice", "'maybe'"),
        ({"tool_choice": {"type": "custom"}}, "tool_choice.type", "only functions"),
        ({"top_logprobs": 3}, "top_logprobs", "logprobs"),
        ({"stream_options": 5}, "stream_options", "an object"),
        ({"response_format": {"type": "yaml"}}, "response_format.type", "'yaml'"),
    ],
)
def test_a_chat_request_that_is_wrong(fields, parameter, said):
    error = refusal(CHAT, {**SMALLEST[CHAT], **fields})
    assert error.parameter == parameter
    assert said in error.detail
    assert CHAT.error_body(error.problem) == {
        "error": {
            "message": error.detail,
            "type": "invalid_request_error",
            "param": parameter,
            "code": "invalid_request",
        }
    }


def test_any_json_object():
    assert ask(CHAT, response_format={"type": "json_object"}).schema == {"type": "object"}
    assert ask(CHAT, response_format={"type": "text"}).schema is None


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("choice", ["auto", "none", "required", None])
def test_what_the_model_may_call(dialect, choice):
    request = ask(dialect, tool_choice=choice)
    assert (request.tool_choice, request.forced_tool) == (choice, None)


# --- OpenAI Responses -------------------------------------------------------------------------------


def test_a_whole_responses_request():
    request = ask(
        RESPONSES,
        instructions="Be kind.",
        input=[
            {"role": "user", "content": "Hi"},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "See:"},
                    {"type": "input_image", "image_url": "https://x/cat.png"},
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "A cat."},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "Two."}]},
        ],
        tools=[{"type": "function", "name": "look", "parameters": SCHEMA, "strict": True}],
        tool_choice={"type": "function", "name": "look"},
        max_output_tokens=7,
        temperature=1.5,
        text={"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}},
        background=True,
        previous_response_id="resp_0",
    )
    call = ToolCall(0, "c1", "look", "{}")
    assert request.messages == (
        Message("system", ("Be kind.",)),
        Message("user", ("Hi",)),
        Message("user", ("See:", Image("https://x/cat.png"))),
        Message("assistant", ("No.",)),
        Message("assistant", tool_calls=(call,)),
        Message("tool", ("A cat.",), tool_call_id="c1"),
        Message("tool", ("Two.",), tool_call_id="c1"),
    )
    assert request.tools == (Tool("look", "", SCHEMA, strict=True),)
    assert (request.tool_choice, request.forced_tool, request.background) == ("required", "look", True)
    assert request.sampling == Sampling(7, 1.5)
    assert request.schema == SCHEMA
    assert request.extra == {"previous_response_id": "resp_0"}


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "tools[0].parameters"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"background": "yes"}, "background"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ],
)
def test_a_responses_request_that_is_wrong(fields, parameter):
    assert refusal(RESPONSES, {**SMALLEST[RESPONSES], **fields}).parameter == parameter


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, Retrieval()),
        ({"stream": "false"}, Retrieval()),
        ({"stream": "true"}, Retrieval(stream=True)),
        ({"stream": "true", "starting_after": "12"}, Retrieval(stream=True, starting_after=12)),
    ],
)
def test_a_client_that_comes_back(query, expected):
    assert RESPONSES.parse_retrieval(query) == expected


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"stream": "maybe"}, "stream"),
        ({"starting_after": "3"}, "starting_after"),
        ({"stream": "true", "starting_after": "-1"}, "starting_after"),
        ({"stream": "true", "starting_after": "x"}, "starting_after"),
        ({"stream": "true", "starting_after": "9" * 5000}, "starting_after"),
    ],
)
def test_a_client_that_comes_back_with_nonsense(query, parameter):
    with pytest.raises(InvalidRequest) as caught:
        RESPONSES.parse_retrieval(query)
    assert caught.value.parameter == parameter


# --- Anthropic --------------------------------------------------------------------------------------


def test_a_whole_messages_request():
    request = ask(
        MESSAGES,
        system=[{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}],
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "See:"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
                    {"type": "image", "source": {"type": "url", "url": "https://x/cat.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": ""},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "é"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "A cat."}]},
                    {"type": "text", "text": "So?"},
                ],
            },
        ],
        tools=[{"name": "look", "input_schema": SCHEMA}],
        tool_choice={"type": "tool", "name": "look", "disable_parallel_tool_use": True},
        stop_sequences=["END"],
        temperature=1,
        top_k=5,
        metadata={"user_id": "u1"},
    )
    assert request.messages == (
        Message("system", ("Be ", "kind.")),
        Message("user", ("See:", Image("data:image/png;base64,AA=="), Image("https://x/cat.png"))),
        Message("assistant", ("I look.",), (ToolCall(0, "t1", "look", '{"at":"é"}'),)),
        Message("tool", ("A cat.",), tool_call_id="t1"),
        Message("user", ("So?",)),
    )
    assert request.tools == (Tool("look", "", SCHEMA),)
    assert (request.tool_choice, request.forced_tool, request.parallel_tool_calls) == ("required", "look", False)
    assert request.sampling == Sampling(5, 1, top_k=5, stop=("END",))
    assert request.extra == {"metadata": {"user_id": "u1"}}


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]},
            "messages[0].content[0].source.type",
        ),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"system": 5}, "system"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"name": "f", "input_schema": "x"}]}, "tools[0].input_schema"),
        ({"tools": [{"name": "f", "input_schema": {"type": "string"}}]}, "tools[0].input_schema"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ],
)
def test_a_messages_request_that_is_wrong(fields, parameter):
    error = refusal(MESSAGES, {**SMALLEST[MESSAGES], **fields})
    assert error.parameter == parameter
    assert MESSAGES.error_body(error.problem) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": error.detail},
    }


# --- Ollama -----------------------------------------------------------------------------------------


def test_a_whole_ollama_request():
    request = ask(
        OLLAMA,
        messages=[
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "See:", "images": ["AA=="]},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look", "arguments": {"a": 1}}}]},
            {"role": "tool", "content": "A cat.", "tool_name": "look"},
        ],
        tools=[{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}],
        format=SCHEMA,
        options={"num_predict": 7, "temperature": 0.5, "top_k": 3, "seed": 1, "stop": ["END"], "num_ctx": 512},
        keep_alive="5m",
    )
    assert request.messages == (
        Message("system", ("Be kind.",)),
        Message("user", ("See:", Image("data:image/png;base64,AA=="))),
        Message("assistant", (), (ToolCall(0, "call_0", "look", '{"a":1}'),)),
        Message("tool", ("A cat.",), name="look"),
    )
    assert request.sampling == Sampling(7, 0.5, top_k=3, seed=1, stop=("END",))
    assert request.schema == SCHEMA
    assert request.extra == {"num_ctx": 512, "keep_alive": "5m"}


def test_a_whole_request_to_generate():
    request = ask(GENERATE, system="Be kind.", images=["AA=="], format="json", options={"num_predict": -1})
    assert request.messages == (
        Message("system", ("Be kind.",)),
        Message("user", ("Hi", Image("data:image/png;base64,AA=="))),
    )
    assert request.schema == {"type": "object"}
    assert request.sampling.max_tokens is None


@pytest.mark.parametrize(("dialect", "field"), [(OLLAMA, "messages"), (GENERATE, "prompt")])
def test_a_request_without_messages_only_loads_the_model(dialect, field):
    body = {name: value for name, value in SMALLEST[dialect].items() if name != field}
    completion = dialect.immediate(dialect.parse_request(encode_json(body)))
    assert completion.first.finish == "load"
    assert dialect.immediate(ask(dialect)) is None


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES, UI], ids=lambda dialect: dialect.name)
def test_the_others_have_no_answer_of_their_own(dialect):
    assert dialect.immediate(ask(dialect)) is None


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"messages": [{"role": "wizard"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "images": [5]}]}, "messages[0].images[0]"),
        ({"options": []}, "options"),
        ({"options": {"temperature": -1}}, "options.temperature"),
        ({"options": {"num_predict": "many"}}, "options.num_predict"),
        ({"format": "yaml"}, "format"),
        ({"tools": [{"type": "magic", "function": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [{"function": {"name": "f", "parameters": 5}}]}, "tools[0].function.parameters"),
    ],
)
def test_an_ollama_request_that_is_wrong(fields, parameter):
    error = refusal(OLLAMA, {**SMALLEST[OLLAMA], **fields})
    assert error.parameter == parameter
    assert OLLAMA.error_body(error.problem) == {"error": error.detail}


# --- AI SDK -----------------------------------------------------------------------------------------


def test_a_whole_request_of_the_ai_sdk():
    request = ask(
        UI,
        trigger="submit-message",
        model="toy",
        messages=[
            {
                "id": "1",
                "role": "user",
                "parts": [
                    {"type": "text", "text": "See:"},
                    {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="},
                    {"type": "data-weather", "data": {}},
                ],
            },
            {
                "id": "2",
                "role": "assistant",
                "parts": [
                    {"type": "step-start"},
                    {"type": "reasoning", "text": "Hm."},
                    {"type": "text", "text": "I look."},
                    {
                        "type": "tool-look",
                        "toolCallId": "t1",
                        "state": "output-available",
                        "input": {"a": 1},
                        "output": 2,
                    },
                    {
                        "type": "dynamic-tool",
                        "toolName": "find",
                        "toolCallId": "t2",
                        "state": "output-error",
                        "input": {},
                        "errorText": "Lost.",
                    },
                ],
            },
        ],
    )
    assert request.messages == (
        Message("user", ("See:", Image("data:image/png;base64,AA=="))),
        Message("assistant", ("I look.",), (ToolCall(0, "t1", "look", '{"a":1}'), ToolCall(1, "t2", "find", "{}"))),
        Message("tool", ("2",), tool_call_id="t1", name="look"),
        Message("tool", ("Lost.",), tool_call_id="t2", name="find"),
    )
    assert request.model == "toy"
    assert request.extra == {"id": "c", "trigger": "submit-message"}


@pytest.mark.parametrize(
    ("messages", "parameter"),
    [
        ([], "messages"),
        ([{"role": "user"}], "messages[0].parts"),
        ([{"role": "tool", "parts": []}], "messages[0].role"),
        ([{"role": "user", "parts": [{"type": "text"}]}], "messages[0].parts[0].text"),
        (
            [{"role": "user", "parts": [{"type": "file", "mediaType": "application/pdf", "url": "x"}]}],
            "messages[0].parts[0].mediaType",
        ),
    ],
)
def test_a_request_of_the_ai_sdk_that_is_wrong(messages, parameter):
    error = refusal(UI, {"messages": messages})
    assert error.parameter == parameter
    assert UI.error_body(error.problem)["status"] == 400


# --- errors, and finding dialects -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "openai", "anthropic"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "authentication_error", "authentication_error"),
        (404, "not_found_error", "not_found_error"),
        (422, "invalid_request_error", "invalid_request_error"),
        (429, "rate_limit_error", "rate_limit_error"),
        (500, "server_error", "api_error"),
        (502, "server_error", "api_error"),
        (503, "service_unavailable_error", "overloaded_error"),
        (529, "server_error", "overloaded_error"),
    ],
)
def test_what_an_error_is_called(status, openai, anthropic):
    problem = Problem(status, "some_code")
    assert CHAT.error_body(problem)["error"]["type"] == openai
    assert RESPONSES.error_body(problem) == CHAT.error_body(problem)
    assert MESSAGES.error_body(problem)["error"]["type"] == anthropic
    assert OLLAMA.error_body(problem) == {"error": problem.title}


def test_dialects_by_name():
    assert [dialect.path for dialect in dialects_named(["ollama", "anthropic"])] == [
        "/v1/messages",
        "/api/chat",
        "/api/generate",
    ]
    assert dialects_named({dialect.name for dialect in ALL}) == ALL
    assert len({dialect.path for dialect in ALL}) == len(ALL)
    with pytest.raises(ValueError, match="no dialect 'cohere'; the dialects are ai_sdk, anthropic"):
        dialects_named(["cohere"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("A cat.", ("A cat.",)),
        (None, ()),
        ([{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}], (Image("https://x/y.png"),)),
    ],
)
def test_the_result_of_a_tool_in_messages(content, expected):
    blocks = [{"type": "tool_result", "tool_use_id": "t1", "content": content}]
    request = ask(MESSAGES, messages=[{"role": "user", "content": blocks}])
    assert request.messages == (Message("tool", expected, tool_call_id="t1"),)


def test_the_names_of_the_front():
    for name in llm.__all__:
        assert getattr(llm, name) is not None
    assert set(llm.__all__) <= set(dir(llm))
    assert llm.Request is Request
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = llm.nothing
