"""Answers that go on without their client: at several worker processes, with the client of OpenAI, and their bounds."""

import sqlite3

import httpx2
import openai
import pytest

from dual_mode_streaming import Runs
from dual_mode_streaming.llm import Simulator
from dual_mode_streaming.llm.dialects import AISDK
from dual_mode_streaming.llm.fold import fold_all
from dual_mode_streaming.stores import Limits, MemoryStore, SQLiteStore
from runs.workers import Workers
from stores.conftest import valkey_engine  # noqa: F401  a fixture

from .test_router import BODIES, GIVE_UP, Held, openai_at, serving

QUESTION = {"model": "simulator", "input": "Hi"}
ALL = "one two three four"


def at(url, key="key"):
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=GIVE_UP)


def post(url, path):
    assert httpx2.post(f"{url}{path}", timeout=GIVE_UP).status_code == 200


@pytest.fixture(scope="module", params=["sqlite", "valkey"])
def two(request, tmp_path_factory):
    """Two workers with a common store."""
    if request.param == "sqlite":
        place = f"sqlite={tmp_path_factory.mktemp('background') / 'runs.db'}"
    else:
        place = f"redis=redis://{request.getfixturevalue('valkey_engine').address}"
    with Workers("llm.background_app:app", LLM_STORE=place) as workers:
        (one, _), (other, _) = workers.apart(2)
        yield one, other


# --- two workers ---------------------------------------------------------------------------------


def test_an_answer_begun_at_one_worker_is_there_at_the_other(two):
    one, other = two
    with at(one) as here, at(other) as there:
        with here.responses.create(**QUESTION, background=True, stream=True) as stream:
            seen = []
            for event in stream:
                seen.append(event)
                if event.type == "response.output_text.delta" and event.delta == "two ":
                    break
        identity = seen[0].response.id
        post(one, "/held")
        working = there.responses.retrieve(identity)
        assert (working.status, working.output_text, working.background) == ("in_progress", "one two ", True)
        assert working.created_at == seen[0].response.created_at
        with there.responses.retrieve(identity, stream=True, starting_after=seen[-1].sequence_number) as stream:
            post(one, "/open")
            rest = list(stream)
        for client in (here, there):
            whole = list(client.responses.retrieve(identity, stream=True))
            assert [event.to_dict() for event in seen + rest] == [event.to_dict() for event in whole]
            assert [event.sequence_number for event in whole] == list(range(len(whole)))
            done = client.responses.retrieve(identity)
            assert (done.status, done.output_text) == ("completed", ALL)
            assert done.to_dict() == whole[-1].response.to_dict()
        for client in (at(one, "another"), at(other, "another")):
            with client:
                for call in (client.responses.retrieve, client.responses.cancel):
                    with pytest.raises(openai.NotFoundError, match="no such answer"):
                        call(identity)
                with pytest.raises(openai.NotFoundError, match="no such answer"):
                    client.responses.retrieve(identity, stream=True)


def test_an_answer_is_cancelled_from_the_other_worker(two):
    one, other = two
    with at(one) as here, at(other) as there:
        begun = here.responses.create(**QUESTION, background=True)
        assert begun.status == "queued"
        post(one, "/held")
        with here.responses.retrieve(begun.id, stream=True) as stream:
            for event in stream:
                if event.type == "response.output_text.delta" and event.delta == "two ":
                    break
            cancelled = there.responses.cancel(begun.id)
            assert (cancelled.status, cancelled.output_text) == ("cancelled", "one two ")
            post(one, "/stopped")
            with pytest.raises(openai.APIError, match="cancelled"):
                list(stream)
        for client in (here, there):
            kept = client.responses.retrieve(begun.id)
            assert (kept.status, kept.output_text) == ("cancelled", "one two ")
            assert client.responses.cancel(begun.id).status == "cancelled"


def test_an_answer_that_fails_at_one_worker_fails_in_the_same_words_at_the_other(two):
    one, other = two
    with at(one) as here, at(other) as there:
        begun = here.responses.create(model="simulator", input="breaks", background=True)
        told = []
        for client in (here, there):
            events = []
            with pytest.raises(openai.APIError, match="simulated model has failed"):
                events.extend(client.responses.retrieve(begun.id, stream=True))
            failed = client.responses.retrieve(begun.id)
            assert (failed.status, failed.output_text) == ("failed", "one two")
            assert failed.error.message == "The simulated model has failed."
            told.append(([event.to_dict() for event in events], failed.to_dict()))
        assert told[0] == told[1]
        assert told[0][0][-1]["type"] == "response.failed"


