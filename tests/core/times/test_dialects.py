from __future__ import annotations

import pytest

from scheduler.core.formats.jobfile import read_job_file
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.times.dialects import same_schedule

SETTINGS, _ = read_root_file(b"version: 1\nrunners: {agent: {command: [cat]}}\ndefaults: {runner: agent}\n")


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        # EventBridge
        ("0 2 * * ? *", '"0 2 * * *"'),
        ("cron(0 2 * * ? *)", '"0 2 * * *"'),
        ("0 0 25 * ? *", '"0 0 25 * *"'),
        ("cron(15 10 ? * 2-6 *)", '"15 10 * * mon-fri"'),
        ("cron(0 18 ? * MON-FRI *)", '"0 18 * * mon-fri"'),
        ("0 8 1 * ? *", '"0 8 1 * *"'),
        ("cron(0/15 * * * ? *)", '"0/15 * * * *"'),
        ("rate(5 minutes)", "{every: 5m}"),
        ("rate(1 day)", "{every: 1d}"),
        # Quartz and Spring
        ("0 0 2 * * ?", '"0 2 * * *"'),
        ("0 0 2 ? * 1", '"0 2 * * sun"'),
        ("0 0 2 ? * 2,4 *", '"0 2 * * mon,wed"'),
        ("30 0 2 * * ?", '"30 0 2 * * *"'),
        ("0 0/5 14 * * ?", '"0/5 14 * * *"'),
        ("0 2 ? * mon", '"0 2 * * mon"'),
        # systemd
        ("*-*-* 02:00:00", '"0 2 * * *"'),
        ("Mon..Fri 09:00", '"0 9 * * mon-fri"'),
        ("Mon,Wed *-*-* 08:30", '"30 8 * * mon,wed"'),
        ("*:0/15", '"*/15 * * * *"'),
        ("*-*-01 00:00:00", '"0 0 1 * *"'),
        ("quarterly", '"0 0 1 1,4,7,10 *"'),
        # words
        ("daily", '"@daily"'),
        ("Hourly", '"@hourly"'),
        ("every 30m", "{every: 30m}"),
        ("every 5 minutes", "{every: 5m}"),
        ("@every 1 hour", "{every: 1h}"),
        ("every day at 9:05", '"5 9 * * *"'),
        ("monday at 9am", '"0 9 * * mon"'),
        ("weekdays", '"0 0 * * mon-fri"'),
        ("12am", '"0 0 * * *"'),
    ],
)
def test_a_schedule_of_another_dialect_is_refused_with_the_one_that_means_the_same(text: str, ours: str) -> None:
    assert same_schedule(text) == ours
    assert SETTINGS is not None
    job = "id: a\ntask: x\nschedule: "
    (problem,) = read_job_file("jobs/a.yaml", f"{job}{text!r}\n".encode(), SETTINGS).problems
    assert (problem.code, f"write schedule: {ours}" in problem.hint) == ("schedule.cron", True)
    found = read_job_file("jobs/a.yaml", f"{job}{ours}\n".encode(), SETTINGS)
    assert found.problems == ()


@pytest.mark.parametrize(
    "text",
    [
        "cron(0 2 * * ? 2027)",
        "cron(0 2 ? * 6L *)",
        "cron(0 2 ? * 2#1 *)",
        "0 0 2 1W * ?",
        "0 0 2 ? * 9",
        "? 2 * * *",
        "rate(5 fortnights)",
        "2027-01-01 09:00:00",
        "Mon *-*-01 09:00",
        "Fri..Mon 09:00",
        "every blue moon",
        "today at 9:00",
        "13pm",
        "0 0 2 * * 1 *",
        "9",
        "",
        "x" * 300,
    ],
)
def test_what_no_schedule_of_ours_says_is_not_translated(text: str) -> None:
    assert same_schedule(text) is None


def test_a_single_run_is_at() -> None:
    assert SETTINGS is not None
    (problem,) = read_job_file("jobs/a.yaml", b"id: a\ntask: x\nschedule: '@once'\n", SETTINGS).problems
    assert "for a single run write schedule: {at: " in problem.hint
