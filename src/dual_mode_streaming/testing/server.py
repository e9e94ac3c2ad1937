"""A real server for a test: uvicorn on a free port of this machine, in a thread, stopped when the test ends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from starlette.types import ASGIApp

__all__ = ["live_server"]


@contextmanager
def live_server(app: ASGIApp) -> Iterator[str]:
    """Run an application on uvicorn while the `with` block lasts, and give its address (`http://127.0.0.1:PORT`).

    Responses that are still open at the end have one second to come to theirs.

    Raises:
        RuntimeError: The server could not start, for example because the application's lifespan failed.
    """
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))

    def serve() -> None:
        with suppress(SystemExit):  # by which uvicorn says that the application's lifespan failed
            server.run([listener])

    # Port 0 lets the system choose a free one.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        thread = threading.Thread(target=serve)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.001)  # uvicorn says it in no other way
        if not thread.is_alive():
            raise RuntimeError("The application did not start; its own log says why.")
        try:
            yield f"http://{host}:{port}"
        finally:
            server.should_exit = True
            thread.join()
