"""`llm_router` on a real server: the vendors' own clients, unmodified, in both modes, when all is well and when not."""

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from dataclasses import replace

import anthropic
import httpx2
import openai
import pytest
from fastapi import Depends, FastAPI, HTTPException, Query

from asgi import Call
from dual_mode_streaming import Outcome, Streams
from dual_mode_streaming.errors import DualModeError
from dual_mode_streaming.llm import (
    TIME_PER_OUTPUT_TOKEN,
    TIME_TO_FIRST_TOKEN,
    Finish,
    Logprobs,
    Script,
    Simulator,
    Text,
    ToolArguments,
    ToolCall,
    Usage,
    api_key,
    guard,
    llm_router,
    smooth,
)
from dual_mode_streaming.llm.dialects import AISDK, ALL, Anthropic, Stamp
from dual_mode_streaming.llm.fold import CompletionFold, fold_all
from dual_mode_streaming.llm.serving import Asking, DialectResponse
from dual_mode_streaming.options import Options
from dual_mode_streaming.testing import live_server

GIVE_UP = 10.0
"""Seconds after which a test that hangs is ended. No test needs a noticeable part of them."""

SCRIPTS = {
    "limited": Script(fail_at=0, failure="rate_limit"),
    "broken": Script(fail_at=0),
    "breaks": Script(text="one two three four", fail_at=2),
    "cut": Script(text="one two three four", fail_at=2, failure="cut"),
}
TOOL = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    "required": ["city", "days"],
}


def scripted(request):
    return SCRIPTS.get(request.messages[-1].text)


@contextmanager
def serving(model=None, **options):
    app = FastAPI()
    app.include_router(llm_router(Simulator(script=scripted) if model is None else model, **options))
    with live_server(app) as url:
        yield url


@pytest.fixture(scope="module")
def url():
    with serving() as url:
        yield url


def openai_at(url, **options):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, **options)


def anthropic_at(url, **options):
    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, **options)


def asked(text="Hi"):
    return {"model": "simulator", "messages": [{"role": "user", "content": text}]}


# --- the clients of OpenAI and Anthropic ---------------------------------------------------------


def test_openai_chat_says_the_same_in_both_modes(url):
    with openai_at(url) as client:
        batch = client.chat.completions.create(**asked(), n=2)
        chunks = list(client.chat.completions.create(**asked(), n=2, stream=True))
        with client.chat.completions.stream(**asked(), n=2, stream_options={"include_usage": True}) as stream:
            stream.until_done()
            helped = stream.get_final_completion()
    for choice in batch.choices:
        pieces = [each.delta.content or "" for chunk in chunks for each in chunk.choices if each.index == choice.index]
        assert len(pieces) > 10
        assert "".join(pieces) == choice.message.content == helped.choices[choice.index].message.content
        assert choice.finish_reason == "stop"
    assert helped.usage.to_dict() == batch.usage.to_dict()
    assert batch._request_id.startswith("req_")


def test_openai_chat_calls_tools_in_both_modes(url):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": TOOL}}]
    with openai_at(url) as client:
        batch = client.chat.completions.create(**asked(), tools=tools)
        with client.chat.completions.stream(**asked(), tools=tools) as stream:
            stream.until_done()
            helped = stream.get_final_completion()
        (call,) = batch.choices[0].message.tool_calls
        (streamed,) = helped.choices[0].message.tool_calls
        assert batch.choices[0].finish_reason == helped.choices[0].finish_reason == "tool_calls"
        assert (call.id, call.function.name) == (streamed.id, "weather")
        assert call.function.arguments == streamed.function.arguments
        assert 1 <= json.loads(call.function.arguments)["days"] <= 7
        conversation = [
            *asked()["messages"],
            batch.choices[0].message.to_dict(),
            {"role": "tool", "tool_call_id": call.id, "content": "Rain."},
        ]
        final = client.chat.completions.create(model="simulator", messages=conversation, tools=tools)
    assert final.choices[0].finish_reason == "stop"


