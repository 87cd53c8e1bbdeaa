"""The real daemon, killed at each named point and started again on the same database."""

from __future__ import annotations

import itertools
import re
import signal
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tests.crash.invariants import judge
from tests.crash.world import SERVING, World
from tests.helpers import REPOSITORY, Daemon, until

JOBS = ("broken", "quick", "slow")


def three_jobs(world: World) -> None:
    """What is missed stays so: a queued catch-up would be one more state at each point."""
    for job_id, *lines in (("quick",), ("broken", "exit 3"), ("slow", "sleep 0.7")):
        world.job(job_id, *lines, keys="catch_up: none\n")


def once(world: World, name: str, line: str) -> str:
    """A line for the first run alone."""
    return f"if mkdir '{world.root.parent / name}'; then {line}; fi"


def crash(world: World, point: str) -> Daemon:
    """A daemon that has died at this point."""
    daemon = world.serve(SCHEDULER_CRASH_AT=point)
    assert daemon.ended() == -signal.SIGKILL, daemon.stderr
    return daemon


def serve_on(world: World) -> None:
    """A daemon that comes after, and serves several slots of every job before it is stopped."""
    known = {job_id: len(world.marks(job_id)) for job_id in JOBS}
    daemon = world.serve()
    until(lambda: all(len(world.marks(each)) >= known[each] + 2 for each in JOBS), "two fires of each job")
    assert daemon.stop() == 0, daemon.stderr


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a crash leaves: the states that rows may be in, and whether scripts have run."""

    statuses: Collection[str]
    rows: bool = True  # at least one
    ran: bool = False
    ended: bool | None = False  # one of them; None: perhaps


# At each point all that came before it in the life of a run has happened, and nothing that comes after it.
OPEN = ("claimed", "running")
POINTS = {
    "before_claim_commit": Left(statuses=(), rows=False),
    "after_claim_commit": Left(statuses=OPEN),  # a slot for which nothing has changed is claimed and opened at once
    "after_claim": Left(statuses=OPEN),
    "after_read": Left(statuses=OPEN),
    "before_spawn": Left(statuses=OPEN),
    "after_spawn": Left(statuses=OPEN, ran=True),
    "after_record": Left(statuses=(*OPEN, "succeeded", "failed"), ran=True, ended=None),  # others may have ended
    "before_end": Left(statuses=OPEN, ran=True),
    "before_end_commit": Left(statuses=OPEN, ran=True),
    "after_end": Left(statuses=(*OPEN, "succeeded", "failed"), ran=True, ended=True),
}


ENDED = "SELECT job_id, n FROM runs WHERE finished_at NOTNULL"


def crash_and_look(world: World, point: str) -> tuple[list[sqlite3.Row], list[sqlite3.Row]]:
    """What the crash at a point leaves: the rows without an end, and those that have ended in the daemon's life."""
    known = {tuple(row) for row in world.rows("SELECT job_id, n FROM runs")}
    open_before = {tuple(row) for row in world.rows("SELECT job_id, n FROM runs WHERE finished_at IS NULL")}
    marks = len(world.marks())
    crash(world, point)
    rows, left = world.rows("SELECT * FROM runs WHERE status NOT IN ('skipped', 'queued')"), POINTS[point]
    rows = [row for row in rows if (row["job_id"], row["n"]) not in known]
    if not rows and world.rows("SELECT 1 FROM runs WHERE status = 'queued' OR owner NOTNULL"):
        return [], []  # what an earlier daemon had not started came that far first
    if not rows and left.ended and any((row["job_id"], row["n"]) in open_before for row in world.rows(ENDED)):
        return [], []  # and has even ended
    assert bool(rows) is left.rows, point
    assert {row["status"] for row in rows} <= set(left.statuses), point
    ended = [row for row in rows if row["status"] not in OPEN]
    assert left.ended is None or bool(ended) is left.ended, point
    assert [row["owner"] is None for row in rows] == [row in ended for row in rows], point
    if left.ran:
        until(lambda: len(world.marks()) > marks, f"a mark: the script of a daemon killed {point} lives on")
    else:
        assert not {mark.run_id for mark in world.marks()} & {run_id_of(row) for row in rows}, point
    return [row for row in rows if row not in ended], ended


def run_id_of(row: sqlite3.Row) -> str:
    return f"{row['job_id']}:{row['n']}"


