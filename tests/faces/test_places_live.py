"""A daemon whose root goes and comes back."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.faces.conftest import Root
from tests.faces.served import Served, root
from tests.helpers import call, until

__all__ = ["root"]


def test_a_root_that_is_moved_away_and_back_stops_no_job_and_firing_goes_on(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = str(tmp_path / "state")
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "scheduler", "--root", str(root.path), "--state", state, "serve"]
    daemon = Served(Root(path=tmp_path, clock=root.clock), command=command)
    try:
        daemon.says("run_succeeded")
        away = root.path.rename(tmp_path / "away")
        daemon.says(" place_lost cause=root_missing")
        away.rename(root.path)
        daemon.says(" place_back cause=root_missing")
        ran = sum("run_succeeded" in line for line in daemon.lines)
        until(lambda: sum("run_succeeded" in line for line in daemon.lines) > ran, "a run afterwards")
        asked = call("--root", str(root.path), "--state", state, "show", "tick", "--json").json["job"]
        assert (asked["status"], asked["consecutive_errors"], asked["stop_reason"]) == ("active", 0, None)
        rows = call("--root", str(root.path), "--state", state, "history", "tick", "-n", "100", "--json").json["runs"]
        skips = [row for row in rows if row["status"] == "skipped"]
        assert {row["reason"] for row in skips} <= {"missed", "overlap"}
        assert sum(row["reason"] == "overlap" for row in skips) <= 2
        assert any(row["reason"] == "missed" and row["slots"] > 1 for row in skips)
        covered: dict[datetime, str] = {}
        for row in rows:
            first, last = (datetime.fromisoformat(row[key]) for key in ("fire_time", "fire_time_last"))
            for n in range(row["slots"]):
                slot = first + n * timedelta(seconds=1)
                assert slot <= last
                assert covered.setdefault(slot, row["id"]) == row["id"], "no slot has two rows"
        assert max(covered) - min(covered) == timedelta(seconds=len(covered) - 1), "and none has no row"
    finally:
        daemon.kill()
