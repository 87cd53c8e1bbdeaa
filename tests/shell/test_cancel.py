"""A request to end a run: what is asked, who is woken, and that it may come at any instruction."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from queue import SimpleQueue
from types import FrameType
from typing import Any

import pytest

from scheduler.run.engine import Why
from scheduler.run.local.cancel import GRACE, Cancel

NONE, LONG = timedelta(0), timedelta(hours=1)


def test_without_a_request_there_is_nothing_to_know() -> None:
    cancel = Cancel()
    assert (cancel.is_set(), cancel.why, cancel.kill_at) == (False, None, None)
    assert not cancel.wait(0)
    assert not cancel.wait(0.001)
    assert not cancel.wait(-1)


def test_the_first_request_says_why_and_the_most_urgent_one_when() -> None:
    cancel = Cancel()
    before = time.monotonic()
    cancel.request("interrupted")
    after = time.monotonic()
    first = cancel.kill_at
    assert first is not None
    assert before <= first - GRACE.total_seconds() <= after
    cancel.request("cancelled", grace=LONG)
    assert (cancel.is_set(), cancel.why, cancel.kill_at) == (True, "interrupted", first)
    cancel.request("cancelled", grace=NONE)
    assert cancel.why == "interrupted"
    assert cancel.kill_at is not None
    assert cancel.kill_at <= time.monotonic()


def test_who_waits_is_woken_by_a_request_and_who_comes_later_does_not_wait() -> None:
    cancel = Cancel()
    waiters = [threading.Thread(target=cancel.wait, args=(timeout,)) for timeout in (None, 3600)]
    for each in waiters:
        each.start()
    cancel.request()
    for each in waiters:
        each.join(60)
        assert not each.is_alive()
    assert cancel.wait(None)


def test_each_request_rings_within_the_block_and_none_after_it() -> None:
    cancel = Cancel()
    rings: list[str] = []
    with cancel.listening(lambda: rings.append("a")):
        assert rings == []
        cancel.request()
        with cancel.listening(lambda: rings.append("b")):  # one was made before
            cancel.request(grace=LONG)
        cancel.request()
    cancel.request()
    assert rings == ["a", "b", "a", "b", "a"]


def test_a_block_that_an_error_ends_is_rung_no_more() -> None:
    cancel = Cancel()
    rings: list[int] = []
    with pytest.raises(RuntimeError), cancel.listening(lambda: rings.append(1)):
        raise RuntimeError
    cancel.request()
    assert rings == []


def test_a_block_is_not_left_while_another_thread_rings() -> None:
    cancel, done = Cancel(), threading.Event()
    inside, rings, late = False, 0, 0

    def ask() -> None:
        while not done.is_set():
            cancel.request()

    def ring() -> None:
        nonlocal rings, late
        if threading.current_thread() is asker:
            time.sleep(0)  # a chance for the other to leave
            rings += 1
            late += not inside

    asker = threading.Thread(target=ask)
    asker.start()
    while rings < 100:
        inside = True
        with cancel.listening(ring):
            pass
        inside = False
    done.set()
    asker.join()
    assert late == 0


# -- a handler between any two steps ---------------------------------------------------------


def interrupted_at(step: int, act: Callable[[], object], handler: Callable[[], object]) -> bool:
    """Does `act`, with `handler` called by the same thread before that instruction. Whether it has so many."""
    left = step

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == -1:
                sys.settrace(None)
                handler()
        return trace if left >= 0 else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return left < 0


def everywhere(check: Callable[[int], bool]) -> None:
    """Calls `check` with each step until it says that there are no more; in a thread, so that a deadlock is told."""
    steps = count()
    errors: list[BaseException] = []

    def walk() -> None:
        try:
            while check(next(steps)):
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=walk, daemon=True)
    thread.start()
    thread.join(60)
    number = next(steps) - 1
    assert not thread.is_alive(), f"stuck at step {number}"
    if errors:
        raise AssertionError(f"at step {number}") from errors[0]
    assert number > 30


def test_a_handler_that_asks_while_its_thread_goes_to_wait_wakes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class NeverAskedError(Exception):
        pass

    class Queue(SimpleQueue[None]):
        def get(self, block: bool = True, timeout: float | None = None) -> None:
            if not cancel.is_set():
                raise NeverAskedError  # as the walk has come to where the wait begins
            return super().get(block, timeout)

    cancel = Cancel()
    monkeypatch.setattr("scheduler.run.local.cancel.SimpleQueue", Queue)

    def check(step: int) -> bool:
        nonlocal cancel
        cancel = Cancel()
        answers: list[bool] = []
        try:
            interrupted_at(step, lambda: answers.append(cancel.wait(None)), cancel.request)
        except NeverAskedError:
            return False
        assert answers == [True]
        return True

    everywhere(check)


def test_a_handler_may_ask_at_any_step_of_a_wait_that_has_an_end() -> None:
    def check(step: int) -> bool:
        cancel = Cancel()
        reached = interrupted_at(step, lambda: cancel.wait(0), cancel.request)
        assert cancel.is_set() == reached
        return reached

    everywhere(check)


def test_a_handler_that_asks_while_its_thread_asks_loses_neither_request() -> None:
    def check(step: int) -> bool:
        cancel = Cancel()
        rings: list[int] = []
        with cancel.listening(lambda: rings.append(1)):
            reached = interrupted_at(step, cancel.request, lambda: cancel.request("interrupted", grace=NONE))
        assert cancel.why in ("cancelled", "interrupted")
        assert cancel.kill_at is not None
        assert (cancel.kill_at <= time.monotonic()) == reached
        assert len(rings) == 1 + reached
        return reached

    everywhere(check)


def test_what_a_request_was_for_does_not_change_once_it_is_known() -> None:
    def check(step: int) -> bool:
        cancel = Cancel()
        known: list[Why | None] = []

        def handler() -> None:
            cancel.request("interrupted")
            known.append(cancel.why)

        reached = interrupted_at(step, cancel.request, handler)
        assert not known or known == [cancel.why]
        return reached

    everywhere(check)


def test_a_signal_ends_the_wait_of_the_thread_that_handles_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.machine.reactor._SIGNAL_S", 0.01)  # some come just before it blocks
    cancel = Cancel()
    before = signal.signal(signal.SIGALRM, lambda *_: cancel.request())
    try:
        for microseconds in range(1, 200):
            cancel = Cancel()
            signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6)
            assert cancel.wait(None)
    finally:
        signal.signal(signal.SIGALRM, before)
