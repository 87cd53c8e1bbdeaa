"""A real daemon whose clock is set while it serves, and that is killed: each slot runs at most once, none is lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.machine.timesync import is_synchronized
from tests.helpers import REPOSITORY, call, until

HOUR = 3600


class World:
    """One root with one job that fires every two seconds, and notes each slot that it was started for."""

    def __init__(self, folder: Path) -> None:
        self.root, self.wrong_by, self.log = folder / "root", folder / "wrong-by", folder / "log"
        (self.root / "jobs").mkdir(parents=True)
        self.ran = folder / "ran"
        command = f"command: [sh, -c, 'echo \"$SCHEDULER_FIRE_TIME\" >> {self.ran}; cat > /dev/null']"
        (self.root / "scheduler.yaml").write_text(
            f"version: 1\nrunners: {{note: {{{command}, input: stdin}}}}\ndefaults: {{runner: note}}\n"
        )
        (self.root / "jobs/tick.yaml").write_text("id: tick\nschedule: {every: 2s}\ntask: x\n")
        self.daemon: subprocess.Popen[bytes] | None = None

    def set_clock(self, wrong_by_s: float) -> None:
        new = self.wrong_by.with_suffix(".new")
        new.write_text(str(wrong_by_s))
        new.rename(self.wrong_by)

    def serve(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "tests.crash.stepped", str(self.root), str(self.wrong_by)]
            self.daemon = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()

    def cli(self, *args: str) -> tuple[int, Any]:
        found = call("--root", str(self.root), *args, "--json")
        return found.code, found.json

    def slots(self) -> list[str]:
        return self.ran.read_text().split() if self.ran.exists() else []

    def runs_on(self) -> None:
        seen = len(self.slots())
        until(lambda: len(self.slots()) >= seen + 2, "two more runs")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.kill()


def test_a_daemon_whose_clock_is_set_and_that_is_killed_runs_each_slot_once(world: World) -> None:
    world.set_clock(0)
    world.serve()
    world.runs_on()

    world.set_clock(3 * HOUR)  # a jump: doubted, and said everywhere
    until(lambda: "clock_doubted" in world.log.read_text(), "the doubt", within=5)
    until(lambda: "not trusted" in str(world.cli("list")[1]["troubles"]), "the doubt in a list")
    code, found = world.cli("doctor")
    assert code == 1
    assert any(check["name"] == "daemon" and "jumped ahead by 3:00:00" in check["message"] for check in found["checks"])
    before = len(world.slots())

    world.set_clock(0)  # and taken back: nothing has happened
    world.runs_on()
    assert not any(run["reason"] == "void" for run in world.cli("history", "tick")[1]["runs"])
    assert len(world.slots()) > before

    world.set_clock(20 * 60)  # under an hour: believed, and the slots between are missed
    world.runs_on()
    world.kill()
    world.set_clock(10 * 60)  # half of it taken back while nobody is there
    world.serve()
    world.runs_on()
    world.set_clock(0)  # and the rest while somebody is
    until(lambda: "clock_went_back" in world.log.read_text(), "the clock that went back", within=5)
    world.runs_on()
    world.kill()

    ran = Counter(world.slots())
    assert max(ran.values()) == 1, "no slot runs twice"
    rows = world.cli("history", "tick")[1]["runs"]
    counting = [row for row in rows if row["reason"] != "void"]
    assert any(row["reason"] == "void" for row in rows)
    covered: Counter[datetime] = Counter()
    for row in counting:
        first, last = (datetime.fromisoformat(row[key]) for key in ("fire_time", "fire_time_last"))
        slots = [first + timedelta(seconds=2) * n for n in range(int((last - first) / timedelta(seconds=2)) + 1)]
        assert len(slots) == row["slots"], row
        covered.update(slots)
    assert max(covered.values()) == 1, "no slot has two rows"
    now, began = datetime.now(UTC), min(covered)
    job = world.cli("show", "tick")[1]["job"]
    reached = datetime.fromisoformat(job["next_run_at"])
    assert began < reached <= now + timedelta(seconds=2), "the cursor is where the clock is"
    due = (reached - began) // timedelta(seconds=2)
    assert sum(began <= slot < reached for slot in covered) == due, "every slot up to the cursor has its row"
    claimed = {row["fire_time"] for row in counting if row["status"] != "skipped"}
    assert set(ran) <= claimed


def in_another_time(*command: str) -> list[str]:
    """A command whose clock since the boot is three hours ahead, by a namespace of the kernel."""
    shifted = ["unshare", "--time", "--boottime", str(3 * HOUR), "--fork", "--kill-child", *command]
    if shutil.which("unshare") is None or subprocess.run([*shifted[: -len(command)], "true"], check=False).returncode:
        pytest.skip("this user may make no time namespace here")
    return shifted


def test_the_systems_own_clocks_tell_a_jump_that_came_while_no_daemon_was_there(world: World) -> None:
    serve = [sys.executable, "-m", "scheduler", "--root", str(world.root), "serve"]
    with world.log.open("ab") as log:
        world.daemon = subprocess.Popen(in_another_time(*serve), cwd=REPOSITORY, stdout=log, stderr=log)
        world.runs_on()
        world.kill()
        until(lambda: len(world.cli("list")[1]["troubles"]) == 1, "no trouble but the dead daemon")
        until(lambda: world.cli("doctor")[0] != 5, "the end of the killed process behind it")
        # By what was noted then the machine was started three hours earlier than by what it says now.
        code, found = world.cli("doctor")
        (check,) = [each for each in found["checks"] if each["name"] == "clock"]
        if check["status"] == "ok" or is_synchronized():
            pytest.skip("something vouches for the clock of this machine")
        assert (code, "jumped ahead by 3:00:00" in check["message"]) == (1, True), found
        world.daemon = subprocess.Popen(serve, cwd=REPOSITORY, stdout=log, stderr=log)
        until(lambda: "clock_doubted" in world.log.read_text(), "the doubt")
        ran = len(world.slots())
        until(lambda: "firing_stopped" in world.log.read_text(), "the end of firing")
        assert len(world.slots()) == ran