def test_openai_responses_say_the_same_in_both_modes(url):
    with openai_at(url) as client:
        batch = client.responses.create(model="simulator", input="Hi")
        with client.responses.stream(model="simulator", input="Hi") as stream:
            pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
            helped = stream.get_final_response()
        cut = client.responses.create(model="simulator", input="Hi", max_output_tokens=3)
    assert "".join(pieces) == batch.output_text == helped.output_text
    assert helped.usage.to_dict() == batch.usage.to_dict()
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_anthropic_says_the_same_in_both_modes(url):
    tools = [{"name": "weather", "input_schema": TOOL}]
    with anthropic_at(url) as client:
        batch = client.messages.create(**asked(), max_tokens=100)
        with client.messages.stream(**asked(), max_tokens=100) as stream:
            pieces = list(stream.text_stream)
            helped = stream.get_final_message()
        called = client.messages.create(**asked(), max_tokens=100, tools=tools)
        with client.messages.stream(**asked(), max_tokens=100, tools=tools) as stream:
            streamed = stream.get_final_message()
        cut = client.messages.create(**asked(), max_tokens=2)
        stopped = client.messages.create(**asked(), max_tokens=100, stop_sequences=[" "])
    assert "".join(pieces) == batch.content[0].text == helped.content[0].text
    assert len(pieces) > 10
    assert (batch.stop_reason, helped.stop_reason, cut.stop_reason) == ("end_turn", "end_turn", "max_tokens")
    assert batch.usage.output_tokens == helped.usage.output_tokens == len(pieces)
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", " ")
    assert called.stop_reason == streamed.stop_reason == "tool_use"
    assert called.content[0].input == streamed.content[0].input
    assert 1 <= called.content[0].input["days"] <= 7


@pytest.mark.asyncio
async def test_the_async_clients_say_it_too(url):
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        batch = await client.chat.completions.create(**asked())
        pieces = [
            chunk.choices[0].delta.content or ""
            async for chunk in await client.chat.completions.create(**asked(), stream=True)
        ]
        assert "".join(pieces) == batch.choices[0].message.content
        async with client.responses.stream(model="simulator", input="Hi") as stream:
            assert (await stream.get_final_response()).output_text
    async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client:
        message = await client.messages.create(**asked(), max_tokens=100)
        async with client.messages.stream(**asked(), max_tokens=100) as stream:
            assert (await stream.get_final_message()).content[0].text == message.content[0].text


def test_the_lists_of_models_suit_each_client(url):
    with openai_at(url) as one, anthropic_at(url) as other, httpx2.Client(base_url=url) as plain:
        assert [model.id for model in one.models.list()] == ["simulator"]
        assert [model.id for model in other.models.list()] == ["simulator"]
        assert one.models.retrieve("simulator").owned_by == "local"
        with pytest.raises(openai.NotFoundError, match="no model 'other'"):
            one.models.retrieve("other")
        assert [model["name"] for model in plain.get("/api/tags").json()["models"]] == ["simulator"]


# --- every dialect on the wire -------------------------------------------------------------------

BODIES = {
    "/v1/chat/completions": lambda text: asked(text),
    "/v1/responses": lambda text: {"model": "simulator", "input": text},
    "/v1/messages": lambda text: {**asked(text), "max_tokens": 100},
    "/api/chat": lambda text: asked(text),
    "/api/generate": lambda text: {"model": "simulator", "prompt": text},
    "/api/chat/ui": lambda text: {
        "id": "chat",
        "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": text}]}],
    },
}
DIALECTS = {dialect.path: dialect for dialect in ALL}
paths = pytest.mark.parametrize("path", BODIES)
modes = pytest.mark.parametrize("stream", [False, True], ids=["batch", "stream"])


def send(url, path, text="Hi", stream=None, accept=None, **more):
    body = {**BODIES[path](text), **more}
    if stream is not None:
        body["stream"] = stream
    headers = {} if accept is None else {"accept": accept}
    return httpx2.post(url + path, json=body, headers=headers)


def essence(completion):
    choice = completion.first
    return choice.text, choice.finish, completion.usage and completion.usage.output_tokens


@paths
def test_the_stream_of_each_dialect_folds_to_its_batch(url, path):
    dialect = DIALECTS[path]
    batch = send(url, path, stream=False)
    stream = send(url, path, stream=True, stream_options={"include_usage": True})
    assert batch.headers["content-type"] == "application/json"
    assert stream.headers["content-type"] == dialect.media_type
    assert {**stream.headers, **dialect.headers} == dict(stream.headers)
    parser = dialect.parser()
    events = [*parser.feed(stream.content), *parser.flush()]
    whole = dialect.parse_batch(batch.json())
    assert essence(fold_all(events)) == essence(whole)
    assert whole.first.text


