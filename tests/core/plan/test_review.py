"""What a reviewer is told first: of plain values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler.core.plan.headline import more_runs, times_as_many
from scheduler.core.plan.inherited import default_changes, follows_setting, inherited_fields
from scheduler.core.plan.review import runs_factor
from scheduler.core.values.facts import FileFacts
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import JobSpec, Schedule

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)


def facts(cron: str | None, *, enabled: bool = True) -> FileFacts:
    schedule = Schedule(timezone="UTC", manual=True) if cron is None else Schedule(timezone="UTC", cron=cron)
    spec = JobSpec(id="a", name="a", schedule=schedule, runner="r", enabled=enabled)
    return FileFacts(
        spec=spec, generation=1, path="a.yaml", line=1, revision=None, dirty=None, file_sha256="", task_sha256="",
        activated_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "factor"),
    [
        ("0 9 * * *", "0 * * * *", 24.0),
        ("0 9 * * MON-FRI", "0 6-23,0-3 * * *", 30.0),
        ("0 * * * *", "*/15 * * * *", 4.0),
        ("0 9 * * MON-FRI", "0 9 * * *", None),
        ("0 9 * * MON", "0 9 * * MON,WED,FRI", 3.0),
        ("0 0 1 * *", "0 0 2 * *", None),
        ("0 0 31 * *", "0 0 30 * *", 1.6),
        ("*/15 * * * *", "0 * * * *", None),
        (None, "0 * * * *", None),
        ("0 * * * *", None, None),
    ],
)
def test_runs_that_multiply_are_told_by_how_much(before: str | None, after: str | None, factor: float | None) -> None:
    assert runs_factor(facts(before), facts(after), NOW) == factor


def test_a_disabled_job_multiplies_nothing() -> None:
    assert runs_factor(facts("0 9 * * *", enabled=False), facts("* * * * *"), NOW) is None
    assert runs_factor(facts("0 9 * * *"), facts("* * * * *", enabled=False), NOW) is None


def test_a_factor_is_written_as_one_says_it() -> None:
    assert [times_as_many(each) for each in (30.0, 2.0, 2.5, 1_440.0, 12.6)] == [
        "30 times as many runs",
        "2 times as many runs",
        "2.5 times as many runs",
        "1,440 times as many runs",
        "13 times as many runs",
    ]


def job(factor: float | None, before: int = 10, after: int = 20) -> dict[str, Any]:
    def side(runs: int) -> dict[str, Any]:
        return {"runs_per_month": runs, "next_fires": [{}] if runs else []}

    return {"runs_factor": factor, "before": side(before), "after": side(after)}


def test_a_headline_names_the_jobs_that_multiply_most_and_counts_the_others() -> None:
    jobs = {"a": job(2.0), "b": job(30.0), "c": job(None), "d": job(None, before=0), "e": job(3.0), "f": job(2.0)}
    jobs["g"] = job(None, after=0)
    assert more_runs({"jobs": jobs}, str) == [
        "b: 30 times as many runs",
        "e: 3 times as many runs",
        "a: 2 times as many runs",
        "2 more jobs run more often",
    ]
    assert more_runs({"jobs": {"d": jobs["d"]}}, str) == ["d: 20 runs in 30 days, none before"]


# -- what jobs take over from scheduler.yaml ------------------------------------------------------

OLD: dict[str, Any] = {"timeout": "10m", "runner": "a", "retry": {"attempts": 2}, "env": {"MODE": "x"}}
NEW: dict[str, Any] = {
    "timeout": "1h", "runner": "b", "retry": {"attempts": 3, "delay": "1m"}, "env": {"MODE": "y"}, "catch_up": "all",
    "jitter": "5m",
}  # fmt: skip


def test_defaults_change_what_a_job_without_keys_of_its_own_has() -> None:
    assert default_changes(Settings(defaults=OLD), Settings(defaults=NEW)) == {
        "timeout_ms": (600_000, 3_600_000),
        "runner": ("a", "b"),
        "retry.attempts": (2, 3),
        "retry.delay_ms": (30_000, 60_000),
        "env.MODE": ("x", "y"),
        "catch_up.policy": ("latest", "all"),
        "schedule.jitter_ms": (None, 300_000),
    }
    assert default_changes(Settings(defaults={"timeout": "1h"}), Settings())["timeout_ms"] == (3_600_000, 1_800_000)
    assert default_changes(None, Settings(defaults=NEW)) == {}
    assert default_changes(Settings(defaults=NEW), replace(Settings(defaults=NEW), hosts=("x",))) == {}


BERLIN, UTC_ZONE = {"timezone": "Europe/Berlin"}, {"timezone": "UTC"}
FOUND = default_changes(Settings(defaults=OLD), Settings(defaults=NEW, timezone="Europe/Berlin"))


@pytest.mark.parametrize(
    ("changes", "inherited"),
    [
        ({"timeout_ms": (600_000, 3_600_000)}, ("timeout_ms",)),
        ({"timeout_ms": (600_000, 7_200_000)}, ()),
        ({"timeout_ms": (1, 3_600_000)}, ()),
        ({"runner": ("a", "b"), "name": ("x", "y")}, ("runner",)),
        ({"retry": ({"attempts": 2, "delay_ms": 30_000}, {"attempts": 3, "delay_ms": 60_000})}, ("retry",)),
        ({"retry": ({"attempts": 2, "backoff": 2}, {"attempts": 3, "backoff": 4})}, ()),
        ({"env": ({"MODE": "x", "OWN": "1"}, {"MODE": "y", "OWN": "1"})}, ("env",)),
        ({"env": ({"MODE": "x", "OWN": "1"}, {"MODE": "y", "OWN": "2"})}, ()),
        ({"schedule": ({"cron": "* * * * *"}, {"cron": "* * * * *", "jitter_ms": 300_000})}, ("schedule",)),
        ({"schedule": ({"cron": "* * * * *", **UTC_ZONE}, {"cron": "* * * * *", **BERLIN})}, ()),
    ],
)  # fmt: skip
def test_a_field_is_inherited_if_all_of_it_changes_as_the_defaults_do(
    changes: dict[str, Any], inherited: tuple[str, ...]
) -> None:
    assert inherited_fields(changes, FOUND) == inherited
    assert inherited_fields(changes, {}) == ()


def test_a_job_follows_the_setting_that_it_takes_over_and_no_other() -> None:
    timeout = {"timeout_ms": (600_000, 3_600_000)}
    assert follows_setting("defaults.timeout", timeout, FOUND)
    assert not follows_setting("defaults.runner", timeout, FOUND)
    retry = {"retry": ({"attempts": 2, "delay_ms": 1}, {"attempts": 3, "delay_ms": 1})}
    assert follows_setting("defaults.retry.attempts", retry, FOUND)
    assert not follows_setting("defaults.retry.delay", retry, FOUND)
    zone = {"schedule": (UTC_ZONE, BERLIN)}
    assert follows_setting("timezone", zone, FOUND)
    assert not follows_setting("defaults.jitter", zone, FOUND)
    assert follows_setting("defaults.catch_up", {"catch_up": ({"policy": "latest"}, {"policy": "all"})}, FOUND)
