"""A daemon's answers, from both sides: who asks tells one at work from one that hangs, and one that asked no more."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from scheduler.control import client, server
from scheduler.control.client import answer_of
from scheduler.control.daemon_lock import Holder
from scheduler.control.server import Server
from scheduler.core.values.problems import UnavailableError
from scheduler.core.views import Json
from scheduler.daemon.requests import Requests
from tests.helpers import LONG_S, until

if TYPE_CHECKING:
    from scheduler.daemon.daemon import Daemon


@dataclass
class Asked:
    holder: Holder
    go: threading.Event = field(default_factory=threading.Event)
    done: list[Json] = field(default_factory=list)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """A server whose one verb waits until it is told to go on."""
    monkeypatch.setattr(server, "_BEAT_S", 0.05)
    monkeypatch.setattr(client, "_PATIENCE_S", 0.5)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    holder = Holder(pid=1, host="elsewhere", root="/srv", since="now", socket=str(tmp_path / "s"))
    found = Asked(holder=holder)

    def work(request: Json) -> Iterator[Json]:
        found.done.append(request)
        assert found.go.wait(30)
        yield {"fine": True}

    Server(listener, {"work": work})
    yield found
    found.go.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_an_answer_may_take_long_as_long_as_the_daemon_says_that_it_is_at_it(asked: Asked) -> None:
    threading.Timer(1, asked.go.set).start()
    assert answer_of(asked.holder, "work") == {"fine": True}


def test_what_needs_no_time_gets_none_however_alive_the_daemon_is(asked: Asked) -> None:
    with pytest.raises(UnavailableError, match=r"process 1 on elsewhere.*has not answered"):
        answer_of(asked.holder, "work", limit=0.3)


def test_a_daemon_that_accepts_and_falls_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PATIENCE_S", 0.3)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        holder = Holder(pid=1, host="elsewhere", root="/srv", since="now", socket=str(tmp_path / "s"))

        def accept() -> None:
            connection, _ = listener.accept()
            connection.sendall(b'{"accepted": true}\n')
            connections.append(connection)

        connections: list[socket.socket] = []
        threading.Thread(target=accept).start()
        with pytest.raises(UnavailableError, match="has not answered"):
            answer_of(holder, "work")
        connections[0].close()


def test_what_nobody_waits_for_any_more_is_not_done(tmp_path: Path) -> None:
    """The daemon was stopped, whoever asked for a run has given up and been told so; then it goes on."""
    done: list[Json] = []
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.connect(str(tmp_path / "s"))
        gone.sendall(b'{"verb": "work", "who": "gone"}\n')

    def work(request: Json) -> list[Json]:
        done.append(request)
        return []

    Server(listener, {"work": work})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as there:
        there.connect(str(tmp_path / "s"))
        there.sendall(b'{"verb": "work", "who": "there"}\n')
        until(lambda: done, "the one who is there")
    assert [request["who"] for request in done] == ["there"]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.parametrize(
    "request_",
    [
        {"verb": "run"},
        {"verb": "run", "job_id": 5, "actor": "x", "wait": False},
        {"verb": "run", "job_id": "a\ud800", "actor": "x", "wait": False},
        {"verb": "run", "job_id": "a", "wait": False},
        {"verb": "run", "job_id": "a", "actor": "x", "wait": 1},
        {"verb": "rerun", "job_id": "a", "actor": "x", "wait": False, "task_of": "a:1"},
        {"verb": "rerun", "job_id": "a", "actor": "x", "wait": False, "task_of": True},
        {"verb": "cancel"},
        {"verb": "cancel", "run_id": None},
        {"verb": "sync", "actor": "x"},
        {"verb": "sync", "actor": "x", "now_anyway": False, "confirmed": 5},
    ],
)
def test_a_request_that_lacks_what_it_needs_is_an_error_and_no_fault_of_the_daemon(
    tmp_path: Path, request_: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    found = spoken(tmp_path, json.dumps(request_).encode() + b"\n")
    assert found["exit_code"] == 2
    assert "not a request" in found["error"]
    assert not caplog.records


NONSENSE = [b"\n", b"[]\n", b'{"verb": []}\n', b"\xff\n", b"[" * 50_000 + b"\n", b'{"verb": "no"}\n']


@pytest.mark.parametrize("line", NONSENSE)
def test_a_line_that_is_no_request_is_an_error(tmp_path: Path, line: bytes) -> None:
    assert spoken(tmp_path, line)["exit_code"] == 2


def spoken(folder: Path, line: bytes) -> Any:
    """The last answer of a daemon's handlers to a line; no daemon is needed for what is refused."""
    path = str(folder / "requests")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        Server(listener, Requests(cast("Daemon", None)).handlers())
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(LONG_S)
            connection.connect(path)
            connection.sendall(line)
            with connection.makefile("rb") as answers:
                found = [json.loads(each) for each in answers]
        listener.shutdown(socket.SHUT_RDWR)
    return found[-1]