@paths
def test_the_mode_is_in_the_body_and_not_in_accept(url, path):
    dialect = DIALECTS[path]
    kinds = {True: dialect.media_type, False: "application/json"}
    for accept in ("application/json", "text/event-stream", "image/png"):
        assert send(url, path, stream=True, accept=accept).headers["content-type"] == kinds[True]
        assert send(url, path, stream=False, accept=accept).headers["content-type"] == kinds[False]
        assert send(url, path, accept=accept).headers["content-type"] == kinds[dialect.streams_by_default]


@paths
@modes
@pytest.mark.parametrize(("text", "status"), [("limited", 429), ("broken", 500)])
def test_an_error_before_the_first_event_has_its_status_in_both_modes(url, path, stream, text, status):
    answer = send(url, path, text, stream=stream)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert ("retry-after" in answer.headers) == (status == 429)
    said = "Too many requests" if status == 429 else "has failed"
    assert said in json.dumps(answer.json())
    assert answer.json() == send(url, path, text, stream=not stream).json()


@paths
def test_an_error_later_is_a_status_of_the_batch_and_the_last_frame_of_the_stream(url, path):
    dialect = DIALECTS[path]
    assert send(url, path, "breaks", stream=False).status_code == 500
    answer = send(url, path, "breaks", stream=True)
    assert answer.status_code == 200
    parser = dialect.parser()
    events = parser.feed(answer.content)
    assert "".join(event.text for event in events if isinstance(event, Text)) == "one two"
    with pytest.raises(Exception, match="has failed"):
        parser.flush()


@paths
def test_a_connection_that_is_cut_has_no_end(url, path):
    assert send(url, path, "cut", stream=False).status_code == 500
    body = {**BODIES[path]("cut"), "stream": True}
    with httpx2.stream("POST", url + path, json=body) as answer:
        chunks = answer.iter_bytes()
        received = next(chunks)
        with pytest.raises(httpx2.RemoteProtocolError):
            received += b"".join(chunks)
    assert b"one" in received
    assert b"[DONE]" not in received


def test_clients_raise_their_own_errors(url):
    with openai_at(url) as one, anthropic_at(url) as other:
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as limited:
                one.chat.completions.create(**asked("limited"), stream=stream)
            assert limited.value.code == "rate_limit_exceeded"
            with pytest.raises(anthropic.RateLimitError):
                other.messages.create(**asked("limited"), max_tokens=9, stream=stream)
        with pytest.raises(openai.APIError, match="has failed"):
            list(one.chat.completions.create(**asked("breaks"), stream=True))
        with pytest.raises(openai.APIError, match="has failed"):
            list(one.responses.create(model="simulator", input="breaks", stream=True))
        with pytest.raises(anthropic.APIStatusError, match="has failed"):
            list(other.messages.create(**asked("breaks"), max_tokens=9, stream=True))
        with pytest.raises(httpx2.RemoteProtocolError):
            list(other.messages.create(**asked("cut"), max_tokens=9, stream=True))


def test_a_client_that_may_try_again_does_and_is_told_when_to():
    tries = []

    def script(request):
        tries.append(request)
        return Script(fail_at=0, failure="rate_limit") if len(tries) == 1 else None

    with serving(Simulator(script=script)) as url, httpx2.Client() as plain:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=1, http_client=plain)
        assert client.chat.completions.create(**asked()).choices[0].message.content
    assert len(tries) == 2


@pytest.mark.parametrize("wrong", [ValueError("a secret"), HTTPException(418, "No coffee.")])
@modes
def test_an_unexpected_error_tells_nothing_but_what_it_may(wrong, stream):
    class Broken:
        names = ("simulator",)

        async def generate(self, request):
            raise wrong
            yield

    with serving(Broken()) as url:
        answer = send(url, "/v1/messages", stream=stream)
    if isinstance(wrong, HTTPException):
        assert (answer.status_code, answer.json()["error"]["message"]) == (418, "No coffee.")
    else:
        assert (answer.status_code, answer.json()["type"]) == (500, "error")
        assert "secret" not in answer.text


