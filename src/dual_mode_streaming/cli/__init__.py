"""The command line: `dual-mode serve`, `tail`, `bench` and `doctor`.

Rules of this package:

- What it needs beside the core comes with the extra `cli`, so it is imported in functions. Without it the program says
  what to install. (That is also why annotations are no strings here: typer must find what is in them.)
- A mistake of the user is told in one line on standard error, without a traceback. The status is 2 for a command line
  that cannot work, 1 for what does not let it work now, and 130 after Ctrl-C.
- Results go to standard output, everything else to standard error. Colours and progress are for terminals only.
- This module describes the commands; each is done in its own.
"""

import sys
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    from typer import Typer

__all__ = ["main"]

NEEDED = ("typer", "rich", "httpx2", "uvicorn")


def main() -> None:
    """Run the program; the console script `dual-mode`."""
    for name in NEEDED:
        if (name in sys.modules and sys.modules[name] is None) or find_spec(name) is None:
            sys.stderr.write(
                f"dual-mode: {name} is missing; it comes with an extra: pip install 'dual-mode-streaming[cli]'\n"
            )
            sys.exit(1)
    _commands()(prog_name="dual-mode")


def _commands() -> "Typer":
    import typer

    commands = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    _describe_program(commands)
    _describe_serve(commands)
    _describe_tail(commands)
    _describe_bench(commands)
    _describe_doctor(commands)
    return commands


def _describe_program(commands: "Typer") -> None:
    import typer

    def show_version(asked: bool) -> None:
        if asked:
            typer.echo(f"dual-mode {version('dual-mode-streaming')}")
            raise typer.Exit

    @commands.callback()
    def dual_mode(
        wants_version: Annotated[
            bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
        ] = False,
    ) -> None:
        """One async generator, two modes: a complete JSON document, or a live stream."""


def _describe_serve(commands: "Typer") -> None:
    import typer

    @commands.command()
    def serve(
        app: Annotated[
            str | None,
            typer.Argument(metavar="[APP]", help="An application as module:attribute.", show_default="the demo"),
        ] = None,
        host: Annotated[str, typer.Option(help="The address to listen on. 0.0.0.0 is every network.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(min=0, max=65535, help="The port. 0 is any that is free.")] = 8000,
        workers: Annotated[int, typer.Option(min=1, help="How many processes serve.")] = 1,
        reload: Annotated[bool, typer.Option("--reload", help="Start anew when a file changes.")] = False,
        drain: Annotated[
            int, typer.Option(min=0, help="Seconds that open responses have to end when the server stops.")
        ] = 5,
        browse: Annotated[bool, typer.Option("--open", help="Open a browser there.")] = False,
    ) -> None:
        """Serve an ASGI application, by default the demo, until Ctrl-C."""
        from .serving import serve as run

        run(app, host=host, port=port, workers=workers, reload=reload, drain=drain, browse=browse)


def _describe_tail(commands: "Typer") -> None:
    import typer

    @commands.command()
    def tail(
        url: Annotated[str, typer.Argument(metavar="URL", help="An endpoint that streams, of any server.")],
        header: Annotated[list[str] | None, typer.Option("-H", "--header", help="Add a header: 'Name: value'.")] = None,
        method: Annotated[str | None, typer.Option("-X", "--request", help="The method; POST if there is -d.")] = None,
        data: Annotated[str | None, typer.Option("-d", "--data", help="The body; @file reads one, @- stdin.")] = None,
        json: Annotated[bool, typer.Option("--json", help="Print whole events as objects, one a line.")] = False,
        resume: Annotated[
            str | None, typer.Option("--resume", metavar="FILE", help="Go on after the last id that this file keeps.")
        ] = None,
        any_end: Annotated[
            bool, typer.Option("--any-end", help="A clean end is enough, without a last event.")
        ] = False,
    ) -> None:
        """Show the items of a stream as they come."""
        from .request import Request
        from .tail import tail as run

        raise typer.Exit(run(Request.read(url, header, method, data), as_events=json, resume=resume, any_end=any_end))


def _describe_bench(commands: "Typer") -> None:
    import typer

    @commands.command()
    def bench(
        url: Annotated[str, typer.Argument(metavar="URL", help="An endpoint with two modes, or with one.")],
        number: Annotated[int, typer.Option("-n", "--requests", min=1, help="Requests in each mode.")] = 20,
        concurrency: Annotated[int, typer.Option("-c", "--concurrency", min=1, help="So many at a time.")] = 2,
        header: Annotated[list[str] | None, typer.Option("-H", "--header", help="Add a header: 'Name: value'.")] = None,
        method: Annotated[str | None, typer.Option("-X", "--request", help="The method; POST if there is -d.")] = None,
        data: Annotated[str | None, typer.Option("-d", "--data", help="The body; @file reads one, @- stdin.")] = None,
        timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one answer may take.")] = 60,
        json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object.")] = False,
    ) -> None:
        """Measure both modes: the time to the first item, items a second, the whole."""
        from .bench import bench as run
        from .request import Request

        raise typer.Exit(run(Request.read(url, header, method, data), number, concurrency, timeout, as_json=json))


def _describe_doctor(commands: "Typer") -> None:
    import typer

    @commands.command()
    def doctor(
        url: Annotated[str, typer.Argument(metavar="URL", help="A stream, at the address that its users call.")],
        header: Annotated[list[str] | None, typer.Option("-H", "--header", help="Add a header: 'Name: value'.")] = None,
        method: Annotated[str | None, typer.Option("-X", "--request", help="The method; POST if there is -d.")] = None,
        data: Annotated[str | None, typer.Option("-d", "--data", help="The body; @file reads one, @- stdin.")] = None,
        direct: Annotated[
            str | None, typer.Option("--direct", metavar="URL", help="The same at the server itself, to compare.")
        ] = None,
        timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to watch at most.")] = 20,
    ) -> None:
        """Find out what buffers, compresses or cuts a stream on its way, and how to mend it."""
        from .doctor import doctor as run
        from .request import Request, check_url

        if direct is not None:
            check_url(direct)
        raise typer.Exit(run(Request.read(url, header, method, data), direct, timeout))
