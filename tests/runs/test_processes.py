"""Runs over real processes and connections: several workers with one SQLite file, some killed or stopped."""

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx2
import pytest

from runs.workers import SSE, Workers, address, follow


@contextmanager
def working(tmp_path, lease=10.0):
    workers = Workers("runs.process_app:app", RUNS_DB=str(tmp_path / "runs.db"), RUNS_LEASE=str(lease))
    try:
        yield workers
    finally:
        workers.stop()


def begun(url, items, pause):
    answer = httpx2.post(f"{url}/count?items={items}&pause={pause}", headers={"prefer": "respond-async"}, timeout=20)
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def test_clients_that_leave_and_come_back_anywhere_miss_nothing(tmp_path):
    """Two workers on one port: the kernel gives each connection to one of them, the clients do not know to which."""
    with working(tmp_path) as workers:
        listener = workers.listen()
        pids = {workers.start(listener).pid for _ in range(2)}
        url = address(listener)
        paths = [begun(url, 150, 0.004) for _ in range(4)]
        results = {}

        def read(number):
            rng = random.Random(number)
            path = paths[number % len(paths)]
            got, last_id = [], ""
            while not got or got[-1].event != "done":
                events = follow(url, path, last_id)
                left = rng.randint(1, 80)
                for event in events:
                    got.append(event)
                    last_id = event.id
                    left -= 1
                    if not left:
                        break
                events.close()
            results[number] = got

        threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(results) == 8
        for number, got in results.items():
            epoch = got[0].id.partition("-")[0]
            assert [event.id for event in got] == [f"{epoch}-{seq}" for seq in range(1, 152)], number
        with httpx2.Client(timeout=20, headers={"connection": "close"}) as client:
            assert {client.get(f"{url}/pid").json() for _ in range(40)} <= pids


def test_two_workers_are_one_for_keys_results_and_cancelling(tmp_path):
    with working(tmp_path) as workers:
        (one, _), (other, _) = workers.alone(), workers.alone()
        key = {"idempotency-key": "k"}
        answers = []

        def ask(url):
            answers.append(httpx2.post(f"{url}/count?items=20&pause=0.005", headers=key, timeout=20).json())

        threads = [threading.Thread(target=ask, args=(url,)) for url in (one, other) * 5]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(answers) == 10
        assert all(answer == answers[0] for answer in answers)
        assert len({item["pid"] for item in answers[0]["data"]}) == 1

        path = begun(one, 100_000, 0.002)
        events = follow(other, path)
        next(events)
        assert httpx2.delete(f"{other}{path}", timeout=20).status_code == 204
        last = list(events)[-1]
        assert (last.event, '"run_cancelled"' in last.data) == ("error", True)
        assert httpx2.get(f"{one}{path}", timeout=20).status_code == 410


def test_a_killed_worker_is_told_within_its_lease_to_those_who_follow_and_to_those_who_come(tmp_path):
    with working(tmp_path, lease=0.8) as workers:
        (one, process), (other, _) = workers.alone(), workers.alone()
        path = begun(one, 100_000, 0.002)
        events = follow(other, path)
        got = [next(events) for _ in range(5)]
        process.kill()
        process.wait()
        killed = time.monotonic()
        got += list(events)
        took = time.monotonic() - killed
        assert got[-1].event == "error"
        assert '"code":"producer_lost"' in got[-1].data
        assert [int(event.id.rpartition("-")[2]) for event in got[:-1]] == list(range(1, len(got)))
        assert took < 5, "the lease is 0.8 seconds"
        for headers in (SSE, {}):
            answer = httpx2.get(f"{other}{path}", headers={**headers, "last-event-id": got[-2].id}, timeout=20)
            assert (answer.status_code, answer.json()["code"]) == (502, "producer_lost")


def test_a_worker_that_was_stopped_and_given_up_writes_nothing_when_it_goes_on(tmp_path):
    with working(tmp_path, lease=0.5) as workers:
        (one, process), (other, _) = workers.alone(), workers.alone()
        path = begun(one, 100_000, 0.002)
        events = follow(other, path)
        next(events)
        process.send_signal(signal.SIGSTOP)
        got = list(events)
        assert '"code":"producer_lost"' in got[-1].data
        process.send_signal(signal.SIGCONT)
        assert httpx2.get(f"{one}{path}", timeout=20).status_code == 502  # it is awake, and knows
        database = sqlite3.connect(tmp_path / "runs.db")
        found = database.execute("SELECT max(seq), sum(mark LIKE '1%') FROM records").fetchone()
        database.close()
        assert found == (int(got[-2].id.rpartition("-")[2]) + 1, 1)


def test_a_database_that_is_locked_for_long_is_503_and_what_is_there_can_be_read(tmp_path):
    with working(tmp_path) as workers:
        one, _ = workers.alone()
        path = begun(one, 5, 0.05)
        assert len(httpx2.get(f"{one}{path}", timeout=20).json()["data"]) == 5
        locker = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        answer = httpx2.post(f"{one}/count?items=1", timeout=20)
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert "locked" in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert httpx2.get(f"{one}{path}", timeout=20).status_code == 200  # what is there can be read
        locker.execute("ROLLBACK")
        locker.close()
        assert httpx2.post(f"{one}/count?items=1", timeout=20).status_code == 200


def test_sigterm_tells_followers_elsewhere_that_the_work_was_cut_short(tmp_path):
    with working(tmp_path) as workers:
        (one, process), (other, _) = workers.alone(), workers.alone()
        path = begun(one, 100_000, 0.002)
        events = follow(other, path)
        next(events)
        process.terminate()
        assert process.wait(10) in (0, -signal.SIGTERM)
        assert '"code":"server_shutdown"' in list(events)[-1].data


@pytest.mark.parametrize("count", [6])
def test_many_processes_can_make_the_file_at_the_same_time(tmp_path, count):
    code = (
        "import asyncio, sys\n"
        "from dual_mode_streaming.stores import NewRun, SQLiteStore\n"
        "async def main():\n"
        "    store = SQLiteStore(sys.argv[1])\n"
        "    await store.claim(NewRun(sys.argv[2], 'e'))\n"
        "    await store.aclose()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "runs.db")]
    processes = [subprocess.Popen([*command, f"run {number}"], stderr=subprocess.PIPE) for number in range(count)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")
    database = sqlite3.connect(tmp_path / "runs.db")
    assert database.execute("SELECT count(*) FROM runs").fetchone() == (count,)
    database.close()
