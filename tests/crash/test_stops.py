"""How the daemon ends when it is told to: what runs may end by itself, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from scheduler.daemon.daemon import ONE_SIGNAL_S
from tests.crash.invariants import judge
from tests.crash.world import SERVING, STOPPING, World
from tests.helpers import Daemon, until

TERM, INT = signal.SIGTERM, signal.SIGINT


def waiting_job(world: World) -> Path:
    """A job whose first run ends once somebody writes to the pipe."""
    pipe = world.root.parent / "go"
    os.mkfifo(pipe)
    world.job("patient", f"if mkdir '{pipe}.once'; then read line < '{pipe}'; fi")
    return pipe


@pytest.mark.parametrize("number", [TERM, INT])
def test_a_stop_lets_end_what_runs_and_starts_nothing_more(world: World, number: signal.Signals) -> None:
    pipe = waiting_job(world)
    daemon = world.serve("--grace", "1000")
    until(lambda: world.marks("patient"), "the fire")
    daemon.tell(number)
    daemon.says(STOPPING)
    pipe.write_text("go\n")
    assert daemon.ended() == 0, daemon.stderr
    (run,) = [row for row in world.runs("patient") if row["status"] != "skipped"]
    assert (run["status"], run["exit_code"]) == ("succeeded", 0)
    assert len(world.marks()) == 1
    judge(world)


@pytest.mark.parametrize("number", [TERM, INT])
def test_what_is_not_done_within_the_grace_is_interrupted(world: World, number: signal.Signals) -> None:
    world.job("long", "sleep 1000")
    daemon = world.serve("--grace", "0.2")
    until(lambda: world.marks("long"), "the fire")
    assert daemon.stop(number) == 0, daemon.stderr
    (run,) = [row for row in world.runs("long") if row["status"] != "skipped"]
    assert (run["status"], run["reason"]) == ("interrupted", "shutdown")
    judge(world)


def tell_again(daemon: Daemon, number: signal.Signals) -> None:
    time.sleep(3 * ONE_SIGNAL_S)  # a person is slower than a signal that comes twice
    daemon.tell(number)


@pytest.mark.parametrize(("first", "second"), [(TERM, TERM), (TERM, INT), (INT, INT)])
@pytest.mark.parametrize("deaf", [False, True], ids=["", "ignoring TERM"])
def test_a_second_signal_ends_everything_at_once(
    world: World, first: signal.Signals, second: signal.Signals, deaf: bool
) -> None:
    world.job("long", *(["trap '' TERM INT"] if deaf else []), "sleep 1000 & sleep 1000")
    daemon = world.serve("--grace", "1000")
    until(lambda: len(world.leftovers()) == 3, "the shell and both of its children")
    daemon.tell(first)
    daemon.says(STOPPING)
    assert len(world.leftovers()) == 3
    tell_again(daemon, second)
    assert daemon.ended() == 1, daemon.stderr
    assert world.leftovers() == {}
    (run,) = [row for row in world.runs("long") if row["status"] != "skipped"]
    assert (run["status"], run["reason"]) == ("interrupted", "shutdown")
    judge(world)


def test_a_second_signal_hastens_the_end_of_what_the_first_one_has_told_to_end(world: World) -> None:
    world.job("long", "trap '' TERM", "sleep 1000")
    daemon = world.serve("--grace", "0")
    until(lambda: len(world.leftovers()) == 2, "the shell, deaf by now, and its child")
    daemon.tell(TERM)
    daemon.says(STOPPING)
    tell_again(daemon, TERM)
    assert daemon.ended() == 1
    judge(world)


def test_what_waits_in_the_queue_of_a_stopped_daemon_is_left_to_the_next(world: World) -> None:
    world.limit(1)
    pipe = waiting_job(world)
    world.job("second")
    daemon = world.serve("--grace", "1000")
    (queued,) = until(lambda: world.runs("second", status="queued"), "a run that waits")
    until(lambda: world.marks("patient"), "the fire that has the place")
    daemon.tell(TERM)
    daemon.says(STOPPING)
    pipe.write_text("go\n")
    assert daemon.ended() == 0, daemon.stderr
    (left,) = world.runs("second", status="queued")
    assert (left["n"], left["owner"]) == (queued["n"], None)
    judge(world)
    daemon = world.serve()
    until(lambda: not world.runs("second", status="queued"), "an end of the waiting")
    assert daemon.stop() == 0, daemon.stderr
    judge(world)


def test_a_queue_without_places_is_no_reason_not_to_stop(world: World) -> None:
    world.limit(1)
    world.job("long", "sleep 1000")
    world.job("second")
    daemon = world.serve("--grace", "0.2")
    until(lambda: world.runs("second", status="queued"), "a run that waits")
    until(lambda: world.marks("long"), "the fire that has the place")
    assert daemon.stop() == 0, daemon.stderr
    assert [row["status"] for row in world.runs("second") if row["status"] != "skipped"] == ["queued"]
    judge(world)


def test_a_daemon_that_is_killed_before_its_grace_is_over_has_lost_nothing(world: World) -> None:
    """As by systemd or docker: TERM, and KILL when their patience is shorter than ours."""
    world.job("long", "trap '' TERM", "sleep 1000 & sleep 1000")
    world.job("quick")
    daemon = world.serve("--grace", "1000")
    until(lambda: len(world.leftovers()) >= 3 and world.marks("quick"), "the fires")
    daemon.tell(TERM)
    daemon.says(STOPPING)
    daemon.kill()
    assert len(world.leftovers()) == 3, "what is deaf to TERM lives on"
    world.job("long")
    daemon = world.serve()
    (run,) = until(lambda: world.runs("long", status="interrupted"), "its end")
    assert run["reason"] == "owner_died"
    until(lambda: len(world.runs("long", status="succeeded")) > 1, "further fires")
    assert daemon.stop() == 0, daemon.stderr
    judge(world)


def test_a_signal_that_comes_as_a_copy_is_taken_up_stops_the_daemon(world: World) -> None:
    world.job("quick")
    daemon = world.serve()
    daemon.says(SERVING)
    copy = world.root.parent / "copy.db"
    assert world.cli("backup", str(copy)).code == 0
    copy.replace(world.db)
    daemon.says("database_put_back")
    daemon.tell(TERM)
    assert daemon.ended() in (0, -TERM), "also where it has not begun to serve the copy"
