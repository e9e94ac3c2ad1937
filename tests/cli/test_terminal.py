"""What the commands write to a terminal: colours unless NO_COLOR, a line that moves, and a cursor that comes back."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import threading

import pytest

from cli.running import DUAL_MODE, ENVIRONMENT, answer, saying, saying_bytes

SAID = answer() + 'id: 7\x1b[2J\nevent: tick\ndata: {"n":1,"text":"\u009b31m\x7f"}\n\ndata: plain \x1b[31m\n\n'.encode()
DONE = b"event: done\ndata: {}\n\n"
COLOUR = re.compile(r"\x1b\[[\d;]*3[1-7]m")


class Terminal:
    """The program in a terminal of 80 columns, and what it wrote there."""

    def __init__(self, *arguments: str, no_color: bool) -> None:
        environment = {**ENVIRONMENT, "COLUMNS": "80", "TERM": "xterm-256color"}
        if not no_color:
            del environment["NO_COLOR"]
        self._ours, theirs = pty.openpty()
        command = [DUAL_MODE, *arguments]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        self.text = ""

    def read(self, until: str | None = None) -> str:
        """Read on until a text is there, or to the end."""
        while until is None or until not in self.text:
            try:
                data = os.read(self._ours, 65_536)
            except OSError:  # the other side is closed
                data = b""
            if not data:
                assert until is None, f"no {until!r} in {self.text!r}"
                break
            self.text += data.decode()
        return self.text

    def end(self) -> int:
        self.read()
        os.close(self._ours)
        return self.process.wait(20)


@pytest.mark.parametrize("no_color", [True, False])
def test_tail_in_a_terminal(no_color: bool) -> None:
    with saying_bytes(SAID + DONE) as url:
        terminal = Terminal("tail", url, no_color=no_color)
        assert terminal.end() == 0
    text = terminal.text
    assert bool(COLOUR.search(text)) is not no_color
    assert "connecting" in text
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    # No byte of the server steers the terminal.
    assert 'tick  7\\x1b[2J  {"n":1,"text":"\\x9b31m\\x7f"}' in plain
    assert "plain \\x1b[31m" in plain
    assert "\u009b" not in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_clean_terminal(number: int, status: int) -> None:
    release = threading.Event()

    def respond(connection: socket.socket, _: bytes) -> None:
        connection.sendall(SAID)
        release.wait(20)

    with saying(respond) as url:
        terminal = Terminal("tail", url, no_color=True)
        terminal.read("plain")
        terminal.process.send_signal(number)
        assert terminal.end() == status
        release.set()
    assert "Traceback" not in terminal.text
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")


@pytest.mark.parametrize(("command", "shown"), [("doctor", "watching"), ("bench", "SSE")])
def test_progress_is_shown_and_goes_away(command: str, shown: str) -> None:
    with saying_bytes(SAID + DONE) as url:
        terminal = Terminal(command, url, no_color=False)
        assert terminal.end() == int(command == "doctor")
    assert shown in terminal.text
    assert COLOUR.search(terminal.text) or command == "bench"
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")
