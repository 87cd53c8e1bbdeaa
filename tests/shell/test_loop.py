"""One kind of thread: what every loop of the daemon does about its waits, its errors and its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from scheduler.core.values.problems import UnavailableError
from scheduler.machine.log import Log
from scheduler.machine.loop import Loop

LONG = 30.0


def test_a_loop_goes_on_after_any_error_and_says_each_once(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception] = [UnavailableError("locked"), KeyError("x"), UnavailableError("locked")]
    fine = threading.Event()

    def turns() -> Iterator[float]:
        if errors:
            raise errors.pop(0)
        loop.succeed()
        fine.set()
        yield LONG

    loop = Loop("l", turns, Log("scheduler.l"), failed="failed", resumed="over")
    loop.start()
    assert fine.wait(LONG)
    loop.stop()
    loop.join(LONG)
    assert loop.hang == "the l thread has ended"
    told = [record.getMessage() for record in caplog.records]
    assert told == ["failed reason=locked", "failed reason=\"KeyError: 'x'\"", "over"]


def test_a_ring_ends_a_wait_and_so_does_a_stop_that_a_turn_has_not_heard() -> None:
    waiting, turned = threading.Event(), threading.Event()

    def turns() -> Iterator[float]:
        waiting.set()
        yield LONG * 10
        loop.stop()
        loop.bell.clear()  # as of a ring for its work
        turned.set()
        yield LONG * 10

    loop = Loop("l", turns, Log(__name__))
    loop.start()
    assert waiting.wait(LONG)
    loop.bell.set()
    assert turned.wait(LONG)
    loop.join(LONG)
    assert loop.hang == "the l thread has ended"
