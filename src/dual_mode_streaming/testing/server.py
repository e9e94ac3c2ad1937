"""A real server for a test: uvicorn on a free port of this machine, in a thread, stopped when the test ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
    # Port 0 lets the system choose a free one. The socket listens from here on, so nobody has to wait for the server:
    # a client that is faster than it stands in the queue.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://{host}:{port}"
        finally:
            server.should_exit = True
            thread.join()