def check_end(world: World, opened: Sequence[sqlite3.Row], ended: Sequence[sqlite3.Row]) -> None:
    for row in (*opened, *ended):
        (now,) = (each for each in world.runs(row["job_id"]) if each["n"] == row["n"])
        if row in ended:
            assert tuple(now) == tuple(row), "what has ended is not ended again"
        elif now["status"] == "interrupted":
            assert now["reason"] == "owner_died"
            spawning = "SELECT spawning FROM attempts WHERE job_id = ? AND run_n = ? ORDER BY n DESC LIMIT 1"
            assert [tuple(each) for each in world.rows(spawning, row["job_id"], row["n"])] == [(1,)], (
                "what never started is started by whoever comes next"
            )
        else:
            assert now["status"] in ("succeeded", "failed", "skipped"), "it ran, or a newer slot came first"
    judge(world)


def test_daemons_killed_at_one_point_after_the_other_serve_every_slot_once(world: World) -> None:
    three_jobs(world)
    opened, ended = [], []
    # A daemon that comes back begins with a claim of skips alone, the slots that were missed; and what a killed one
    # has left is ended before anything of its own is.
    points = [each for each in POINTS if each not in ("after_claim_commit", "before_end_commit")]
    for point in ("after_claim_commit", *points):
        found = crash_and_look(world, point)
        opened += found[0]
        ended += found[1]
    crash(world, "before_end_commit")
    serve_on(world)
    check_end(world, opened, ended)


def test_every_point_that_has_a_name_is_one_at_which_a_test_kills() -> None:
    told = re.compile(r'crash_point\("(\w+)"\)')
    named = {name for file in (REPOSITORY / "scheduler").rglob("*.py") for name in told.findall(file.read_text())}
    tests = "".join(file.read_text() for file in (REPOSITORY / "tests").rglob("test_*.py"))
    assert named >= POINTS.keys()
    assert {name for name in named if f'"{name}"' not in tests} == set()


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
def test_a_daemon_killed_at_any_point_serves_every_slot_once_when_it_is_back(world: World, point: str) -> None:
    three_jobs(world)
    opened, ended = crash_and_look(world, point)
    serve_on(world)
    check_end(world, opened, ended)


def test_a_daemon_killed_while_it_ends_what_a_killed_one_has_left_leaves_the_rest_to_the_next(world: World) -> None:
    for n in range(3):
        world.job(f"long-{n}", once(world, f"long-{n}", "sleep 1000"))
    daemon = world.serve()
    until(lambda: len(world.leftovers()) == 6, "three shells and what they wait for")
    daemon.kill()
    for point, rows in (("in_recover", 3), ("between_recovered", 2)):
        crash(world, point)
        assert len(world.leftovers()) < 6, "at least one of them is ended"
        assert len(world.rows("SELECT * FROM runs WHERE status = 'running'")) == rows, point
    daemon = world.serve()
    daemon.says(SERVING)
    for n in range(3):
        first = world.runs(f"long-{n}")[0]
        assert (first["status"], first["reason"]) == ("interrupted", "owner_died")
    assert daemon.stop() == 0, daemon.stderr
    judge(world)


@pytest.mark.long
@pytest.mark.parametrize("point", ["stopping", "drained"])
def test_a_daemon_killed_while_it_stops_leaves_what_ran_to_the_next(world: World, point: str) -> None:
    three_jobs(world)
    world.job("long", once(world, "long", "sleep 1000" if point == "stopping" else "sleep 1"))
    daemon = world.serve(SCHEDULER_CRASH_AT=point)
    first = until(lambda: world.marks("long"), "the first fire")[0]
    daemon.tell(signal.SIGTERM)
    assert daemon.ended() == -signal.SIGKILL, daemon.stderr
    assert bool(processes_of(world, first.run_id)) is (point == "stopping")
    serve_on(world)
    (run,) = (row for row in world.runs("long") if f"long:{row['n']}" == first.run_id)
    expected = ("interrupted", "owner_died") if point == "stopping" else ("succeeded", None)
    assert (run["status"], run["reason"]) == expected
    judge(world)