def test_a_chat_is_resumed_and_stopped_at_the_other_worker(two):
    one, other = two
    chat = {**BODIES["/api/chat/ui"]("Hi"), "id": "a chat of ours"}
    resume = "/api/chat/ui/a%20chat%20of%20ours/stream"
    mine, another = {"authorization": "Bearer mine"}, {"authorization": "Bearer another"}
    with httpx2.Client(base_url=one, timeout=GIVE_UP) as here, httpx2.Client(base_url=other, timeout=GIVE_UP) as there:
        with here.stream("POST", "/api/chat/ui", json=chat, headers=mine) as answer:
            next(answer.iter_bytes())
        post(one, "/held")
        assert there.get(resume, headers=another).status_code == 204
        assert there.delete(resume, headers=another).status_code == 204
        with there.stream("GET", resume, headers=mine) as answer:
            assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
            post(one, "/open")
            content = answer.read()
        parser = AISDK().parser()
        assert fold_all([*parser.feed(content), *parser.flush()]).first.text == ALL
        assert there.get(resume, headers=mine).status_code == 204

        # The next question of the chat goes to the other worker; then a DELETE at the first one stops it.
        with there.stream("POST", "/api/chat/ui", json=chat, headers=mine) as answer:
            next(answer.iter_bytes())
        post(other, "/held")
        with here.stream("GET", resume, headers=mine) as answer:
            assert here.delete(resume, headers=mine).status_code == 204
            assert b'"type":"abort"' in answer.read()
        post(other, "/stopped")
        assert here.get(resume, headers=mine).status_code == 204


def test_a_worker_that_dies_is_told_in_the_words_of_the_dialect(tmp_path):
    with Workers("llm.background_app:app", LLM_STORE=f"sqlite={tmp_path / 'runs.db'}", LLM_LEASE="1") as workers:
        (one, process), (other, _) = workers.apart(2)
        with at(one) as here, at(other) as there:
            begun = here.responses.create(**QUESTION, background=True)
            chat = {"json": BODIES["/api/chat/ui"]("Hi"), "timeout": GIVE_UP}
            with httpx2.stream("POST", f"{one}/api/chat/ui", **chat) as answer:
                next(answer.iter_bytes())
            post(one, "/held")
            seen = []
            with (
                there.responses.retrieve(begun.id, stream=True) as stream,
                httpx2.stream("GET", f"{other}/api/chat/ui/chat/stream", timeout=GIVE_UP) as page,
            ):
                seen.append(next(stream))
                process.kill()
                process.wait()
                with pytest.raises(openai.APIError, match="process that did this work has died"):
                    seen.extend(stream)
                assert b'"type":"error","errorText":"The process that did this work has died' in page.read()
            failed = there.responses.retrieve(begun.id)
            assert (failed.status, failed.output_text, failed.error.code) == ("failed", "one two ", "server_error")
            assert there.responses.cancel(begun.id).status == "failed"
            assert httpx2.get(f"{other}/api/chat/ui/chat/stream").status_code == 204


# --- whose an answer is --------------------------------------------------------------------------


def test_a_key_is_not_written_down(tmp_path):
    with serving(runs=Runs(SQLiteStore(tmp_path / "runs.db"))) as url, at(url, "a-secret-key") as client:
        begun = client.responses.create(model="simulator", input="a private question", background=True)
        list(client.responses.retrieve(begun.id, stream=True))
        database = sqlite3.connect(tmp_path / "runs.db")
        written = "\n".join(database.iterdump())
        database.close()
    assert "key-" in written
    assert "a-secret-key" not in written
    assert "a private question" not in written


def test_an_answer_is_there_in_its_own_dialect_only():
    model = Held("one ")
    with serving(model, resumable_chats=True, owner=lambda request: "me", runs=(runs := Runs())) as url:
        with httpx2.stream("POST", f"{url}/api/chat/ui", json=BODIES["/api/chat/ui"]("Hi")) as answer:
            next(answer.iter_bytes())
        (chat,) = (kept.run.run_id for kept in runs.store._runs.values() if kept.run.owner == "me")
        assert httpx2.get(f"{url}/v1/responses/resp_{chat}").status_code == 404
        begun = httpx2.post(f"{url}/v1/responses", json={**QUESTION, "background": True}).json()
        assert httpx2.get(f"{url}/v1/responses/{begun['id']}").json()["status"] == "in_progress"
        assert httpx2.get(f"{url}/v1/responses/{begun['id'].removeprefix('resp_')}").status_code == 404