def test_what_is_no_event_is_an_error_in_both_modes():
    class Odd:
        names = ()

        async def generate(self, request):
            yield {"text": "Hi"}

    with serving(Odd()) as url:
        assert [send(url, "/v1/chat/completions", stream=stream).status_code for stream in (True, False)] == [500, 500]


# --- bad input -----------------------------------------------------------------------------------

MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("body", "status", "parameter"),
    [
        (b"{", 400, None),
        (b"[]", 400, None),
        (b"", 400, None),
        (b"\xff\xfe", 400, None),
        ({"model": "other", "messages": MESSAGES}, 404, "model"),
        ({"messages": MESSAGES}, 400, "model"),
        ({"model": 5, "messages": MESSAGES}, 400, "model"),
        ({"model": "simulator", "messages": "Hi"}, 400, "messages"),
        ({"model": "simulator", "messages": []}, 400, "messages"),
        ({"model": "simulator"}, 400, "messages"),
        ({"model": "simulator", "messages": MESSAGES, "max_tokens": -1}, 400, "max_tokens"),
        ({"model": "simulator", "messages": MESSAGES, "stream": "yes"}, 400, "stream"),
        ({"model": "simulator", "messages": MESSAGES, "temperature": "hot"}, 400, "temperature"),
        (
            {
                "model": "simulator",
                "messages": MESSAGES,
                "tools": [{"type": "function", "function": {"name": "f", "parameters": ["no"]}}],
            },
            400,
            "tools[0].function.parameters",
        ),
    ],
)
def test_wrong_input_is_told_in_openai_s_form(url, body, status, parameter):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = httpx2.post(f"{url}/v1/chat/completions", content=content)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")
    assert error["param"] == parameter
    assert error["message"]


@paths
def test_wrong_input_has_each_vendor_s_form(url, path):
    answer = httpx2.post(url + path, content=b"{")
    assert answer.status_code == 400
    document = answer.json()
    told = {"/v1/messages": {"type": "error"}, "/api/chat": {"error": document.get("error")}}.get(path, {})
    assert document == {**document, **told}
    assert "not JSON" in json.dumps(document)


@paths
@pytest.mark.parametrize("announced", [True, False])
def test_a_prompt_of_ten_megabytes_is_refused(url, path, announced):
    body = json.dumps(BODIES[path]("x" * 10_000_000)).encode()
    pieces = [body[at : at + 1_000_000] for at in range(0, len(body), 1_000_000)]
    answer = httpx2.post(url + path, content=body if announced else iter(pieces))
    assert answer.status_code == 413
    assert "8388608" in answer.text


def test_a_body_may_be_as_large_as_the_bound():
    body = json.dumps(asked("x" * 100)).encode()
    with serving(max_body_bytes=len(body)) as url:
        assert httpx2.post(f"{url}/v1/chat/completions", content=body).status_code == 200
        assert httpx2.post(f"{url}/v1/chat/completions", content=body + b" ").status_code == 413


def test_there_is_no_dialect_of_that_name():
    with pytest.raises(ValueError, match="no dialect 'x'"):
        llm_router(Simulator(), dialects=["x"])


def test_only_the_dialects_that_are_wanted_are_served():
    with serving(dialects=["anthropic", AISDK()]) as url:
        statuses = {path: send(url, path).status_code for path in BODIES}
        assert [path for path, status in statuses.items() if status == 200] == ["/v1/messages", "/api/chat/ui"]
        assert httpx2.get(f"{url}/api/tags").status_code == 404


def test_a_request_that_only_loads_the_model_needs_no_model(url):
    answer = httpx2.post(f"{url}/api/chat", json={"model": "simulator", "messages": []})
    assert json.loads(answer.text)["done_reason"] == "load"


# --- dependencies and keys -----------------------------------------------------------------------


