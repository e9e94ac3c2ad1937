"""Clients of Node, unmodified, against `llm_router` on a real server. `node/` has a script for each of them.

A script asks its client the same questions in all of its modes, and prints what the client reported. What is the same
for all clients is asserted here. What differs, such as the names of their errors, is kept for the page: see
`client_table.py`.
"""

import asyncio
import json
import os
import queue
import subprocess
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fastapi import FastAPI

from dual_mode_streaming.llm import Script, Simulator, llm_router
from dual_mode_streaming.llm.requests import Tool
from dual_mode_streaming.testing import live_server
from llm.client_table import Report, keep
from needs import lacking

NODE = Path(__file__).parent / "node"
PROGRAM = NODE / "node_modules" / ".bin" / "node"
INSTALLED = NODE / "node_modules" / ".installed"
GIVE_UP = 60.0
"""Seconds after which a script that hangs is ended. None needs more than a few."""

CLIENTS = {
    "openai.mjs": ["openai_chat", "openai_responses"],
    "anthropic.mjs": ["anthropic"],
    "ollama.mjs": ["ollama", "ollama"],
    "ai.mjs": ["openai_chat", "openai_responses", "openai_chat", "anthropic"],
    "ai-ui.mjs": ["ai_sdk"],
}
"""The scripts, and which dialect each client in them speaks."""

NOT_WRAPPED = "A stream that breaks is not an error of the package, but a `TypeError` of `fetch`."
FAULTS = {
    "openai, Chat Completions": [NOT_WRAPPED],
    "openai, Responses": [NOT_WRAPPED],
    "@anthropic-ai/sdk": [NOT_WRAPPED],
    "ollama, chat": [
        NOT_WRAPPED,
        "An error in the middle is a bare `Error`.",
        "`abort()` knows only streams that have begun. To leave anything else, hand in a `fetch` with a signal.",
    ],
    "ai, UI message stream": [
        "The message of an error that came before anything was said is the whole body of the answer, a JSON document."
    ],
}
PAGE = {
    "batch": "a `UIMessage` that `safeValidateUIMessages` accepts, and the same as that of the stream",
    "result of a tool": "the call, its result and the answer are one message",
    "page loaded anew": "the answer from its beginning, then the rest as it comes, in the same message",
    "page loaded anew, nothing under way": "204, and the chat is ready",
    "answer stopped by a DELETE": "what was said so far, and the chat is ready",
}
"""What else the tests of the page show."""

SCRIPTS = {
    "limited": Script(fail_at=0, failure="rate_limit"),
    "breaks": Script(text="one two three four", fail_at=2),
    "cut": Script(text="one two three four", fail_at=2, failure="cut"),
    "leaves": Script(text="one two three four"),
    "waits": Script(text="one two three four"),
    "stops": Script(text="one two three four"),
}
WEATHER = Tool(
    "weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    },
)


class Model(Simulator):
    """A simulator that can be held after two words, until somebody leaves, stops it, or opens the gate."""

    def __init__(self):
        super().__init__(script=lambda request: SCRIPTS.get(request.messages[-1].text))
        self.held = asyncio.Semaphore(0)
        self.gate = asyncio.Event()
        self.left = queue.Queue()

    async def generate(self, request):
        prompt, given = request.messages[-1].text, 0
        if request.dialect == "ai_sdk" and prompt == "tools":
            request = replace(request, tools=(WEATHER,))  # there, tools are the application's
        async with aclosing(super().generate(request)) as events:
            async for event in events:
                yield event
                given += 1
                if given == 2 and prompt in ("leaves", "waits", "stops"):
                    await self._hold(request.dialect, prompt)

    async def _hold(self, dialect, prompt):
        self.held.release()
        try:
            await (self.gate.wait() if prompt == "waits" else asyncio.Event().wait())
        except asyncio.CancelledError:
            self.left.put((dialect, prompt))
            raise


@dataclass
class Server:
    url: str
    left: queue.Queue


@contextmanager
def serving():
    model, app = Model(), FastAPI()
    app.include_router(llm_router(model, resumable_chats=True))

    @app.get("/held")
    async def held():
        await model.held.acquire()

    @app.post("/open")
    async def opened():
        model.gate.set()

    with live_server(app) as url:
        yield Server(url, model.left)


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def ran(server):
    """Runs each script once, and gives what its clients reported, and whose models stopped in the middle."""
    found = {}

    def run(script):
        if script not in found:
            found[script] = None
            reports = reports_of(script, server)
            found[script] = reports, sorted(server.left.get(timeout=GIVE_UP) for _ in leaving(script, reports))
        assert found[script] is not None, "the script has failed before"
        return found[script]

    return run


def reports_of(script, server):
    if not INSTALLED.exists():
        lacking("what the clients of Node need", "make node-clients")
    command = [PROGRAM, NODE / script, server.url]
    # Nothing of the environment is to come between, such as a proxy.
    done = subprocess.run(command, capture_output=True, text=True, timeout=GIVE_UP, env={"PATH": os.defpath})
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def leaving(script, reports):
    """Give whose models are to stop: in each mode the client leaves once. A chat goes on, until somebody stops it."""
    if script == "ai-ui.mjs":
        return [("ai_sdk", "leaves"), ("ai_sdk", "stops")]
    clients = zip(CLIENTS[script], reports, strict=True)
    return sorted((dialect, "leaves") for dialect, report in clients for _ in report["modes"])


