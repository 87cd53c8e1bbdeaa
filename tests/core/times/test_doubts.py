from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler.core.formats.jobfile import read_job_file
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.times.cron import ScheduleError, parse_cron
from scheduler.core.times.fires import coming
from scheduler.core.values.problems import Severity
from scheduler.core.values.spec import Schedule

SETTINGS, _ = read_root_file(b"version: 1\nrunners: {agent: {command: [cat]}}\ndefaults: {runner: agent}\n")
AFTER = datetime(2027, 1, 1, tzinfo=UTC)


def warnings(schedule: str, more: str = "") -> list[tuple[str, str, str]]:
    """Code, message and hint of each warning; the job is sound."""
    assert SETTINGS is not None
    found = read_job_file("jobs/a.yaml", f"id: a\ntask: x\nschedule: {schedule}\n{more}\n".encode(), SETTINGS)
    assert all(each.severity is Severity.WARNING and each.job_id == "a" for each in found.problems)
    assert found.documents[0].spec is not None
    return [(each.code, each.message, each.hint) for each in found.problems]


def schedule_of(text: str) -> Schedule:
    assert SETTINGS is not None
    found = read_job_file("jobs/a.yaml", f"id: a\ntask: x\nschedule: {text}\n".encode(), SETTINGS)
    assert found.documents[0].spec is not None
    return found.documents[0].spec.schedule


@pytest.mark.parametrize(
    ("schedule", "code", "hint"),
    [
        (
            "{every: 1d, timezone: America/Los_Angeles}",
            "key.no-effect",
            '{cron: "0 0 * * *", timezone: America/Los_Angeles}',
        ),
        ("{every: 1d, phase: 9h30m, timezone: Europe/Berlin}", "key.no-effect", 'cron: "30 9 * * *"'),
        ("{every: 7d, timezone: Europe/Berlin}", "key.no-effect", 'cron: "0 0 * * thu"'),
        ("{every: 6h, timezone: Europe/Berlin}", "key.no-effect", 'cron: "0 */6 * * *"'),
        ("{every: 15m, timezone: Europe/Berlin}", "key.no-effect", 'cron: "*/15 * * * *"'),
        ("{every: 7h, timezone: Europe/Berlin}", "key.no-effect", "delete the key"),
        ('[{every: 1d, timezone: Europe/Berlin}, "0 9 * * *"]', "key.no-effect", 'cron: "0 0 * * *"'),
        ('{at: "2027-07-31T09:00:00Z", starts: "2027-01-01T00:00:00Z"}', "key.no-effect", "delete the key"),
        ('{every: 7d, starts: "2027-01-04T09:00:00+01:00"}', "schedule.anchor", "write phase: 4d8h"),
        ('{every: 20h, starts: "2027-01-04T00:00:00Z"}', "schedule.anchor", "write phase: "),
        (
            '{at: "2027-07-31T09:00:00+01:00", timezone: Europe/Berlin}',
            "schedule.offset",
            'write at: "2027-07-31T09:00:00+02:00"',
        ),
        (
            '{at: "2027-07-31T09:00:00+00:00", timezone: Europe/London}',
            "schedule.offset",
            'write at: "2027-07-31T09:00:00+01:00"',
        ),
        (
            '{cron: "0 9 * * *", ends: "2027-01-31T09:00:00-07:00", timezone: America/New_York}',
            "schedule.offset",
            'write ends: "2027-01-31T09:00:00-05:00"',
        ),
        ('"*/90 * * * *"', "schedule.unlikely", "write {every: 1h30m}"),
        ('"0 */36 * * *"', "schedule.unlikely", "write {every: 1d12h}"),
        ('"30 */36 * * *"', "schedule.unlikely", "write {every: 1d12h, phase: 30m}"),
        ('"*/90 9-17 * * *"', "schedule.unlikely", "name the minutes one by one"),
        ('"*/45 * * * *"', "schedule.unlikely", "write {every: 45m}"),
        ('"0/45 * * * *"', "schedule.unlikely", "write {every: 45m}"),
        ('"0 */16 * * *"', "schedule.unlikely", "write {every: 16h}"),
        ('"*/90 * * * * *"', "schedule.unlikely", "write {every: 1m30s}"),
        ('"0 0 */45 * *"', "schedule.unlikely", "name the day of months"),
        ('"0 0 1 */18 *"', "schedule.unlikely", "up to 12"),
        ('"* 9 * * 1-5"', "schedule.unlikely", 'write "0 9 * * 1-5"'),
        ('"0 9 * * 1-5 0"', "schedule.unlikely", 'write "0 0 9 * * 1-5"'),
    ],
)
def test_what_was_hardly_meant_is_a_warning_with_the_form_that_means_it(schedule: str, code: str, hint: str) -> None:
    ((found, message, given),) = warnings(schedule)
    assert (found, bool(message)) == (code, True)
    assert hint in given


