"""The server over real sockets: slow clients, broken requests, too many connections."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scheduler.service.listening import Address, listen
from scheduler.web import server
from scheduler.web.app import build_app
from scheduler.web.events import end_streams
from scheduler.web.server import Server
from tests.faces.conftest import Root
from tests.helpers import until
from tests.web.bare import ADMIN, OpenGuard, service_root

Connect = Callable[..., socket.socket]
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def connect(lived_in: Root) -> Iterator[Connect]:
    """Open a connection to the application, served by a real server, and send something."""
    app = build_app(service_root(lived_in.path), OpenGuard(ADMIN))
    found = Server(app)
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(listen(Address(host="127.0.0.1", port=0)))
        thread = threading.Thread(target=found.run, args=([listener],))
        thread.start()

        def connect(data: bytes = b"", *, buffer: int | None = None) -> socket.socket:
            each = opened.enter_context(socket.socket())
            if buffer is not None:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            each.settimeout(20)
            each.connect(listener.getsockname())
            each.sendall(data)
            return each

        yield connect
        end_streams(app)
        found.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def everything(connection: socket.socket) -> bytes:
    """What it gets until its end."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            found += part
    return found


def say_no_more(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:  # the server has answered and gone
            raise


def status(connection: socket.socket) -> int:
    return int(connection.recv(65_536).split()[1])


def problem_of(answer: bytes) -> Any:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    return json.loads(body)


def test_a_request_that_does_not_arrive_in_time_is_answered_and_ended(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_S", 0.3)
    monkeypatch.setattr(server, "SWEEP_TICKS", 1)
    begun = [connect(each) for each in (b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")]
    for each in begun:
        assert problem_of(everything(each))["status"] == 408
    whole = b"POST /hooks/git HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256=0\r\nContent-Length: 9\r\n\r\nabc"
    assert everything(connect(whole)) == b"", "its body never came"
    kept = connect(GET)
    assert status(kept) == 200
    kept.sendall(b"GET /livez")
    assert problem_of(everything(kept))["status"] == 408, "the second request of a connection has a limit as well"


def test_a_client_that_does_not_read_its_answer_is_ended(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "READ_S", 0.5)
    many = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100
    slow = connect(many, buffer=4_096)
    until(lambda: _is_over(slow), "it was ended")


def _is_over(connection: socket.socket) -> bool:
    """True once the other side is gone, with the answer unread."""
    try:
        connection.send(b"x")
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def test_more_slow_clients_than_connections_lock_nobody_out(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 10)
    slow = [connect(b"POST /hooks/git HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n") for _ in range(15)]
    slow += [connect(GET) for _ in range(15)]  # keep their connection, and send nothing more
    for _ in range(20):
        assert status(connect(GET)) == 200
    assert everything(slow[0]).startswith(b"HTTP/1.1 408 "), "the oldest had to make room"


def test_a_server_that_is_full_of_work_says_so(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    streams = [connect(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(3)]
    assert [status(each) for each in streams] == [200, 200, 200]
    answer = everything(connect(GET))
    assert problem_of(answer)["detail"] == "too many requests are under way"
    assert b"retry-after: 1" in answer.lower()
    streams[0].close()
    until(lambda: status(connect(GET)) == 200 or None, "it has room again")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS
        (b"GET /livez\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: a\r\n" * 20_000 + b"\r\n", 400),
        (b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST /api/sync HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n", 413),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n", 413),
    ],
)
def test_what_is_no_request_is_a_problem(connect: Connect, sent: bytes, expected: int) -> None:
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        connection = connect(sent)
        say_no_more(connection)
        answer = everything(connection)
        if answer:  # what is still on its way when the server closes may cost the client the answer
            assert (problem_of(answer)["status"], answer.split()[1]) == (expected, b"%d" % expected)
    assert status(connect(GET)) == 200


def test_a_body_of_twenty_megabytes_in_chunks_is_refused_once_it_is_too_long(connect: Connect) -> None:
    head = b"POST /api/jobs/heartbeat/run HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    connection = connect(head + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    found = bytearray()

    def read() -> None:
        while not found.endswith(b"}"):
            found.extend(connection.recv(65_536))

    reads = threading.Thread(target=read)
    reads.start()
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        for _ in range(320):
            connection.sendall(chunk)
    reads.join(20)
    assert problem_of(bytes(found))["status"] == 413


def test_a_slow_sender_is_judged_by_the_whole_request_and_not_by_its_last_byte(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_S", 0.5)
    slow, began = connect(b"G"), time.monotonic()
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while time.monotonic() < began + 20:
            slow.sendall(b"E")
            time.sleep(0.05)
    assert time.monotonic() < began + 10
