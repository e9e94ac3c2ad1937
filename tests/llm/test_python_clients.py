"""Clients of Python, unmodified, against `llm_router` on a real server. `clients/` has a script for each of them.

A script asks its client the same things in both modes, and prints what the client reported. What is the same for all
clients is asserted here. What differs, such as the names of their errors, is kept for the page: see `client_table.py`.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI

from dual_mode_streaming.errors import ModelError
from dual_mode_streaming.llm import Script, Simulator, llm_router
from dual_mode_streaming.testing import live_server
from needs import lacking

from .client_table import Report, keep, kept

CLIENTS = Path(__file__).parent / "clients"
ENVIRONMENTS = Path(__file__).parents[2] / ".clients"
LOADING, GIVE_UP = 300, 100
"""Seconds after which a script that hangs is ended: while it loads its client, and while that talks. Loading litellm is
2.5 seconds of work, 7 without compiled files, and much more on a machine that has other work and files that were not
read before. None needs a tenth of the other on a machine that is idle."""

TEXT = "one two three four"
HALF = "one two"
USAGE = [2, 4]

# --- the server ----------------------------------------------------------------------------------

SCRIPTS = {
    "say": Script(text=TEXT),
    "limited": Script(fail_at=0, failure="rate_limit"),
    "breaks": Script(text=TEXT, fail_at=2),
    "cut": Script(text=TEXT, fail_at=2, failure="cut"),
    "limited, as an object": Script(fail_at=0, failure="rate_limit"),
    "breaks, as an object": Script(fail_at=3),
    "cut, as an object": Script(fail_at=3, failure="cut"),
}


class Model:
    """A simulator that does what the last message says."""

    names = ("simulator",)

    def __init__(self):
        self.simulator = Simulator(script=lambda request: SCRIPTS.get(request.messages[-1].text))

    async def generate(self, request):
        prompt = request.messages[-1].text
        if prompt.startswith("refused"):
            raise ModelError("The prompt is too long for this model.", status=400, code="context_length_exceeded")
        if prompt == "endless":
            yield "one "
            await asyncio.Event().wait()
        async for event in self.simulator.generate(request):
            yield event


@pytest.fixture(scope="module")
def url():
    app = FastAPI()
    app.include_router(llm_router(Model()))
    with live_server(app) as url:
        yield url


# --- what each client does wrong, and how that shows ---------------------------------------------


def raises_what_is_not_its_own(facts):
    return facts["cut"]["stream"]["error"].partition(".")[0] in ("httpx", "httpx2")


def tells_no_status(facts):
    return facts["breaks"]["stream"]["status"] in (200, -1)


def takes_a_call_for_a_stop(facts):
    return facts["tools"]["batch"]["finish"] == "tool_calls" and facts["tools"]["stream"]["finish"] == "stop"


NOT_ITS_OWN = ("A connection that is cut raises an error of its HTTP library.", raises_what_is_not_its_own)
AS_STATUS_200 = ("An error in the middle has the status 200: the kind of error is only in its `body`.", tells_no_status)
OF_THE_SDK = (
    "An error in the middle is one of the SDK below, not wrapped as all others are.",
    lambda facts: facts["breaks"]["stream"]["error"].startswith(("openai.", "anthropic.")),
)
AS_STOP = (
    "`stream_chunk_builder` gives `stop` for a stream that ended with `tool_calls`, if the usage was asked for.",
    takes_a_call_for_a_stop,
)
FAULTS = {
    "anthropic": [AS_STATUS_200, NOT_ITS_OWN],
    "anthropic, `.stream()`": [AS_STATUS_200, NOT_ITS_OWN],
    "ollama": [("An error in the middle has the status -1.", tells_no_status), NOT_ITS_OWN],
    "ollama, `.generate()`": [("An error in the middle has the status -1.", tells_no_status), NOT_ITS_OWN],
    "langchain-openai, Chat": [OF_THE_SDK],
    "langchain-openai, Responses": [
        (
            "An error in the middle is a bare `ValueError`.",
            lambda facts: facts["breaks"]["stream"]["error"] == "builtins.ValueError",
        )
    ],
    "langchain-anthropic": [OF_THE_SDK, NOT_ITS_OWN],
    "openai-agents, Responses": [
        (
            "A server that fails in the middle is a `ModelBehaviorError`, as if the model had answered nonsense.",
            lambda facts: facts["breaks"]["stream"]["error"] == "agents.ModelBehaviorError",
        )
    ],
    "litellm, openai": [AS_STOP],
    "litellm, anthropic": [AS_STOP],
    "litellm, ollama_chat": [
        AS_STOP,
        (
            "Every error is an `APIConnectionError` with the status 500, also one that had another status.",
            lambda facts: facts["limited"]["batch"]["status"] == 500,
        ),
    ],
}

MORE_FAULTS = {
    "openai, Chat, `.stream()`": (
        "too long",
        {"error": "openai.LengthFinishReasonError", "text": HALF},
        "`get_final_completion` raises an error for a plain text that `max_tokens` has cut.",
    ),
    "langchain-openai, Chat": (
        "two answers",
        {"text": "oneone two two three three four four"},
        "Two answers in one stream (`n=2`) are folded into one.",
    ),
    "litellm, openai": (
        "two answers",
        {"texts": ["oneone two two three three four four"]},
        "Two answers in one stream (`n=2`) are folded into one.",
    ),
}

# --- what holds for all of them ------------------------------------------------------------------

STATUSES = {"refused": 400, "limited": 429}
MESSAGES = {"refused": "The prompt is too long", "limited": "Too many requests", "breaks": "simulated model has failed"}
CALL_THEIR_TOOLS = ("llm", "openai-agents", "pydantic-ai")
TELL_NO_STATUS = ("instructor", "llm", "litellm, ollama_chat")


def say(row, facts):
    """The whole text comes, in both modes, and with the same end."""
    said = [told for told in facts["say"].values() if told]
    assert all(told["text"] == TEXT for told in said)
    assert len({told.get("finish") for told in said}) <= 1


def tools(row, facts):
    """The same call comes in both modes. Agents do it, send its result, and get the text."""
    called = [told["calls"] for told in facts["tools"].values() if told]
    for calls in called:
        (call,) = calls
        assert call["tool"] == "forecast"
        assert isinstance(call["arguments"]["city"], str)
        assert isinstance(call["arguments"]["days"], int)
        # What instructor asks for is not the same in both modes: there, parts of an object may be missing.
        assert row.startswith("instructor") or calls == called[0]
    if row.startswith(CALL_THEIR_TOOLS):
        assert all(told["text"] == TEXT for told in facts["tools"].values())


def usage(row, facts):
    """The server's numbers come, in both modes; those of an agent are the sums of its two requests."""
    assert all(told["usage"] == USAGE for told in facts["say"].values() if told)
    assert len({str(told["usage"]) for told in facts["tools"].values() if told and told["usage"]}) <= 1


