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
        ("every 2 hours", "{every: 2h}"),
        ("every two hours", "{every: 2h}"),
        ("each 90 seconds", "{every: 1m30s}"),
        ("every half hour", "{every: 30m}"),
        ("every half an hour", "{every: 30m}"),
        ("every quarter of an hour", "{every: 15m}"),
        ("every other day", "{every: 2d}"),
        ("every 15 minutes on weekdays", '"*/15 * * * mon-fri"'),
        ("every 2 hours on weekends", '"0 */2 * * sat,sun"'),
        ("every hour at :15", '"15 * * * *"'),
        ("every day at 8", '"0 8 * * *"'),
        ("Every day at 8.", '"0 8 * * *"'),
        ("at 8 every day", '"0 8 * * *"'),
        ("daily at 9am", '"0 9 * * *"'),
        ("daily at 9 a.m.", '"0 9 * * *"'),
        ("9:00 daily", '"0 9 * * *"'),
        ("every day at noon", '"0 12 * * *"'),
        ("midnight", '"@daily"'),
        ("every morning at 8", '"0 8 * * *"'),
        ("every evening at 6", '"0 18 * * *"'),
        ("every night at 11:30", '"30 23 * * *"'),
        ("every night at 2", '"0 2 * * *"'),
        ("every day at 6 in the evening", '"0 18 * * *"'),
        ("weekdays at 7:30", '"30 7 * * mon-fri"'),
        ("at 7:30 on weekdays", '"30 7 * * mon-fri"'),
        ("every weekday at 9", '"0 9 * * mon-fri"'),
        ("Monday to Friday at 9", '"0 9 * * mon-fri"'),
        ("mon-fri 9am", '"0 9 * * mon-fri"'),
        ("weekends at 10am", '"0 10 * * sat,sun"'),
        ("Mondays at 9", '"0 9 * * mon"'),
        ("every monday and thursday at 17:15", '"15 17 * * mon,thu"'),
        ("every Tuesday, Wednesday, and Friday at 8pm", '"0 20 * * tue,wed,fri"'),
        ("weekly on sunday at 22:00", '"0 22 * * sun"'),
        ("daily at 9am and 5pm", '"0 9,17 * * *"'),
        ("every day at 8, 12 and 18", '"0 8,12,18 * * *"'),
        ("monthly on the 1st at 9:00", '"0 9 1 * *"'),
        ("on the 15th of every month at 8am", '"0 8 15 * *"'),
        ("first day of the month at 6:00", '"0 6 1 * *"'),
        ("every day at 8 Europe/Berlin", '{cron: "0 8 * * *", timezone: Europe/Berlin}'),
        ("weekdays at 7:30 in America/New_York", '{cron: "30 7 * * mon-fri", timezone: America/New_York}'),
        ("9am UTC", '{cron: "0 9 * * *", timezone: UTC}'),
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
        "every day at 25",
        "every day at 9am and 5:30pm",
        "every morning at 12",
        "every 2 weeks",
        "every 7 hours on weekdays",
        "tomorrow at 9am",
        "monday at 9am or so",
        "the last day of the month at 9:00",
        "every 32nd at 9:00",
        "daily at 9:00 Europe/Berln",
        "daily at 9:00 CEST",
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
    assert "for a single run, write schedule: {at: " in problem.hint
