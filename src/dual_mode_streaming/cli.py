"""The command line: `dual-mode serve` runs an application on uvicorn, with the settings that streams need.

Rules of this file:

- What it needs beside the core comes with the extra `cli`, so it is imported in functions. Without it the program says
  what to install. (That is also why annotations are no strings here: typer must find what is in them.)
- A mistake of the user is told in one line on standard error, without a traceback. The status is 2 for a command line
  that cannot work, and 1 for a machine that does not let it work now.
- What uvicorn does well is left to it: signals, logs, and the status at the end.
"""

import errno
import os
import socket
import sys
import traceback
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

if TYPE_CHECKING:
    from typer import Typer

__all__ = ["main"]

DEMO = "dual_mode_streaming.playground.app:app"
DEMO_PATH = "/metrics?seconds=3"

TRIES = (
    ("all at once", "curl '{url}'"),
    ("as server-sent events", "curl -N -H 'Accept: text/event-stream' '{url}'"),
    ("as lines of JSON", "curl -N -H 'Accept: application/x-ndjson' '{url}'"),
)


def main() -> None:
    """Run the program; the console script `dual-mode`."""
    try:
        commands = _commands()
    except ModuleNotFoundError as missing:
        _fail(f"{missing.name} is missing; it comes with an extra: pip install 'dual-mode-streaming[cli]'", 1)
    commands(prog_name="dual-mode")


def _commands() -> "Typer":
    """Describe the command line. The functions in it stand for their commands; their work is done below."""
    import typer
    import uvicorn  # noqa: F401  so that it is missed here and not later

    commands = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

    def show_version(asked: bool) -> None:
        if asked:
            typer.echo(f"dual-mode {version('dual-mode-streaming')}")
            raise typer.Exit

    # With a callback of its own, a program of one command still wants to be told the command.
    @commands.callback()
    def dual_mode(
        wants_version: Annotated[
            bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
        ] = False,
    ) -> None:
        """One async generator, two modes: a complete JSON document, or a live stream."""

    @commands.command()
    def serve(
        app: Annotated[
            str, typer.Argument(metavar="[APP]", help="An application as module:attribute.", show_default="the demo")
        ] = DEMO,
        host: Annotated[str, typer.Option(help="The address to listen on. 0.0.0.0 is every network.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(min=0, max=65535, help="The port. 0 is any that is free.")] = 8000,
        grace: Annotated[
            int, typer.Option(min=0, help="Seconds that open responses have to end when the server stops.")
        ] = 5,
        reload: Annotated[bool, typer.Option("--reload", help="Start anew when a file changes.")] = False,
    ) -> None:
        """Serve an ASGI application, by default the demo, until Ctrl-C."""
        _serve(app, host=host, port=port, grace=grace, reload=reload)

    return commands


def _serve(target: str, *, host: str, port: int, grace: int, reload: bool) -> None:
    import uvicorn
    from uvicorn.supervisors import ChangeReload

    sys.path.insert(0, os.getcwd())  # noqa: PTH109  a string; where users have their modules
    application = _load(target)
    listener = _listen(host, port)
    config = uvicorn.Config(
        # A new process has to import the application anew, so it is given the name.
        target if reload else application,
        host=host,
        port=listener.getsockname()[1],
        # The fastest that are installed: with uvicorn[standard] these are httptools and uvloop, else h11 and asyncio.
        http="auto",
        loop="auto",
        # uvicorn waits for open responses when it is told to stop. A stream may be endless, and uvicorn's own default
        # is to wait without a bound: the process would neither stop nor reload. After this time they are cancelled.
        timeout_graceful_shutdown=grace,
        reload=reload,
    )
    _greet(f"http://{_in_url(host)}:{config.port}", DEMO_PATH if target == DEMO else _path_to_try(application))
    server = uvicorn.Server(config)
    try:
        if reload:
            ChangeReload(config, target=server.run, sockets=[listener]).run()
        else:
            server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # The server has stopped in good order; this is uvicorn passing the signal on.


def _load(target: str) -> Any:
    """Import the application, so that a mistake is told here and in one line."""
    name, _, attribute = target.partition(":")
    if not name or not attribute:
        _fail(f"{target!r} is not of the form module:attribute, such as main:app")
    try:
        found: Any = import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            _fail(f"there is no module {error.name!r}, neither in this directory nor installed")
        _fail(f"the module {name!r} fails when it is imported: {_said(error)}")
    for step in attribute.split("."):
        if not hasattr(found, step):
            _fail(f"the module {name!r} has no {attribute!r}")
        found = getattr(found, step)
    if not callable(found):
        _fail(f"{target} is no application, but of type {type(found).__name__}")
    return found


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
            _fail(f"port {port} is in use; choose another, such as --port {port + 1}, or any with --port 0", 1)
        reason, _, _ = str(error.strerror).partition(" (while")  # Python repeats the address there
        _fail(f"cannot listen on {host}, port {port}: {reason}", 1)
    listener.set_inheritable(True)
    return listener


def _path_to_try(application: Any) -> str:
    """Find an endpoint with two modes that can be called as it stands."""
    from .decorator import declared

    for route in getattr(application, "routes", ()):
        path = getattr(route, "path", "{")
        if "{" not in path and "GET" in (getattr(route, "methods", None) or ()) and declared(route.endpoint):
            return str(path)
    return "/"


def _in_url(host: str) -> str:
    """Write an address to listen on as one that can be called."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  it is what the user may have said
    return f"[{host}]" if ":" in host else host


def _greet(base: str, path: str) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\n  Serving on [bold]{base}[/bold] (Ctrl-C stops it)\n")
    for what, command in TRIES:
        console.print(f"  {what}", style="dim")
        console.print(f"    {command.format(url=base + path)}\n", style="cyan", markup=False)


def _fail(message: str, status: int = 2) -> NoReturn:
    sys.stderr.write(f"dual-mode: {message}\n")
    sys.exit(status)