# --- what all clients have in common -------------------------------------------------------------


@pytest.mark.parametrize("script", CLIENTS)
def test_what_clients_report(script, ran):
    reports, left = ran(script)
    assert left == leaving(script, reports)
    for report in reports:
        more = PAGE if script == "ai-ui.mjs" else {}
        faults = FAULTS.get(report["client"], [])
        keep(Report(report["client"], report["version"], "Node", checked(report), more, faults))


def checked(report):
    """Check what holds for every client, and give the row of the table."""
    modes = report["modes"]
    for mode, cases in modes.items():
        check_answers(cases, modes["batch"], streams=mode != "batch")
        check_errors(cases, streams=mode != "batch")
    if report["client"] == "ai, UI message stream":
        modes = {"stream": modes["stream"]}  # the script read the batch, and the client only judged it
    row = {
        "batch": "ok" if "batch" in modes else "-",
        "stream": "ok",
        "tools": "ok" if all(cases["tools"]["calls"] for cases in modes.values()) else "-",
        "usage": "ok",
    }
    for name in ("refused", "limited", "breaks", "cut"):
        row[name] = {mode: ending(cases[name]["error"]) for mode, cases in modes.items()}
    return row


def check_answers(cases, batch, *, streams):
    plain, tools = cases["plain"], cases["tools"]
    assert plain["error"] is tools["error"] is None
    assert len(plain["text"]) > 50
    assert not streams or plain["pieces"] > 10
    for fact in ("text", "calls", "finish", "usage"):
        assert plain[fact] == batch["plain"][fact]
        assert tools[fact] == batch["tools"][fact]
    assert plain["usage"][0] == 2
    assert plain["usage"][1] > 10
    for name, arguments in tools["calls"]:
        assert name == "weather"
        assert isinstance(arguments["city"], str)
        assert arguments["days"] in range(1, 8)


def check_errors(cases, *, streams):
    for name, status, words in (("refused", 400, "must be at"), ("limited", 429, "Too many requests")):
        assert cases[name]["text"] == ""
        assert cases[name]["error"]["status"] == status
        assert words in cases[name]["error"]["message"]
    # What is in the socket when a connection breaks may be lost.
    assert cases["breaks"]["text"] == ("one two" if streams else "")
    assert "one two".startswith(cases["cut"]["text"])
    for name in ("breaks", "cut"):
        assert cases[name]["error"] is not None
        assert streams or cases[name]["error"]["status"] == 500
    assert "The simulated model has failed." in cases["breaks"]["error"]["message"]
    assert "one two".startswith(cases["leaves"]["text"])


def ending(error):
    return f"{error['name']} {error['status']}"


# --- a page with a chat, of the AI SDK -----------------------------------------------------------


@pytest.fixture
def page(ran):
    """What `AbstractChat` showed, which is what `useChat` shows."""
    ((report,), _) = ran("ai-ui.mjs")
    return report["more"]


def test_a_chat_goes_to_and_fro(page):
    talks = page["talks"]
    assert (talks["status"], talks["error"]) == ("ready", None)
    assert talks["roles"] == ["user", "assistant"] * 2
    assert len(set(talks["ids"])) == 4
    assert all(talks["texts"])


def test_the_result_of_a_tool_leads_to_one_message_with_the_call_and_the_answer(page):
    tools = page["tools"]
    assert (tools["status"], tools["roles"]) == ("ready", ["user", "assistant"])
    assert tools["parts"] == [
        ["step-start", None],
        ["tool-weather", "output-available"],
        ["step-start", None],
        ["text", "done"],
    ]
    assert len(tools["texts"][1]) > 50


def test_a_chat_that_fails_shows_why_and_what_was_said(page):
    fails = page["fails"]
    assert (fails["status"], fails["error"]) == ("error", "The simulated model has failed.")
    assert fails["texts"] == ["breaks", "one two"]


def test_a_page_that_is_loaded_anew_gets_the_whole_answer(page):
    before, after = page["resumes"]["before"], page["resumes"]["after"]
    assert before["texts"] == ["waits", "one two"]
    assert (after["status"], after["error"]) == ("ready", None)
    assert after["texts"] == ["waits", "one two three four"]
    assert after["ids"] == before["ids"]


def test_a_page_that_is_loaded_anew_is_told_that_nothing_is_under_way(page):
    nothing = page["nothing"]
    assert (nothing["status"], nothing["error"], nothing["none"]) == ("ready", None, None)
    assert nothing["texts"] == ["Hi"]


def test_an_answer_that_is_stopped_is_no_error(page):
    stops = page["stops"]
    assert (stops["deleted"], stops["none"]) == (204, None)
    assert (stops["status"], stops["error"]) == ("ready", None)
    assert stops["texts"] == ["stops", "one two"]
