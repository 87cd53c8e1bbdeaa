"""A flood of requests and of connections: the memory of the web process stays flat, and fires stay on time."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from statistics import median
from typing import Any

import pytest

from tests.faces import served
from tests.faces.conftest import Root
from tests.helpers import REPOSITORY, until

pytestmark = pytest.mark.long
root, serve = served.root, served.serve  # the fixtures
REQUESTS, STREAMS, SLOW = 100_000, 10_000, 400  # more slow ones than connections are allowed
WARM = 10_000  # requests, after which memory has to be flat


class Web:
    """The web process."""

    def __init__(self, root: Root) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.web.serving", str(root.path)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def rss_mb(self) -> float:
        with open(f"/proc/{self.process.pid}/statm") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def alive_s(self) -> float:
        """How long /livez takes."""
        began, connection = time.monotonic(), self.connect()
        try:
            connection.request("GET", "/livez")
            assert connection.getresponse().status == 200
        finally:
            connection.close()
        return time.monotonic() - began


@pytest.fixture
def web(root: Root, serve: Callable[..., Any]) -> Iterator[Web]:
    serve()
    until(lambda: root.runs("tick") or None, "a run")
    found = Web(root)
    until(lambda: found.alive_s() < 10 or None, "the web process answers")
    yield found
    found.process.terminate()
    found.process.wait(20)
    assert found.process.stdout is not None
    found.process.stdout.close()


def start_delays_s(root: Root, since: datetime) -> list[float]:
    runs = root.json("history", "tick", "-n", "200")["runs"]
    slots = [(run["fire_time"], run["started_at"]) for run in runs if run["fire_time"] and run["started_at"]]
    pairs = [(datetime.fromisoformat(slot), datetime.fromisoformat(start)) for slot, start in slots]
    return [(start - slot).total_seconds() for slot, start in pairs if slot > since]


def send(web: Web, count: int) -> None:
    """Requests of each kind, over a connection that is kept."""
    kinds = (("GET", "/livez", 200), ("POST", "/hooks/git", 401), ("GET", "/mcp", 405), ("GET", "/nowhere", 404))
    connection = web.connect()
    for number in range(count):
        method, path, status = kinds[number % len(kinds)]
        connection.request(method, path, b"{}" if method == "POST" else None)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


def many(web: Web, count: int, threads: int = 4) -> None:
    working = [threading.Thread(target=send, args=(web, count // threads)) for _ in range(threads)]
    for each in working:
        each.start()
    for each in working:
        each.join()


def test_memory_is_flat_over_a_hundred_thousand_requests_and_fires_are_on_time(root: Root, web: Web) -> None:
    began = datetime.now().astimezone()
    until(lambda: len(start_delays_s(root, began)) >= 10 or None, "fires without load")
    calm = median(start_delays_s(root, began))
    many(web, WARM)
    before, loaded = web.rss_mb(), datetime.now().astimezone()
    many(web, REQUESTS - WARM)
    after = web.rss_mb()
    busy = median(start_delays_s(root, loaded))
    print(
        f"memory {before:.1f} MB, then {after:.1f} MB; "
        f"fires start after {calm * 1000:.1f} ms, then {busy * 1000:.1f} ms"
    )
    assert after - before < 10
    assert busy < 1, "no fire is late by a second slot"


def test_ten_thousand_streams_that_never_read_do_no_harm(root: Root, web: Web) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, STREAMS + 1_000), hard))
    before, slowest = web.rss_mb(), 0.0
    try:
        with contextlib.ExitStack() as opened:
            for number in range(STREAMS):
                each = opened.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=30))
                each.sendall(b"GET /api/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                if number % 500 == 0:
                    slowest = max(slowest, web.alive_s())
            with_them = web.rss_mb()
            slowest = max(slowest, web.alive_s())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(f"memory {before:.1f} MB, with streams {with_them:.1f} MB; /livez took {slowest * 1000:.0f} ms at most")
    assert with_them - before < 60
    assert slowest < 5


def test_clients_that_send_a_byte_at_a_time_hold_up_nobody(web: Web) -> None:
    with contextlib.ExitStack() as opened:
        slow = [
            opened.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=30)) for _ in range(SLOW)
        ]
        slowest = 0.0
        for byte in b"POST /hooks/git HTTP/1.1\r\n":
            for each in slow:
                with contextlib.suppress(ConnectionError):  # it had to make room
                    each.send(bytes([byte]))
            slowest = max(slowest, web.alive_s())
    print(f"/livez took {slowest * 1000:.0f} ms at most")
    assert slowest < 2
