"""The fixtures, in a pytest of their own; and that loading them costs other projects nothing."""

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from dual_mode_streaming.testing import live_server

ROOT = Path(__file__).parents[2]
PLUGIN = "dual_mode_streaming.pytest_plugin"

APP = """
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from dual_mode_streaming import DualModeResponse

async def rows(request):
    return DualModeResponse([{"n": 1}, {"n": 2}])

app = Starlette(routes=[Route("/rows", rows)])
"""


def run_pytest(folder, test, *, before=""):
    """Run one test file in a fresh pytest that has this plugin and that of asyncio, and no other."""
    (folder / "test_it.py").write_text(APP + test)
    (folder / "conftest.py").write_text(before)
    plugins = ["-p", PLUGIN, "-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, "."]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
    return done.stdout + done.stderr


def test_the_entry_point_is_the_module():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    [module] = project["entry-points"]["pytest11"].values()
    assert module == PLUGIN
    assert import_module(module).__all__


def test_the_fixtures_work(tmp_path):
    test = """
import httpx2

@pytest.mark.asyncio
async def test_client(dual_mode_client):
    async with dual_mode_client(app, buffer_size=0) as client:
        assert (await client.get("/rows")).json() == {"data": [{"n": 1}, {"n": 2}]}

def test_laws(check_dual_mode):
    assert check_dual_mode(app, "GET", "/rows").checked

def test_network(live_server, tcp_proxy):
    proxy = tcp_proxy(live_server(app))
    assert httpx2.get(proxy.url + "/rows", trust_env=False).json() == {"data": [{"n": 1}, {"n": 2}]}
    proxy.cut_after(10)
    with pytest.raises(httpx2.TransportError):
        httpx2.get(proxy.url + "/rows", trust_env=False)
"""
    assert "3 passed" in (out := run_pytest(tmp_path, test)), out


def test_a_client_that_is_left_open_is_an_error(tmp_path):
    test = """
@pytest.mark.asyncio
async def test_client(dual_mode_client):
    await dual_mode_client(app).get("/rows")
"""
    out = run_pytest(tmp_path, test)
    assert "1 passed, 1 error" in out, out
    assert "the test has left a client open" in out


def test_a_missing_library_is_named_with_its_extra(tmp_path):
    test = """
def test_laws(check_dual_mode):
    pass
"""
    out = run_pytest(tmp_path, test, before="import sys; sys.modules['httpx2'] = None")
    assert "this fixture needs httpx2: install dual-mode-streaming[client]" in out, out


def test_the_plugin_loads_nothing_before_a_fixture_is_used():
    code = f"import sys; import {PLUGIN}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    ours = {name for name in loaded.stdout.split() if name.startswith("dual_mode_streaming")}
    assert ours == {"dual_mode_streaming", "dual_mode_streaming.lazy", PLUGIN}
    assert not {"httpx2", "starlette", "anyio", "uvicorn"} & set(loaded.stdout.split())


@pytest.mark.parametrize("name", ["StreamingASGITransport", "TCPProxy", "check_dual_mode"])
def test_the_names_of_the_kit_are_loaded_when_they_are_used(name):
    code = (
        f"import sys, dual_mode_streaming.testing as kit; before = 'httpx2' in sys.modules; kit.{name}; print(before)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n"


def test_the_kit_names_what_it_has():
    kit = import_module("dual_mode_streaming.testing")
    assert all(getattr(kit, name) is not None for name in kit.__all__)
    assert set(kit.__all__) <= set(dir(kit))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = kit.nothing


def test_a_server_that_does_not_start_says_so():
    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="did not start"), live_server(app):
        pass