@pytest.mark.parametrize(
    "before", [pytest.param(True, id="no daemon yet", marks=pytest.mark.long), pytest.param(False, id="a daemon since")]
)
def test_a_run_in_the_foreground_that_is_killed_is_ended_by_a_daemon(world: World, before: bool) -> None:
    world.job("long", "sleep 1000", schedule="every: 1d")
    assert world.cli("sync").code == 0
    command = world.start("run", "long", "--wait")
    (mark,) = until(world.marks, "its start")
    daemons = [] if before else [world.serve()]
    if daemons:
        daemons[0].says(SERVING)
        assert (world.runs("long")[0]["status"], mark.pid in world.leftovers()) == ("running", True), "its owner lives"
    command.kill()
    command.communicate()
    if daemons:
        assert world.cli("sync").code == 0  # or the next pass
    daemon = daemons[0] if daemons else world.serve()
    daemon.says(SERVING)
    (run,) = until(lambda: world.runs("long", status="interrupted"), "its end")
    assert (run["trigger"], run["reason"]) == ("manual", "owner_died")
    until(lambda: not world.leftovers(), "the end of its processes")
    assert daemon.stop() == 0, daemon.stderr
    judge(world)


@pytest.mark.parametrize("synced", [False, True], ids=["new root", "known root"])
def test_a_kill_within_the_first_pass_leaves_nothing_half_done(world: World, synced: bool) -> None:
    three_jobs(world)
    if synced:
        assert world.cli("sync").code == 0
        world.job("quick", "# edited")
    crash(world, "before_commit")
    found = world.rows("SELECT id, task_sha256 FROM jobs")
    assert len(found) == (3 if synced else 0)
    assert world.rows("SELECT * FROM runs") == []
    serve_on(world)
    judge(world)


def test_a_kill_between_settling_and_applying_a_new_schedule_loses_no_slot(world: World) -> None:
    three_jobs(world)
    late = "every: {}, jitter: 1s"  # by its id this job starts 823 ms late: so long its slot is owed
    world.job("settled", schedule=late.format("3s"))
    daemon = world.serve(SCHEDULER_CRASH_AT="after_settle")
    until(lambda: world.marks("settled"), "a fire")
    edits = itertools.cycle(("4s", "3s"))
    while daemon.alive:
        until(lambda: world.cursor("settled") < datetime.now(UTC), "a slot that is owed")
        generation = world.generation("settled")
        world.job("settled", schedule=late.format(next(edits)))
        until(lambda: not daemon.alive or world.generation("settled") > generation, "the edit")  # noqa: B023
    assert daemon.ended() == -signal.SIGKILL
    serve_on(world)
    judge(world)


# -- a child that outlives its daemon -----------------------------------------------------------


def test_the_child_of_a_killed_daemon_is_ended_and_its_job_fires_again(world: World) -> None:
    once = world.root.parent / "once"
    world.job("long", f"if mkdir '{once}'; then sleep 1000 & sleep 1000; fi")
    daemon = world.serve()
    first = until(lambda: world.marks("long"), "the first fire")[0]
    until(lambda: len(world.leftovers()) == 3, "the shell and both of its children")
    daemon.kill()
    assert first.pid in world.leftovers(), "it lives on until somebody looks"
    daemon = world.serve()
    run = until(lambda: world.runs("long", status="interrupted"), "the end of its run")[0]
    assert (f"long:{run['n']}", run["reason"]) == (first.run_id, "owner_died")
    until(lambda: not processes_of(world, first.run_id), "the end of its whole group")
    until(lambda: len(world.runs("long", status="succeeded")) >= 2, "the next fires")
    assert daemon.stop() == 0
    judge(world)


def processes_of(world: World, run_id: str) -> list[int]:
    return [pid for pid, run in world.leftovers().items() if run == f"SCHEDULER_RUN_ID={run_id}"]


# -- two at once --------------------------------------------------------------------------------


def test_a_second_daemon_is_told_who_serves_and_changes_nothing(world: World) -> None:
    three_jobs(world)
    first = world.serve()
    first.says(SERVING)
    second = world.serve()
    assert second.ended() == 5
    assert f"process {first.process.pid} " in second.stderr
    assert SERVING not in second.stderr
    assert first.alive
    until(lambda: len(world.marks("quick")) > 2, "further fires")
    assert first.stop() == 0
    judge(world)


def test_of_two_daemons_that_start_at_once_after_a_kill_one_serves(world: World) -> None:
    three_jobs(world)
    first = world.serve()
    until(lambda: world.marks("slow"), "a fire")
    first.kill()
    both = [world.serve(), world.serve()]
    until(lambda: any(not each.alive for each in both), "the end of one of them")
    (loser,) = [each for each in both if not each.alive]
    (winner,) = [each for each in both if each is not loser]
    assert loser.ended() == 5, loser.stderr
    winner.says(SERVING)
    until(lambda: len(world.runs("quick", status="succeeded")) > 2, "further fires")
    assert winner.stop() == 0
    judge(world)