def test_a_key_is_taken_where_each_client_sends_it():
    with serving(dependencies=[Depends(api_key({"right", "other"}))]) as url:
        good, bad = {"api_key": "right", "max_retries": 0}, {"api_key": "wrong", "max_retries": 0}
        with openai.OpenAI(base_url=f"{url}/v1", **good) as one, anthropic.Anthropic(base_url=url, **good) as other:
            assert one.chat.completions.create(**asked()).choices
            assert other.messages.create(**asked(), max_tokens=9).content
        with openai.OpenAI(base_url=f"{url}/v1", **bad) as one, anthropic.Anthropic(base_url=url, **bad) as other:
            with pytest.raises(openai.AuthenticationError, match="missing or wrong"):
                one.chat.completions.create(**asked(), stream=True)
            with pytest.raises(anthropic.AuthenticationError) as refused:
                other.messages.create(**asked(), max_tokens=9)
        assert refused.value.response.headers["www-authenticate"] == "Bearer"
        assert httpx2.get(f"{url}/v1/models").status_code == 401
        assert httpx2.get(f"{url}/v1/models", headers={"authorization": "Basic right"}).status_code == 401
        assert httpx2.get(f"{url}/v1/models", headers={"x-api-key": "other"}).status_code == 200


@pytest.mark.parametrize("is_async", [True, False])
def test_a_key_may_be_looked_up(is_async):
    async def looked_up(key):
        return key == "right"

    check = looked_up if is_async else (lambda key: key == "right")
    with serving(dependencies=[Depends(api_key(check))]) as url:
        for key, status in (("right", 200), ("wrong", 401)):
            assert httpx2.get(f"{url}/v1/models", headers={"x-api-key": key}).status_code == status


def test_a_single_key_is_no_collection():
    with pytest.raises(TypeError, match="set"):
        api_key("secret")


def test_what_dependencies_refuse_has_the_vendor_s_form():
    async def tenant(tenant: str = Query()):
        if tenant != "us":
            raise HTTPException(403, "Not yours.", headers={"x-why": "tenant"})

    with serving(dependencies=[Depends(tenant)]) as url:
        answer = httpx2.post(f"{url}/v1/messages?tenant=them", json={})
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")
        assert answer.headers["x-why"] == "tenant"
        assert httpx2.post(f"{url}/v1/messages", json={}).status_code >= 400
        assert httpx2.post(f"{url}/v1/messages", json={}).json()["type"] == "error"


# --- time: prefill, heartbeats, clients that leave --------------------------------------------------


class Held:
    """A model that says something, and then waits until it is let go or stopped."""

    names = ("simulator",)

    def __init__(self, *said):
        self.said = said
        self.began = threading.Event()
        self.ended = threading.Event()
        self.how = None
        self._loop = None
        self._gate = None

    async def generate(self, request):
        self._loop, self._gate = asyncio.get_running_loop(), asyncio.Event()
        try:
            for piece in self.said:
                yield piece
            self.began.set()
            await self._gate.wait()
            yield "late"
            self.how = "done"
        except BaseException as error:
            self.how = type(error).__name__
            raise
        finally:
            self.ended.set()

    def let_go(self):
        self._loop.call_soon_threadsafe(self._gate.set)


def request_bytes(path, body):
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


@paths
@modes
@pytest.mark.parametrize("said", [(), ("one",)], ids=["in prefill", "in the middle"])
def test_a_client_that_leaves_stops_the_model(path, stream, said):
    model, outcomes = Held(*said), []
    told = threading.Event()

    def on_finish(outcome, completion, timings):
        outcomes.append((outcome, completion.first.text, completion.usage))
        told.set()

    with serving(model, on_finish=on_finish) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=GIVE_UP) as client:
            client.sendall(request_bytes(path, {**BODIES[path]("Hi"), "stream": stream}))
            assert model.began.wait(GIVE_UP)
        assert model.ended.wait(GIVE_UP)
        assert told.wait(GIVE_UP)
    assert model.how == "CancelledError"
    usage = Usage(output_tokens=1, estimated=True) if said else None
    assert outcomes == [(Outcome.CLIENT_GONE, "".join(said), usage)]


