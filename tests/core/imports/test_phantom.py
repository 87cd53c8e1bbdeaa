"""Rows of Phantom's table become jobs that do what Phantom did with them."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import pytest

from scheduler.core.imports.incoming import Incoming, mapped_id, slug
from scheduler.core.imports.phantom import phantom_jobs
from scheduler.core.times.fires import fires
from scheduler.core.values.problems import Problem
from scheduler.core.values.spec import Schedule

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def imported(
    *rows: dict[str, Any], audit: tuple[dict[str, Any], ...] = (), channels: Collection[str] = ()
) -> tuple[list[Incoming], list[Problem]]:
    whole = [
        {
            "_row": number,
            "id": f"j{number}",
            "name": f"Job {number}",
            "schedule_kind": "cron",
            "schedule_value": '{"expr": "0 * * * *", "tz": "UTC"}',
            "task": "Go.",
            **row,
        }
        for number, row in enumerate(rows, 1)
    ]
    found, problems = phantom_jobs(whole, audit, zone="UTC", root_zone="UTC", channels=channels, now=NOW)
    return found, [each for each in problems if each.code != "import.retry"]


def cron(expression: str) -> Any:
    (job,), problems = imported({"schedule_value": json.dumps({"expr": expression, "tz": "UTC"})})
    assert not problems
    return job.keys["schedule"]


def test_a_task_that_is_no_text_is_left_out_and_not_changed() -> None:
    found, problems = imported({"task": "tas\udcff"}, {"name": "n\udcff", "created_by": "b\udcff"})
    assert [(each.id, each.keys["name"]) for each in found] == [("j2", "n\\xff")]
    assert found[0].past is not None
    assert found[0].past.facts["created_by"] == "b\\xff"
    assert [(each.line, each.code, each.is_error) for each in problems] == [
        (1, "import.task", True),
        (2, "import.encoding", False),
    ]
    assert "created_by, name" in problems[1].message


def test_what_was_not_delivered_has_no_comment_about_it() -> None:
    found, _ = imported(
        {"delivery_channel": "none", "delivery_target": "owner"},
        {"delivery_channel": "slack", "delivery_target": "owner"},
    )
    lacking = "no channel in scheduler.yaml is called slack-owner or owner"
    assert [each.comments for each in found] == [(), (f"Phantom delivered the result to slack owner: {lacking}",)]
    assert all("deliver" not in each.keys for each in found)


@pytest.mark.parametrize(
    ("channel", "target", "channels", "name"),
    [
        ("slack", "owner", ["owner", "slack"], "owner"),
        ("slack", "#ops", ["ops", "slack-ops"], "slack-ops"),
        ("slack", None, ["slack"], "slack"),
        ("slack", "C0123", ["slack", "owner"], None),
        ("none", "owner", ["owner"], None),
    ],
)
def test_a_job_delivers_to_the_channel_that_has_the_name_of_its_target(
    channel: str, target: str | None, channels: list[str], name: str | None
) -> None:
    (job,), _ = imported({"delivery_channel": channel, "delivery_target": target}, channels=channels)
    assert job.keys.get("deliver") == (None if name is None else [name])
    assert job.keys.get("deliver_on") == (None if name is None else ["success", "every_failure"])
    assert bool(job.comments) is (name is None and channel != "none")


def test_a_job_that_its_status_calls_disabled_is_disabled_by_its_file() -> None:
    (job,), problems = imported({"status": "disabled"})
    assert job.keys["enabled"] is False
    assert job.past is not None
    assert "paused_at" not in job.past.facts
    assert not problems


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        ("0 0 */2 * 1", "0 0 1-31/2 * 1"),
        ("0 0 13 * */2", "0 0 13 * 0-6/2"),
        ("0 0 */2 * *", "0 0 */2 * *"),
        ("0 0 * * 1", "0 0 * * 1"),
        ("0 0 13 * 5", "0 0 13 * 5"),
        ("30 0 0 */10,5 * 1", "30 0 0 1-31/10,5 * 1"),
        ("@daily", "@daily"),
    ],
)
def test_days_of_the_month_and_of_the_week_are_united_as_phantom_unites_them(expression: str, written: str) -> None:
    assert cron(expression) == written


def test_a_day_of_either_kind_is_enough_where_both_are_given() -> None:
    schedule = Schedule(cron=cron("0 0 */10 * 1"), timezone="UTC")
    found = takewhile(lambda each: each < NOW + timedelta(days=30), fires(schedule, after=NOW))
    assert [each.day for each in found] == [2, 9, 11, 16, 21, 23, 30, 31]


def test_what_should_have_run_once_and_did_not_is_told() -> None:
    late, soon = "2026-03-01 11:00:00", "2026-03-01 13:00:00"
    found, problems = imported(
        {"delete_after_run": 1, "next_run_at": late},
        {"delete_after_run": 1, "next_run_at": soon},
        {"delete_after_run": 1, "next_run_at": late, "status": "paused"},
        {"schedule_kind": "at", "schedule_value": '{"at": "2026-03-01T11:00:00Z"}'},
    )
    assert len(found) == 4
    assert [(each.line, each.code) for each in problems] == [(1, "import.past"), (4, "import.past")]


def test_an_audit_row_without_an_action_is_one_all_the_same() -> None:
    row = {"job_id": "j1", "action": None, "created_at": "2026-02-01 00:00:00", "detail": "odd\udcff"}
    (job,), _ = imported({}, audit=(row,))
    assert job.past is not None
    assert [(each["action"], each["cause"]) for each in job.past.audit] == [("phantom.change", "odd\\xff")]


def test_letters_with_marks_stay_letters_in_names_that_are_made_up() -> None:
    assert slug("Ünïcode jöb ☃") == "unicode-job"
    assert mapped_id("Täglich").startswith("taglich-")
    assert mapped_id("日本").startswith("job-")