def test_who_asks_may_be_found_out_asynchronously():
    async def owner(request):
        return request.headers["x-user"]

    with serving(owner=owner) as url:
        begun = httpx2.post(f"{url}/v1/responses", json={**QUESTION, "background": True}, headers={"x-user": "ann"})
        for user, status in (("ann", 200), ("bob", 404)):
            path = f"{url}/v1/responses/{begun.json()['id']}"
            assert httpx2.get(path, headers={"x-user": user}).status_code == status


def test_the_next_question_of_a_chat_ends_the_answer_before():
    model = Held("one ")
    with serving(model, resumable_chats=True) as url:
        chat = BODIES["/api/chat/ui"]("Hi")
        with httpx2.stream("POST", f"{url}/api/chat/ui", json=chat) as answer:
            before = answer.iter_bytes()
            next(before)
            with httpx2.stream("POST", f"{url}/api/chat/ui", json=chat) as answer:
                after = answer.iter_bytes()
                next(after)
                assert b'"type":"abort"' in b"".join(before)
                assert model.how == "CancelledError"
                model.let_go()
                assert b"late" in b"".join(after)


# --- bounds and errors ---------------------------------------------------------------------------


def test_no_more_answers_are_worked_on_than_may_be():
    model = Held("one ")
    with serving(model, max_background=1) as url, openai_at(url) as client:
        begun = client.responses.create(**QUESTION, background=True)
        with pytest.raises(openai.InternalServerError, match="1 answers are being worked on") as busy:
            client.responses.create(**QUESTION, background=True)
        assert (busy.value.status_code, busy.value.code) == (503, "server_busy")
        assert busy.value.response.headers["retry-after"] == "5"
        client.responses.cancel(begun.id)
        assert client.responses.create(**QUESTION, background=True).status == "queued"


def test_a_store_that_takes_no_more_is_told():
    with serving(runs=Runs(MemoryStore(max_runs=1))) as url, openai_at(url) as client:
        begun = client.responses.create(**QUESTION, background=True)
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError, match="max_runs=1") as full:
                client.responses.create(**QUESTION, background=True, stream=stream)
            assert full.value.response.headers["retry-after"] == "2"
        assert list(client.responses.retrieve(begun.id, stream=True))[-1].type == "response.completed"


@pytest.mark.parametrize(
    ("limits", "bound"), [(Limits(max_items=9), "9 events"), (Limits(max_bytes=4500), "4500 bytes")]
)
def test_an_answer_that_is_too_long_to_be_kept_fails_and_its_beginning_is_there(limits, bound):
    with serving(Simulator(), runs=Runs(limits=limits)) as url, openai_at(url) as client:
        begun = client.responses.create(model="simulator", input="Hi " * 200, background=True)
        events = []
        with pytest.raises(openai.APIError, match=f"larger than {bound}"):
            events.extend(client.responses.retrieve(begun.id, stream=True))
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        failed = client.responses.retrieve(begun.id)
        assert (failed.status, failed.output_text) == ("failed", "".join(deltas))
        assert failed.output_text


def test_a_question_that_is_too_large_to_be_kept_is_413():
    with serving(runs=Runs(max_item_bytes=2000)) as url, openai_at(url) as client:
        assert client.responses.create(model="simulator", input="x" * 3000, background=True).status == "queued"
        with pytest.raises(openai.APIStatusError, match="larger than 2000 bytes") as large:
            client.responses.create(**QUESTION, instructions="x" * 3000, background=True)
        assert large.value.status_code == 413


def test_an_error_before_anything_was_said_has_its_status_and_headers():
    with serving() as url, openai_at(url) as client:
        with pytest.raises(openai.RateLimitError) as limited:
            client.responses.create(model="simulator", input="limited", background=True, stream=True)
        there = client.responses.create
        with pytest.raises(openai.RateLimitError) as direct:
            there(model="simulator", input="limited", stream=True)
        assert limited.value.body == direct.value.body
        assert limited.value.response.headers["retry-after"] == direct.value.response.headers["retry-after"]
