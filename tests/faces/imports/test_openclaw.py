"""OpenClaw's cron jobs come with their times, targets and state, whichever version wrote them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.faces.conftest import Root
from tests.faces.imports.oracles import either_day_cron
from tests.faces.imports.shown import check_golden, fires_of, problems_of, source

START = datetime(2026, 4, 1, tzinfo=UTC)
BRIEF, HEARTBEAT = (f"7d46d270-0000-4000-8000-00000000000{n}" for n in (1, 2))


def stored(folder: Path, *jobs: dict[str, Any], **more: Any) -> str:
    payload = {"kind": "agentTurn", "message": "Go."}
    every = {"kind": "every", "everyMs": 60_000}
    whole = [{"id": f"j{n}", "schedule": every, "payload": payload, **each} for n, each in enumerate(jobs, 1)]
    (folder / "jobs.json").write_text(json.dumps({"version": 1, "jobs": whole, **more}))
    return str(folder / "jobs.json")


def test_the_jobs_come_as_files_and_twice_changes_nothing(root: Root) -> None:
    check_golden(root, "openclaw", "--timezone", "Europe/Vienna")


def test_the_state_beside_the_list_comes_too(root: Root) -> None:
    root.cli("import", "openclaw", str(source("openclaw")), "--timezone", "UTC")
    job = root.job(BRIEF)
    assert (job["consecutive_errors"], job["last_run_status"], job["last_run_duration_ms"]) == (3, "failed", 8123)
    assert (job["last_run_at"], job["last_run_error"]) == ("2026-03-01T15:30:00Z", "429 Too Many Requests")
    assert (job["created_at"], job["last_delivery_status"]) == ("2026-01-05T08:00:00Z", "not-delivered")
    assert root.job("webhook")["status"] == "disabled"
    assert root.job("legacy")["schedule"]["at"] == "2026-05-01T16:00:00Z"


def test_the_next_50_fires_are_those_of_openclaw(root: Root) -> None:
    root.cli("import", "openclaw", str(source("openclaw")), "--timezone", "Europe/Vienna")
    assert fires_of(root, BRIEF, START) == either_day_cron("30 7 1-31/3 * 1", "America/Los_Angeles", START)
    assert fires_of(root, "webhook", START) == either_day_cron("*/20 * * * *", "Europe/Vienna", START)
    first = datetime.fromtimestamp(1772354400, UTC)
    every = [first + timedelta(minutes=90 * n) for n in range(50)]
    assert fires_of(root, HEARTBEAT, first - timedelta(seconds=1)) == every


def test_the_state_within_the_list_of_older_versions_comes_too(root: Root, tmp_path: Path) -> None:
    state = {"lastRunAtMs": 1772323200000, "lastStatus": "ok", "consecutiveErrors": 0, "lastWord": "bye"}
    found = root.json("import", "openclaw", stored(tmp_path, {"state": state}))
    assert root.job("j1")["last_run_status"] == "succeeded"
    assert "state.lastWord (bye)" in str(found["problems"])


def test_what_the_command_prints_is_read_too(root: Root, tmp_path: Path) -> None:
    file = Path(stored(tmp_path, {}))
    value = {"jobs": json.loads(file.read_text())["jobs"], "total": 1, "hasMore": False}
    (tmp_path / "openclaw.json").write_text(json.dumps(value))
    file.unlink()
    assert [each["id"] for each in root.json("import", "openclaw", str(tmp_path))["jobs"]] == ["j1"]


@pytest.mark.parametrize("version", [2, "1.0"])
def test_another_version_is_told_and_not_guessed(root: Root, tmp_path: Path, version: Any) -> None:
    done = root.cli("import", "openclaw", stored(tmp_path, {}, version=version), "--json")
    assert (done.code, done.json["jobs"], problems_of(done.json)) == (1, [], [("format", "error")])


def test_an_address_of_a_webhook_is_not_shown(root: Root) -> None:
    done = root.cli("import", "openclaw", str(source("openclaw")), "--timezone", "UTC")
    assert "0123456789" not in done.stdout + done.stderr
    assert not any("hooks/" in path.read_text() for path in (root.path / "jobs/imported").iterdir())


def test_a_recurring_job_that_is_deleted_after_its_run_expires_with_it(root: Root, tmp_path: Path) -> None:
    once = {"deleteAfterRun": True, "state": {"nextRunAtMs": 1772366400500}}
    done = root.cli("import", "openclaw", stored(tmp_path, once, {"deleteAfterRun": True}), "--json")
    assert problems_of(done.json, "j2: ") == [("once", "error")]
    assert len(root.json("next", "j1", "--from", "2026-03-01T11:59:30Z")["fires"]) == 1


def test_a_stagger_that_is_too_long_is_told(root: Root, tmp_path: Path) -> None:
    schedule = {"kind": "cron", "expr": "* * * * *", "tz": "UTC", "staggerMs": 60_000}
    found = root.json("import", "openclaw", stored(tmp_path, {"schedule": schedule}))
    assert problems_of(found) == [("jitter", "warning")]


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ({"kind": "at", "atMs": 10**15}, "its atMs is 1000000000000000; allowed: a time from 1970 to 8999"),
        ({"kind": "at", "at": "9001-01-01T00:00:00Z"}, "its at is '9001-01-01T00:00:00Z'; allowed: a time"),
        ({"kind": "every", "everyMs": -1}, "its everyMs is -1; allowed: a number above 0"),
        ({"kind": "cron", "expr": 5}, "its expr is 5; allowed: a text"),
        ({"kind": "cron"}, "its schedule of the kind 'cron' says no time: no expr"),
        ({"kind": "moon"}, "its schedule of the kind 'moon' says no time; allowed: at, every, cron"),
    ],
)
def test_a_schedule_that_says_no_time_is_told_with_what_it_says(
    root: Root, tmp_path: Path, schedule: dict[str, Any], why: str
) -> None:
    job = {"id": "a", "schedule": schedule, "payload": {"kind": "agentTurn", "message": "Go."}}
    (tmp_path / "jobs.json").write_text(json.dumps({"jobs": [job]}))
    done = root.cli("import", "openclaw", str(tmp_path / "jobs.json"), "--timezone", "UTC")
    assert (done.code, f"a: {why}" in done.stderr) == (1, True), done.stderr
