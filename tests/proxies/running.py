"""nginx and haproxy in a folder of their own, with the configuration of docs/deploy.md or another, on a free port."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from asking import asked_in_vain
from needs import lacking

PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"
FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin"


def program(name: str) -> str:
    """Find a proxy; a machine without it fails the test, since nobody would notice that it was skipped."""
    found = shutil.which(name) or shutil.which(name, path=FOLDERS)
    if found is None:
        lacking(name, f"apt-get update && apt-get install -y {name}")
    return found


def recipe(name: str) -> str:
    """Give the block of the page that is meant for this proxy."""
    (block,) = re.findall(rf"^```text\n(# {name}: .*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return block


def placed(block: str, listen: int, server: int) -> str:
    """Put the ports of this test into a recipe. Each must stand there once."""
    block, servers = re.subn(r"\b127\.0\.0\.1:8000\b", f"127.0.0.1:{server}", block)
    block, listeners = re.subn(r"^( *)(listen |bind :)80(;?)$", r"\1LISTEN\3", block, flags=re.MULTILINE)
    assert (servers, listeners) == (1, 1), block
    at = f"127.0.0.1:{listen}"
    return block.replace("LISTEN;", f"listen {at};").replace("LISTEN", f"bind {at}")


@contextmanager
def nginx(block: str, server: int, folder: Path, around: str = "") -> Iterator[int]:
    """Run nginx with a `server` block, in front of a server at this port, and give its own port.

    Args:
        block: As in a file of /etc/nginx/conf.d/, listening at port 80.
        server: The port of the server.
        folder: Where it may write.
        around: What stands in `http` beside the block.
    """
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )

    def configuration(port: int) -> str:
        # One process in the foreground, as the user who runs the tests, with all its files in the folder.
        return (
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{temporary}{around}\n{placed(block, port, server)}}}\n"
        )

    command = [program("nginx"), "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(folder / "proxy.conf")]
    with _running(command, configuration, folder) as port:
        yield port


@contextmanager
def haproxy(block: str, server: int, folder: Path) -> Iterator[int]:
    """Run haproxy with a configuration that binds port 80, in front of a server at this port; give its own port."""
    command = [program("haproxy"), "-db", "-f", str(folder / "proxy.conf")]
    with _running(command, lambda port: placed(block, port, server), folder) as port:
        yield port


PROXIES = {"nginx": nginx, "haproxy": haproxy}


@contextmanager
def _running(command, configuration, folder: Path) -> Iterator[int]:
    log = folder / "proxy.log"
    for _ in range(5):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (folder / "proxy.conf").write_text(configuration(port))
        with log.open("ab") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
        if _answers(process, port):
            break
        process.kill()
        process.wait()
    else:
        raise RuntimeError(f"{command[0]} did not start:\n{log.read_text(errors='replace')}")
    try:
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the port is open; False if the process has ended, as it does where somebody else has the port."""

    def is_decided() -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return True
        return process.poll() is not None

    asked_in_vain(is_decided)
    time.sleep(0.05)  # a proxy that cannot have the port is gone by now
    return process.poll() is None
