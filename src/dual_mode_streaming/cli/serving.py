"""`dual-mode serve`: runs an application on uvicorn, with the settings that streams need.

Rules of this file:

- What uvicorn does well is left to it: signals, logs, processes, and the status at the end.
- What can be wrong with an application or a port is found before anything is promised.
"""

import errno
import inspect
import os
import socket
import sys
import threading
import traceback
import webbrowser
from functools import partial
from importlib import import_module
from typing import Any

from dual_mode_streaming.drained import Drained

from .failing import fail

__all__ = ["in_url", "serve"]

DEMO = "dual_mode_streaming.playground.app:app"
DEMO_PATH = "/metrics?seconds=3"
LAST_WORDS = 1
"""Seconds that responses have to say farewell when their time is over."""

TRIES = (
    ("all at once", "curl '{url}'"),
    ("as server-sent events", "curl -N -H 'Accept: text/event-stream' '{url}'"),
    ("as lines of JSON", "curl -N -H 'Accept: application/x-ndjson' '{url}'"),
)


def serve(target: str | None, *, host: str, port: int, workers: int, reload: bool, drain: int, browse: bool) -> None:
    """Serve until a signal says to stop.

    Args:
        target: The application, as module:attribute; None for the demo.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        workers: How many processes serve.
        reload: Start anew when a file changes. There is one process then.
        drain: Seconds that open responses have to end when the server stops.
        browse: Open a browser there.
    """
    import uvicorn
    from uvicorn.supervisors import ChangeReload, Multiprocess

    target = target or DEMO
    if target == DEMO and workers > 1:
        fail("the demo keeps its runs and channels in one process; leave --workers out")
    if reload and workers > 1:
        fail("--reload is for one process, and --workers asks for several; leave one of them out")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  a string; where users have their modules
    application = _load(target)
    listener = _listen(host, port)
    config = uvicorn.Config(
        target,
        factory=True,
        host=host,
        port=listener.getsockname()[1],
        # The fastest that are installed: with uvicorn[standard] these are httptools and uvloop, else h11 and asyncio.
        http="auto",
        loop="auto",
        # uvicorn waits for open responses when it is told to stop. A stream may be endless, and uvicorn's own default
        # is to wait without a bound: the process would neither stop nor reload. Ours are told to end, and do; those of
        # others, which cannot be told, are cancelled.
        timeout_graceful_shutdown=drain + LAST_WORDS,
        reload=reload,
        workers=workers,
    )
    # After the fact: uvicorn looks for files to watch only if it is given a name. A new process has to import the
    # application anew.
    config.app = partial(_drained, target if reload or workers > 1 else application, drain)
    base = f"http://{in_url(host)}:{config.port}"
    if target == DEMO:
        _greet(base, DEMO_PATH, "The playground is at")
    else:
        _greet(base, _path_to_try(application), "Serving on")
    if browse:
        _browse(base)
    server = uvicorn.Server(config)
    try:
        if reload:
            ChangeReload(config, target=server.run, sockets=[listener]).run()
        elif workers > 1:
            Multiprocess(config, sockets=[listener]).run()
        else:
            server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # The server has stopped in good order; this is uvicorn passing the signal on.


def _drained(application: Any, drain: int) -> Drained:
    """Make what a process serves. The application is there, or is imported here by its name."""
    return Drained(_load(application) if isinstance(application, str) else application, grace=drain)


def _load(target: str) -> Any:
    """Import the application, so that a mistake is told here and in one line."""
    name, _, attribute = target.partition(":")
    if not name or not attribute:
        fail(f"{target!r} is not of the form module:attribute, such as main:app")
    try:
        found: Any = import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            fail(f"there is no module {error.name!r}, neither in this directory nor installed")
        fail(f"the module {name!r} fails when it is imported: {_said(error)}")
    for step in attribute.split("."):
        if not hasattr(found, step):
            fail(f"the module {name!r} has no {attribute!r}")
        found = getattr(found, step)
    if not callable(found):
        fail(f"{target} is no application, but of type {type(found).__name__}")
    if not _takes_requests(found):
        fail(
            f"{target} is no application: it cannot be called with scope, receive and send; "
            f"if it makes one, write `application = {attribute}()` in the module, and serve {name}:application"
        )
    return found


def _takes_requests(found: Any) -> bool:
    """Whether something can be called as ASGI calls an application. What hides its parameters is believed."""
    try:
        inspect.signature(found).bind({}, None, None)
    except TypeError:
        return False
    except ValueError:
        pass
    return True


def _said(error: Exception) -> str:
    """Say in one line what was raised and where."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{text} ({frame.filename}:{frame.lineno})"


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything is promised. Another port is the user's to choose, not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            fail(f"port {port} is in use; choose another, such as --port {port + 1}, or any with --port 0", 1)
        reason, _, _ = str(error.strerror).partition(" (while")  # Python repeats the address there
        fail(f"cannot listen on {host}, port {port}: {reason}", 1)
    listener.set_inheritable(True)
    return listener


def _path_to_try(application: Any) -> str:
    """Find an endpoint with two modes that can be called as it stands."""
    from dual_mode_streaming.decorator import declared

    for route in getattr(application, "routes", ()):
        path = getattr(route, "path", "{")
        if "{" not in path and "GET" in (getattr(route, "methods", None) or ()) and declared(route.endpoint):
            return str(path)
    return "/"


def in_url(host: str) -> str:
    """Write an address to listen on as one that can be called."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  it is what the user may have said
    return f"[{host}]" if ":" in host else host


def _browse(base: str) -> None:
    """Open a browser. The port listens already, so it waits until the server answers.

    In a thread, because a browser in a terminal comes back only when it is closed.
    """

    def attempt() -> None:
        if not webbrowser.open(base):
            sys.stderr.write(f"dual-mode: no browser was found; open {base} yourself\n")

    threading.Thread(target=attempt, daemon=True).start()


def _greet(base: str, path: str, what: str) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\n  {what} [bold]{base}[/bold] (Ctrl-C stops it)\n")
    for said, command in TRIES:
        console.print(f"  {said}", style="dim")
        console.print(f"    {command.format(url=base + path)}\n", style="cyan", markup=False)
