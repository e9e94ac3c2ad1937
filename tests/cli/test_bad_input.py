"""Whatever the user types and the server sends: one line on standard error, the right status, and no traceback."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import threading

import pytest
import trustme

from cli.running import DUAL_MODE, ENVIRONMENT, answer, chunk, run, saying, saying_bytes

COMMANDS = ("tail", "bench", "doctor")
FEW = {"bench": ["-n", 1]}
each_command = pytest.mark.parametrize("command", COMMANDS)
CHUNKED = "Transfer-Encoding: chunked\r\n"


def told(done: subprocess.CompletedProcess[str], status: int) -> str:
    """Give the one line that was told."""
    assert done.returncode == status, done
    assert done.stderr.startswith("dual-mode: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr.removeprefix("dual-mode: ")


@each_command
@pytest.mark.parametrize(
    "url", ["localhost:8000/x", "nonsense", "ftp://localhost/", "http://", "http://[::1", "/x", "http://a:65536"]
)
def test_what_is_no_url(command: str, url: str) -> None:
    assert told(run(command, *FEW.get(command, []), url), 2).startswith(f"{url!r} is no URL")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-H", "nonsense"], "'nonsense' is no header; write it as 'Name: value'"),
        (["-H", "a: b\r\nc: d"], "is no header"),
        (["-X", "G E T"], "'G E T' is no method"),
        (["-d", "@/nowhere/at/all"], "cannot read /nowhere/at/all: No such file or directory"),
    ],
)
@each_command
def test_what_is_no_request(command: str, arguments: list[str], text: str) -> None:
    assert text in told(run(command, *FEW.get(command, []), "http://127.0.0.1:1/", *arguments), 2)


def test_the_direct_address_of_the_doctor_is_looked_at_too() -> None:
    assert told(run("doctor", "http://127.0.0.1:1/", "--direct", "nonsense"), 2).startswith("'nonsense' is no URL")


@each_command
def test_a_connection_that_is_refused(command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert told(run(command, *FEW.get(command, []), f"http://127.0.0.1:{port}/"), 1).endswith(
        "cannot connect: Connection refused\n"
    )


@each_command
def test_a_name_that_is_unknown(command: str) -> None:
    assert "cannot connect: " in told(run(command, *FEW.get(command, []), "http://nowhere.invalid/"), 1)


@each_command
def test_a_certificate_of_a_stranger(command: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(connection, server_side=True).close()
            except (ssl.SSLError, OSError):
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        done = run(command, *FEW.get(command, []), f"https://127.0.0.1:{listener.getsockname()[1]}/")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert "TLS failed: " in told(done, 1)


@each_command
def test_what_is_no_http(command: str) -> None:
    with saying_bytes(b"220 smtp.example ESMTP\r\n") as url:
        assert "what came back is no HTTP" in told(run(command, *FEW.get(command, []), url), 1)


@each_command
def test_a_redirect_in_a_circle(command: str) -> None:
    with saying_bytes(answer(status="302 Found", headers="Location: /again\r\nContent-Length: 0\r\n")) as url:
        assert told(run(command, *FEW.get(command, []), url), 1).endswith("it redirects in a circle, or too often\n")


@each_command
def test_a_redirect_to_what_is_no_url(command: str) -> None:
    with saying_bytes(answer(status="302 Found", headers="Location: mailto:x@y\r\nContent-Length: 0\r\n")) as url:
        assert "it redirects to something that is no URL" in told(run(command, *FEW.get(command, []), url), 1)


HTML = b"<!doctype html>\n<html><title>500</title><h1>Internal Server Error</h1></html>\n"


def test_an_error_as_a_page_of_html() -> None:
    with saying_bytes(answer("text/html", status="500 Internal Server Error") + HTML) as url:
        assert told(run("tail", url), 1) == f"{url}: the server answered 500 with a page of HTML\n"
        assert told(run("bench", url), 1) == f"{url}: 500 Internal Server Error\n"
        doctor = run("doctor", url)
        assert (doctor.returncode, doctor.stderr) == (1, "")
        assert "The answer is 500 (text/html), and so no stream." in doctor.stdout


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ('{"detail":[{"loc":["query","n"],"msg":"Field required"}]}', '[{"loc":["query","n"],"msg":"Field required"}]'),
        ('{"error":{"message":"model: it is required","type":"invalid"}}', "model: it is required"),
        ('{"error":"no such model"}', "no such model"),
        ('{"reason":7}', '{"reason":7}'),
    ],
    ids=["FastAPI", "OpenAI", "Ollama", "another"],
)
def test_an_error_in_the_words_of_others(document: str, text: str) -> None:
    with saying_bytes(answer("application/json", status="422 Unprocessable Entity") + document.encode()) as url:
        assert told(run("tail", url), 1) == f"{url}: the server answered 422: {text}\n"


def test_another_media_type() -> None:
    with saying_bytes(answer("text/html") + HTML) as url:
        text = "answered 200 with text/html, which is neither JSON nor a stream."
        assert told(run("tail", url), 1) == f"{url}: {text}\n"
        assert "no application/json: 200 text/html" in told(run("bench", url), 1)
        doctor = run("doctor", url)
        assert doctor.returncode == 1
        assert "A stream was asked for by Accept, and text/html came." in doctor.stdout


@pytest.mark.parametrize("media_type", ["text/event-stream", "application/x-ndjson"])
def test_an_endless_line(media_type: str) -> None:
    def respond(connection: socket.socket, _: bytes) -> None:
        connection.sendall(answer(media_type) + b"data: ")
        for _ in range(40):
            connection.sendall(b"x" * 65_536)

    with saying(respond) as url:
        assert "larger than the bound of 1048576 bytes" in told(run("tail", url), 1)
        assert "larger than the bound of 1048576 bytes" in told(run("bench", "-n", 1, url), 1)
        doctor = run("doctor", url)
        assert (doctor.returncode, doctor.stderr) == (1, "")
        assert "One event has more than 1048576 bytes." in doctor.stdout


def test_bytes_that_are_no_utf8() -> None:
    said = answer() + b'data: "\xff\xfe"\n\nevent: done\ndata: {}\n\n'
    with saying_bytes(said) as url:
        tail = run("tail", url)
        assert (tail.returncode, tail.stdout, tail.stderr) == (0, '"\ufffd\ufffd"\n', "")
        assert run("bench", "-n", 1, url).returncode == 0
        assert "The body is not UTF-8." in run("doctor", url).stdout


def test_lines_that_are_no_json() -> None:
    with saying_bytes(answer("application/x-ndjson") + b'1\n{"x":\n2\n') as url:
        assert "not JSON" in told(run("tail", url), 1)
        assert "1 record is no JSON." in run("doctor", url).stdout


def test_a_body_that_is_not_compressed_as_it_says() -> None:
    with saying_bytes(answer(headers="Content-Encoding: gzip\r\n") + b"data: 1\n\n") as url:
        assert "says that it is compressed" in told(run("doctor", url), 1)
        assert told(run("tail", "-X", "POST", url), 1)  # a GET would be tried again
        assert told(run("bench", "-n", 1, url), 1)


def test_a_server_that_closes_after_each_event() -> None:
    """With ids the stream goes on, as in a browser; `Last-Event-ID` says where."""

    def respond(connection: socket.socket, head: bytes) -> None:
        _, _, last = head.lower().partition(b"last-event-id: ")
        number = int(last.split(b"\r\n")[0]) + 1 if last else 0
        last_words = b"event: done\nid: end\ndata: {}\n\n" if number == 3 else b""
        connection.sendall(answer() + last_words + b"retry: 1\nid: %d\ndata: %d\n\n" % (number, number))

    with saying(respond) as url:
        done = run("tail", "--json", url)
        doctor = run("doctor", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f'{{"id":"{number}","data":{number}}}' for number in range(3)]
    assert "The stream ends without an event that says so." in doctor.stdout


def test_a_cut_in_the_middle() -> None:
    with saying_bytes(answer(headers=CHUNKED) + chunk(b"data: 1\n\n") + b"ff\r\ndata: 2") as url:
        done = run("tail", url)
        assert done.stdout == "1\n"
        assert "the connection was lost after 1 items and the stream cannot go on" in told(done, 1)
        assert "the connection was cut in the middle of the answer" in told(run("bench", "-n", 1, url), 1)
        doctor = run("doctor", url)
        assert doctor.returncode == 1
        assert "The connection was cut in the middle of the body." in doctor.stdout


def test_a_stream_that_just_ends() -> None:
    with saying_bytes(answer(headers=CHUNKED) + chunk(b"data: 1\n\n") + b"0\r\n\r\n") as url:
        assert "--any-end" in told(run("tail", url), 1)
        done = run("tail", "--any-end", url)
        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_no_answer_in_time() -> None:
    release = threading.Event()
    with saying(lambda *_: release.wait(20)) as url:
        doctor = run("doctor", "--timeout", "0.3", url)
        bench = run("bench", "-n", 1, "--timeout", "0.3", url)
        release.set()
    assert told(doctor, 1).endswith("no answer within 0.3 s; --timeout waits longer\n")
    assert told(bench, 1).endswith("not complete within 0.3 s\n")


# --- Ctrl-C, and readers that leave -----------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["tail"], ["bench", "-n", "1"], ["doctor"]], ids=COMMANDS)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, None)])
def test_a_signal_ends_it_without_a_word(arguments: list[str], number: int, status: int | None) -> None:
    asked, release = threading.Event(), threading.Event()

    def respond(connection: socket.socket, _: bytes) -> None:
        connection.sendall(answer() + b"data: 1\n\n")
        asked.set()
        release.wait(20)

    with saying(respond) as url:
        process = subprocess.Popen(
            [DUAL_MODE, *arguments, url], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert asked.wait(20)
        if arguments == ["tail"]:
            assert process.stdout.readline() == "1\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
        release.set()
    assert process.returncode == (status or (143 if arguments == ["tail"] else -signal.SIGTERM))
    assert (output, errors) == ("", "")


def test_a_reader_that_leaves_is_no_error() -> None:
    release = threading.Event()

    def respond(connection: socket.socket, _: bytes) -> None:
        connection.sendall(answer())
        while not release.is_set():
            connection.sendall(b"data: 1\n\n")

    with saying(respond) as url:
        tail = subprocess.Popen(
            [DUAL_MODE, "tail", url], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert tail.stdout.readline() == b"1\n"
        tail.stdout.close()
        errors = tail.stderr.read()
        tail.stderr.close()
        assert tail.wait(20) == 1
        release.set()
    assert errors == b""
