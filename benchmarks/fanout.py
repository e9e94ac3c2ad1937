"""What it costs to give an event to many subscribers: our channel, nchan in nginx, and other libraries.

Each system is a server of its own (ours and the libraries on uvicorn, one worker, uvloop, httptools; nchan in an nginx
with one worker), pinned to one core. The client is pinned to another: bare sockets and epoll. Subscribers connect, and
when all have their headers, the same client publishes by POST requests, the next when one is answered. Every event has
to reach every subscriber, or the system fails. In each round every system has its turn, in the same order, and ratios
are taken inside of a round.

`burst` publishes as fast as the server takes it, `rate` at a fixed pace. What counts is the CPU time of the server's
processes (from the kernel) for one delivery: with the connecting and without it, the publishing always included.

Memory: resident bytes for each idle connection, 3,000 of them; and 1,000 clients that read nothing, while events are
published until far more than their bounds has gone by.

    python benchmarks/fanout.py [--quick]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from _readers import ask, wait_for
from _rounds import Goals, shown, spread
from _serving import CLIENT_CORE, CONSOLE, SERVER_CORE, Server, print_versions
from rich.table import Table

NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
PACKAGES = "dual-mode-streaming starlette fastapi uvicorn uvloop httptools orjson sse-starlette litestar"

MARK = ord("[")
"""A byte that every event has once and that no head and no framing has."""
OURS, NCHAN = "ours", "nchan"
SYSTEMS = {
    NCHAN: None,
    OURS: "ours",
    "ours in Starlette": "ours_starlette",
    "bare ASGI, a loop of sends": "bare",
    "Litestar channels": "litestar_channels",
    "sse-starlette, queues": "with_sse_starlette",
    "FastAPI native, queues": "fastapi_native",
}
BURST = {100: (500, None), 1000: (100, None), 5000: (20, None)}
RATE = {100: (100, 50.0), 1000: (15, 5.0), 5000: (5, 1.0)}
"""Subscribers -> how many events, and how many a second."""
UP_TO = {"FastAPI native, queues": 1000, "sse-starlette, queues": 1000}
"""Up to how many subscribers a system is measured. More would take some of them minutes."""
GOALS = {1000: 1.3, 5000: 1.6}
IDLE, STUCK, FLOOD = 3000, 1000, 3000
STUCK_KIB = 192.0
"""A stuck client may hold a send that waits (64 KiB), what the transport takes before it says stop (64 KiB), and as
much again for their copies. The items that wait are shared, or under `drop_newest` bounded by `max_bytes` for all."""


class Nginx(Server):
    """An nginx with nchan, as its documentation sets it up for one worker."""

    def __init__(self) -> None:
        os.sched_setaffinity(0, {CLIENT_CORE})
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._folder = tempfile.TemporaryDirectory(prefix="nchan-")
        path = Path(self._folder.name)
        conf = path / "nginx.conf"
        conf.write_text(f"""
