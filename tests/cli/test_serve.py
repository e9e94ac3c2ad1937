"""`dual-mode serve`, as a real process: it starts, says what to try, answers, says farewell, and stops."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import httpx2
import pytest

from dual_mode_streaming.cli.serving import in_url

DUAL_MODE = Path(sys.executable).with_name("dual-mode")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "PYTHONWARNINGS")},
    "COLUMNS": "120",
    "NO_COLOR": "1",
    "PYTHONDONTWRITEBYTECODE": "1",  # so that a module that is changed twice in a second is never read from a cache
}
APPLICATION = """
import asyncio
from collections.abc import AsyncIterator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from dual_mode_streaming import DualModeResponse, dual_mode

async def version(request):
    return PlainTextResponse("one")

async def item(request):
    return PlainTextResponse(request.path_params["id"])

@dual_mode
async def endless(request: Request) -> AsyncIterator[int]:
    yield 1
    await asyncio.Event().wait()

app = Starlette(routes=[Route("/version", version), Route("/items/{id}", item), Route("/endless", endless)])
number = 3
"""


OTHER = """
import asyncio
from starlette.responses import StreamingResponse

async def app(scope, receive, send):
    if scope["type"] == "http":
        await StreamingResponse(endless())(scope, receive, send)

async def endless():
    yield "one"
    await asyncio.Event().wait()