def errors_before(row, facts):
    """A request that failed before anything was said is the same error in both modes, with its status."""
    for case, status in STATUSES.items():
        for told in facts[case].values():
            assert told["text"] == ""
            assert MESSAGES[case] in told["message"]
            assert told["status"] == status or row.startswith(TELL_NO_STATUS)
        assert len({told["error"] for told in facts[case].values()}) == 1


def errors_in_the_middle(row, facts):
    """A stream that fails gives what came before, and an error that says why; so does one that is cut."""
    in_background = row.endswith("background")
    for case in ("breaks", "cut"):
        for mode, told in facts[case].items():
            assert told["error"]
            if mode == "stream" and not row.startswith("instructor"):
                assert told["text"] == HALF
            if mode == "batch":
                assert told["text"] == ""
                assert told["status"] == 500 or in_background or row.startswith(TELL_NO_STATUS)
            assert case == "cut" or MESSAGES["breaks"] in told["message"]


LAWS = (say, tools, usage, errors_before, errors_in_the_middle)

# --- the clients ---------------------------------------------------------------------------------

NEWER, OLDER = (ENVIRONMENTS / name / "bin" / "python" for name in ("llm-clients", "llm-clients-older"))
RUNS = {
    "openai": (Path(sys.executable), "run_openai.py"),
    "anthropic": (Path(sys.executable), "run_anthropic.py"),
    "ollama": (NEWER, "run_ollama.py"),
    "langchain-openai": (NEWER, "run_langchain.py", "openai"),
    "langchain-anthropic": (NEWER, "run_langchain.py", "anthropic"),
    "pydantic-ai": (NEWER, "run_pydantic_ai.py"),
    "openai-agents": (NEWER, "run_openai_agents.py"),
    "llm": (NEWER, "run_llm_cli.py"),
    "litellm": (OLDER, "run_litellm.py"),
    "instructor": (OLDER, "run_instructor.py"),
}