load_module {NCHAN_MODULE};
daemon off; master_process on; worker_processes 1; worker_cpu_affinity {1 << SERVER_CORE:b};
worker_rlimit_nofile 65536; pid {path}/pid; error_log {path}/error.log error;
events {{ worker_connections 16384; multi_accept on; use epoll; }}
http {{
  access_log off; nchan_max_reserved_memory 256M; keepalive_requests 1000000;
  client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;
  uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
  server {{
    listen 127.0.0.1:{self.port} backlog=8192;
    location / {{
      nchan_pubsub http eventsource; nchan_channel_id all; nchan_message_buffer_length 2000;
      nchan_subscriber_first_message newest;
    }}
  }}
}}
""")
        self._process = subprocess.Popen(
            ["nginx", "-p", str(path), "-c", str(conf), "-e", str(path / "error.log")], stderr=subprocess.DEVNULL
        )
        os.sched_setaffinity(self._process.pid, {SERVER_CORE})
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.05)
        raise RuntimeError("nginx did not start: " + (path / "error.log").read_text())

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)
        self._folder.cleanup()

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [self._process.pid, *map(int, children.split())]

    def cpu_seconds(self) -> float:
        return (
            sum(
                int(task.read_text().split()[0])
                for pid in self._pids()
                for task in Path(f"/proc/{pid}/task").glob("*/schedstat")
            )
            / 1e9
        )

    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self._pids()[1]}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


class SmallBuffers(Server):
    """Ours, on sockets for which the system keeps little, so that a client is stuck soon."""

    def __init__(self, policy: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process = subprocess.Popen([sys.executable, __file__, "--serve-small", policy, str(self.port)])
        wait_for(lambda: ask(self.port, "/count") == b"0", 20)


def serve_with_small_buffers(policy: str, port: int) -> None:
    import uvicorn
    from _fanout_peers import ours_bounded

    os.sched_setaffinity(0, {SERVER_CORE})
    listener = socket.create_server(("127.0.0.1", port), backlog=8192)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    config = uvicorn.Config(ours_bounded(policy), loop="uvloop", http="httptools", access_log=False, log_level="error")
    uvicorn.Server(config).run([listener])


def start(system: str) -> Server:
    factory = SYSTEMS[system]
    return Nginx() if factory is None else Server("_fanout_peers", factory)


# --- the client --------------------------------------------------------------------------------------------------

SUBSCRIBE = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
_BUFFER = bytearray(1 << 20)


class Crowd:
    """So many subscribers of one server, in one epoll loop, and a connection to publish."""

    def __init__(self, port: int, count: int, *, receive_buffer: int | None = None) -> None:
        self.events = 0
        self.latencies: list[float] = []
        self._port = port
        self._selector = selectors.EpollSelector()
        self._sockets: list[socket.socket] = []
        waiting = 0
        for number in range(count):
            opened = socket.socket()
            if receive_buffer is not None:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            opened.connect(("127.0.0.1", port))
            opened.setblocking(False)
            opened.send(SUBSCRIBE)
            self._sockets.append(opened)
            self._selector.register(opened, selectors.EVENT_READ)
            waiting += 1
            if number % 100 == 99:
                waiting -= self._heads()
        while waiting:
            waiting -= self._heads(10)
        time.sleep(0.2 + count / 5000)  # some libraries subscribe only after they have sent the head
        self._publisher = socket.create_connection(("127.0.0.1", port))
        self._publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._publisher.setblocking(False)

    def _heads(self, timeout: float = 0) -> int:
        """Read the heads that have come; give their number."""
        ready = self._selector.select(timeout)
        if not ready and timeout:
            raise TimeoutError("a subscriber got no head")
        heads = 0
        for key, _ in ready:
            size = key.fileobj.recv_into(_BUFFER)
            heads += bytes(_BUFFER[:size]).startswith(b"HTTP/1.1 200")
        return heads

    def publish(
        self, count: int, *, per_second: float | None = None, until: int | None = None, text: str = "x" * 100
    ) -> None:
        """Publish so many events, and read until all subscribers have all of them, or so many in all."""
        want = self.events + count * len(self._sockets) if until is None else until
        reading = self._selector
        if until is not None:
            reading = selectors.EpollSelector()  # nobody but the publisher reads
        reading.register(self._publisher, selectors.EVENT_READ)
        began, sent, answered = time.monotonic(), 0, 0
        deadline = began + 120
        while self.events < want or answered < count:
            now = time.monotonic()
            if now > deadline:
                raise TimeoutError(f"{self.events} of {want} events came in 120 s")
            due = began + sent / per_second if per_second else 0.0
            if sent < count and sent == answered and now >= due:
                body = json.dumps({"at": time.monotonic_ns(), "row": [text]}).encode()
                self._publisher.send(
                    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
                )
                sent += 1
                due = began + sent / per_second if per_second else 0.0
            wait = 1.0 if not per_second or sent == count else max(0.0, min(1.0, due - now))
            for key, _ in reading.select(wait):
                if key.fileobj is self._publisher:
                    size = key.fileobj.recv_into(_BUFFER)
                    if not size:
                        raise ConnectionError("the publisher was cut off")
                    answered += _BUFFER.count(b"HTTP/1.1 2", 0, size)  # an answer may come in two pieces
                    continue
                size = key.fileobj.recv_into(_BUFFER)
                if not size:
                    raise ConnectionError("a subscriber was cut off")
                self.events += _BUFFER.count(MARK, 0, size)
                if per_second:
                    at = _BUFFER.find(b'"at": ', 0, size)
                    at = at + 6 if at >= 0 else _BUFFER.find(b'"at":', 0, size) + 5
                    stamp = int(bytes(_BUFFER[at : _BUFFER.find(b",", at, size)]))
                    self.latencies.append((time.monotonic_ns() - stamp) / 1e6)
        reading.unregister(self._publisher)

    def close(self) -> None:
        self._selector.close()
        self._publisher.close()
        for opened in self._sockets:
            opened.close()


# --- the measurements --------------------------------------------------------------------------------------------


@dataclass
class Cost:
    """CPU for one delivery, in microseconds, and the latencies in milliseconds."""

    with_setup: float
    after_setup: float
    p50: float = 0.0
    p99: float = 0.0


def measure(server: Server, subscribers: int, events: int, per_second: float | None) -> Cost:
    before = server.cpu_seconds()
    crowd = Crowd(server.port, subscribers)
    try:
        ready = server.cpu_seconds()
        crowd.publish(events, per_second=per_second)
        after = server.cpu_seconds()
    finally:
        crowd.close()
    assert crowd.events == events * subscribers
    time.sleep(0.3 + subscribers / 5000)  # let the server take leave of them
    deliveries = crowd.events / 1e6
    cost = Cost((after - before) / deliveries, (after - ready) / deliveries)
    if crowd.latencies:
        ordered = sorted(crowd.latencies)
        cost.p50, cost.p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return cost


def idle_memory(system: str, connections: int) -> tuple[float, float, float]:
    """Give the KiB for each idle connection, and the MiB of the process before and after all have left."""
    server = start(system)
    try:
        Crowd(server.port, 20).close()
        time.sleep(0.5)
        before = server.resident_bytes()
        crowd = Crowd(server.port, connections)
        time.sleep(0.5)
        during = server.resident_bytes()
        crowd.close()
        time.sleep(3)
        after = server.resident_bytes()
    finally:
        server.stop()
    return (during - before) / connections / 1024, before / 2**20, after / 2**20


def stuck_memory(policy: str) -> tuple[float, float, int]:
    """Give the MiB of the process before and after the flood, and how many of 1,000 stuck clients are left."""
    server = SmallBuffers(policy)
    try:
        Crowd(server.port, 20).close()
        time.sleep(0.5)
        crowd = Crowd(server.port, STUCK, receive_buffer=2048)
        before = server.resident_bytes()
        crowd.publish(FLOOD, until=0, text="x" * 1000)
        time.sleep(0.5)
        after = server.resident_bytes()
        left = int(ask(server.port, "/count"))
        crowd.close()
    finally:
        server.stop()
    return before / 2**20, after / 2**20, left


def burst_and_rate(args: argparse.Namespace, goals: Goals) -> None:
    systems = [system for system in SYSTEMS if not args.only or system in args.only]
    rounds = args.rounds or (1 if args.quick else 5)
    servers = {system: start(system) for system in systems}
    try:
        for what, sizes in (("burst", BURST), ("rate", RATE)):
            if what not in args.what:
                continue
            for subscribers, (events, per_second) in sizes.items():
                if not args.sizes or subscribers in args.sizes:
                    compare(what, servers, subscribers, events, per_second, rounds, goals)
    finally:
        for server in servers.values():
            server.stop()


def compare(
    what: str, servers: dict, subscribers: int, events: int, per_second: float | None, rounds: int, goals: Goals
) -> None:
    chosen = [system for system in servers if subscribers <= UP_TO.get(system, 5000)]
    costs: dict[str, list[Cost]] = {system: [] for system in chosen}
    for number in range(rounds + 1):
        for system in chosen:
            cost = measure(servers[system], subscribers, events if number else max(2, events // 10), per_second)
            if number:
                costs[system].append(cost)
    pace = "as fast as it goes" if per_second is None else f"{per_second:g} a second"
    table = Table(title=f"{what}: {subscribers} subscribers, {events} events, {pace}")
    for column in ("system", "CPU, µs", "to nchan", "without set-up, µs", "to nchan", "p50, ms", "p99, ms"):
        table.add_column(column, justify="left" if column == "system" else "right")
    for system, mine in costs.items():
        row = [system]
        for part in ("with_setup", "after_setup"):
            row.append(f"{statistics.median(getattr(cost, part) for cost in mine):.1f}")
            ratios = spread(getattr(a, part) / getattr(b, part) for a, b in zip(mine, costs[NCHAN], strict=True))
            row.append("" if system == NCHAN else shown(ratios))
            if system == OURS and what == "burst" and subscribers in GOALS:
                goals.at_most(f"CPU to nchan, {subscribers}, {part.replace('_', ' ')}", GOALS[subscribers], ratios)
        if per_second is not None:
            row += [f"{statistics.median(cost.p50 for cost in mine):.1f}"]
            row += [f"{statistics.median(cost.p99 for cost in mine):.1f}"]
        table.add_row(*row)
    CONSOLE.print(table)


def memory(args: argparse.Namespace, goals: Goals) -> None:
    if "idle" in args.what:
        table = Table("system", "KiB for each", "process before, MiB", "after all have left, MiB")
        table.title = f"idle: {IDLE} connections"
        for system in SYSTEMS:
            if not args.only or system in args.only:
                each, before, after = idle_memory(system, IDLE)
                table.add_row(system, f"{each:.1f}", f"{before:.0f}", f"{after:.0f}")
                if system == OURS:
                    goals.at_most("KiB for an idle connection", 11, (each, each, each))
        CONSOLE.print(table)
    if "stuck" in args.what:
        table = Table("policy", "process before, MiB", "after, MiB", "KiB for each client", "clients left")
        table.title = f"{STUCK} clients that read nothing, {FLOOD} events of 1 kB, max_items=100, max_bytes=65536"
        for policy in ("drop_oldest", "drop_newest", "disconnect"):
            before, after, left = stuck_memory(policy)
            each = (after - before) / STUCK * 1024
            table.add_row(policy, f"{before:.0f}", f"{after:.0f}", f"{each:.1f}", str(left))
            goals.at_most(f"KiB for a stuck client, {policy}", STUCK_KIB, (each, each, each))
        CONSOLE.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", nargs="*", help="systems; nchan is always among them")
    parser.add_argument("--sizes", nargs="*", type=int)
    parser.add_argument("--what", nargs="*", default=["burst", "rate", "idle", "stuck"])
    args = parser.parse_args()
    if not NCHAN_MODULE.exists():
        sys.exit(f"{NCHAN_MODULE} is missing: apt-get install nginx libnginx-mod-nchan")
    if args.only:
        args.only.append(NCHAN)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))
    print_versions(*PACKAGES.split())
    CONSOLE.print(subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr.strip())
    goals = Goals()
    burst_and_rate(args, goals)
    memory(args, goals)
    goals.print()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve-small"]:
        serve_with_small_buffers(sys.argv[2], int(sys.argv[3]))
    else:
        main()
