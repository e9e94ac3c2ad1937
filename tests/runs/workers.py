"""Workers: processes that serve one application with uvicorn, and a client that reads their streams."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx2

from dual_mode_streaming.sse import SSEDecoder

TESTS = Path(__file__).parents[1]
SSE = {"accept": "text/event-stream"}
MAIN = """
import socket, sys, uvicorn
listening = socket.socket(fileno=int(sys.argv[2]))
config = uvicorn.Config(sys.argv[1], log_level="warning", timeout_graceful_shutdown=1)
uvicorn.Server(config).run([listening])
"""


def address(listener):
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


class Workers:
    """Starts worker processes, and ends them with the `with` block.

    Args:
        app: The application, as uvicorn takes it. It is imported with the folder of all tests on its path, and tells
            the number of its process at `/pid`.
        environment: Further environment variables of the workers.
    """

    def __init__(self, app, **environment):
        self.processes = []
        self._app = app
        paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment}
        self._listeners = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def listen(self):
        self._listeners.append(socket.create_server(("127.0.0.1", 0), backlog=500))
        return self._listeners[-1]

    def start(self, listener):
        fd = listener.fileno()
        command = [sys.executable, "-c", MAIN, self._app, str(fd)]
        process = subprocess.Popen(command, pass_fds=[fd], env=self._environment)
        self.processes.append(process)
        return process

    def alone(self, count=1):
        """Start workers with a port for each; give their addresses and processes."""
        listeners = [self.listen() for _ in range(count)]
        started = [(address(listener), self.start(listener)) for listener in listeners]
        for url, process in started:
            with httpx2.Client(base_url=url, timeout=60) as client:
                assert client.get("/pid").json() == process.pid
        for listener in listeners:
            # A connection that nobody accepts any more is to be refused.
            self._listeners.remove(listener)
            listener.close()
        return started

    def stop(self):
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for listener in self._listeners:
            listener.close()


def follow(url, path, last_id="", connected=lambda: None):
    """Give the events of a run or a channel. Closing the generator cuts the connection."""
    headers = {**SSE, "last-event-id": last_id} if last_id else SSE
    with (
        httpx2.Client(base_url=url, timeout=20, verify=False) as client,
        client.stream("GET", path, headers=headers) as response,
    ):
        assert response.status_code == 200, response.read()
        connected()
        decoder = SSEDecoder()
        for chunk in response.iter_bytes():
            yield from decoder.feed(chunk)
