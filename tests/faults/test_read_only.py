"""A disk that becomes read-only under a living daemon, and a root or a state folder that is so from the start."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disks import Breaking, Disk
from tests.faults.world import RESUMED, STOPPED, FaultyWorld, await_slots_pass, judge
from tests.helpers import until

TOLD = (STOPPED, "sync_failed", "end_not_written")


def test_a_state_folder_mounted_read_only_stops_firing_until_it_is_writable(apart: FaultyWorld, disk: Disk) -> None:
    """What the daemon has open can be written still; a new output, task file or connection cannot be made."""
    apart.job("tick")
    apart.job("slow", "sleep 1", schedule="every: 1s")
    daemon = apart.serve()
    until(lambda: apart.marks("slow"), "the fire")
    with disk.read_only():
        daemon.says(STOPPED)
        ran = len(apart.marks())
        until(lambda: apart.runs("slow", status="succeeded"), "the end of what ran")
        assert any("read-only" in each for each in apart.listed()["troubles"])
        code, errors = apart.doctor()
        assert code == 1
        assert {"daemon", "state"} <= errors.keys()
        assert len(apart.marks()) == ran
    daemon.says(RESUMED)
    apart.await_marks("tick")
    assert daemon.stop() == 0, daemon.stderr
    judge(apart, expected=TOLD)


@pytest.fixture
def breaking(tmp_path: Path) -> Iterator[Breaking]:
    found = Breaking(tmp_path / "disk")
    try:
        yield found
    finally:
        found.close()


def test_a_file_system_that_gives_up_stops_firing_and_what_it_held_is_whole(tmp_path: Path, breaking: Breaking) -> None:
    """As after an error of the disk: nothing at all can be written until the machine has started again."""
    world = FaultyWorld(tmp_path, state=breaking.folder / "state")
    world.inside = False  # SQLite leaves files open there, and the machine is to start again
    try:
        world.job("tick")
        world.job("slow", "sleep 1", schedule="every: 1s")
        daemon = world.serve()
        until(lambda: world.marks("slow"), "the fire")
        breaking.fail()
        daemon.says(STOPPED)
        daemon.says("end_not_written")
        ran = len(world.marks())
        await_slots_pass()
        assert len(world.marks()) == ran, "it ran without a claim that lasts"
        assert len(world.listed()["troubles"]) >= 2
        daemon.kill()
        code, errors = world.doctor()
        assert (code, "cannot be written" in errors["state"][0]) == (1, True)
        breaking.mend()
        with contextlib.closing(sqlite3.connect(world.db)) as state, state:  # it has started again
            state.execute("UPDATE attempts SET boot_id = 'an earlier one'")
        again = world.serve("--grace", "0")
        world.await_marks("tick")
        assert again.stop() == 0, again.stderr
        (lost,) = [row for row in world.runs("slow") if row["reason"] == "owner_died"]
        assert lost["status"] == "interrupted"
        judge(world, expected=TOLD)
    finally:
        world.close()


READS = [
    ["list"], ["list", "--json"], ["show", "tick"], ["next"], ["history", "tick", "--json"], ["output", "tick:1"],
    ["task", "tick:1"], ["audit"], ["plan"],
]  # fmt: skip
WRITES = [["sync"], ["run", "tick"], ["pause", "tick"], ["serve", "--once"]]


@contextlib.contextmanager
def nothing_to_be_made(world: FaultyWorld, disk: Disk, how: str) -> Iterator[None]:
    """On a read-only file system; a journal is there, with or without its index, or none; or the disk is full."""
    index, wal = (world.db.with_name(f"state.db-{each}") for each in ("shm", "wal"))
    if how == "without a journal":
        world.cli("list")  # who closes the database last takes in the journal
        assert not wal.exists()
    elif how != "with an index":
        assert wal.stat().st_size
        index.unlink()  # as a copy of the folder, or a machine that has started again
    if how == "full":
        with disk.full():
            yield
    else:
        with disk.read_only():
            yield


@pytest.mark.parametrize(
    "how",
    [
        "with a journal",
        "full",
        *[pytest.param(how, marks=pytest.mark.long) for how in ("without a journal", "with an index", "every command")],
    ],
)
def test_all_that_reads_works_where_nothing_can_be_made(
    apart: FaultyWorld, disk: Disk, tmp_path: Path, how: str
) -> None:
    apart.job("tick", "echo hello", schedule="every: 1h")
    daemon = apart.serve()
    daemon.says(" serving root=")
    assert apart.cli("run", "tick", "--wait").code == 0
    daemon.kill()
    with nothing_to_be_made(apart, disk, how):
        before = {path.name: path.read_bytes() for path in apart.state.glob("state.db*") if path.is_file()}
        for command in READS if how == "every command" else READS[1:2] + READS[4:5]:
            ended = apart.cli(*command)
            assert ended.code == 0, f"{command}: {ended.stderr}"
            assert ended.stderr.count(f"the database {apart.db}") == 1, f"{command}: {ended.stderr}"
            if command[0] == "history":
                assert json.loads(ended.stdout)["runs"][0]["result"] == "hello\n"
            if command == ["list", "--json"]:
                dead, trouble = json.loads(ended.stdout)["troubles"]
                assert "the daemon is dead" in dead
                assert trouble in ended.stderr
        for command in WRITES if how == "every command" else WRITES[2:3]:
            ended = apart.cli(*command)
            assert ended.code == 5, f"{command}: {ended.stderr}"
            assert str(apart.state) in ended.stderr
            assert "Traceback" not in ended.stderr
        ended = apart.cli("backup", str(tmp_path / "copy.db"), "--json")
        assert (ended.code, json.loads(ended.stdout or "{}").get("runs")) == (0, 1), ended.stderr
        code, errors = apart.doctor()
        assert code in (1, 5)
        assert errors["state"]
        if how != "full":
            after = {path.name: path.read_bytes() for path in apart.state.glob("state.db*") if path.is_file()}
            assert after == before
    assert len(apart.marks()) == 1


@pytest.mark.long
def test_a_read_only_root_is_served_from_a_state_folder_elsewhere(tmp_path: Path, disk: Disk) -> None:
    world = FaultyWorld(disk.folder, state=tmp_path / "state")
    world.marks_file = tmp_path / "marks"
    try:
        world.job("tick")
        with disk.read_only():
            daemon = world.serve()
            world.await_marks("tick")
            assert world.listed()["troubles"] == []
            assert world.doctor() == (0, {})
            assert daemon.stop() == 0, daemon.stderr
        judge(world)
    finally:
        world.close()
