"""`Upstream`: another server in the place of a model, with all that may be wrong with it."""

import asyncio
import json
import threading
from contextlib import asynccontextmanager, contextmanager

import anthropic
import httpx2
import openai
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from dual_mode_streaming.llm import Simulator, Upstream, llm_router
from dual_mode_streaming.testing import live_server

GIVE_UP = 10.0
"""Seconds after which a test that hangs is ended."""


@contextmanager
def in_front_of(upstream, *, names=(), model=None, timeout=GIVE_UP):
    """Serve our own endpoints in front of another server."""
    client = openai.AsyncOpenAI(base_url=f"{upstream}/v1", api_key="upstream-key", max_retries=0, timeout=timeout)

    @asynccontextmanager
    async def lifespan(app):
        async with client:
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(llm_router(Upstream(client, names=names, model=model)))
    with live_server(app) as url:
        yield url


def chunk(**delta):
    reason = delta.pop("finish_reason", None)
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
    }


def framed(*documents):
    return b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)


SAID = framed(chunk(role="assistant", content=""), chunk(content="one"), chunk(content=" two"))
ENDED = framed(chunk(finish_reason="stop")) + b"data: [DONE]\n\n"
STREAMS = {
    "fine": SAID + ENDED,
    "no done": SAID + framed(chunk(finish_reason="stop")),
    "no finish": SAID,
    "no finish, but done": SAID + b"data: [DONE]\n\n",
    "error frame": SAID + framed({"error": {"message": "It burns.", "type": "server_error", "code": 503}}),
    "error at once": framed({"error": {"message": "Slow down.", "code": 429}}),
    "no json": SAID + b"data: {oh\n\n",
}
WHOLE = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "one two"}, "finish_reason": "stop"}]}
DOCUMENTS = {
    "html": (200, "text/html", b"<html>Welcome</html>"),
    "html 502": (502, "text/html", b"<html>Bad gateway</html>"),
    "whole": (200, "application/json", json.dumps(WHOLE).encode()),
    "whole error": (200, "application/json", b'{"error": {"message": "No.", "code": 400}}'),
    "whole nonsense": (200, "application/json", b"[1]"),
    "whole garbage": (200, "application/json", b"{oh"),
}
HEADERS = {"x-request-id": "req_upstream", "x-ratelimit-remaining-tokens": "9", "server-timing": "x"}


class Faulty:
    """An upstream server whose model names say what is wrong with it."""

    def __init__(self):
        self.seen = []
        self.left = threading.Event()
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.answer, methods=["POST"])])

    async def answer(self, request):
        body = await request.json()
        self.seen.append((body, dict(request.headers)))
        model = body["model"]
        if model in STREAMS:
            return Response(STREAMS[model], headers=HEADERS, media_type="text/event-stream")
        if model in DOCUMENTS:
            status, media_type, content = DOCUMENTS[model]
            return Response(content, status, media_type=media_type)
        if model == "silent":
            await asyncio.Event().wait()
        if model in ("cut", "endless"):
            return StreamingResponse(self.cut() if model == "cut" else self.endless(), media_type="text/event-stream")
        error = {"message": f"It is {model}.", "type": "t", "param": "model", "code": "its_code"}
        return JSONResponse({"error": error}, int(model), HEADERS | {"retry-after": "7", "x-should-retry": "false"})

    async def cut(self):
        yield SAID
        raise RuntimeError("cut")

    async def endless(self):
        try:
            while True:
                yield SAID
                await asyncio.sleep(0.005)
        finally:
            self.left.set()


@pytest.fixture(scope="module")
def faulty():
    return Faulty()


@pytest.fixture(scope="module")
def url(faulty):
    with live_server(faulty.app) as upstream, in_front_of(upstream) as url:
        yield url


modes = pytest.mark.parametrize("stream", [False, True], ids=["batch", "stream"])


def send(url, model, *, stream=False, path="/v1/chat/completions", **more):
    messages = [{"role": "user", "content": "Hi"}]
    return httpx2.post(url + path, json={"model": model, "messages": messages, "stream": stream, **more})


@modes
@pytest.mark.parametrize("model", ["fine", "no done", "whole"])
def test_an_answer_passes_in_both_modes(url, model, stream):
    answer = send(url, model, stream=stream)
    assert answer.status_code == 200
    if not stream:
        assert answer.json()["choices"][0]["message"]["content"] == "one two"
        assert answer.json()["choices"][0]["finish_reason"] == "stop"
    else:
        assert answer.text.endswith("data: [DONE]\n\n")
    if model != "whole":
        assert answer.headers["x-ratelimit-remaining-tokens"] == "9"
        assert answer.headers.get_list("x-request-id") == ["req_upstream"]
        assert "server-timing" not in answer.headers


