"""Hermes's jobs come with their times, targets and counters, against croniter, which is what Hermes asks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from tests.faces.conftest import Root
from tests.faces.imports.shown import check_golden, fires_of, problems_of, source

ZONE = "Asia/Kolkata"
START = datetime(2026, 4, 1, tzinfo=UTC)


def by_croniter(expression: str, zone: str = ZONE, n: int = 50) -> list[datetime]:
    found = croniter(expression, START.astimezone(ZoneInfo(zone)))
    return [found.get_next(datetime).astimezone(UTC) for _ in range(n)]


def jobs_in(folder: Path, *jobs: dict[str, Any]) -> str:
    whole = [
        {"id": f"j{n}", "prompt": "Go.", "schedule": {"kind": "cron", "expr": "0 9 * * *"}, **each}
        for n, each in enumerate(jobs, 1)
    ]
    (folder / "jobs.json").write_text(json.dumps({"jobs": whole}))
    return str(folder / "jobs.json")


def test_the_jobs_come_as_files_and_twice_changes_nothing(root: Root) -> None:
    check_golden(root, "hermes")


def test_counters_the_last_run_and_pauses_come_too(root: Root) -> None:
    root.cli("import", "hermes", str(source("hermes")))
    job = root.job("a1b2c3d4e5f6")
    assert (job["run_count"], job["consecutive_errors"], job["last_run_status"]) == (41, 2, "failed")
    assert (job["last_run_at"], job["last_run_error"]) == ("2026-03-01T03:30:12.500000Z", "HTTP 529 overloaded")
    paused = root.job("c1b2c3d4e5f6")["paused"]
    assert (paused["reason"], paused["at"], paused["by"]) == ("too loud", "2026-02-25T06:30:00Z", "hermes")
    assert root.job("f1b2c3d4e5f6")["status"] == "disabled"


def test_the_next_50_fires_are_those_of_hermes(root: Root) -> None:
    root.cli("import", "hermes", str(source("hermes")))
    crons = {"a1b2c3d4e5f6": "0 9 */2 * MON", "c1b2c3d4e5f6": "*/10 8-10 * * 1-5 30", "f1b2c3d4e5f6": "15 6 * * *"}
    for job_id, expression in crons.items():
        assert fires_of(root, job_id, START) == by_croniter(expression), job_id
    every = [datetime(2026, 3, 1, 16, 30, tzinfo=UTC) + timedelta(hours=n) for n in range(50)]
    assert fires_of(root, "e1b2c3d4e5f6", every[0] - timedelta(seconds=1)) == every


def test_a_job_that_runs_three_times_more_ends_with_the_third(root: Root) -> None:
    root.cli("import", "hermes", str(source("hermes")))
    first = datetime(2026, 3, 2, 4, 47, tzinfo=UTC)
    found = root.json("next", "b1b2c3d4e5f6", "-n", "50", "--from", "2026-03-02T04:00:00Z")["fires"]
    assert [datetime.fromisoformat(each["fire_time"]) for each in found] == [
        first + timedelta(minutes=90 * n) for n in range(3)
    ]


def test_a_zone_that_is_asked_for_wins_over_that_of_the_gateway(root: Root) -> None:
    found = root.cli("import", "hermes", str(source("hermes")), "--timezone", "Asia/Tokyo", "--json").json
    assert ("timezone", "warning") in problems_of(found)
    assert fires_of(root, "f1b2c3d4e5f6", START) == by_croniter("15 6 * * *", "Asia/Tokyo")


def test_an_older_file_and_a_bare_list_are_read_too(root: Root, tmp_path: Path) -> None:
    old = {"repeat": {"times": 1, "completed": 0}, "schedule": {"kind": "once", "run_at": "2026-06-01T09:00:00"}}
    (tmp_path / "jobs.json").write_text(json.dumps([{"id": "old", "prompt": "Go.", "deliver": "local", **old}]))
    root.json("import", "hermes", str(tmp_path / "jobs.json"), "--timezone", "Europe/Berlin")
    assert root.job("old")["schedule"]["at"] == "2026-06-01T07:00:00Z"


def test_runs_that_are_used_up_or_too_many_are_left_out(root: Root, tmp_path: Path) -> None:
    used = {"repeat": {"times": 3, "completed": 3}, "created_at": "2026-02-20T10:00:00Z"}
    many = {"repeat": {"times": 5000, "completed": 0}, "created_at": "2026-02-20T10:00:00Z"}
    never = {**used, "schedule": {"kind": "cron", "expr": "0 0 30 2 *"}, "repeat": {"times": 3}}
    done = root.cli("import", "hermes", jobs_in(tmp_path, used, many, never), "--timezone", "UTC", "--json")
    assert problems_of(done.json) == [("once", "error"), ("once", "error"), ("schedule", "error")]


def test_a_script_before_the_prompt_is_a_check_and_without_a_shell_it_is_told(root: Root, tmp_path: Path) -> None:
    file = jobs_in(tmp_path, {"script": "collect.py"})
    found = root.json("import", "hermes", file, "--timezone", "UTC")
    assert problems_of(found, "j1: ") == [("check", "warning")]
    check = root.job("j1")["check"]
    assert (check["runner"], check["output"]) == ("shell", "append")
    assert (root.path / "scripts/imported/j1.check.sh").read_text() == "python3 ~/.hermes/scripts/collect.py\n"
    again = root.json("import", "hermes", file, "--timezone", "UTC")
    assert (again["written"], again["jobs"][0]["files"]) == ([], "unchanged")
    root.edit("scheduler.yaml", '    command: [sh, -eu, "{task_file}"]\n', '    command: [cat, "{task_file}"]\n')
    file = jobs_in(tmp_path, {"id": "other", "script": "collect.py"})
    found = root.json("import", "hermes", file, "--timezone", "UTC")
    (told,) = [each for each in found["problems"] if each["code"] == "import.not-carried"]
    assert ("script (python3" in told["message"], "runners: {shell:" in told["hint"]) == (True, True)


def test_a_secret_in_a_script_before_the_prompt_is_never_written(root: Root, tmp_path: Path) -> None:
    file = jobs_in(tmp_path, {"script": "x.sh --token hunter2hunter2"})
    done = root.cli("import", "hermes", file, "--timezone", "UTC", "--json")
    assert problems_of(done.json, "check") == [("secret", "error")]
    assert "hunter2" not in done.stdout


def test_a_channel_of_the_same_name_gets_the_results(root: Root, tmp_path: Path) -> None:
    root.edit("scheduler.yaml", "runners:\n", 'channels: {telegram-42: {url: "${env:OWNER_URL}"}}\nrunners:\n')
    file = jobs_in(tmp_path, {"deliver": "telegram:42"}, {"deliver": "telegram:43"})
    found = root.json("import", "hermes", file, "--timezone", "UTC")
    text = (root.path / found["jobs"][0]["file"]).read_text()
    assert "deliver: [telegram-42]\n" in text
    assert problems_of(found, "j2: ") == [("delivery", "warning")]


@pytest.mark.parametrize(
    ("expr", "times", "done", "why"),
    [
        ("0 0 30 2 *", 5, 1, "never"),
        ("0 0 L * *", 5, 1, "'L' is not crontab(5)"),
        ("0 0 1 * *", 5, 9, "it has no runs left"),
        ("0 0 1 * *", 5000, 9, "it has 4991 runs left"),
    ],
)
def test_a_last_run_that_cannot_be_computed_is_told_by_its_reason(
    root: Root, tmp_path: Path, expr: str, times: int, done: int, why: str
) -> None:
    job = {"id": "a1b2c3d4e5f6", "prompt": "Go.", "schedule": {"kind": "cron", "expr": expr}}
    job |= {"repeat": {"times": times, "completed": done}, "created_at": "2026-12-03T07:00:00Z"}
    (tmp_path / "jobs.json").write_text(json.dumps({"jobs": [job]}))
    (problem,) = root.cli("import", "hermes", str(tmp_path), "--json").json["problems"]
    assert (why in problem["message"], "index" in problem["message"]) == (True, False), problem["message"]