@paths
def test_a_silent_stream_is_opened_and_kept_alive(path):
    model = Held()
    dialect = DIALECTS[path]
    with serving(model, heartbeat=0.03, commit_after=0.03) as url:
        with httpx2.stream("POST", url + path, json={**BODIES[path]("Hi"), "stream": True}) as answer:
            received, chunks = b"", answer.iter_bytes()
            renderer = dialect.renderer(dialect.parse_request(json.dumps(BODIES[path]("Hi")).encode()), Stamp("x"))
            opening, beat = renderer.start(), renderer.heartbeat()
            while beat and received.count(beat) < 2:
                received += next(chunks)
            model.let_go()
            received += b"".join(chunks)
        assert model.ended.wait(GIVE_UP)
    events = [*(parser := dialect.parser()).feed(received), *parser.flush()]
    assert fold_all(events).first.text == "late"
    if opening:
        first = opening[:22]  # up to the id
        assert received.startswith(first)
        assert received.count(first) == 1


def test_a_late_batch_can_be_kept_alive_by_white_space():
    model = Held()
    with (
        serving(model, heartbeat=0.03, commit_after=0.03, batch_keepalive=True) as url,
        httpx2.stream("POST", f"{url}/v1/chat/completions", json=asked()) as answer,
    ):
        chunks = answer.iter_bytes()
        received = next(chunks)
        model.let_go()
        received += b"".join(chunks)
    assert received.startswith(b" ")
    assert json.loads(received)["choices"][0]["message"]["content"] == "late"


@modes
def test_a_model_that_is_silent_for_too_long_is_a_504(stream):
    with serving(Held(), idle_timeout=0.05) as url:
        assert send(url, "/v1/messages", stream=stream).status_code == 504


def test_too_many_streams_are_refused_in_the_vendor_s_form():
    model = Held()
    with (
        serving(model, streams=Streams(max_streams=1)) as url,
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as first,
    ):
        first.sendall(request_bytes("/v1/messages", {**BODIES["/v1/messages"]("Hi"), "stream": True}))
        assert model.began.wait(GIVE_UP)
        answer = send(url, "/v1/messages", stream=True)
        assert answer.status_code == 503
        assert answer.json()["type"] == "error"
        assert "retry-after" in answer.headers


# --- what is told of an answer -------------------------------------------------------------------


def test_the_end_and_the_times_are_told_in_both_modes():
    ends = []
    with serving(Simulator(), on_finish=lambda *told: ends.append(told)) as url:
        for path in BODIES:
            for stream in (False, True):
                send(url, path, stream=stream)
    assert [outcome for outcome, _, _ in ends] == [Outcome.DONE] * 2 * len(BODIES)
    for (_, batch, times), (_, streamed, others) in zip(ends[::2], ends[1::2], strict=True):
        assert batch == streamed
        assert batch.first.finish == "stop"
        assert not batch.usage.estimated
        for one in (times, others):
            assert one.output_tokens == batch.usage.output_tokens > 10
            assert set(one.by_name) >= {TIME_TO_FIRST_TOKEN, TIME_PER_OUTPUT_TOKEN}
            assert 0 < one.time_to_first_token <= one.duration


def test_a_failure_is_told_with_what_was_said_before():
    ends = []
    with serving(on_finish=lambda *told: ends.append(told)) as url:
        for stream in (False, True):
            send(url, "/v1/messages", "breaks", stream=stream)
    assert [(outcome, said.first.text) for outcome, said, _ in ends] == [(Outcome.ERROR, "one two")] * 2


@paths
@modes
def test_a_guard_and_a_pace_apply_to_every_dialect_in_both_modes(path, stream):
    model = Simulator(script=Script(text="this is a secret that stays"))
    shape = (guard(lambda text: "secret" not in text, hold_back=8), smooth(0))
    with serving(model, shape=shape) as url:
        answer = send(url, path, stream=stream)
    assert b"secret" not in answer.content
    dialect = DIALECTS[path]
    if stream:
        completion = fold_all([*(parser := dialect.parser()).feed(answer.content), *parser.flush()])
    else:
        completion = dialect.parse_batch(answer.json())
    assert "this is a secret".startswith(completion.first.text)
    assert completion.first.finish != "length"


def test_a_model_that_is_elsewhere_may_pass_on_headers():
    class Events:
        def __init__(self):
            self.headers = {"x-ratelimit-remaining": "7", "Content-Type": "text/html"}

        def __aiter__(self):
            return self._give()

        async def _give(self):
            yield "Hi"

    class Model:
        names = ()

        def generate(self, request):
            return Events()

    with serving(Model()) as url:
        for stream in (False, True):
            headers = send(url, "/v1/chat/completions", stream=stream).headers
            assert headers["x-ratelimit-remaining"] == "7"
            assert "html" not in headers["content-type"]


