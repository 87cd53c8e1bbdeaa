"""A full disk under a living daemon, and under everything that writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.crash.world import await_until
from tests.faults.disks import Disk
from tests.faults.world import RESUMED, STOPPED, FaultyWorld, judge

TOLD = (STOPPED, "sync_failed", "end_not_written")


def await_slots_pass(world: FaultyWorld, seconds: int = 2) -> None:
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    await_until(lambda: datetime.now(UTC) > until, "time to pass")


def test_a_full_disk_stops_firing_and_is_told_and_firing_goes_on_when_there_is_space(
    apart: FaultyWorld, disk: Disk
) -> None:
    apart.job("tick")
    daemon = apart.serve()
    apart.await_marks("tick", 2)
    with disk.full():
        daemon.says(STOPPED)
        ran = len(apart.marks())
        await_slots_pass(apart)
        (trouble,) = apart.listed()["troubles"]
        assert "full" in trouble
        code, errors = apart.doctor()
        assert code == 1
        assert any("full" in each for each in errors["daemon"])
        assert any("full" in each for each in errors["state"])
        assert len(apart.marks()) == ran, "it ran without room for what a run writes"
    daemon.says(RESUMED)
    apart.await_marks("tick", 2)
    assert apart.listed()["troubles"] == []
    assert daemon.stop() == 0, daemon.stderr
    assert [row["reason"] for row in apart.runs("tick") if row["status"] == "skipped"].count("missed") == 1
    judge(apart, expected=TOLD)
