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
listening = socket.socket(fileno=int(sys.argv[1]))
config = uvicorn.Config(sys.argv[2], log_level="warning", timeout_graceful_shutdown=1)
uvicorn.Server(config).run([listening])
"""


class Workers:
    """Worker processes of one application: some behind one port of their own, others behind a common one."""

    def __init__(self, app, **environment):
        self._app = app
        self._environment = environment
        self.processes = []
        self._listeners = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def listen(self):
        self._listeners.append(socket.create_server(("127.0.0.1", 0), backlog=500))
        return self._listeners[-1]

    def start(self, listener):
        paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            **self._environment,
        }
        fd = listener.fileno()
        process = subprocess.Popen([sys.executable, "-c", MAIN, str(fd), self._app], pass_fds=[fd], env=environment)
        self.processes.append(process)
        return process

    def alone(self):
        """Give the address of a new worker, and its process."""
        ((url, process),) = self.apart(1)
        return url, process

    def apart(self, count):
        """Start workers at the same time, each with a port of its own; give their addresses and processes."""
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


def address(listener):
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


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