class Endless:
    """A model that does not come to its end by itself."""

    names = ("simulator",)

    def __init__(self, event):
        self.event = event
        self.said = 0

    async def generate(self, request):
        while True:
            self.said += 1
            yield self.event


@modes
@pytest.mark.parametrize(
    ("path", "event", "size"),
    [(path, Text("ten chars."), 74) for path in BODIES]
    + [
        ("/v1/chat/completions", Logprobs([{"token": "a"}, {"token": "b"}]), 192),
        ("/v1/chat/completions", ToolCall(0, "", "f", "{}"), 66),
        ("/v1/chat/completions", ToolArguments(0, "1234"), 68),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_a_model_that_does_not_end_is_stopped_at_the_bound_of_an_answer(path, event, size, stream):
    model = Endless(event)
    with serving(model, max_answer=10_000) as url:
        answer = send(url, path, stream=stream)
    assert model.said == 10_000 // size + 1
    if not stream or isinstance(event, ToolArguments):  # of those nothing was told: they belong to no call
        assert answer.status_code == 502
        assert "larger than 10000 characters" in answer.text
        return
    parser = DIALECTS[path].parser()
    parser.feed(answer.content)
    with pytest.raises(DualModeError, match="larger than 10000 characters"):
        parser.flush()


# --- work in the background ----------------------------------------------------------------------


def test_a_response_in_the_background_is_followed_resumed_and_shown():
    model, ends = Held("one ", "two "), []
    with serving(model, on_finish=lambda *told: ends.append(told)) as url, openai_at(url) as client:
        begun = client.responses.create(model="simulator", input="Hi", background=True)
        assert (begun.status, begun.background) == ("queued", True)
        assert model.began.wait(GIVE_UP)
        assert client.responses.retrieve(begun.id).status == "in_progress"
        # The first client reads some events and leaves. The work goes on.
        with client.responses.retrieve(begun.id, stream=True) as stream:
            seen = [next(iter(stream)) for _ in range(1)]
            for event in stream:
                seen.append(event)
                if event.type == "response.output_text.delta":
                    break
        model.let_go()
        rest = list(client.responses.retrieve(begun.id, stream=True, starting_after=seen[-1].sequence_number))
        whole = list(client.responses.retrieve(begun.id, stream=True))
        assert [event.sequence_number for event in seen + rest] == [event.sequence_number for event in whole]
        assert [event.to_dict() for event in (seen + rest)[2:]] == [event.to_dict() for event in whole[2:]]
        assert rest[-1].type == "response.completed"
        done = client.responses.retrieve(begun.id)
        assert (done.status, done.output_text) == ("completed", "one two late")
        assert client.responses.cancel(begun.id).status == "completed"
    assert [(outcome, said.first.text) for outcome, said, _ in ends] == [(Outcome.DONE, "one two late")]


def test_a_response_in_the_background_is_cancelled():
    model, ends = Held("one "), []
    with serving(model, on_finish=lambda *told: ends.append(told[0])) as url, openai_at(url) as client:
        begun = client.responses.create(model="simulator", input="Hi", background=True)
        assert model.began.wait(GIVE_UP)
        cancelled = client.responses.cancel(begun.id)
        assert model.how == "CancelledError"
        assert (cancelled.status, cancelled.output_text) == ("cancelled", "one ")
        assert client.responses.cancel(begun.id).status == "cancelled"
        with pytest.raises(openai.APIError, match="cancelled"):
            list(client.responses.retrieve(begun.id, stream=True))
    assert ends == [Outcome.CANCELLED]


def test_a_stream_in_the_background_goes_on_without_its_client():
    model = Held("one ")
    with serving(model) as url, openai_at(url) as client:
        with client.responses.create(model="simulator", input="Hi", background=True, stream=True) as stream:
            identity = next(iter(stream)).response.id
        model.began.wait(GIVE_UP)
        model.let_go()
        assert list(client.responses.retrieve(identity, stream=True))[-1].response.output_text == "one late"


def test_a_failure_in_the_background_is_shown(url):
    with openai_at(url) as client:
        begun = client.responses.create(model="simulator", input="breaks", background=True)
        with pytest.raises(openai.APIError, match="has failed"):
            list(client.responses.retrieve(begun.id, stream=True))
        failed = client.responses.retrieve(begun.id)
        assert (failed.status, failed.error.message) == ("failed", "The simulated model has failed.")


def test_answers_that_are_not_there(url):
    with openai_at(url) as client:
        for call in (client.responses.retrieve, client.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                call("resp_none")
    wrong = httpx2.get(f"{url}/v1/responses/resp_none?stream=maybe")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "stream")


def test_an_answer_is_its_owner_s():
    with serving(owner=lambda http: http.headers["authorization"]) as url:
        one, other = (openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) for key in ("one", "other"))
        with one, other:
            begun = one.responses.create(model="simulator", input="Hi", background=True)
            assert one.responses.retrieve(begun.id).id == begun.id
            with pytest.raises(openai.NotFoundError):
                other.responses.retrieve(begun.id)
            with pytest.raises(openai.NotFoundError):
                other.responses.cancel(begun.id)


def test_the_server_stops_what_goes_on_when_it_goes_down():
    model = Held("one")
    with serving(model) as url:
        httpx2.post(f"{url}/v1/responses", json={"model": "simulator", "input": "Hi", "background": True})
        assert model.began.wait(GIVE_UP)
    assert model.how == "CancelledError"


# --- chats of the AI SDK that go on --------------------------------------------------------------


def test_no_chat_is_under_way_unless_it_may_be(url):
    send(url, "/api/chat/ui")
    assert httpx2.get(f"{url}/api/chat/ui/chat/stream").status_code == 204


def test_a_chat_that_was_left_is_replayed_from_the_beginning():
    model, dialect = Held("one ", "two "), AISDK()
    with serving(model, resumable_chats=True) as url:
        resume = f"{url}/api/chat/ui/chat/stream"
        with httpx2.stream("POST", f"{url}/api/chat/ui", json=BODIES["/api/chat/ui"]("Hi")) as answer:
            next(answer.iter_bytes())
        with httpx2.stream("GET", resume) as answer:
            assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
            model.let_go()
            content = answer.read()
        events = [*(parser := dialect.parser()).feed(content), *parser.flush()]
        assert fold_all(events).first.text == "one two late"
        assert httpx2.get(resume).status_code == 204
        assert httpx2.get(f"{url}/api/chat/ui/other/stream").status_code == 204


def test_a_chat_that_goes_on_is_stopped():
    model = Held("one ")
    with serving(model, resumable_chats=True) as url:
        with httpx2.stream("POST", f"{url}/api/chat/ui", json=BODIES["/api/chat/ui"]("Hi")) as answer:
            next(answer.iter_bytes())
        assert httpx2.delete(f"{url}/api/chat/ui/chat/stream").status_code == 204
        assert model.how == "CancelledError"
        assert httpx2.delete(f"{url}/api/chat/ui/chat/stream").status_code == 204


# --- in process ----------------------------------------------------------------------------------


def responding(events, *, stream, dialect=None, in_plain_form=False, **options):
    dialect = dialect or Anthropic()
    request = dialect.parse_request(json.dumps({**asked(), "max_tokens": 9, "stream": stream}).encode())

    async def app(scope, receive, send):
        asking = Asking.of(dialect, replace(request, dialect=dialect.name), "simulator")
        response = DialectResponse(asking, events(), Options(**options))
        await response._respond(scope, receive, send, in_plain_form=in_plain_form)

    return app


@modes
@pytest.mark.asyncio
async def test_the_plain_form_answers_the_same(stream):
    async def source():
        yield "Hi"
        await asyncio.sleep(0)
        yield Finish("length")

    bodies = []
    for plain in (False, True):
        app = responding(source, stream=stream, in_plain_form=plain, fold=CompletionFold())
        call = await Call(app, method="POST", body=b"{}").run()
        assert call.messages[0]["status"] == 200
        bodies.append(b"".join(message.get("body", b"") for message in call.messages))
    assert b'"max_tokens"' in bodies[0]
    blank = [body.replace(body[body.find(b"msg_") : body.find(b"msg_") + 36], b"") for body in bodies]
    assert blank[0] == blank[1]