"""


def run(*arguments, cwd=None):
    return subprocess.run(
        [DUAL_MODE, *arguments], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )


class Serving:
    """A server that runs, and everything that it has printed before it was ready."""

    def __init__(self, process):
        self.process = process
        self.greeting = ""
        while self.greeting.count("curl ") < 3:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            self.greeting += line
        self.url = re.search(r"http://\S+?:\d+", self.greeting)[0]
        self.read_log("Application startup complete")

    def read_log(self, text):
        """Read the log up to the line that holds this text, and give what was read."""
        log = ""
        while text not in log:
            line = self.process.stderr.readline()
            assert line, f"the process has ended: {log}"
            log += line
        return log

    def stop(self, signal_number):
        self.process.send_signal(signal_number)
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, log


@contextmanager
def serving(*arguments, cwd=None):
    process = subprocess.Popen(
        [DUAL_MODE, "serve", "--port", "0", *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # If the server hangs, its end makes every read below end too.
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        yield Serving(process)
    finally:
        watchdog.cancel()
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "main.py").write_text(APPLICATION)
    return tmp_path


# --- serve -------------------------------------------------------------------------------------


def test_serve_starts_the_demo_and_its_three_commands_work():
    with serving() as server:
        assert f"The playground is at {server.url} (Ctrl-C stops it)" in server.greeting
        page = httpx2.get(server.url)
        assert page.headers["content-type"].startswith("text/html")
        commands = [shlex.split(line) for line in server.greeting.splitlines() if "curl" in line]
        answers = []
        for _, *options, url in commands:
            headers = {}
            if "-H" in options:
                name, _, value = options[options.index("-H") + 1].partition(": ")
                headers[name] = value
            assert url == f"{server.url}/metrics?seconds=3"
            short = url.replace("seconds=3", "seconds=0.1&interval=0.05")
            answers.append(httpx2.get(short, headers=headers))
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert [answer.headers["content-type"].partition(";")[0] for answer in answers] == [
            "application/json",
            "text/event-stream",
            "application/x-ndjson",
        ]
        assert [("-N" in options) for _, *options, _ in commands] == [False, True, True]


def test_serve_suggests_an_endpoint_of_the_application_that_has_two_modes(project):
    with serving("main:app", cwd=project) as server:
        assert f"curl '{server.url}/endless'" in server.greeting
        assert httpx2.get(f"{server.url}/items/7").text == "7"


def test_serve_suggests_the_root_where_it_knows_nothing_better(project):
    (project / "plain.py").write_text("from main import version\nasync def app(scope, receive, send): ...\n")
    with serving("plain:app", cwd=project) as server:
        assert f"curl '{server.url}/'" in server.greeting


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("options", [(), ("--workers", "2"), ("--reload",)], ids=["alone", "workers", "reload"])
def test_open_streams_are_told_farewell_and_the_server_ends(project, number, options):
    with serving("main:app", "--drain", "1", *options, cwd=project) as server, ExitStack() as stack:
        told = []
        for media_type, first in (("text/event-stream", b"data: 1\n\n"), ("application/x-ndjson", b"1\n")):
            response = stack.enter_context(
                httpx2.stream("GET", f"{server.url}/endless", headers={"Accept": media_type}, timeout=30)
            )
            chunks = response.iter_raw()
            came = next(chunks)
            while first not in came:
                came += next(chunks)
            told.append((chunks, first))
        status, log = server.stop(number)
        sse, lines = (b"".join(until_cut(chunks)) for chunks, _ in told)
    # The signal ends the process as it would without a server, but Ctrl-C and the processes above others end well.
    assert status == (-signal.SIGTERM if number == signal.SIGTERM and not options else 0)
    assert b"event: error\n" in sse
    assert b'"code":"draining"' in sse
    assert b'"code":"draining"' in lines.splitlines()[-1]
    assert "Cancel" not in log


def until_cut(chunks):
    with suppress(httpx2.RemoteProtocolError):
        yield from chunks


def test_a_stream_of_others_is_cancelled_when_the_time_is_over(project):
    (project / "other.py").write_text(OTHER)
    with (
        serving("other:app", "--drain", "0", cwd=project) as server,
        httpx2.stream("GET", server.url, timeout=30) as response,
    ):
        chunks = response.iter_raw()
        assert next(chunks) == b"one"
        status, log = server.stop(signal.SIGTERM)
        assert status == -signal.SIGTERM
        assert "Cancel 1 running task" in log
        with pytest.raises(httpx2.RemoteProtocolError):
            next(chunks)


def test_ctrl_c_ends_the_server_as_uvicorn_does(project):
    with serving("main:app", cwd=project) as server:
        status, log = server.stop(signal.SIGINT)
    assert status == 0
    assert "Finished server process" in log
    assert "Traceback" not in log


def test_reload_takes_a_change_in_although_a_stream_is_open(project):
    with serving("main:app", "--reload", "--drain", "0", cwd=project) as server:
        assert httpx2.get(f"{server.url}/version").text == "one"
        sse = {"Accept": "text/event-stream"}
        with httpx2.stream("GET", f"{server.url}/endless", headers=sse, timeout=30) as response:
            assert "data: 1" in next(response.iter_text())
            (project / "main.py").write_text(APPLICATION.replace('"one"', '"two"'))
            server.read_log("Application startup complete")
        assert httpx2.get(f"{server.url}/version").text == "two"
        assert server.stop(signal.SIGTERM)[0] == 0


# --- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("main", "'main' is not of the form module:attribute"),
        (":app", "':app' is not of the form module:attribute"),
        ("nowhere:app", "there is no module 'nowhere'"),
        ("main.inner:app", "there is no module 'main.inner'"),
        ("main:nothing", "the module 'main' has no 'nothing'"),
        ("main:app.nothing", "the module 'main' has no 'app.nothing'"),
        ("main:number", "main:number is no application, but of type int"),
        ("makes:make", "makes:make is no application: it cannot be called with scope, receive and send; if it makes"),
        ("makes:Made", "makes:Made is no application: it cannot be called with scope, receive and send; if it makes"),
        ("broken:app", "the module 'broken' fails when it is imported: ValueError: two lines"),
        ("wrong:app", "the module 'wrong' fails when it is imported: SyntaxError: invalid syntax"),
        ("needs:app", "the module 'needs' fails when it is imported: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_a_wrong_application_is_told_in_one_line(project, target, told):
    (project / "broken.py").write_text("raise ValueError('two\\nlines')\n")
    (project / "wrong.py").write_text("app = = 1\n")
    (project / "needs.py").write_text("import nowhere\n")
    (project / "makes.py").write_text("def make(): ...\nclass Made: ...\n")
    done = run("serve", target, cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"dual-mode: {told}")
    assert done.stderr.count("\n") == 1


def test_a_broken_module_is_told_with_its_line(project):
    (project / "broken.py").write_text("x = 1\nraise ValueError('no')\n")
    assert run("serve", "broken:app", cwd=project).stderr.endswith("broken.py:2)\n")
    (project / "wrong.py").write_text("x = 1\ny = = 2\n")
    assert run("serve", "wrong:app", cwd=project).stderr.endswith("wrong.py:2)\n")


def test_the_demo_is_for_one_process():
    done = run("serve", "--workers", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dual-mode: the demo keeps its runs and channels in one process; leave --workers out\n"


def test_a_browser_is_opened_if_it_is_asked_for(project, monkeypatch):
    told = project / "told"
    os.mkfifo(told)
    browser = project / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {shlex.quote(str(told))}\n')
    browser.chmod(0o755)
    monkeypatch.setitem(ENVIRONMENT, "BROWSER", f"{browser} %s")
    with serving("--open", "main:app", cwd=project) as server:
        assert told.read_text() == f"{server.url}\n"  # it comes back when the browser has written


def test_where_there_is_no_browser_the_address_is_told(project, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delitem(ENVIRONMENT, name, raising=False)
    monkeypatch.setitem(ENVIRONMENT, "PATH", str(project))
    process = subprocess.Popen(
        [DUAL_MODE, "serve", "--port", "0", "--open", "main:app"],
        cwd=project,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = next(line for line in process.stderr if "browser" in line)
        assert re.fullmatch(r"dual-mode: no browser was found; open http://127\.0\.0\.1:\d+ yourself\n", said)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_workers_and_reload_exclude_each_other(project):
    done = run("serve", "main:app", "--reload", "--workers", "2", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("dual-mode: --reload is for one process")


def test_a_port_that_is_taken_is_told_with_the_option_to_use():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run("serve", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"dual-mode: port {port} is in use; choose another, such as --port ")
    assert done.stderr.count("\n") == 1


def test_an_address_that_is_not_of_this_machine_is_told():
    done = run("serve", "--host", "192.0.2.1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("dual-mode: cannot listen on 192.0.2.1, port 8000: ")
    assert done.stderr.count("\n") == 1


def test_an_application_that_does_not_start_ends_the_program_as_uvicorn_does(project):
    (project / "sick.py").write_text(
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'lifespan'\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n"
    )
    done = run("serve", "sick:app", "--port", "0", cwd=project)
    assert done.returncode == 3
    assert "no database" in done.stderr


@pytest.mark.parametrize("module", ["typer", "rich", "httpx2", "uvicorn"])
def test_without_the_extra_the_program_says_what_to_install(module):
    code = f"import sys; sys.modules[{module!r}] = None; from dual_mode_streaming.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"dual-mode: {module} is missing")
    assert "dual-mode-streaming[cli]" in done.stderr
    assert done.stderr.count("\n") == 1


# --- what is printed ---------------------------------------------------------------------------


def test_help_names_the_command_and_its_options():
    assert "serve" in run("--help").stdout
    shown = run("serve", "--help")
    assert shown.returncode == 0
    for option in ("--host", "--port", "--workers", "--drain", "--reload", "--open", "[APP]"):
        assert option in shown.stdout


def test_the_bare_program_shows_its_help():
    done = run()
    assert "Usage: dual-mode" in done.stdout + done.stderr


def test_version_is_that_of_the_package():
    assert run("--version").stdout == f"dual-mode {version('dual-mode-streaming')}\n"


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("box", "box")],
)
def test_the_address_that_is_printed_can_be_called(host, shown):
    assert in_url(host) == shown
