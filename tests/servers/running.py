"""Starts the contract application on a real server, as a process of its own, and stops it again."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from asking import asked_in_vain

TESTS = Path(__file__).resolve().parents[1]
APP = "servers.contract_app:app"

COMMANDS = {
    "uvicorn-httptools": [
        *("uvicorn", APP, "--host", "127.0.0.1", "--port", "{port}"),
        *("--http", "httptools", "--loop", "uvloop", "--timeout-graceful-shutdown", "3"),
    ],
    "uvicorn-h11": [
        *("uvicorn", APP, "--host", "127.0.0.1", "--port", "{port}"),
        *("--http", "h11", "--loop", "asyncio", "--timeout-graceful-shutdown", "3"),
    ],
    "granian": [
        *("granian", APP, "--host", "127.0.0.1", "--port", "{port}"),
        *("--interface", "asgi", "--workers", "1", "--workers-kill-timeout", "3", "--http", "1"),
    ],
    # Without worker processes: they would hear of a SIGTERM late or never (measured, DESIGN.md 7).
    "hypercorn": [
        *("hypercorn", APP, "--bind", "127.0.0.1:{port}"),
        *("--worker-class", "asyncio", "--workers", "0", "--graceful-timeout", "3"),
    ],
    "hypercorn-trio": [
        *("hypercorn", APP, "--bind", "127.0.0.1:{port}"),
        *("--worker-class", "trio", "--workers", "0", "--graceful-timeout", "3"),
    ],
}

# A server that is well never writes one of these, whatever its clients do.
TROUBLE = (
    "was never awaited",
    "was never retrieved",
    "was destroyed but it is pending",
    "ResourceWarning",
    "RuntimeWarning",
    "ignored GeneratorExit",
    "asynchronous generator is already running",
    "Unexpected ASGI message",
    "Too little data",
    "Too much data",
)


@dataclass
class Server:
    """A running server."""

    name: str
    port: int
    log: Path

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def trouble(self) -> list[str]:
        """Give the lines of the log which say that something went wrong inside."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(words in line for words in TROUBLE)]


@contextmanager
def serving(name: str, folder: Path, app: str = APP) -> Iterator[Server]:
    """Run the contract application, or another one that has its `/token`, on the server of this name."""
    log = folder / f"{name}.log"
    token = secrets.token_hex(8)
    for _ in range(5):
        port = _free_port()
        process = _start(name, port, token, log, app)
        if _answers(process, port, token):
            break
        _stop(process)
    else:
        raise RuntimeError(f"{name} did not start:\n{log.read_text(errors='replace')}")
    try:
        yield Server(name, port, log)
    finally:
        _stop(process)


def _free_port() -> int:
    # Somebody else may take it before the server does. Then the server ends, or the token is not ours: we try again.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _start(name: str, port: int, token: str, log: Path, app: str) -> subprocess.Popen[bytes]:
    paths = [os.environ.get("PYTHONPATH"), str(TESTS)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONWARNINGS": "default",
        "CONTRACT_TOKEN": token,
    }
    command = [sys.executable, "-m", *(app if part == APP else part.format(port=port) for part in COMMANDS[name])]
    with log.open("ab") as output:
        # A process group of its own, so that a worker process cannot outlive its parent.
        return subprocess.Popen(
            command, stdout=output, stderr=output, cwd=log.parent, env=environment, start_new_session=True
        )


def _answers(process: subprocess.Popen[bytes], port: int, token: str) -> bool:
    """Wait until the server answers, with our token; False if it has ended or somebody else answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    said: list[bytes] = []

    def is_decided() -> bool:
        with suppress(OSError), opener.open(f"http://127.0.0.1:{port}/token", timeout=10) as answer:
            said.append(answer.read())
        return bool(said) or process.poll() is not None

    asked_in_vain(is_decided)
    return said == [f'"{token}"'.encode()]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
