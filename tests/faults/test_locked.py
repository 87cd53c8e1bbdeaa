"""Another process that holds the database, and a daemon that was stopped."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.world import RESUMED, STOPPED, FaultyWorld, judge
from tests.helpers import Result, until

TOLD = (STOPPED, "sync_failed", "end_not_written")
BUSY_S = 10  # store.py waits so long for a lock, and control.py for a daemon's answer


def at_once(world: FaultyWorld, *commands: list[str]) -> list[tuple[Result, float]]:
    """How each ended, and after how many seconds."""

    def timed(command: list[str]) -> tuple[Result, float]:
        began = time.monotonic()
        return world.cli(*command), time.monotonic() - began

    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(timed, commands))


@pytest.mark.long
def test_a_lock_held_for_long_stops_firing_and_lets_what_runs_end_as_it_does(world: FaultyWorld) -> None:
    world.job("tick")
    world.job("slow", "sleep 2", schedule="every: 3s")
    daemon = world.serve()
    until(lambda: world.marks("slow"), "the fire")
    with world.locked():
        ran = len(world.marks("tick"))
        commands = (["pause", "tick"], ["sync"], ["run", "tick"], ["list"], ["history", "tick"])
        pause, sync, run, listed, history = at_once(world, *commands)
        for ended, took in (pause, sync, run):
            assert (ended.code, "locked by another process" in ended.stderr) == (5, True), ended.stderr
            assert took < 6 * BUSY_S
        assert (listed[0].code, history[0].code) == (0, 0)
        daemon.says(STOPPED)
        assert len(world.marks("tick")) <= ran + 1, "it fired without a claim"
        assert any("locked" in each for each in world.listed()["troubles"])
        code, errors = world.doctor()
        assert (code, bool(errors["daemon"])) == (1, True)
    daemon.says(RESUMED)
    world.await_marks("tick")
    assert daemon.stop() == 0, daemon.stderr
    assert {row["status"] for row in world.runs("slow")} <= {"succeeded", "skipped"}, "it ended well, and is said so"
    judge(world, expected=TOLD)


def test_commands_beside_a_stopped_daemon_end_and_say_what_is_wrong(world: FaultyWorld) -> None:
    world.job("tick")
    world.job("other", schedule="every: 1h")
    daemon = world.serve()
    world.await_marks("tick")
    world.await_end("tick")  # one that is stopped within a transaction holds the lock, and `pause` ends with 5
    daemon.tell(signal.SIGSTOP)
    commands = (["sync"], ["run", "other"], ["run", "other", "--wait"], ["doctor"], ["list"], ["pause", "other"])
    *given_up, listed, pause = at_once(world, *commands)
    for ended, took in given_up:
        assert ended.code == 5
        assert took < 3 * BUSY_S
        for wanted in (f"process {daemon.process.pid} ", "has not answered", f"kill -CONT {daemon.process.pid}"):
            assert wanted in ended.stderr + ended.stdout
    for ended, took in (listed, pause):
        assert ended.code == 0
        assert took < 2 * BUSY_S, "what needs no daemon does not wait long for one"
        assert "has not answered" in ended.stderr
    daemon.tell(signal.SIGCONT)
    world.await_marks("tick", 2)
    assert world.marks("other") == [], "who asked for a run had been told that there was no answer"
    missed = [row for row in world.runs("tick") if row["reason"] == "missed"]
    assert len(missed) == 1
    assert missed[0]["slots"] > BUSY_S / 2, "the slots of the stop, in one row"
    daemon.tell(signal.SIGSTOP)
    daemon.kill()  # also while it is stopped
    again = world.serve()
    world.await_marks("tick")
    again.stop()
    judge(world)


@pytest.mark.long
def test_a_run_that_is_waited_for_is_given_up_when_the_daemon_is_stopped_meanwhile(world: FaultyWorld) -> None:
    world.job("long", "sleep 1000", schedule="every: 1h")
    daemon = world.serve("--grace", "0")
    daemon.says(" serving root=")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(world.cli, "run", "long", "--wait")
        until(lambda: world.marks("long"), "the run")
        daemon.tell(signal.SIGSTOP)
        ended = waiting.result()
    assert (ended.code, "has not answered" in ended.stderr) == (5, True), ended.stderr
    daemon.tell(signal.SIGCONT)
    daemon.stop()
    judge(world)
