"""A full disk under a living daemon, and under one that starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.disks import Disk, failing_writes
from tests.faults.world import RESUMED, STOPPED, FaultyWorld, await_slots_pass, judge
from tests.helpers import until

TOLD = (STOPPED, "sync_failed", "end_not_written")


def test_a_full_disk_stops_firing_and_is_told_and_firing_goes_on_when_there_is_space(
    apart: FaultyWorld, disk: Disk
) -> None:
    apart.job("tick")
    daemon = apart.serve()
    apart.await_marks("tick", 2)
    apart.await_end("tick")  # one that could not be written would be another trouble
    with disk.full():
        daemon.says(STOPPED)
        ran = len(apart.marks())
        await_slots_pass()
        (trouble,) = apart.listed()["troubles"]
        assert "full" in trouble
        code, errors = apart.doctor()
        assert code == 1
        assert any("full" in each for each in errors["daemon"])
        assert any("full" in each for each in errors["state"])
        refused = apart.cli("run", "tick")
        assert (refused.code, "full" in refused.stderr) == (5, True)
        assert len(apart.marks()) == ran, "it ran without room for what a run writes"
    daemon.says(RESUMED)
    apart.await_marks("tick", 2)
    assert apart.listed()["troubles"] == []
    assert daemon.stop() == 0, daemon.stderr
    assert [row["reason"] for row in apart.runs("tick") if row["status"] == "skipped"].count("missed") == 1
    judge(apart, expected=TOLD)


def test_once_does_not_pass_over_a_run_whose_end_cannot_be_written(world: FaultyWorld) -> None:
    pipe = world.root.parent / "go"
    os.mkfifo(pipe)
    world.job("slow", f"read line < '{pipe}'", schedule="every: 10s")  # served up to five seconds late
    assert world.cli("sync").code == 0
    slot = world.cursor("slow").timestamp()
    until(lambda: time.time() > slot, "the slot")
    daemon = world.serve("--once")
    until(lambda: world.marks("slow"), "the fire")
    until(lambda: world.rows("SELECT 1 FROM attempts WHERE pid NOTNULL"), "the note of its process")
    with failing_writes(daemon.process.pid):
        pipe.write_text("go\n")
        assert daemon.ended() == 1, daemon.stderr
    assert "end_not_written" in daemon.stderr
    assert world.cli("sync").code == 0
    (run,) = [row for row in world.runs("slow") if row["status"] != "skipped"]
    assert (run["status"], run["reason"]) == ("interrupted", "owner_died")


def test_who_waits_for_a_run_whose_end_is_lost_with_the_database_is_told(world: FaultyWorld) -> None:
    """Its end cannot be written, and then a copy takes the place of the database that it belongs to."""
    pipe, copy = world.root.parent / "go", world.root.parent / "copy.db"
    os.mkfifo(pipe)
    world.job("slow", f"read line < '{pipe}'", schedule="every: 1d")
    daemon = world.serve()
    daemon.says(" serving root=")
    waiting = world.start("run", "slow", "--wait")
    until(lambda: world.rows("SELECT 1 FROM attempts WHERE pid NOTNULL"), "the note of its process")
    assert world.cli("backup", str(copy)).code == 0
    with failing_writes(daemon.process.pid):
        pipe.write_text("go\n")
        daemon.says("end_not_written")
        world.db.rename(world.root.parent / "gone.db")
        daemon.says("database_gone")
    copy.rename(world.db)
    assert "ends_lost=slow:1" in daemon.says("database_put_back")
    _, said = waiting.communicate(timeout=30)
    assert (waiting.returncode, "closed the connection before the run ended" in said) == (5, True), said
    until(lambda: daemon.stderr.count(" serving root=") == 2, "the daemon to serve the copy")
    assert daemon.stop() == 0, daemon.stderr


def test_what_ends_while_nothing_can_be_written_keeps_its_outcome(world: FaultyWorld) -> None:
    """Writes fail, and the end of a run comes; a sync, a fire and a manual run are tried; then the disk is well."""
    pipe = world.root.parent / "go"
    os.mkfifo(pipe)
    world.job("patient", f"read line < '{pipe}'", "echo done", "exit 3", schedule="every: 1s")
    world.job("tick")
    world.job("by-hand", schedule="every: 1d")  # a tick may be under way
    daemon = world.serve("--grace", "0")
    until(lambda: world.marks("patient"), "the fire")
    world.await_marks("tick")
    with failing_writes(daemon.process.pid):
        daemon.says(STOPPED)
        ran = len(world.marks())
        pipe.write_text("go\n")
        daemon.says("end_not_written")
        world.write("jobs/new.yaml", "id: new\nschedule: {every: 1h}\ntask: 'true'\nrunner: sh\n")
        daemon.says("sync_failed")
        troubles = world.listed()["troubles"]
        assert any("patient:1" in each for each in troubles)
        assert any("disk I/O error" in each for each in troubles)
        code, errors = world.doctor()
        assert (code, len(errors["daemon"])) == (1, len(troubles))
        assert world.cli("run", "by-hand").code == 5
        assert len(world.marks()) == ran
    daemon.says("end_written run_id=patient:1")
    daemon.says(RESUMED)
    daemon.says("sync_resumed")
    world.await_marks("tick")
    first = world.runs("patient")[0]
    assert (first["status"], first["exit_code"], first["result"]) == ("failed", 3, "done\n")
    pipe.unlink()
    assert daemon.stop() == 0, daemon.stderr
    judge(world, expected=TOLD)


def test_a_daemon_killed_on_a_full_disk_has_lost_no_slot(apart: FaultyWorld, disk: Disk) -> None:
    apart.job("tick")
    apart.job("slow", "sleep 1000", schedule="every: 2s")
    first = apart.serve()
    until(lambda: apart.marks("slow"), "the fire")
    disk.fill()
    first.says(STOPPED)
    first.kill()
    assert apart.listed()["summary"]["active"] == 2, "who only reads needs no space"
    second = apart.serve()
    second.says(STOPPED)
    second.kill()
    disk.free()
    third = apart.serve("--grace", "0")
    apart.await_marks("tick")
    third.stop()
    assert ("interrupted", "owner_died") in [(row["status"], row["reason"]) for row in apart.runs("slow")]
    # A fire may have been claimed, or its script started, just before the disk was full.
    judge(apart, expected=(*TOLD, "run_abandoned"), unmarked=True)


@pytest.mark.long
def test_a_start_on_a_full_disk_leaves_nothing_half_made(apart: FaultyWorld, disk: Disk) -> None:
    apart.job("tick")
    for pages in (0, 3):
        disk.fill(leave=4096 * pages)
        ended = apart.serve().ended(), apart.cli("sync")
        assert (ended[0], ended[1].code) == (5, 5)
        for said in (apart.daemons[-1].stderr, ended[1].stderr):
            assert str(apart.state) in said
            assert "free some space" in said
            assert "Traceback" not in said
        assert not apart.db.exists()
        disk.free()
    assert apart.cli("sync").code == 0
    assert (apart.state / ".gitignore").read_text() == "*\n"
    daemon = apart.serve()
    apart.await_marks("tick")
    daemon.stop()
    judge(apart)


@pytest.mark.long
def test_a_log_that_cannot_be_written_stops_nothing(apart: FaultyWorld, disk: Disk, world: FaultyWorld) -> None:
    """Its reader has gone; or it is a file on a full disk, which goes on once there is space."""
    world.job("tick")
    ours, theirs = os.pipe()
    os.close(ours)
    log = disk.folder / "log"
    log.write_bytes(b"#" * 4095 + b"\n")  # its page is full: the next line needs another one
    for stderr in (theirs, os.open(log, os.O_WRONLY | os.O_APPEND)):
        disk.fill()
        process = subprocess.Popen([*world._command, "serve"], env=world._environment, stderr=stderr)
        os.close(stderr)
        try:
            world.await_marks("tick", 2)
            disk.free()
            world.await_marks("tick", 1)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    assert "run_succeeded" in log.read_text()
    judge(world)


@pytest.mark.long
def test_a_full_tmpdir_stops_nothing(world: FaultyWorld, disk: Disk) -> None:
    world.job("tick")
    disk.fill()
    daemon = world.serve(TMPDIR=str(disk.folder))
    world.await_marks("tick")
    assert daemon.stop() == 0
    judge(world)


@pytest.mark.long
def test_a_run_says_what_is_missing_where_the_disk_of_outputs_fills_up_under_it(tmp_path: Path, disk: Disk) -> None:
    """The database has room: the run goes on to its true end and says what was lost, and nothing more is claimed."""
    world = FaultyWorld(tmp_path, state=disk.folder / "state", db=tmp_path / "elsewhere/state.db")
    try:
        pipe = tmp_path / "go"
        os.mkfifo(pipe)
        world.job("loud", f"read line < '{pipe}'", "head -c 3000000 /dev/zero", schedule="every: 1s")
        daemon = world.serve("--grace", "0")
        until(lambda: world.marks("loud"), "the fire")
        with disk.full():
            pipe.write_text("go\n")
            until(lambda: world.runs("loud", status="succeeded"), "its end")
            daemon.says(STOPPED)
            (run,) = world.runs("loud", status="succeeded")
            assert "output could not be saved: No space left on device" in run["error"]
            assert (run["output_bytes"], run["truncated"]) == (3_000_000, 1)
            assert len(world.marks()) == 1
            assert json.loads(world.cli("history", "loud", "--json").stdout)["runs"][0]["truncated"]
        daemon.says(RESUMED)
        daemon.stop()
    finally:
        world.close()
