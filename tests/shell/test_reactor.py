"""One thread's events: what is ready, what is due, and what others ask for."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from scheduler.machine.hands import Hands
from scheduler.machine.reactor import Reactor
from scheduler.run.local.census import Census
from tests.helpers import until

LONG = 30.0


def fail() -> None:
    raise ZeroDivisionError


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    found = Reactor()
    yield found
    found.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def test_what_is_ready_is_handled_until_it_is_unwatched(reactor: Reactor, pipe: tuple[int, int]) -> None:
    read, write = pipe
    found: list[bytes] = []
    reactor.watch(read, lambda: found.append(os.read(read, 1)))
    os.write(write, b"abc")
    reactor.turn(LONG)
    reactor.turn(LONG)
    reactor.unwatch(read)
    reactor.turn(0.0)
    assert found == [b"a", b"b"]


def test_a_descriptor_that_an_earlier_event_closed_is_not_confused_with_the_one_that_has_its_number_now(
    reactor: Reactor,
) -> None:
    """Two are ready at once. Whoever comes first closes the other, whose number a new file gets at once."""
    pairs = [os.pipe(), os.pipe()]
    called: list[str] = []
    fresh: list[tuple[int, int]] = []

    def close_other(mine: int) -> None:
        called.append("old")
        other = pairs[1 - mine][0]
        reactor.unwatch(other)
        os.close(other)
        fresh.append(os.pipe())
        assert other in fresh[0]
        for end in fresh[0]:
            with contextlib.suppress(PermissionError):
                reactor.watch(end, lambda: called.append("new"))

    for n, (read, write) in enumerate(pairs):
        reactor.watch(read, lambda n=n: close_other(n))  # type: ignore[misc]
        os.write(write, b"x")
    reactor.turn(LONG)
    assert called == ["old"]
    for end in {*fresh[0], *(end for pair in pairs for end in pair)}:
        with contextlib.suppress(OSError):
            os.close(end)


def test_timers_come_in_the_order_of_their_moments_and_cancelled_ones_not_at_all(reactor: Reactor) -> None:
    now, came = time.monotonic(), list[str]()
    reactor.at(now + 0.02, lambda: came.append("second"))
    reactor.at(now + 0.01, lambda: came.append("first"))
    reactor.at(now, lambda: came.append("never")).cancel()
    reactor.at(now + 3600, lambda: came.append("later"))
    while len(came) < 2:
        reactor.turn(LONG)
    assert came == ["first", "second"]


def test_a_call_of_another_thread_ends_the_wait_and_only_a_ring_ends_the_waiting_for_it(reactor: Reactor) -> None:
    did: list[int] = []

    def ask() -> None:
        me = threading.get_ident()
        reactor.call(lambda: did.append(threading.get_ident()))
        reactor.call(reactor.set)
        did.append(me)

    asking = threading.Thread(target=ask)
    asking.start()
    assert reactor.wait(LONG)
    asking.join()
    assert sorted(did) == sorted([threading.get_ident(), did[did.index(asking.ident or 0)]])
    assert reactor.wait(0.0), "it stays rung until somebody clears it"
    reactor.clear()
    assert not reactor.wait(0.0)


def test_no_ring_and_no_call_is_lost_however_they_meet_the_wait(reactor: Reactor) -> None:
    done: list[int] = []

    def ask() -> None:
        for n in range(3000):
            reactor.call(lambda n=n: done.append(n))  # type: ignore[misc]

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for each in asking:
        each.start()
    give_up = time.monotonic() + LONG
    while len(done) < 9000 and time.monotonic() < give_up:
        reactor.turn(LONG)
    for each in asking:
        each.join()
    assert len(done) == 9000


def test_a_signal_handler_may_call_at_any_moment(reactor: Reactor) -> None:
    heard: list[None] = []
    before = signal.signal(signal.SIGALRM, lambda *_: reactor.call(lambda: heard.append(None)))
    try:
        for n in range(1, 200):
            signal.setitimer(signal.ITIMER_REAL, n / 1e6)
            give_up = time.monotonic() + LONG
            while len(heard) < n and time.monotonic() < give_up:
                reactor.turn(LONG)
            assert len(heard) == n
    finally:
        signal.signal(signal.SIGALRM, before)


def test_whoever_rings_all_the_time_keeps_no_event_waiting(reactor: Reactor, pipe: tuple[int, int]) -> None:
    read, write = pipe
    found: list[bytes] = []
    reactor.watch(read, lambda: found.append(os.read(read, 9)))
    os.write(write, b"x")
    reactor.set()
    assert reactor.wait(LONG)
    assert found == [b"x"]


def test_what_raises_is_told_and_the_rest_is_done(reactor: Reactor, caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []
    reactor.soon(fail)
    reactor.soon(lambda: done.append("next"))
    reactor.turn(0.0)
    assert done == ["next"]
    assert "event_failed" in caplog.text


def test_what_is_called_may_take_turns_itself(reactor: Reactor) -> None:
    done: list[str] = []

    def outer() -> None:
        reactor.soon(lambda: done.append("inner"))
        reactor.turn(0.0)
        done.append("outer")

    reactor.soon(outer)
    reactor.turn(0.0)
    assert done == ["inner", "outer"]


def test_after_its_end_nobody_is_heard_and_no_descriptor_of_another_is_written_to() -> None:
    found = Reactor()
    found.close()
    ends = os.pipe()  # with the numbers that it had
    os.set_blocking(ends[0], False)
    found._woken = False
    found.call(lambda: None)
    with pytest.raises(BlockingIOError):
        os.read(ends[0], 1)
    for end in ends:
        os.close(end)


def test_a_wait_for_ever_is_one(reactor: Reactor) -> None:
    threading.Timer(0.05, reactor.set).start()
    assert reactor.wait(math.inf)


# -- hands -----------------------------------------------------------------------------------


def test_each_piece_of_work_that_blocks_has_a_thread_up_to_the_most() -> None:
    hands, go, began = Hands("test", most=3), threading.Event(), list[int]()

    def work(n: int) -> None:
        began.append(n)
        assert go.wait(LONG)

    for n in range(5):
        hands.give(lambda n=n: work(n))  # type: ignore[misc]
    until(lambda: len(began) == 3, "three that have begun")
    go.set()
    until(lambda: sorted(began) == list(range(5)), "the others")


def test_one_that_hangs_keeps_none_from_being_done_that_came_at_the_same_moment() -> None:
    """The thread that takes the first piece is counted as free until it says so: the second needs another one."""
    for _ in range(200):
        hands, hangs, done = Hands("test", most=2), threading.Event(), threading.Event()
        hands.give(lambda: None)
        hands.give(lambda hangs=hangs: hangs.wait(LONG) and None)  # type: ignore[misc]
        hands.give(done.set)
        assert done.wait(LONG)
        hangs.set()


def test_work_that_raises_ends_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    hands, done = Hands("test", most=1), threading.Event()
    hands.give(fail)
    hands.give(done.set)
    assert done.wait(LONG)
    assert "thread_failed" in caplog.text


def test_cancelled_timers_go_also_while_an_early_one_stays() -> None:
    with contextlib.closing(Reactor()) as reactor:
        far = time.monotonic() + 1_000
        reactor.at(far, fail)
        for _ in range(10_000):
            reactor.at(far + 1, fail).cancel()
        assert len(reactor._timers) < 1_000
        came: list[int] = []
        for n in range(1_000):
            reactor.at(time.monotonic(), lambda n=n: came.append(n))  # type: ignore[misc]
        reactor.turn(0.0)
        assert came == list(range(1_000))


def test_work_that_no_thread_can_do_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    hands, done = Hands("test", most=2), list[str]()

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError):
            hands.give(lambda: done.append("refused"))
    hands.give(lambda: done.append("taken"))
    until(lambda: done, "the work")
    assert done == ["taken"]


def test_who_asks_for_what_no_thread_can_do_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(Reactor()) as reactor:
        hands = Hands("test", most=2)
        census, answers = Census(reactor, hands), list[object]()

        def give(_: object) -> None:
            raise RuntimeError("can't start new thread")

        told = {"SCHEDULER_RUN_ID": "job:1", "SCHEDULER_ROOT": "/nowhere"}
        with monkeypatch.context() as patched:
            patched.setattr(hands, "give", give)
            census.ask(told, answers.append, everywhere=True)
            reactor.turn(0.0)
            reactor.turn(0.0)
        assert [str(each) for each in answers] == ["can't start new thread"]
        census.ask(told, answers.append, everywhere=True)
        give_up = time.monotonic() + LONG
        while len(answers) < 2 and time.monotonic() < give_up:
            reactor.turn(0.05)
        assert answers[1:] == [[]], "the next one is looked for"


def test_who_calls_while_the_pipe_is_emptied_does_not_silence_those_who_come_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reactor, came, real = Reactor(), list[str](), os.read

    def read(file: int, size: int) -> bytes:
        reactor.call(lambda: came.append("before"))
        data = real(file, size)
        reactor.call(lambda: came.append("after"))
        return data

    with contextlib.closing(reactor):
        reactor.call(lambda: came.append("first"))
        monkeypatch.setattr(os, "read", read)
        reactor.turn(0.0)
        monkeypatch.setattr(os, "read", real)
        reactor.turn(0.0)
        assert sorted(came) == ["after", "before", "first"]
        assert select.select([reactor._pipe], [], [], 0)[0] == []
        reactor.call(lambda: came.append("later"))
        assert select.select([reactor._pipe], [], [], 0)[0] == [reactor._pipe], "a sleeping reactor is woken"