@pytest.mark.parametrize(
    "schedule",
    [
        "{every: 1d}",
        "{every: 1d, timezone: UTC}",
        '{cron: "0 0 * * *", timezone: Europe/Berlin}',
        '{every: 7d, phase: 4d8h, starts: "2027-01-04T09:00:00+01:00"}',
        '{every: 1d, phase: 9h, starts: "2027-01-04T00:00:00Z"}',
        '{at: "2027-07-31T09:00:00+01:00", timezone: UTC}',
        '{every: 1h, starts: "2027-01-04T09:00:00+01:00"}',
        '{at: "2027-07-31T09:00:00+02:00", timezone: Europe/Berlin}',
        '{at: "2027-01-31T09:00:00+01:00", timezone: Europe/Berlin}',
        '{at: "2027-07-31T07:00:00Z", timezone: Europe/Berlin}',
        '{at: "2027-10-31T02:30:00+01:00", timezone: Europe/Berlin}',
        '{at: "2027-10-31T02:30:00+02:00", timezone: Europe/Berlin}',
        '{at: "2027-07-31T09:00:00+05:00"}',
        '"*/15 * * * *"',
        '"*/7 * * * *"',
        '"*/30 * * * *"',
        '"*/60 * * * *"',
        '"0 */24 * * *"',
        '"0 */12 * * *"',
        '"0 0 */31 * *"',
        '"0 0 * * */7"',
        '"* 9-17 * * *"',
        '"* * * * *"',
        '"0 0 9 * * 1-5"',
        '"*/10 * * * * *"',
        '"@daily"',
    ],
)
def test_what_may_well_be_meant_is_silent(schedule: str) -> None:
    assert warnings(schedule) == []


@pytest.mark.parametrize(
    ("doubted", "meant"),
    [
        ("{every: 1d, phase: 9h30m, timezone: Africa/Abidjan}", '{cron: "30 9 * * *", timezone: Africa/Abidjan}'),
        ("{every: 7d, phase: 1d9h, timezone: Africa/Abidjan}", '{cron: "0 9 * * fri", timezone: Africa/Abidjan}'),
        ("{every: 6h, phase: 10m, timezone: Africa/Abidjan}", '{cron: "10 */6 * * *", timezone: Africa/Abidjan}'),
        ("{every: 1h, phase: 5m, timezone: Africa/Abidjan}", '{cron: "5 * * * *", timezone: Africa/Abidjan}'),
        ("{every: 20m, timezone: Africa/Abidjan}", '{cron: "*/20 * * * *", timezone: Africa/Abidjan}'),
    ],
)
def test_a_cron_that_replaces_an_interval_names_the_same_times_in_utc(doubted: str, meant: str) -> None:
    ((_, _, hint),) = warnings(doubted)
    assert meant in hint
    found = [coming(schedule_of(each), after=AFTER, count=20) for each in (doubted, meant)]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("retry: {delay: 1m}", "delay"),
        ("retry: {attempts: 1, on: [failed]}", "on"),
        ("catch_up: {policy: none, within: 2h}", "within"),
    ],
)
def test_keys_of_a_job_without_effect_are_a_warning(more: str, key: str) -> None:
    ((code, message, _),) = warnings('"@daily"', more)
    assert (code, message.split()[0]) == ("key.no-effect", key)


@pytest.mark.parametrize(
    "more", ["retry: {attempts: 3, delay: 1m}", "catch_up: {policy: all, within: 2h}", "retry: {}"]
)
def test_keys_of_a_job_with_an_effect_are_silent(more: str) -> None:
    assert warnings('"@daily"', more) == []


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("45 12 * * TUE,THU *", 'write "45 12 * * TUE,THU", without the last field'),
        ("0 9 * * mon-fri 0", '; or, if the last field is seconds, write "0 0 9 * * mon-fri"'),
        ("0 9 1 1-12 0 30", '; or, if the last field is seconds, write "30 0 9 1 1-12 0"'),
    ],
)
def test_six_fields_that_fit_only_in_another_order_say_which_one_is_the_second(expression: str, hint: str) -> None:
    with pytest.raises(ScheduleError) as error:
        parse_cron(expression)
    assert error.value.message.startswith("in six fields the first is seconds, so ")
    assert error.value.hint.endswith(hint)


@pytest.mark.parametrize("expression", ["0 99 * * * *", "0 0 9 * * x", "0 9 * x * *"])
def test_six_fields_that_fit_in_no_order_say_what_is_wrong(expression: str) -> None:
    with pytest.raises(ScheduleError) as error:
        parse_cron(expression)
    assert "of six fields" not in error.value.message


def test_no_sound_value_makes_the_doubts_fail() -> None:
    texts: list[Any] = ['{at: "9999-12-31T23:00:00-10:00", timezone: Asia/Tokyo}', '{at: "0001-01-01T00:00:00+14:00"}']
    for text in texts:
        assert SETTINGS is not None
        read_job_file("jobs/a.yaml", f"id: a\ntask: x\nschedule: {text}\n".encode(), SETTINGS)