def test_fields_that_are_unknown_here_are_sent_on(faulty, url):
    send(url, "fine", mirostat=2, max_completion_tokens=5, user="somebody")
    body, headers = faulty.seen[-1]
    assert headers["authorization"] == "Bearer upstream-key"
    assert {name: body[name] for name in ("mirostat", "max_completion_tokens", "user", "stream")} == {
        "mirostat": 2,
        "max_completion_tokens": 5,
        "user": "somebody",
        "stream": True,
    }
    send(url, "fine", path="/api/chat", keep_alive="5m")
    assert "keep_alive" not in faulty.seen[-1][0]


@modes
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 529])
def test_the_status_and_what_it_says_are_passed_on(url, status, stream):
    answer = send(url, str(status), stream=stream)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["message"], error["code"], error["param"]) == (f"It is {status}.", "its_code", "model")
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("7", "false")
    other = send(url, str(status), stream=stream, path="/v1/messages", max_tokens=5)
    assert (other.status_code, other.json()["type"], other.json()["error"]["message"]) == (
        status,
        "error",
        f"It is {status}.",
    )


@modes
@pytest.mark.parametrize(
    ("model", "status", "said"),
    [
        ("html", 502, "text/html"),
        ("html 502", 502, "answered 502"),
        ("error at once", 429, "Slow down."),
        ("whole error", 400, "No."),
        ("whole nonsense", 502, "no answer"),
        ("whole garbage", 502, "cannot be read"),
    ],
)
def test_what_is_wrong_from_the_beginning_is_a_status(url, model, status, said, stream):
    answer = send(url, model, stream=stream)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("model", "status", "said"),
    [
        ("no finish", 502, "before it was complete"),
        ("cut", 502, "before it was complete"),
        ("error frame", 503, "It burns."),
        ("no json", 502, "cannot be read"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
def test_what_is_wrong_later_is_never_a_shorter_text(url, path, model, status, said):
    batch = send(url, model, path=path, max_tokens=9)
    assert batch.status_code == status
    assert said in batch.text
    stream = send(url, model, path=path, stream=True, max_tokens=9)
    assert stream.status_code == 200
    assert "two" in stream.text
    assert said in stream.text
    for end in ("[DONE]", "message_stop", '"done":true'):
        assert end not in stream.text


def test_done_without_a_reason_is_an_end(url):
    # The server says that it is complete, so it has ended with `stop`.
    assert send(url, "no finish, but done").json()["choices"][0]["finish_reason"] == "stop"


@modes
def test_a_server_that_is_not_there_or_says_nothing(stream):
    with in_front_of("http://127.0.0.1:9") as url:
        answer = send(url, "any", stream=stream)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
    with live_server(Faulty().app) as upstream, in_front_of(upstream, timeout=0.05) as url:
        answer = send(url, "silent", stream=stream)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")


@modes
def test_a_client_that_leaves_ends_the_work_upstream(stream):
    faulty = Faulty()
    body = {"model": "endless", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    with live_server(faulty.app) as upstream, in_front_of(upstream) as url:
        with httpx2.Client(timeout=httpx2.Timeout(GIVE_UP, read=GIVE_UP if stream else 0.2)) as client:
            try:
                with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
                    next(answer.iter_bytes())
            except httpx2.ReadTimeout:
                assert not stream  # there is nothing to read of a batch that has no end
        assert faulty.left.wait(GIVE_UP)


def test_names_are_ours_or_the_server_s(faulty):
    with live_server(faulty.app) as upstream, in_front_of(upstream, names=["ours"], model="fine") as url:
        assert send(url, "ours").status_code == 200
        assert faulty.seen[-1][0]["model"] == "fine"
        assert send(url, "fine").status_code == 404
        assert [model["id"] for model in httpx2.get(f"{url}/v1/models").json()["data"]] == ["ours"]


# --- our own server as the upstream ----------------------------------------------------------------


def test_two_of_ours_in_a_row_say_what_one_says():
    app = FastAPI()
    app.include_router(llm_router(Simulator()))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}}}}]
    ask = {"model": "simulator", "messages": [{"role": "user", "content": "Hi"}]}
    with live_server(app) as direct, in_front_of(direct) as chained:
        answers = []
        for url in (direct, chained):
            with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
                batch = client.chat.completions.create(**ask, n=2, logprobs=True)
                called = client.chat.completions.create(**ask, tools=tools, tool_choice="required")
                with client.chat.completions.stream(**ask, n=2, stream_options={"include_usage": True}) as stream:
                    stream.until_done()
                    streamed = stream.get_final_completion()
                response = client.responses.create(model="simulator", input="Hi")
            with anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as client:
                message = client.messages.create(**ask, max_tokens=50)
            answers.append(
                [
                    [choice.to_dict() for choice in batch.choices],
                    [choice.message.content for choice in streamed.choices],
                    streamed.usage.to_dict(),
                    called.choices[0].to_dict(),
                    response.output_text,
                    response.usage.to_dict(),
                    message.content[0].text,
                    message.usage.output_tokens,
                ]
            )
    assert answers[0] == answers[1]
