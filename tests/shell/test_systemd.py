"""What the service manager hears, and when it hears nothing any more."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.core.values.problems import UnavailableError
from scheduler.daemon.agenda import Agenda
from scheduler.daemon.clockwork import Clockwork
from scheduler.daemon.resync import Resync
from scheduler.daemon.systemd import Manager
from scheduler.ledger.store import Store
from scheduler.machine.clock import SystemClock
from scheduler.machine.log import Log
from scheduler.machine.loop import Loop
from scheduler.root.place import Place
from scheduler.sync.passes import Passes
from tests.fakes import FakeDuties, NotedEngine
from tests.helpers import until

LONG = 30.0


class Listener:
    """A socket as the service manager would hold it."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.address = address

    def heard(self) -> list[str]:
        lines: list[str] = []
        while True:
            try:
                lines += self._socket.recv(65_536).decode().split("\n")
            except BlockingIOError:
                return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@scheduler-test-{os.getpid()}"
    if request.param == "abstract" and not Path("/proc/net/unix").exists():
        pytest.skip("only Linux has abstract addresses")
    found = Listener(name)
    yield found
    found.close()


def manager(listener: Listener, **environ: str) -> Manager:
    return Manager({"NOTIFY_SOCKET": listener.address, **environ})


def loop_of(turns: Callable[[], Iterator[float]] = lambda: iter(()), longest_s: float = LONG) -> Loop:
    return Loop("clockwork", turns, Log(__name__), longest_s=longest_s)


def turned() -> Loop:
    loop = loop_of()
    loop.beat()
    return loop


def turns_until_heard(told: Manager, loop: Loop, listener: Listener, line: str) -> None:
    def found() -> bool:
        told.turn([loop], lambda: "x")
        return line in listener.heard()

    until(found, line)


def test_it_is_ready_once_every_thread_has_made_a_turn_and_not_before(listener: Listener) -> None:
    told = manager(listener)
    told.starting()
    assert listener.heard() == ["STATUS=reading the files for the first time", "EXTEND_TIMEOUT_USEC=900000000"]
    late = loop_of()
    told.turn([turned(), late], lambda: "1 scheduled")
    assert "READY=1" not in listener.heard()
    late.beat()
    told.turn([turned(), late], lambda: "1\nscheduled")
    assert listener.heard() == ["READY=1", "STATUS=1 scheduled"], "a status is one line, whatever is in it"
    told.turn([turned(), late], lambda: "1 scheduled")
    assert listener.heard() == []


def test_the_first_status_is_taken_after_the_turns_that_it_tells_of(listener: Listener) -> None:
    late = loop_of()

    class Turning(list[Loop]):
        """The last thread makes its first turn while its beats are read."""

        def __iter__(self) -> Iterator[Loop]:
            late.beat()
            return super().__iter__()

    manager(listener).turn(Turning([late]), lambda: f"{late.beats > 0}")
    assert listener.heard() == ["READY=1", "STATUS=True"]


def test_a_stop_asks_for_the_time_that_it_may_take(listener: Listener) -> None:
    manager(listener).stopping(timedelta(seconds=40))
    assert "STOPPING=1" in (heard := listener.heard())
    assert "EXTEND_TIMEOUT_USEC=70000000" in heard


def test_the_watchdog_hears_from_it_in_good_time(listener: Listener) -> None:
    told = manager(listener, WATCHDOG_USEC="300000")
    for _ in range(3):
        turns_until_heard(told, turned(), listener, "WATCHDOG=1")
    assert told.turn_s <= 0.05


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "300000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}]
)
def test_nobody_who_does_not_ask_is_told_of_the_watchdog(listener: Listener, environ: dict[str, str]) -> None:
    told = manager(listener, **environ)
    told.turn([turned()], lambda: "x")
    assert listener.heard() == ["READY=1", "STATUS=x"]


