"""The judge itself: it finds nothing wrong with a true history, and every fault that is planted into one."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import timedelta

import pytest

from tests.crash.invariants import judge, violations
from tests.crash.world import World
from tests.helpers import until

SHIFTED = "strftime('%Y-%m-%dT%H:%M:%S.000000Z', {}, '{:+} seconds')"

# What is done to the database, and what is said of it.
FAULTS = {
    "UPDATE runs SET status = 'running', finished_at = NULL WHERE n = 2": "nobody is there",
    "UPDATE runs SET owner = '1-a' WHERE n = 2": "has an owner",
    "UPDATE runs SET status = 'skipped', reason = 'overlap' WHERE n = 2": "has an attempt",
    "DELETE FROM attempts WHERE run_n = 2": "without an attempt",
    "DELETE FROM runs WHERE n = 1": "no row covers 1 slots",
    "UPDATE runs SET slots = 2 WHERE n = 2": "does not cover exactly",
    f"UPDATE runs SET slots = 2, fire_time_last = {SHIFTED.format('fire_time', 1)} WHERE n = 2": "is covered by",
    f"UPDATE runs SET fire_time = {SHIFTED.format('fire_time', 3600)} WHERE n = 2": "and its row says",
    f"UPDATE runs SET fire_time = {SHIFTED.format('fire_time', -3600)} WHERE n = 1": "lies in no era",
    "UPDATE jobs SET run_count = run_count + 1": "run_count is",
    "UPDATE jobs SET last_n = last_n + 1": "last_n is",
    f"UPDATE jobs SET next_run_at = {SHIFTED.format('next_run_at', -1)}": "beyond the cursor",
    f"UPDATE jobs SET next_run_at = {SHIFTED.format('next_run_at', 1)}": "no row covers 1 slots",
    "UPDATE jobs SET next_run_at = NULL": "is no slot of",
    f"UPDATE jobs SET activated_at = {SHIFTED.format('activated_at', -60)}": "was activated at",
    "UPDATE texts SET bytes = x'00'": "is damaged",
    "UPDATE run_tallies SET runs = runs + 1": "the tallies of its runs",
    "INSERT INTO skip_tallies VALUES ('quick', 'paused', 1)": "the tallies of its skips",
}


@pytest.fixture
def lived_in(world: World) -> World:
    world.job("quick")
    daemon = world.serve()
    until(lambda: len(world.marks()) > 2, "three fires")
    assert daemon.stop() == 0
    judge(world)
    return world


def test_every_fault_in_the_database_is_found(lived_in: World) -> None:
    kept = lived_in.db.with_name("kept.db")
    shutil.copy(lived_in.db, kept)  # all of it: the last connection has put the journal away
    for fault, said in FAULTS.items():
        connection = sqlite3.connect(lived_in.db, isolation_level=None)
        connection.execute(fault)
        connection.close()
        assert any(said in found for found in violations(lived_in)), (fault, violations(lived_in))
        shutil.copy(kept, lived_in.db)
        assert violations(lived_in) == []


def test_every_fault_between_the_database_and_the_marks_is_found(lived_in: World) -> None:
    marks = lived_in.marks_file.read_text()
    line, fire_time = marks.splitlines()[0], lived_in.marks()[0].fire_time
    assert fire_time is not None
    another = f"{fire_time - timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}"
    for changed, said in {
        marks + line + "\n": "ran 2 times",
        marks + line.replace("quick:1", "quick:99") + "\n": "ran and has no row",
        marks.replace(f"{fire_time:%Y-%m-%dT%H:%M:%SZ}", another): "and its row says",
        marks.replace(line + "\n", ""): "without having run",
    }.items():
        lived_in.marks_file.write_text(changed)
        assert any(said in found for found in violations(lived_in)), (changed, violations(lived_in))
    lived_in.marks_file.write_text(marks)
    assert violations(lived_in) == []


def test_a_daemon_still_there_is_no_leftover_of_a_run_and_its_child_is(world: World) -> None:
    world.job("long", "sleep 1000")
    daemon = world.serve()
    until(lambda: len(world.leftovers()) == 2, "the shell and its child")
    assert daemon.process.pid not in world.leftovers()
    assert set(world.leftovers().values()) == {"SCHEDULER_RUN_ID=long:1"}