def run(client, url, folder):
    """Run the script of a client, and give the facts that it prints."""
    python, script, *arguments = RUNS[client]
    if not python.exists():
        lacking(str(python), "make llm-clients")
    # Nothing of who runs the tests: no keys, no addresses, no settings of clients.
    environment = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    environment |= {"HOME": str(folder), "NO_PROXY": "127.0.0.1", "PYTHONIOENCODING": "utf-8"}
    log = folder / "stderr"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [python, CLIENTS / script, url, *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
            env=environment,
        ) as process,
    ):
        try:
            with ended_after(LOADING, process):
                loaded = process.stdout.readline()
            with ended_after(GIVE_UP, process):
                told = process.stdout.read()
                process.wait()
        finally:
            process.kill()
    assert (process.returncode, loaded) == (0, "loaded\n"), log.read_text("utf-8")
    return json.loads(told)


@contextmanager
def ended_after(seconds, process):
    """End a process if it takes longer than this; what is read of it ends then too."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def cells(package, facts):
    """Give what the table says of a client: what follows from the laws is `ok`, and errors have their names."""
    own = {"openai-agents": "agents", "pydantic-ai-slim": "pydantic_ai"}.get(package, package.replace("-", "_"))

    def ok(case, field="text"):
        return {mode: "-" if told is None or told[field] is None else "ok" for mode, told in facts[case].items()}

    def failed(case):
        return {
            mode: f"{told['error'].removeprefix(f'{own}.').removeprefix('builtins.')} {told['status']}"
            for mode, told in facts[case].items()
        }

    said = ok("say")
    return {
        "batch": said.get("batch", "-"),
        "stream": said["stream"],
        "tools": ok("tools"),
        "usage": ok("say" if any(facts["say"].values()) else "tools", "usage"),
        **{case: failed(case) for case in ("refused", "limited", "breaks", "cut")},
    }


def more_of(row, more):
    """Give what else was shown."""
    if row == "openai, Responses, background":
        assert more["cancelled"] == {"finish": "cancelled", "text": "one "}
        return {
            "batch": "the client started the work, followed it to its end, and then asked for the whole",
            "stream": "the client left after the first piece, and took the rest with `starting_after`",
            "cancelled": "the status is `cancelled`, with the text so far",
        }
    if row.startswith(CALL_THEIR_TOOLS):
        return {"tools": "the client called its tool, sent the result, and got the text; the usage is of both requests"}
    if row.startswith("instructor"):
        return {"tools": "an object of the class that was wanted; in the stream, several that grow to it"}
    return {}


@pytest.mark.timeout(LOADING + GIVE_UP + 20)
@pytest.mark.parametrize("client", RUNS)
def test_a_client_reports_what_was_answered(client, url, tmp_path):
    told = run(client, url, tmp_path)
    package, rows = told["version"].split()[0], told["rows"]
    for row, facts in rows.items():
        for law in LAWS:
            law(row, facts)
        sync = row.removesuffix(", async")
        if sync != row:
            assert cells(package, facts) == cells(package, rows[sync])
            continue
        for sentence, shows in FAULTS.get(row, ()):
            assert shows(facts), f"{row} has no longer this fault, so say no more: {sentence}"
        faults = [sentence for sentence, _ in FAULTS.get(row, ())]
        if row in MORE_FAULTS:
            name, shown, sentence = MORE_FAULTS[row]
            assert told["more"][name] == shown, f"{row} has no longer this fault, so say no more: {sentence}"
            faults.append(sentence)
        more = {"asynchronous": "the same in each case"} if f"{row}, async" in rows else {}
        keep(Report(row, told["version"], "Python", cells(package, facts), more | more_of(row, told["more"]), faults))
    assert kept("Python", package) == {row for row in rows if not row.endswith(", async")}