def test_a_thread_that_hangs_lets_the_watchdog_bite_until_it_turns_again(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    def turns() -> Iterator[float]:
        yield 0
        gate.wait(LONG)  # a database that never answers
        while True:
            yield 0.01

    loop = loop_of(turns, longest_s=0.1)
    loop.start()
    told = manager(listener, WATCHDOG_USEC="3")
    with caplog.at_level(logging.WARNING):
        until(lambda: bool(loop.hang), "the silence")
        listener.heard()
        told.turn([loop], lambda: "x")
        told.turn([loop], lambda: "x")
        assert "WATCHDOG=1" not in listener.heard()
        gate.set()
        turns_until_heard(told, loop, listener, "WATCHDOG=1")
    assert caplog.text.count("thread_silent reason='the clockwork thread has been stuck for") == 1
    assert caplog.text.count("thread_turns_again") == 1
    loop.stop()
    loop.join()


def test_a_thread_that_has_ended_lets_the_watchdog_bite(listener: Listener) -> None:
    loop = turned()
    loop.stop()
    loop.start()
    loop.join()
    assert loop.hang == "the clockwork thread has ended"
    manager(listener, WATCHDOG_USEC="3").turn([loop], lambda: "x")
    assert listener.heard() == ["READY=1", "STATUS=x"]


def test_no_honest_turn_is_long_enough_to_be_taken_for_a_hang() -> None:
    from scheduler.daemon import clockwork, resync
    from scheduler.ledger.store import BUSY_TIMEOUT

    assert clockwork.LOOK_AGAIN_S + 10 * BUSY_TIMEOUT.total_seconds() <= clockwork.LONGEST_S
    honest = resync.RESCAN_S + resync.INDEX_LOCK_S + 10 * BUSY_TIMEOUT.total_seconds() + 600
    assert honest <= resync.LONGEST_S


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234"])
def test_without_an_address_that_it_knows_nothing_is_sent(address: str) -> None:
    told = Manager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3"})
    told.starting()
    told.turn([turned()], lambda: "x")
    told.stopping(timedelta(0))
    assert told.turn_s <= 1


def test_a_manager_that_is_gone_or_reads_nothing_stops_nothing(
    listener: Listener, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.daemon.systemd._SEND_S", 0.01)
    told = manager(listener, WATCHDOG_USEC="3")
    with caplog.at_level(logging.WARNING):
        for _ in range(2_000):  # more than its queue holds
            told.turn([turned()], lambda: "x")
            if "notify_failed" in caplog.text:
                break
        listener.close()
        told.turn([turned()], lambda: "x")
    assert caplog.text.count("notify_failed") == 1


# -- the two threads, and where they beat ------------------------------------------------------


class Lender:
    """A database that does whatever it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = threading.Event()
        self.error: BaseException | None = None

    def __call__(self) -> contextlib.AbstractContextManager[Store]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        self.answers.wait(LONG)
        raise UnavailableError("nothing to lend")


@pytest.fixture(params=["clockwork", "resync"])
def turning(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Lender, Loop]]:
    """One of the daemon's threads, at work on a database."""
    monkeypatch.setattr("scheduler.daemon.clockwork.RETRY_S", 0.01)
    monkeypatch.setattr("scheduler.daemon.resync.RETRY_S", 0.01)
    monkeypatch.setattr("scheduler.daemon.resync.RESCAN_S", 0.01)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    lender = Lender()
    place = Place(root=tmp_path, state=tmp_path / "state", db=tmp_path / "state/state.db")
    part: Clockwork | Resync
    if request.param == "clockwork":
        clock = SystemClock()
        part = Clockwork(
            clock=clock,
            owner="1-test",
            since=None,
            agenda=Agenda(),
            lend=lender,
            duties=FakeDuties(clock, NotedEngine()),
        )
    else:
        passes = Passes(place=place, clock=SystemClock())
        part = Resync(place=place, passes=passes, lend=lender, recover=lambda _: [], applied=lambda: None)
    part.loop.start()
    yield lender, part.loop
    lender.error = UnavailableError("over")
    lender.answers.set()
    part.stop()
    part.loop.join(LONG)


Turning = tuple[Lender, Loop]


def test_a_thread_that_waits_for_a_database_for_ever_beats_no_more(turning: Turning) -> None:
    lender, loop = turning
    until(lambda: lender.asked > 0, "the question")
    turns = loop.beats
    time.sleep(0.2)  # nothing to wait for: that is the point
    assert loop.beats == turns


def test_a_thread_that_is_refused_by_its_database_again_and_again_beats_on(turning: Turning) -> None:
    lender, loop = turning
    lender.error = UnavailableError("locked, or its disk is full")
    lender.answers.set()
    turns = loop.beats
    until(lambda: loop.beats > turns + 5, "five turns")
    lender.error = RuntimeError("an error of ours")
    turns = loop.beats
    until(lambda: loop.beats > turns + 5, "five turns")
    assert loop.hang == ""


def test_a_thread_that_ends_is_trouble_at_once(turning: Turning) -> None:
    lender, loop = turning
    lender.error = SystemExit()
    lender.answers.set()
    loop.join(LONG)
    assert loop.hang == f"the {loop.name} thread has ended"
