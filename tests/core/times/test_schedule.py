from __future__ import annotations

import functools
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from scheduler.core.times.cron import Cron, ScheduleError, parse_cron
from scheduler.core.times.fires import (
    Days,
    Span,
    _next_cron_fire,
    coming,
    fires,
    next_fire,
    on_the_wall,
    smallest_gap,
    span,
    start_delay,
    zone_of,
)
from scheduler.core.times.valid import check_cron, schedule_errors, unite
from scheduler.core.values.spec import JobSpec, Schedule

MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cron(expression: str, timezone: str = "UTC") -> Schedule:
    return Schedule(timezone=timezone, cron=expression)


def check_schedule(schedule: Schedule) -> None:
    for error in schedule_errors(schedule):
        raise error


def every(**units: int) -> Schedule:
    return Schedule(timezone="UTC", every=timedelta(**units))


def first(schedule: Schedule, after: datetime, count: int) -> list[str]:
    """As text: aware datetimes that differ only in fold are equal to Python."""
    return [at.isoformat() for at in itertools.islice(fires(schedule, after=after), count)]


def texts(instants: list[datetime]) -> list[str]:
    return [at.isoformat() for at in instants]


# -- clock changes, night by night -----------------------------------------------------------

BERLIN_SPRING = "2027-03-27T12:00"  # 28 March: 02:00 +01 becomes 03:00 +02 at 01:00Z
BERLIN_AUTUMN = "2027-10-30T12:00"  # 31 October: 03:00 +02 becomes 02:00 +01 at 01:00Z
NIGHTS = [
    ("Europe/Berlin", "30 2 * * *", BERLIN_SPRING, ["2027-03-28T01:00", "2027-03-29T00:30"]),
    ("Europe/Berlin", "*/15 2 * * *", BERLIN_SPRING, ["2027-03-29T00:00", "2027-03-29T00:15"]),
    ("Europe/Berlin", "0 */2 * * *", "2027-03-28T00:30", ["2027-03-28T02:00", "2027-03-28T04:00"]),
    ("Europe/Berlin", "0,15,30 2 * * *", BERLIN_SPRING, ["2027-03-28T01:00", "2027-03-29T00:00"]),
    ("Europe/Berlin", "0 2-3 * * *", BERLIN_SPRING, ["2027-03-28T01:00", "2027-03-29T00:00"]),
    ("Europe/Berlin", "30 2-3 * * *", BERLIN_SPRING, ["2027-03-28T01:00", "2027-03-28T01:30"]),
    ("Europe/Berlin", "30 2 28 3 *", BERLIN_SPRING, ["2027-03-28T01:00", "2028-03-28T00:30"]),
    ("Europe/Berlin", "*/30 * * * *", "2027-03-28T00:15", ["2027-03-28T00:30", "2027-03-28T01:00"]),
    ("Europe/Berlin", "30 2 * * *", "2027-03-28T00:59:59.999999", ["2027-03-28T01:00"]),
    ("Europe/Berlin", "30 2 * * *", "2027-03-28T01:00", ["2027-03-29T00:30"]),
    ("Europe/Berlin", "30 2 * * *", "2027-03-26T23:59:59.000001", ["2027-03-27T01:30", "2027-03-28T01:00"]),
    ("Europe/Berlin", "30 2 * * *", BERLIN_AUTUMN, ["2027-10-31T00:30", "2027-11-01T01:30"]),
    ("Europe/Berlin", "30 2 * * *", "2027-10-31T01:05", ["2027-11-01T01:30"]),  # from within the second pass
    (
        "Europe/Berlin",
        "30 1-3 * * *",
        BERLIN_AUTUMN,
        ["2027-10-30T23:30", "2027-10-31T00:30", "2027-10-31T02:30", "2027-11-01T00:30"],
    ),
    (
        "Europe/Berlin",
        "*/30 * * * *",
        "2027-10-30T23:45",
        ["2027-10-31T00:00", "2027-10-31T00:30", "2027-10-31T01:00", "2027-10-31T01:30", "2027-10-31T02:00"],
    ),
    ("Europe/Berlin", "30 * * * *", "2027-10-30T23:45", ["2027-10-31T00:30", "2027-10-31T01:30", "2027-10-31T02:30"]),
    ("Europe/Berlin", "*/30 2 31 10 *", BERLIN_AUTUMN, ["2027-10-31T00:00", "2027-10-31T00:30", "2027-10-31T01:00"]),
    # six fields: the second is no part of what makes a time fixed
    ("Europe/Berlin", "15 30 2 * * *", BERLIN_SPRING, ["2027-03-28T01:00", "2027-03-29T00:30:15"]),
    ("Europe/Berlin", "* 30 2 * * *", BERLIN_SPRING, ["2027-03-28T01:00", "2027-03-29T00:30"]),
    ("Europe/Berlin", "*/30 0 3 * * *", BERLIN_SPRING, ["2027-03-28T01:00", "2027-03-28T01:00:30"]),
    ("Europe/Berlin", "30 */30 2 * * *", BERLIN_SPRING, ["2027-03-29T00:00:30", "2027-03-29T00:30:30"]),
    (
        "Europe/Berlin",
        "*/30 59 2 * * *",
        BERLIN_AUTUMN,
        ["2027-10-31T00:59", "2027-10-31T00:59:30", "2027-11-01T01:59"],
    ),
    (
        "Europe/Berlin",
        "30 59 * * * *",
        "2027-10-30T23:59:30",
        ["2027-10-31T00:59:30", "2027-10-31T01:59:30", "2027-10-31T02:59:30"],
    ),
    ("America/New_York", "30 2 * * *", "2026-03-07T12:00", ["2026-03-08T07:00", "2026-03-09T06:30"]),
    ("America/New_York", "30 1 * * *", "2026-10-31T12:00", ["2026-11-01T05:30", "2026-11-02T06:30"]),
    ("America/New_York", "@hourly", "2026-11-01T04:30", ["2026-11-01T05:00", "2026-11-01T06:00"]),
    ("America/New_York", "@daily", "2026-10-31T12:00", ["2026-11-01T04:00", "2026-11-02T05:00"]),
    # 24 April 2026: there is no 00:00 to 00:59; 29 October: 23:00 to 23:59 comes twice
    ("Africa/Cairo", "0 0 * * *", "2026-04-23T12:00", ["2026-04-23T22:00", "2026-04-24T21:00"]),
    ("Africa/Cairo", "30 0 * * *", "2026-04-23T12:00", ["2026-04-23T22:00", "2026-04-24T21:30"]),
    ("Africa/Cairo", "0 0,1 * * *", "2026-04-23T12:00", ["2026-04-23T22:00", "2026-04-24T21:00"]),
    ("Africa/Cairo", "0 0 24 4 *", "2026-04-23T12:00", ["2026-04-23T22:00", "2027-04-23T22:00"]),
    ("Africa/Cairo", "*/30 0 * * *", "2026-04-23T12:00", ["2026-04-24T21:00", "2026-04-24T21:30"]),
    ("Africa/Cairo", "30 23 * * *", "2026-10-29T12:00", ["2026-10-29T20:30", "2026-10-30T21:30"]),
    ("Africa/Cairo", "0 0 * * *", "2026-10-29T12:00", ["2026-10-29T22:00", "2026-10-30T22:00"]),
    ("Africa/Cairo", "*/30 23 * * *", "2026-10-29T20:15", ["2026-10-29T20:30", "2026-10-29T21:00", "2026-10-29T21:30"]),
    # half an hour each way: 02:00 becomes 02:30 in October, 02:00 becomes 01:30 in April
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00", ["2026-10-03T15:30", "2026-10-04T15:15"]),
    ("Australia/Lord_Howe", "15,30 2 * * *", "2026-10-03T12:00", ["2026-10-03T15:30", "2026-10-04T15:15"]),
    ("Australia/Lord_Howe", "*/15 2 * * *", "2026-10-03T12:00", ["2026-10-03T15:30", "2026-10-03T15:45"]),
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00", ["2026-04-04T14:45", "2026-04-05T15:15"]),
    (
        "Australia/Lord_Howe",
        "*/15 1-2 * * *",
        "2026-04-04T14:20",
        ["2026-04-04T14:30", "2026-04-04T14:45", "2026-04-04T15:00", "2026-04-04T15:15", "2026-04-04T15:30"],
    ),
    # during Ramadan the clock goes back an hour: 2027 on 7 February and forth on 14 March
    ("Africa/Casablanca", "30 2 * * *", "2027-02-06T12:00", ["2027-02-07T01:30", "2027-02-08T02:30"]),
    ("Africa/Casablanca", "30 2 * * *", "2027-03-13T12:00", ["2027-03-14T02:00", "2027-03-15T01:30"]),
    ("Africa/Casablanca", "*/30 2 * * *", "2027-02-06T12:00", ["2027-02-07T01:00", "2027-02-07T01:30"]),
    ("Africa/Casablanca", "*/30 2 * * *", "2027-03-13T12:00", ["2027-03-15T01:00", "2027-03-15T01:30"]),
    # 01:00 becomes 02:00 on 29 March, 02:00 becomes 01:00 on 25 October
    ("Europe/London", "30 1 * * *", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
    ("Europe/London", "30 1 * * *", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
    ("Europe/London", "*/30 1 * * *", "2026-03-28T12:00", ["2026-03-30T00:00", "2026-03-30T00:30"]),
    (
        "Europe/London",
        "*/30 1 * * *",
        "2026-10-24T12:00",
        ["2026-10-25T00:00", "2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30", "2026-10-26T01:00"],
    ),
    # without daylight saving
    ("Asia/Kolkata", "30 2 * * *", "2026-03-28T12:00", ["2026-03-28T21:00", "2026-03-29T21:00"]),
    ("Asia/Kolkata", "*/30 2 * * *", "2026-10-24T12:00", ["2026-10-24T20:30", "2026-10-24T21:00"]),
    # 30 December 2011 did not take place
    (
        "Pacific/Apia",
        "0 9 * * *",
        "2011-12-29T12:00",
        ["2011-12-29T19:00", "2011-12-30T10:00", "2011-12-30T19:00", "2011-12-31T19:00"],
    ),
    ("Pacific/Apia", "0 0 * * *", "2011-12-29T12:00", ["2011-12-30T10:00", "2011-12-31T10:00"]),
    ("Pacific/Apia", "0 9 30 12 *", "2011-06-01T00:00", ["2011-12-30T10:00", "2012-12-29T19:00"]),
    ("Pacific/Apia", "0 */6 * * *", "2011-12-29T23:00", ["2011-12-30T04:00", "2011-12-30T10:00", "2011-12-30T16:00"]),
    ("Pacific/Apia", "*/5 * 30 12 *", "2011-06-01T00:00", ["2012-12-29T10:00"]),
    # 1 November 2009: 00:01 became 23:01 of the day before, at 02:31Z
    (
        "America/St_Johns",
        "*/1 0,23 * * *",
        "2009-11-01T02:28:30",
        ["2009-11-01T02:29", "2009-11-01T02:30", "2009-11-01T02:31"],
    ),
]


@pytest.mark.parametrize(("timezone", "expression", "after", "expected"), NIGHTS)
def test_clock_changes_are_met_by_debians_rule(timezone: str, expression: str, after: str, expected: list[str]) -> None:
    found = first(cron(expression, timezone), utc(after), len(expected))
    assert found == [utc(each).isoformat() for each in expected]


# What other schedulers of agents were reported to get wrong: they skip the fire that comes next by a day, or
# by weeks, fire in an hour that the list does not hold, or name a time that has passed.
REPORTED = [
    ("Asia/Shanghai", "0 10 * * *", "2026-02-05T13:53:45", "2026-02-06T02:00"),
    ("America/New_York", "25 6 * * *", "2026-02-07T03:37", "2026-02-07T11:25"),
    ("Asia/Shanghai", "30 7 * * *", "2026-02-06T00:20", "2026-02-06T23:30"),
    ("Asia/Kolkata", "30 9 * * 0,1,3,5", "2026-02-09T03:30", "2026-02-09T04:00"),
    ("America/Chicago", "0 6 * * *", "2026-02-24T11:01", "2026-02-24T12:00"),
    ("Asia/Kuala_Lumpur", "0 6 * * *", "2026-02-06T09:20", "2026-02-06T22:00"),
    ("Asia/Shanghai", "0 0 21 * * *", "2026-05-05T07:00", "2026-05-05T13:00"),
    ("UTC", "0 8,11,14,17,20,23,2 * * *", "2026-02-22T20:00", "2026-02-22T23:00"),
    ("UTC", "0 3 * * *", "2026-03-03T06:01:44", "2026-03-04T03:00"),
]


@pytest.mark.parametrize(("timezone", "expression", "after", "expected"), REPORTED)
def test_the_next_fire_is_the_one_that_people_expected(
    timezone: str, expression: str, after: str, expected: str
) -> None:
    assert first(cron(expression, timezone), utc(after), 1) == [utc(expected).isoformat()]


def test_a_fold_that_crosses_midnight_stays_in_order_and_complete() -> None:
    # St John's set its clock back at 00:01 until 2011: 1 November 2009, 02:31Z, 00:01 -02:30 becomes 23:01 -03:30.
    schedule = cron("*/30 * * * *", "America/St_Johns")
    assert first(schedule, utc("2009-11-01T02:15"), 4) == texts(
        [utc(f"2009-11-01T{at}") for at in ("02:30", "03:00", "03:30", "04:00")]
    )
    # The 31st of October came back for 59 minutes after it was over.
    rare = cron("*/30 * 31 10 *", "America/St_Johns")
    assert first(rare, utc("2009-11-01T02:15"), 2) == texts([utc("2009-11-01T03:00"), utc("2010-10-31T02:30")])
    # 00:00 of 1 November came twice: for a fixed time the first one counts.
    daily = cron("0 0 * * *", "America/St_Johns")
    assert first(daily, utc("2009-10-31T12:00"), 2) == texts([utc("2009-11-01T02:30"), utc("2009-11-02T03:30")])


def test_a_year_that_starts_in_a_fold_is_served_from_either_pass() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    schedule = cron("*/20 * * * *", "Europe/Berlin")
    early = datetime(2027, 10, 31, 2, 50, tzinfo=berlin, fold=0)
    late = datetime(2027, 10, 31, 2, 50, tzinfo=berlin, fold=1)
    assert first(schedule, early, 1) == ["2027-10-31T01:00:00+00:00"]
    assert first(schedule, late, 1) == ["2027-10-31T02:00:00+00:00"]


@pytest.mark.parametrize(
    ("timezone", "expression", "slot", "dst", "occurrence"),
    [
        ("Europe/Berlin", "30 2 * * *", "2027-03-28T01:00", "gap", None),
        ("Europe/Berlin", "30 2 * * *", "2027-03-29T00:30", None, None),
        ("Europe/Berlin", "0 2-3 * * *", "2027-03-28T01:00", None, None),  # it is due at three itself
        ("Europe/Berlin", "0 * * * *", "2027-03-28T01:00", None, None),
        ("Europe/Berlin", "30 2 28 3 *", "2027-03-28T01:00", "gap", None),
        ("Europe/Berlin", "30 2 * * *", "2027-10-31T00:30", "fold", 1),
        ("Europe/Berlin", "*/30 * * * *", "2027-10-31T01:30", "fold", 2),
        ("Europe/Berlin", "*/30 * * * *", "2027-10-31T02:00", None, None),
        ("Africa/Cairo", "0 0 * * *", "2026-04-23T22:00", "gap", None),
        ("Africa/Cairo", "0 0 * * *", "2026-10-29T22:00", None, None),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T15:30", "gap", None),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T14:45", "fold", 1),
        ("Pacific/Apia", "0 9 * * *", "2011-12-30T10:00", "gap", None),
        ("Asia/Kolkata", "30 2 * * *", "2026-03-28T21:00", None, None),
        ("UTC", "30 2 * * *", "0001-01-01T00:00", None, None),
    ],
)
def test_a_slot_tells_what_a_clock_change_did_to_it(
    timezone: str, expression: str, slot: str, dst: str | None, occurrence: int | None
) -> None:
    found = on_the_wall(cron(expression, timezone), utc(slot))
    assert (found.timezone, found.dst, found.occurrence) == (timezone, dst, occurrence)


def test_a_slot_of_a_list_stands_on_the_wall_of_the_entry_that_names_it() -> None:
    listed = Schedule(timezone="Europe/Berlin", union=(cron("30 2 * * *", "Europe/Berlin"), cron("0 5 * * *")))
    assert on_the_wall(listed, utc("2027-03-28T01:00")).dst == "gap"
    assert on_the_wall(listed, utc("2027-03-28T05:00")).timezone == "UTC"
    # A fire that one entry names at that very time is not moved, in whatever order they stand.
    at_three = (cron("30 2 * * *", "Europe/Berlin"), cron("0 3 * * *", "Europe/Berlin"))
    for union in (at_three, at_three[::-1]):
        assert on_the_wall(Schedule(timezone="Europe/Berlin", union=union), utc("2027-03-28T01:00")).dst is None
    ticking = Schedule(timezone="Europe/Berlin", every=60 * MINUTE)
    assert on_the_wall(ticking, utc("2027-03-28T01:00")).dst is None
    assert on_the_wall(ticking, utc("2027-10-31T01:00")).occurrence == 2


def test_a_slot_for_which_its_zone_has_no_date_stands_on_the_clock_of_utc() -> None:
    late = Schedule(timezone="Asia/Tokyo", at=datetime.max.replace(tzinfo=UTC))
    early = Schedule(timezone="America/Lima", at=datetime.min.replace(tzinfo=UTC))
    for schedule in (late, early):
        assert schedule.at is not None
        found = on_the_wall(schedule, schedule.at)
        assert (found.timezone, found.dst, found.occurrence) == ("UTC", None, None)


# -- crontab(5) ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("0 11-11 * * *", "0 11 * * *"),
        ("5-5/3 * * * *", "5 * * * *"),
        ("50/15 * * * *", "50 * * * *"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * sun", "0 0 * * 0"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * MON-Fri", "0 0 * * 1-5"),
        ("0 0 1 jan,JUL *", "0 0 1 1,7 *"),
        ("0 0 1-31 * 1", "0 0 * * *"),  # neither field starts with a star: the days unite
        ("0 0 1 * 0-6", "0 0 * * *"),
        ("0 0 1 * 1,*/2", "0 0 1 * 0,1,2,4,6"),  # a star that does not lead is no star
        ("0 0 */1 * 1", "0 0 * * 1"),
        ("0 0 *,5 * 1", "0 0 * * 1"),
        ("*/60 * * * *", "0 * * * *"),
        (" 0\t9  * * * \n", "0 9 * * *"),
        ("007 09 * * *", "7 9 * * *"),
        ("0 30 9 * * 1-5", "30 9 * * 1-5"),  # six fields begin with the second
        ("*/60 */5 * * * *", "*/5 * * * *"),
        ("5-5 0 9 * * *", "5 0 9 * * *"),
        ("*/30 0 9 * * *", "0,30 0 9 * * *"),
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ],
)
def test_two_ways_to_write_a_cron_name_the_same_instants(expression: str, same: str) -> None:
    check_cron(expression)
    after = utc("2026-02-27T13:37")
    assert first(cron(expression), after, 60) == first(cron(same), after, 60)


def test_a_starred_day_field_narrows_and_a_plain_one_widens() -> None:
    assert first(cron("0 0 */10 * 1"), utc("2026-06-01T12:00"), 2) == texts([utc("2026-08-31"), utc("2026-09-21")])
    assert first(cron("0 0 13 * 5"), utc("2026-06-01T12:00"), 3) == texts(
        [utc("2026-06-05"), utc("2026-06-12"), utc("2026-06-13")]
    )


def test_an_impossible_day_does_not_silence_the_weekday_it_is_united_with() -> None:
    check_cron("0 0 31 2 1")
    assert first(cron("0 0 31 2 1"), utc("2026-01-01"), 1) == texts([utc("2026-02-02")])


def test_a_rare_day_is_found_across_the_year_2100() -> None:
    check_cron("0 0 29 2 */7")
    assert first(cron("0 0 29 2 */7"), utc("2081-01-01"), 2) == texts([utc("2088-02-29"), utc("2128-02-29")])


@pytest.mark.parametrize(
    ("expression", "code", "offset", "message", "hint"),
    [
        ("60 * * * *", "schedule.cron", 0, "minute 60 is outside 0-59", "write 0"),
        ("0 25 * * *", "schedule.cron", 2, "hour 25 is outside 0-23", "write 1"),
        ("0 24 * * *", "schedule.cron", 2, "hour 24 is outside 0-23", "write 0"),
        ("0 0 0 * *", "schedule.cron", 4, "day of month 0 is outside 1-31", "1-31"),
        ("0 0 1-32 * *", "schedule.cron", 6, "day of month 32 is outside 1-31", "1-31"),
        ("0 0 * 13 *", "schedule.cron", 6, "month 13 is outside 1-12", "jan-dec"),
        ("0 0 * * 1,8", "schedule.cron", 10, "day of week 8 is outside 0-7", "sun-sat"),
        ("1,2,x * * * *", "schedule.cron", 4, "minute 'x' is not in 0-59", "0-59"),
        ("99999999999999999999 * * * *", "schedule.cron", 0, "is outside 0-59", "0-59"),
        ("9" * 5000 + " * * * *", "schedule.cron", 0, "is outside 0-59", "0-59"),
        ("-1 * * * *", "schedule.cron", 0, "'-1'", "write for example"),
        ("1- * * * *", "schedule.cron", 0, "'1-'", "write for example"),
        ("1-2-3 * * * *", "schedule.cron", 0, "'1-2-3'", "write for example"),
        ("*-5 * * * *", "schedule.cron", 0, "'*-5'", "write for example"),
        ("5, * * * *", "schedule.cron", 2, "minute ''", "write for example"),
        ("*/0 * * * *", "schedule.cron", 2, "step '0' is outside 1-59", "*/5"),
        ("0 */x * * *", "schedule.cron", 4, "step 'x' is outside 1-23", "*/5"),
        ("٣ * * * *", "schedule.cron", 0, "is not in 0-59", "0-59"),
        ("0 9\u00a0* * * *", "schedule.cron", 2, "is not in 0-23", "0-23"),
        ("0 22-2 * * *", "schedule.cron", 2, "'22-2' runs backwards", "22-23,0-2"),
        ("0 0 * * fri-mon", "schedule.cron", 8, "'fri-mon' runs backwards", "5-6,0-1"),
        ("0 0 * * sat-sun", "schedule.cron", 8, "'sat-sun' runs backwards", "sat-7"),
        ("0 0 * * monday", "schedule.cron", 8, "'monday' is not in 0-7", "did you mean 'mon'?"),
        ("0 0 * april *", "schedule.cron", 6, "'april' is not in 1-12", "did you mean 'apr'?"),
        ("jul * * * *", "schedule.cron", 0, "'jul' is not in 0-59", "0-59"),
        ("0 0 L * *", "schedule.cron", 4, "'L' is not crontab(5)", "last day"),
        ("0 0 L-3 * *", "schedule.cron", 4, "'L-3' is not crontab(5)", "last day"),
        ("0 0 * * 5L", "schedule.cron", 8, "'5L' is not crontab(5)", "last weekday of a month"),
        ("30 9 31 12 * 2027", "schedule.cron", 13, "cron has 6 fields", "leave out the year"),
        ("0 9 15 1 * 2027-2030", "schedule.cron", 11, "cron has 6 fields", "leave out the year"),
        ("0 9 * * 1-5 2027,2028", "schedule.cron", 12, "cron has 6 fields", "leave out the year"),
        ("cron(0 10 ? * 6L *)", "schedule.cron", 0, "'cron(0', which is not a field", "without cron()"),
        ("cron(15 12 * * ? 2027)", "schedule.cron", 0, "'cron(15', which is not a field", "without cron()"),
        ("0 0 * * 5#2", "schedule.cron", 8, "'5#2' is not crontab(5)", "n-th weekday"),
        ("0 0 15W * *", "schedule.cron", 4, "'15W' is not crontab(5)", "nearest weekday"),
        ("0 0 ? * *", "schedule.cron", 4, "'?' is not crontab(5)", "with * for any"),
        ("H * * * *", "schedule.cron", 0, "'H' is not crontab(5)", "write the number"),
        ("0 H(0-7)/2 * * *", "schedule.cron", 2, "'H(0-7)/2' is not crontab(5)", "write the number"),
        ("R * * * *", "schedule.cron", 0, "'R' is not crontab(5)", "write the number"),
        ("", "schedule.cron", 0, "cron is empty; 5 fields are needed", "0 9 * * *"),
        (" \t ", "schedule.cron", 0, "cron is empty; 5 fields are needed", "0 9 * * *"),
        ("0 9 * *", "schedule.cron", 7, "cron has 4 fields; 5 are needed", "write *"),
        ("0 0 9 * * ?", "schedule.cron", 10, "day of week '?' is not crontab(5)", "with * for any"),
        ("0 0 9 * * 1 2027", "schedule.cron", 10, "7 fields", "leave out the year"),
        ("60 0 9 * * 1", "schedule.cron", 0, "second 60 is outside 0-59", "write 0"),
        ("0 0 25 * * 1", "schedule.cron", 4, "hour 25 is outside 0-23", "write 1"),
        ("*/0 * * * * *", "schedule.cron", 2, "second step '0' is outside 1-59", "*/5"),
        ("5,x * * * * *", "schedule.cron", 2, "second 'x' is not in 0-59", "0-59"),
        ("30-10 * * * * *", "schedule.cron", 0, "'30-10' runs backwards", "30-59,0-10"),
        ("0 0 0 31 2 *", "schedule.never", 6, "never fires", "feb has at most 29 days"),
        ("0 9 * * * /bin/backup", "schedule.cron", 10, "6 fields", "command"),
        ("0 9 * * * root /bin/backup", "schedule.cron", 10, "7 fields", "command"),
        ("@reboot", "schedule.cron", 0, "'@reboot' is not one of @hourly", "scheduler run"),
        ("@every 5m", "schedule.cron", 0, "'@every 5m' is not one of", "every: 5m"),
        ("@Daily", "schedule.cron", 0, "'@Daily' is not one of", "did you mean '@daily'?"),
        ("  @dayly", "schedule.cron", 2, "'@dayly' is not one of", "did you mean '@daily'?"),
        ("@daily /bin/backup", "schedule.cron", 0, "is not one of", "command"),
        ("CRON_TZ=Asia/Tokyo 0 9 * * *", "schedule.cron", 0, "is not a field", "timezone: Asia/Tokyo"),
        ("0 0 31 2 *", "schedule.never", 4, "never fires", "feb has at most 29 days"),
        ("0 0 30 2 */2", "schedule.never", 4, "never fires", "feb has at most 29 days"),
        ("0 0 31 2,4,6 *", "schedule.never", 4, "never fires", "apr has at most 30 days"),
    ],
)
def test_a_cron_that_is_refused_says_where_why_and_what_to_write(
    expression: str, code: str, offset: int, message: str, hint: str
) -> None:
    with pytest.raises(ScheduleError) as caught:
        check_cron(expression)
    error = caught.value
    assert (error.code, error.offset) == (code, offset)
    assert message in error.message
    assert hint in error.hint
    assert len(error.message) < 200
    assert not error.message.endswith(".")
    assert str(error) == error.message


@given(st.text(alphabet="0123456789*/-,@?LWH# \tajnmo", max_size=24))
def test_any_text_is_a_cron_or_an_error_with_a_place_and_a_hint(text: str) -> None:
    error: ScheduleError | None = None
    try:
        check_cron(text)
    except ScheduleError as caught:
        error = caught
    if error is not None:
        assert error.code in {"schedule.cron", "schedule.never"}
        assert error.hint
        assert error.offset is not None
        assert 0 <= error.offset <= len(text)
    else:
        assert next_fire(cron(text), after=utc("2026-01-01")) is not None


# -- zones and whole schedules ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5", "EST5EDT"])
def test_iana_names_are_zones(name: str) -> None:
    zone_of(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("", "write a name such as Europe/Berlin"),
        ("../x", "write a name such as"),
        ("/etc/localtime", ""),
        ("localtime", "write a name such as"),
        ("posixrules", ""),
        ("Factory", ""),
        ("tzdata.zi", ""),
        ("posix/Europe/Berlin", ""),
        ("Europe", ""),
        ("Europe/Berln", "did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("Europe/Berlin ", "did you mean 'Europe/Berlin'?"),
        ("New York", "did you mean 'America/New_York'?"),
        ("utc", "did you mean 'UTC'?"),
        ("Gmt", "did you mean 'GMT'?"),
        ("est5edt", "did you mean 'EST5EDT'?"),
        ("etc/gmt+5", "did you mean 'Etc/GMT+5'?"),
        ("GMT+5", "an offset is not a zone"),
        ("singapore", "did you mean 'Asia/Singapore'?"),  # the name of the region, not its old alias
        ("PST", "write a name such as"),
        ("UTC+2", "an offset is not a zone"),
        ("+02:00", "an offset is not a zone"),
        ("a\0b", "write a name such as"),
        ("x" * 5000, "write a name such as"),
    ],
)
def test_a_name_that_is_no_zone_is_refused_with_the_nearest_one(name: str, hint: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        zone_of(name)
    assert caught.value.code == "schedule.timezone"
    assert caught.value.offset is None
    assert len(caught.value.message) < 120
    assert caught.value.hint
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "schedule",
    [
        cron("0 9 * * 1-5", "Europe/Berlin"),
        cron("*/15 2 * * *", "Europe/Berlin"),
        every(seconds=1),
        every(milliseconds=1500),
        Schedule(timezone="UTC", at=utc("1999-01-01")),
        replace(every(hours=1), phase=3599 * SECOND),
        replace(cron("@yearly"), starts=utc("2030-01-01"), ends=utc("2030-01-01")),
        replace(every(days=1), starts=utc("1990-01-01"), ends=utc("1991-01-01")),
        Schedule(timezone="UTC", union=(every(days=1), cron("* * * * * *"))),
    ],
)
def test_a_sound_schedule_passes_whatever_the_time_is(schedule: Schedule) -> None:
    check_schedule(schedule)


@pytest.mark.parametrize(
    ("schedule", "code"),
    [
        (Schedule(timezone="UTC"), "schedule.kind"),
        (Schedule(timezone="UTC", cron="* * * * *", every=DAY), "schedule.kind"),
        (Schedule(timezone="Mars/Base", every=DAY), "schedule.timezone"),
        (cron("0 25 * * *"), "schedule.cron"),
        (cron("0 0 31 2 *"), "schedule.never"),
        (every(milliseconds=999), "schedule.every"),
        (every(seconds=0), "schedule.every"),
        (every(seconds=-5), "schedule.every"),
        (every(seconds=2, microseconds=1), "schedule.every"),
        (Schedule(timezone="UTC", at=datetime(2030, 1, 1)), "schedule.at"),  # noqa: DTZ001 - the mistake under test
        (replace(cron("@daily"), starts=datetime(2030, 1, 1)), "schedule.starts"),  # noqa: DTZ001
        (replace(cron("@daily"), ends=datetime(2030, 1, 1)), "schedule.ends"),  # noqa: DTZ001
        (replace(every(days=1), starts=utc("2030-01-02"), ends=utc("2030-01-01")), "schedule.ends"),
        (replace(every(days=1), phase=DAY), "schedule.phase"),
        (replace(every(days=1), phase=-SECOND), "schedule.phase"),
        (replace(every(days=1), phase=timedelta.resolution), "schedule.phase"),
        (replace(cron("@daily"), phase=SECOND), "schedule.phase"),
        (Schedule(timezone="UTC", at=utc("2030-01-01"), phase=SECOND), "schedule.phase"),
        (Schedule(timezone="UTC", at=utc("2030-01-01"), ends=utc("2029-01-01")), "schedule.never"),
        (Schedule(timezone="UTC", at=utc("2030-01-01"), starts=utc("2031-01-01")), "schedule.never"),
        (replace(cron("@yearly"), starts=utc("2030-01-02"), ends=utc("2030-12-31")), "schedule.never"),
        (replace(every(days=7), starts=utc("2030-01-01"), ends=utc("2030-01-02")), "schedule.never"),
        (replace(cron("@daily"), ends=utc("0001-01-01")), "schedule.never"),
        (replace(cron("@daily"), starts=utc("9999-12-31")), "schedule.never"),
        (Schedule(timezone="UTC", union=(every(days=1), cron("0 0 31 2 *"))), "schedule.never"),
    ],
)
def test_a_schedule_that_cannot_work_is_refused(schedule: Schedule, code: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        check_schedule(schedule)
    assert caught.value.code == code


def test_a_cron_whose_times_the_zone_always_skips_never_fires() -> None:
    always_skipped = "*/15 2 25-31 3 */7"  # the last Sunday of March, between two and three
    check_cron(always_skipped)
    check_schedule(cron(always_skipped, "America/New_York"))
    with pytest.raises(ScheduleError, match="never fires in Europe/Berlin") as caught:
        check_schedule(cron(always_skipped, "Europe/Berlin"))
    assert caught.value.code == "schedule.never"
    assert next_fire(cron(always_skipped, "Europe/Berlin"), after=utc("2026-01-01")) is None


def test_an_unreadable_schedule_fails_at_the_call_and_not_in_the_loop() -> None:
    for schedule in (cron("bad"), cron("* * * * *", "Mars/Base"), every(milliseconds=5)):
        with pytest.raises(ScheduleError):
            fires(schedule, after=utc("2026-01-01"))
        with pytest.raises(ScheduleError):
            span(schedule, start=utc("2026-01-01"), until=utc("2026-01-02"))


def test_a_time_without_a_zone_is_refused_rather_than_taken_for_the_machines() -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - the mistake under test
    with pytest.raises(ValueError, match="no zone"):
        next_fire(every(days=1), after=naive)
    with pytest.raises(ValueError, match="no zone"):
        span(every(days=1), start=utc("2025-01-01"), until=naive)


def test_croniter_is_loaded_only_by_a_cron_that_picks_days() -> None:
    program = """
import sys
from datetime import UTC, datetime
from scheduler.core.values.spec import Schedule
from scheduler.core.times.fires import next_fire
after = datetime(2026, 1, 1, tzinfo=UTC)
next_fire(Schedule(timezone="Europe/Berlin", cron="0 9 * * *"), after=after)
assert "croniter" not in sys.modules
next_fire(Schedule(timezone="Europe/Berlin", cron="0 9 * * 1"), after=after)
assert "croniter" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# -- every and at ----------------------------------------------------------------------------


def test_every_counts_from_the_epoch_and_not_from_where_one_looks() -> None:
    assert first(every(hours=7), utc("1970-01-01T00:00"), 2) == texts(
        [utc("1970-01-01T07:00"), utc("1970-01-01T14:00")]
    )
    assert first(every(minutes=90), utc("2026-05-05T12:34:56.789"), 2) == texts(
        [utc("2026-05-05T13:30"), utc("2026-05-05T15:00")]
    )


@given(
    st.integers(1000, 40_000_000_000).map(lambda ms: timedelta(milliseconds=ms)),
    st.datetimes(datetime(1960, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds are naive
)
def test_every_fires_at_the_next_whole_multiple(interval: timedelta, after: datetime) -> None:
    found = next_fire(Schedule(timezone="UTC", every=interval), after=after)
    assert found is not None
    assert (found - datetime(1970, 1, 1, tzinfo=UTC)) % interval == timedelta()
    assert timedelta() < found - after <= interval


def test_at_is_one_instant_and_then_nothing() -> None:
    at = utc("2030-01-01T17:00")
    schedule = Schedule(timezone="America/Los_Angeles", at=at)
    assert first(schedule, at - timedelta.resolution, 5) == [at.isoformat()]
    assert next_fire(schedule, after=at) is None
    assert span(schedule, start=at, until=at) == Span(first=at, last=at, count=1)
    assert span(schedule, start=at + MINUTE, until=at + DAY) is None


@pytest.mark.parametrize("timezone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
@pytest.mark.parametrize("kind", ["* * * * *", "0 9 * * 1-5", "0 0 29 2 *", "every"])
def test_the_calendar_ends_quietly(timezone: str, kind: str) -> None:
    schedule = every(days=1) if kind == "every" else cron(kind, timezone)
    assert len(list(fires(schedule, after=utc("9999-12-20")))) < 20_000
    assert next_fire(schedule, after=datetime.max.replace(tzinfo=UTC)) is None
    assert next_fire(schedule, after=datetime.min.replace(tzinfo=UTC)) is not None
    assert (
        span(schedule, start=utc("9999-12-01"), until=datetime.max.replace(tzinfo=UTC)) is None or kind != "0 0 29 2 *"
    )


# -- properties ------------------------------------------------------------------------------

PLAIN_ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/Los_Angeles", "Asia/Kolkata", "Australia/Sydney"]
ODD_ZONES = ["Africa/Cairo", "Australia/Lord_Howe", "Africa/Casablanca", "America/Havana", "Antarctica/Casey"]
ODD_ZONES += ["America/Scoresbysund", "Asia/Gaza", "Antarctica/Troll"]


@functools.cache
def changes(timezone: str, first_year: int = 2020, last_year: int = 2035) -> tuple[datetime, ...]:
    """Midnights UTC of the days on which the zone's offset changes."""
    zone = ZoneInfo(timezone)
    days = [datetime(first_year, 1, 1, tzinfo=UTC) + n * DAY for n in range((last_year - first_year) * 366)]
    return tuple(
        a for a, b in itertools.pairwise(days) if a.astimezone(zone).utcoffset() != b.astimezone(zone).utcoffset()
    )


@st.composite
def instants(draw: st.DrawFn, timezone: str) -> datetime:
    """Between 2020 and 2035, mostly near a change of the clock, some with microseconds."""
    near: list[datetime] = list(changes(timezone))
    if len(near) > 0 and draw(st.booleans()):
        base = draw(st.sampled_from(near)) + draw(st.integers(-2000, 3000)) * MINUTE
    else:
        base = utc("2020-01-01") + draw(st.integers(0, 15 * 525_600)) * MINUTE
    return base + draw(st.sampled_from([0, 0, 1, 30_500_000, 59_999_999])) * timedelta.resolution


def fields(low: int, high: int, names: tuple[str, ...] = (), *, star: int = 1) -> st.SearchStrategy[str]:
    value = st.integers(low, high).map(str)
    if names:
        value = st.one_of(value, st.sampled_from(names))
    step = st.sampled_from([1, 2, 3, 5, 7, 15, 30])
    ranges = st.tuples(st.integers(low, high), st.integers(low, high)).map(sorted)
    item = st.one_of(
        value,
        ranges.map(lambda pair: f"{pair[0]}-{pair[1]}"),
        # cronsim reads N-N/S as N/S, so the two ends differ here
        st.tuples(ranges.filter(lambda pair: pair[0] < pair[1]), step).map(lambda x: f"{x[0][0]}-{x[0][1]}/{x[1]}"),
        st.tuples(st.integers(low, high), step).map(lambda x: f"{x[0]}/{x[1]}"),
        step.map(lambda each: f"*/{each}"),
    )
    return st.one_of(*[st.just("*")] * star, item, st.lists(item, min_size=2, max_size=3).map(",".join))


expressions = st.tuples(
    fields(0, 59),
    fields(0, 23),
    fields(1, 31, star=3),
    fields(1, 12, ("jan", "Jun", "DEC"), star=5),
    fields(0, 7, ("sun", "Wed", "SAT"), star=3),
).map(" ".join)


def oracle(expression: str, at: datetime) -> CronSim:
    try:
        return CronSim(expression, at)
    except CronSimError:
        assume(False)
        raise


@given(st.data(), expressions, st.sampled_from(PLAIN_ZONES))
def test_fires_agree_with_cronsim_over_years_and_zones(data: st.DataObject, expression: str, timezone: str) -> None:
    after = data.draw(instants(timezone))
    known = (at.astimezone(UTC) for at in oracle(expression, after.astimezone(ZoneInfo(timezone))))
    # From within the second pass of a fold cronsim answers with the first pass, which is over.
    expected = list(itertools.islice((at for at in known if at > after), 12))
    assert first(cron(expression, timezone), after, 12) == texts(expected)


# Where ADR 2 departs from cronsim, by name: what stands in the expression, and what becomes of it here.
REFUSED = {
    "the last day (L), the last weekday of the month (LW) and of a kind (5L)": r"(?<!JU)L",
    "the n-th weekday (#)": r"#",
}
READ_OTHERWISE = {"N-N/S is N, and not N/S": r"(?<![^ ,])0*([0-9]+)-0*\1/"}
NUMBERS = {"SUN": "0", "MON": "1", "WED": "3", "SAT": "6", "JAN": "1", "JUL": "7", "DEC": "12"}  # of names drawn here


def cronsim_stumbles(timezone: str, day: date) -> bool:
    """Whether it may err that day about an expression that follows the clock.

    It walks on in whole hours from midnight: so it does where a change is not on the full hour, or skips midnight. If
    nothing else matches on that day, it gets to the next one by as much past the full hour, and loses its beginning.
    """
    return _changes_aside(timezone, day) or _changes_aside(timezone, day - DAY)


@functools.cache
def _changes_aside(timezone: str, day: date) -> bool:
    zone, midnight = ZoneInfo(timezone), datetime.combine(day, time())
    at = midnight.replace(tzinfo=zone).astimezone(UTC) - 60 * MINUTE
    until = at + DAY + 120 * MINUTE
    if at.astimezone(zone).utcoffset() == until.astimezone(zone).utcoffset():
        return False
    while at < until:
        reached = at.astimezone(zone).replace(tzinfo=None) + MINUTE
        at += MINUTE
        wall = at.astimezone(zone).replace(tzinfo=None)
        if wall != reached and (wall.minute or reached.minute or reached <= midnight < wall):
            return True
    return False


ALL_ZONES = [
    *PLAIN_ZONES,
    *ODD_ZONES,
    "Europe/London",
    "Pacific/Apia",
    "Asia/Tehran",
    "America/St_Johns",
    "Pacific/Chatham",
]


def pieces(low: int, high: int, names: tuple[str, ...], extra: tuple[str, ...]) -> st.SearchStrategy[str]:
    """One field in any way that cronsim might accept, and some that it does not."""
    value = st.one_of(st.integers(low, high).map(str), st.integers(0, high + 2).map("{:02}".format))
    if names:
        value = st.one_of(value, st.sampled_from(names))
    item = st.one_of(
        value,
        st.just("*"),
        st.tuples(value, value).map("-".join),
        st.tuples(st.one_of(value, st.just("*"), st.tuples(value, value).map("-".join)), st.integers(1, 70)).map(
            lambda x: f"{x[0]}/{x[1]}"
        ),
        *([st.sampled_from(extra)] if extra else []),
    )
    return st.one_of(st.just("*"), item, st.lists(item, min_size=1, max_size=3).map(",".join))


anything = st.tuples(
    pieces(0, 59, (), ()),
    pieces(0, 23, (), ()),
    pieces(1, 31, (), ("L", "LW", "L/2")),
    pieces(1, 12, ("JAN", "jul", "Dec"), ()),
    pieces(0, 7, ("SUN", "mon", "Sat"), ("5L", "1#2", "MON#5", "7#1")),
).map(" ".join)


@given(st.data(), anything, st.sampled_from(ALL_ZONES))
@example(data=None, expression="5-5/3 * * * *", timezone="Europe/Berlin")
@example(data=None, expression="0 0 L * *", timezone="Europe/Berlin")
@example(data=None, expression="0 9 * jul */2", timezone="Europe/London")
@example(data=None, expression="0 9 * * mon-1/5", timezone="Europe/London")
@example(data=None, expression="*/20 1 24 4 *", timezone="Africa/Cairo")
@example(data=None, expression="*/15 3 27 9 *", timezone="Pacific/Chatham")
@example(data=None, expression="* 3 4 10 *", timezone="Australia/Lord_Howe")
@example(data=None, expression="*/30 0 5-6 4 *", timezone="Australia/Lord_Howe")
def test_any_cron_that_cronsim_accepts_is_the_same_here_or_is_a_deviation_with_a_name(
    data: st.DataObject | None, expression: str, timezone: str
) -> None:
    after = utc("2026-03-01T00:00") if data is None else data.draw(instants(timezone))
    minute, hour = expression.split()[:2]
    follows, zone = minute.startswith("*") or hour.startswith("*"), ZoneInfo(timezone)
    known = oracle(expression, after.astimezone(zone))
    written = re.sub("[A-Z]{3}", lambda name: NUMBERS[name[0]], expression.upper())
    if any(re.search(pattern, written) for pattern in REFUSED.values()):
        with pytest.raises(ScheduleError, match=r"is not crontab\(5\)"):
            check_cron(expression)
        return
    if any(re.search(pattern, written) for pattern in READ_OTHERWISE.values()):
        parse_cron(expression)
        return
    check_cron(expression)

    def comparable(slots: Iterator[datetime]) -> list[datetime]:
        found = (at.astimezone(UTC) for at in slots)
        days = ((at, at.astimezone(zone).date()) for at in found if at > after)
        return list(itertools.islice((at for at, day in days if not (follows and cronsim_stumbles(timezone, day))), 12))

    assert comparable(fires(cron(expression, timezone), after=after)) == comparable(known)


@pytest.mark.parametrize(
    ("timezone", "expression", "day"),
    [
        ("Africa/Cairo", "*/20 1 24 4 *", "2026-04-24"),  # there is no midnight
        ("Africa/Cairo", "*/20 0 24 4 *", "2026-04-24"),
        ("America/Havana", "*/20 1 * * 0", "2026-03-08"),
        ("Pacific/Chatham", "*/15 3 * * *", "2026-09-27"),  # from 02:45 to 03:45
        ("Australia/Lord_Howe", "* 3 * * *", "2026-10-04"),  # from 02:00 to 02:30
        ("Australia/Lord_Howe", "*/10 2 * * *", "2026-04-05"),  # from 02:00 to 01:30
        ("Australia/Lord_Howe", "* 0 * * *", "2026-04-06"),  # 00:00 of the day after is a matching time, and comes
    ],
)
def test_where_cronsim_stumbles_the_clock_itself_decides(timezone: str, expression: str, day: str) -> None:
    zone = ZoneInfo(timezone)
    start = datetime.fromisoformat(day).replace(tzinfo=zone).astimezone(UTC) - DAY
    until = start + 3 * DAY
    assert cronsim_stumbles(timezone, date.fromisoformat(day))
    seen = list(minute_by_minute(expression, timezone, start, until))
    assert coming(cron(expression, timezone), after=start, until=until) == seen
    simulated = itertools.takewhile(lambda at: at <= until, CronSim(expression, start.astimezone(zone)))
    assert texts([at.astimezone(UTC) for at in simulated]) != texts(seen), "it is right by now: compare it there too"


def minute_by_minute(
    expression: str, timezone: str, after: datetime, until: datetime, *, tick: timedelta = MINUTE
) -> Iterator[datetime]:
    """Debian's rule by looking at the clock once a minute; cronsim only says which wall times match."""
    known = oracle(expression, utc("2020-01-01"))
    minute, hour = expression.split()[-5:-3]
    fixed = not minute.startswith("*") and not hour.startswith("*")

    def named(wall: datetime) -> bool:
        return (
            wall.second in known.seconds
            and wall.minute in known.minutes
            and wall.hour in known.hours
            and wall.month in known.months
            and known.match_day(wall.date())
        )

    zone = ZoneInfo(timezone)
    # Early enough to know what the clock had shown before it was set back.
    at = after.replace(second=0, microsecond=0) - (2 * DAY if tick == MINUTE else 3 * 60 * MINUTE)
    reached = at.astimezone(zone).replace(tzinfo=None) - tick
    while at <= until:
        wall = at.astimezone(zone).replace(tzinfo=None)
        if fixed:
            passed = [reached + n * tick for n in range(1, int((wall - reached) / tick) + 1)]
            fire = any(map(named, passed))
            reached = max(reached, wall)
        else:
            fire = named(wall)
        if fire and at > after:
            yield at
        at += tick


@given(st.data(), expressions, st.sampled_from(PLAIN_ZONES + ODD_ZONES))
def test_fires_are_what_a_look_at_the_clock_every_minute_finds(
    data: st.DataObject, expression: str, timezone: str
) -> None:
    after = data.draw(instants(timezone))
    until = after + timedelta(hours=data.draw(st.integers(1, 40)))
    expected = list(minute_by_minute(expression, timezone, after, until))
    schedule = cron(expression, timezone)
    found = itertools.takewhile(lambda at: at <= until, fires(schedule, after=after))
    assert texts(list(found)) == texts(expected)
    covered = span(schedule, start=after + timedelta.resolution, until=until)
    assert covered == (Span(first=expected[0], last=expected[-1], count=len(expected)) if expected else None)


with_seconds = st.tuples(fields(0, 59), fields(0, 59), fields(0, 23)).map(lambda f: f"{' '.join(f)} * * *")


@given(st.data(), with_seconds, st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]))
def test_fires_of_six_fields_are_what_a_look_at_the_clock_every_second_finds(
    data: st.DataObject, expression: str, timezone: str
) -> None:
    zone = ZoneInfo(timezone)
    change = data.draw(st.sampled_from(changes(timezone)))
    while change.astimezone(zone).utcoffset() == (change + 60 * MINUTE).astimezone(zone).utcoffset():
        change += 60 * MINUTE
    after = change + data.draw(st.integers(-60 * 60, 2 * 60 * 60)) * SECOND
    until = after + 90 * MINUTE
    expected = list(minute_by_minute(expression, timezone, after, until, tick=SECOND))
    schedule = cron(expression, timezone)
    assert list(itertools.takewhile(lambda at: at <= until, fires(schedule, after=after))) == expected
    covered = span(schedule, start=after + timedelta.resolution, until=until)
    assert covered == (Span(first=expected[0], last=expected[-1], count=len(expected)) if expected else None)


@given(st.data(), fields(0, 59), expressions, st.sampled_from(PLAIN_ZONES))
def test_six_fields_agree_with_cronsim_unless_they_name_fixed_times(
    data: st.DataObject, second: str, expression: str, timezone: str
) -> None:
    # cronsim lets all expressions of six fields follow the clock, ADR 2 only those that would with five.
    minute, hour = expression.split()[:2]
    assume(minute.startswith("*") or hour.startswith("*") or timezone in ("UTC", "Asia/Kolkata"))
    after = data.draw(instants(timezone))
    known = (at.astimezone(UTC) for at in oracle(f"{second} {expression}", after.astimezone(ZoneInfo(timezone))))
    expected = list(itertools.islice((at for at in known if at > after), 12))
    assert first(cron(f"{second} {expression}", timezone), after, 12) == texts(expected)


@given(with_seconds.map(parse_cron), st.integers(0, 100), st.integers(1, 5000), st.integers(0, 86_400_000))
def test_times_of_day_are_the_same_made_one_by_one_or_all_at_once(known: Cron, a: int, b: int, at: int) -> None:
    minutes = [timedelta(hours=h, minutes=m) for h in known.hours for m in known.minutes]
    listed = [minute + second * SECOND for minute in minutes for second in known.seconds]
    assert list(known.times[a:b]) == listed[a:b]
    assert len(known.times) == len(listed)
    for moment in (at * MILLISECOND, at // 1000 * SECOND, *listed[a : a + 3], *listed[b : b + 3]):
        assert (moment in known.times[a:b]) == (moment in listed[a:b])


def test_a_day_of_seconds_is_counted_without_making_them() -> None:
    start, until = utc("2026-12-31T23:00"), utc("2027-12-31T22:59:59")  # 2027 in Berlin
    whole = span(cron("* * * * * *", "Europe/Berlin"), start=start, until=until)
    assert whole == Span(first=start, last=until, count=365 * 24 * 60 * 60)
    some = span(cron("15,45 * 9-16 * * *", "Europe/Berlin"), start=start, until=until)
    assert some is not None
    assert some.count == 365 * 8 * 60 * 2


@pytest.mark.parametrize("expression", ["0 9 * * *", "*/7 * * * *", "15,45 0,9-23 30 12 *"])
def test_the_day_apia_skipped_is_what_a_look_at_the_clock_every_minute_finds(expression: str) -> None:
    after, until = utc("2011-12-28T05:00"), utc("2012-01-01T05:00")
    found = itertools.takewhile(lambda at: at <= until, fires(cron(expression, "Pacific/Apia"), after=after))
    assert texts(list(found)) == texts(list(minute_by_minute(expression, "Pacific/Apia", after, until)))


moments = st.integers(0, 15 * 525_600).map(lambda n: utc("2020-01-01") + n * MINUTE)


@st.composite
def entries(draw: st.DrawFn) -> Schedule:
    """One entry, now and then with a phase, and with a start or an end in the years that the tests look at."""
    interval = timedelta(milliseconds=draw(st.integers(1000, 90_000_000)))
    entry = draw(
        st.one_of(
            st.builds(cron, expressions, st.sampled_from(PLAIN_ZONES + ODD_ZONES)),
            st.just(Schedule(timezone="UTC", every=interval)),
            st.floats(0, 0.99).map(
                lambda part: Schedule(timezone="UTC", every=interval, phase=part * interval // SECOND * SECOND)
            ),
            moments.map(lambda at: Schedule(timezone="UTC", at=at)),
        )
    )
    if draw(st.integers(0, 3)):
        return entry
    bounds = sorted([draw(moments), draw(moments)])
    return replace(
        entry, starts=bounds[0] if draw(st.booleans()) else None, ends=bounds[1] if draw(st.booleans()) else None
    )


unions = st.lists(entries(), min_size=2, max_size=4).map(
    lambda found: Schedule(timezone=found[0].timezone, union=tuple(found))
)
schedules = st.one_of(entries(), entries(), unions)


@given(st.data(), schedules)
def test_fires_are_utc_and_strictly_increase_from_after_the_start(data: st.DataObject, schedule: Schedule) -> None:
    after = data.draw(instants(schedule.timezone))
    found = list(itertools.islice(fires(schedule, after=after), 40))
    assert all(at.tzinfo is UTC for at in found)
    assert all(a < b for a, b in itertools.pairwise([after, *found]))


@given(st.data(), schedules)
def test_a_walk_can_be_taken_up_again_at_any_fire(data: st.DataObject, schedule: Schedule) -> None:
    after = data.draw(instants(schedule.timezone))
    found = list(itertools.islice(fires(schedule, after=after), 12))
    again: list[datetime] = []
    step: datetime | None = after
    while step is not None and len(again) < 12:
        step = next_fire(schedule, after=step)
        again += [] if step is None else [step]
    assert texts(again) == texts(found)


@given(st.data(), schedules, st.integers(0, 3000))
def test_a_later_start_never_finds_an_earlier_fire(data: st.DataObject, schedule: Schedule, minutes: int) -> None:
    after = data.draw(instants(schedule.timezone))
    later = after + minutes * MINUTE
    early, late = next_fire(schedule, after=after), next_fire(schedule, after=later)
    if early is None:
        assert late is None
    elif early > later:
        assert late is not None
        assert late.isoformat() == early.isoformat()
    else:
        assert late is None or late > later


@given(st.data(), schedules, st.integers(0, 60 * 24 * 20), st.integers(0, 60 * 24 * 400))
def test_splitting_an_interval_loses_and_doubles_no_slot(
    data: st.DataObject, schedule: Schedule, left: int, right: int
) -> None:
    start = data.draw(instants(schedule.timezone))
    middle = start + left * MINUTE
    if any((smallest_gap(entry) or DAY) < 40 * SECOND for entry in schedule.union):
        right %= 60 * 24 * 2  # the slots of a list are walked: a year of two entries of a second takes minutes
        middle = start + left // 10 * MINUTE
    until = middle + right * MINUTE
    whole = span(schedule, start=start, until=until)
    parts = [
        part
        for part in (
            span(schedule, start=start, until=middle),
            span(schedule, start=middle + timedelta.resolution, until=until),
        )
        if part is not None
    ]
    if whole is None:
        assert parts == []
        return
    assert whole.count == sum(part.count for part in parts)
    assert whole.first.isoformat() == parts[0].first.isoformat()
    assert whole.last.isoformat() == parts[-1].last.isoformat()


@given(st.data(), schedules, st.integers(0, 600), st.integers(0, 3000))
def test_slots_up_to_a_moment_and_slots_after_it_are_all_slots(
    data: st.DataObject, schedule: Schedule, left: int, right: int
) -> None:
    start = data.draw(instants(schedule.timezone))
    middle = start + left * MINUTE
    until = middle + right * MINUTE
    halves = coming(schedule, after=start, until=middle) + coming(schedule, after=middle, until=until)
    assert coming(schedule, after=start, until=until) == halves


@given(st.data(), schedules)
@example(data=None, schedule=cron("0 */2 * * *", "Europe/Berlin"))
def test_a_span_is_what_counting_its_slots_finds(data: st.DataObject | None, schedule: Schedule) -> None:
    start = utc("2027-10-30T22:00") if data is None else data.draw(instants(schedule.timezone))
    until = start + timedelta(hours=60)
    slots = list(itertools.takewhile(lambda at: at <= until, fires(schedule, after=start - timedelta.resolution)))
    found = span(schedule, start=start, until=until)
    assert found == (Span(first=slots[0], last=slots[-1], count=len(slots)) if slots else None)


@given(st.data(), unions)
def test_a_list_names_each_instant_of_its_entries_once(data: st.DataObject, schedule: Schedule) -> None:
    after = data.draw(instants(schedule.timezone))
    until = after + timedelta(hours=data.draw(st.sampled_from([1, 30, 24 * 20])))
    # Neighbours of a few seconds over weeks would only take long.
    assume(all((smallest_gap(entry) or DAY) > 40 * SECOND or until - after < 2 * DAY for entry in schedule.union))
    expected = sorted({slot for entry in schedule.union for slot in coming(entry, after=after, until=until)})
    assert coming(schedule, after=after, until=until) == expected
    assert next_fire(schedule, after=after) == next(fires(schedule, after=after), None)
    counted = span(schedule, start=after + timedelta.resolution, until=until)
    assert counted == (Span(first=expected[0], last=expected[-1], count=len(expected)) if expected else None)


@given(st.data(), entries(), moments, moments)
def test_starts_and_ends_cut_a_schedule_and_move_nothing(
    data: st.DataObject, entry: Schedule, one: datetime, other: datetime
) -> None:
    starts, ends = sorted([one, other])
    whole, cut = replace(entry, starts=None, ends=None), replace(entry, starts=starts, ends=ends)
    inside = span(whole, start=starts, until=ends)
    assert span(cut, start=utc("1990-01-01"), until=utc("2050-01-01")) == inside
    after = data.draw(instants(entry.timezone))
    expected = [slot for slot in first(whole, max(after, starts - timedelta.resolution), 5) if slot <= ends.isoformat()]
    assert first(cut, after, 5) == expected


def test_slots_at_starts_and_at_ends_count() -> None:
    nine, eleven = utc("2026-01-01T09:00"), utc("2026-01-01T11:00")
    for schedule in (cron("@hourly", "Europe/Berlin"), every(hours=1), Schedule(timezone="UTC", at=nine)):
        cut = replace(schedule, starts=nine, ends=nine)
        check_schedule(cut)
        assert first(cut, utc("2000-01-01"), 3) == texts([nine])
        assert next_fire(cut, after=nine) is None
    cut = replace(every(hours=1), starts=nine, ends=eleven)
    assert span(cut, start=utc("2000-01-01"), until=utc("2100-01-01")) == Span(first=nine, last=eleven, count=3)
    assert first(replace(every(hours=1), starts=utc("0001-01-01")), nine, 1) == texts([nine + 60 * MINUTE])


def test_a_phase_comes_on_top_of_whole_multiples() -> None:
    schedule = replace(every(hours=1), phase=5 * MINUTE)
    assert first(schedule, utc("1970-01-01T00:00"), 2) == texts([utc("1970-01-01T00:05"), utc("1970-01-01T01:05")])
    assert first(schedule, utc("1969-12-31T23:00"), 1) == texts([utc("1969-12-31T23:05")])
    daily = replace(every(days=1), phase=9 * 60 * MINUTE)
    assert first(daily, utc("2026-01-01T09:00"), 1) == texts([utc("2026-01-02T09:00")])
    found = span(schedule, start=utc("2026-01-01"), until=utc("2026-01-02"))
    assert found == Span(first=utc("2026-01-01T00:05"), last=utc("2026-01-01T23:05"), count=24)


def test_a_year_of_a_dense_list_is_counted_without_being_kept() -> None:
    schedule = Schedule(
        timezone="Europe/Berlin",
        union=(cron("* * * * * *", "Europe/Berlin"), cron("*/5 * * * *", "UTC"), every(hours=1)),
    )
    start, until = utc("2026-12-31T23:00"), utc("2027-12-31T22:59:59")
    assert span(schedule, start=start, until=until) == Span(first=start, last=until, count=365 * 24 * 60 * 60)


def test_a_span_includes_both_of_its_ends() -> None:
    nine, ten = utc("2026-01-01T09:00"), utc("2026-01-01T10:00")
    for schedule in (cron("@hourly", "Europe/Berlin"), every(hours=1)):
        assert span(schedule, start=nine, until=ten) == Span(first=nine, last=ten, count=2)
        assert span(schedule, start=nine, until=nine) == Span(first=nine, last=nine, count=1)
        assert span(schedule, start=nine + MINUTE, until=ten - MINUTE) is None
        assert span(schedule, start=ten, until=nine) is None


def test_a_year_of_every_minute_is_counted_right_where_the_clock_changes_twice() -> None:
    start, until = utc("2026-12-31T23:00"), utc("2027-12-31T22:59:59")  # 2027 in Berlin
    counted = span(cron("* * * * *", "Europe/Berlin"), start=start, until=until)
    assert counted == Span(first=start, last=utc("2027-12-31T22:59"), count=365 * 24 * 60)
    hourly = span(cron("0 0-23 * * *", "Europe/Berlin"), start=start, until=until)
    assert hourly is not None
    assert hourly.count == 365 * 24 - 1  # one hour is skipped, the repeated one counts once


def test_days_before_a_change_are_days_of_the_old_offset() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    found = itertools.islice(fires(cron("0 9 * * 1-5", "Europe/Berlin"), after=utc("2027-03-25")), 5)
    local = [at.astimezone(berlin) for at in found]
    assert [at.date() for at in local] == [date(2027, 3, day) for day in (25, 26, 29, 30, 31)]
    assert {at.hour for at in local} == {9}


# -- one answer for many jobs ----------------------------------------------------------------


def test_a_thousand_jobs_with_one_cron_cost_one_computation() -> None:
    after = utc("2026-05-05T12:34:56.789")
    before = _next_cron_fire.cache_info().misses
    for n in range(1000):
        zone = ZoneInfo("Asia/Tokyo" if n % 2 else "America/Havana")
        shared = replace(cron("7 9 * * 1-5", "Europe/Berlin"), jitter=n * MILLISECOND)
        assert next_fire(shared, after=after.astimezone(zone)) == utc("2026-05-06T07:07")
    assert _next_cron_fire.cache_info().misses == before + 1


@pytest.mark.parametrize("expression", ["7 9 * * 1-5", "*/7 9 13 * */5", "0 0 29 2 */7"])
def test_a_thousand_jobs_with_one_cron_look_its_days_up_once_whatever_is_asked(
    monkeypatch: pytest.MonkeyPatch, expression: str
) -> None:
    looked_up = 0
    since = Days.since

    def counted(days: Days, day: date) -> date | None:
        nonlocal looked_up
        looked_up += 1
        return since(days, day)

    monkeypatch.setattr(Days, "since", counted)
    after = utc("2026-05-05T12:34:56.789")
    costs = []
    for n in range(1000):
        job = replace(cron(expression, "Europe/Rome"), jitter=(n + 1) * MILLISECOND)
        looked_up = 0
        check_schedule(job)
        next_fire(job, after=after)
        span(job, start=after, until=after + 30 * DAY)
        costs.append(looked_up)
    assert costs[0] > 0
    assert costs[1:] == [0] * 999


def test_both_passes_of_a_fold_have_their_own_answer_though_python_calls_them_equal() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    early = datetime(2027, 10, 31, 2, 50, tzinfo=berlin, fold=0)
    late = datetime(2027, 10, 31, 2, 50, tzinfo=berlin, fold=1)
    assert (early, hash(early)) == (late, hash(late))
    schedule = cron("*/20 * * * *", "Europe/Berlin")
    for _ in range(2):
        assert next_fire(schedule, after=early) == utc("2027-10-31T01:00")
        assert next_fire(schedule, after=late) == utc("2027-10-31T02:00")


def test_entries_of_lists_share_what_single_schedules_have_computed() -> None:
    after = utc("2026-05-05T12:34:56.5")
    alone = cron("8 9 * * 1-5", "Europe/Berlin")
    assert next_fire(alone, after=after) == utc("2026-05-06T07:08")
    before = _next_cron_fire.cache_info().misses
    listed = Schedule(timezone="UTC", union=(replace(alone, starts=utc("2026-01-01")), every(days=30)))
    assert next_fire(listed, after=after) == utc("2026-05-06T07:08")
    assert _next_cron_fire.cache_info().misses == before


# -- lists -----------------------------------------------------------------------------------


def test_a_list_of_one_entry_is_that_entry() -> None:
    entry = replace(cron("@daily"), jitter=MINUTE)
    assert unite([entry]) == entry
    assert unite([entry]).to_json() == entry.to_json()


def test_a_list_has_the_zone_of_its_first_entry_and_the_jitter_of_all() -> None:
    entries = [replace(each, jitter=MINUTE) for each in (cron("@daily", "Asia/Tokyo"), every(hours=7))]
    schedule = unite(entries)
    check_schedule(schedule)
    assert (schedule.timezone, schedule.jitter) == ("Asia/Tokyo", MINUTE)
    assert start_delay(schedule, "heartbeat") == start_delay(entries[0], "heartbeat")
    assert schedule.to_json() == {
        "any": [{"cron": "@daily", "timezone": "Asia/Tokyo"}, {"every_ms": 25_200_000, "timezone": "UTC"}],
        "timezone": "Asia/Tokyo",
        "jitter_ms": 60_000,
    }


def hours_of(*numbers: int) -> list[Schedule]:
    return [cron(f"0 {number} * * *") for number in numbers]


@pytest.mark.parametrize(
    ("entries", "code", "entry", "message"),
    [
        ([], "schedule.entries", 0, "0 entries; allowed: 1-32"),
        (hours_of(*range(24)) + [cron(f"30 {n} * * *") for n in range(9)], "schedule.entries", 0, "33 entries"),
        ([cron("@daily"), every(hours=1), cron("0 0 * * *")], "schedule.duplicate", 2, "entry 3 has the same"),
        ([cron("0 9 * * 1-5"), cron("0 9 * * MON-FRI")], "schedule.duplicate", 1, "as entry 1"),
        ([every(hours=1), replace(every(hours=1), timezone="Asia/Tokyo")], "schedule.duplicate", 1, "as entry 1"),
        ([replace(cron("@daily"), jitter=MINUTE), every(hours=1)], "schedule.jitter", 1, "entry 2 has jitter none"),
        ([every(hours=1), replace(cron("@daily"), jitter=MINUTE)], "schedule.jitter", 1, "entry 1 has none"),
    ],
)
def test_a_list_that_cannot_be_united_is_refused(entries: list[Schedule], code: str, entry: int, message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        unite(entries)
    assert (caught.value.code, caught.value.entry) == (code, entry)
    assert message in caught.value.message
    assert caught.value.hint


def test_entries_that_differ_in_zone_phase_or_bounds_are_no_duplicates() -> None:
    entry, tomorrow = cron("@daily"), utc("2030-01-01")
    unite([entry, cron("@daily", "Asia/Tokyo"), replace(entry, starts=tomorrow), replace(entry, ends=tomorrow)])
    unite([every(hours=1), replace(every(hours=1), phase=MINUTE)])


def test_the_jitter_of_a_list_must_suit_each_entry_by_itself() -> None:
    close = Schedule(timezone="UTC", jitter=5 * MINUTE, union=(cron("0 9 * * *"), cron("1 9 * * *")))
    check_schedule(close)  # both starts are late by the same time
    dense = replace(close, union=(*close.union, every(minutes=10)))
    with pytest.raises(ScheduleError) as caught:
        check_schedule(dense)
    assert (caught.value.code, caught.value.entry, caught.value.key) == ("schedule.jitter", 2, "jitter")


# -- jitter ----------------------------------------------------------------------------------

job_ids = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,127}", fullmatch=True)
jitters = st.integers(1, 10**9).map(lambda ms: ms * MILLISECOND)


@given(schedules, jitters, job_ids)
def test_a_start_is_delayed_by_whole_milliseconds_under_the_jitter(
    schedule: Schedule, jitter: timedelta, job_id: str
) -> None:
    delay = start_delay(replace(schedule, jitter=jitter), job_id)
    assert timedelta() <= delay < jitter
    assert delay % MILLISECOND == timedelta()
    assert start_delay(schedule, job_id) == timedelta(), "without jitter there is no delay"


@given(schedules, schedules, jitters, job_ids)
def test_the_delay_is_that_of_the_id_whatever_the_schedule(
    one: Schedule, other: Schedule, jitter: timedelta, job_id: str
) -> None:
    assert start_delay(replace(one, jitter=jitter), job_id) == start_delay(replace(other, jitter=jitter), job_id)


def test_the_delay_is_the_same_in_every_process_and_version() -> None:
    schedule = replace(cron("@hourly"), jitter=30 * SECOND)
    found = [start_delay(schedule, job_id) / MILLISECOND for job_id in ("heartbeat", "triage", "a")]
    assert found == [12_554, 1_824, 23_741]


def test_delays_of_many_ids_spread_evenly() -> None:
    schedule = replace(cron("@hourly"), jitter=10 * MINUTE)
    for names in ("job-{}", "team/{:05}", "{}"):
        minutes = [start_delay(schedule, names.format(n)) // MINUTE for n in range(1000)]
        assert all(70 < minutes.count(each) < 130 for each in range(10))


@pytest.mark.parametrize(
    ("schedule", "gap"),
    [
        (cron("* * * * *"), MINUTE),
        (cron("*/7 * * * *"), 4 * MINUTE),  # from :56 to the full hour
        (cron("0,5 * * * *"), 5 * MINUTE),
        (cron("0 */5 * * *"), timedelta(hours=4)),
        (cron("50 9-17 * * 1-5"), timedelta(hours=1)),
        (cron("0 1,23 * * *"), timedelta(hours=2)),
        (cron("0 1,23 1 * *"), timedelta(hours=22)),
        (cron("@daily"), DAY),
        (cron("0 9 * * 1,4"), 3 * DAY),
        (cron("0 9 * * 0,6"), DAY),
        (cron("@weekly"), 7 * DAY),
        (cron("0 9 * 6 1"), 7 * DAY),
        (cron("@monthly"), 28 * DAY),
        (cron("0 0 31 * *"), 31 * DAY),
        (cron("0 0 1,31 * *"), DAY),
        (cron("@yearly"), 365 * DAY),
        (cron("0 0 29 2 *"), 1461 * DAY),
        (cron("0 0 13 * */5"), 28 * DAY),  # Friday or Sunday the 13th, in February and March
        (cron("0 0 1 * 1"), DAY),
        (cron("0 0 29 2 */7"), 10_227 * DAY),  # on a Sunday
        (cron("* * * * * *"), SECOND),
        (cron("*/25 * * * * *"), 10 * SECOND),
        (cron("5,50 * * * * *"), 15 * SECOND),
        (cron("30 */10 * * * *"), 10 * MINUTE),
        (cron("0,30 0 9 * * *"), 30 * SECOND),
        (cron("10 0,30 9 * * *"), 30 * MINUTE),
        (cron("59 59 23 * * 1"), 7 * DAY),
        (every(seconds=90), 90 * SECOND),
        (Schedule(timezone="UTC", at=utc("2030-01-01")), None),
        (cron("0 0 31 2 *"), None),
    ],
)
def test_the_smallest_gap_lies_between_the_two_fires_that_are_closest(
    schedule: Schedule, gap: timedelta | None
) -> None:
    assert smallest_gap(schedule) == gap
    assert smallest_gap(replace(schedule, timezone="Australia/Lord_Howe")) == gap


@given(st.data(), expressions)
def test_no_two_fires_are_closer_than_the_smallest_gap(data: st.DataObject, expression: str) -> None:
    schedule = cron(expression)
    found = list(itertools.islice(fires(schedule, after=data.draw(instants("UTC"))), 40))
    gap = smallest_gap(schedule)
    assert (gap is None) == (not found)
    assert gap is None or all(b - a >= gap for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("schedule", "jitter", "message", "hint"),
    [
        (cron("*/10 * * * *"), 5 * MINUTE, "jitter 5m is too long; it must stay under 5m, half", "at most 4m59s"),
        (cron("@daily"), DAY, "jitter 1d is too long; it must stay under 12h, half", "at most 11h59m59s"),
        (cron("* * * * *"), 30 * SECOND, "jitter 30s is too long; it must stay under 30s", "at most 29s"),
        (every(seconds=2), SECOND, "under 1s, half the shortest time between two fires", "delete the key"),
        (every(milliseconds=4001), 3 * SECOND, "under 2.0005s", "at most 2s"),
        (every(hours=1), -SECOND, "jitter -1s is negative", "30s"),
        (every(hours=1), timedelta(microseconds=1), "not a whole number of milliseconds", ""),
        (Schedule(timezone="UTC", at=utc("9999-12-31T23:00")), 2 * 60 * MINUTE, "beyond the year 9999", "delete"),
        (replace(cron("0 12 29 12 *"), starts=utc("9999-12-01")), 3 * DAY, "12-29T12:00:00Z leads beyond", "delete"),
        (replace(every(days=300), starts=utc("9999-03-10")), 149 * DAY, "0Z leads beyond the year 9999", "delete"),
    ],
)
def test_a_jitter_out_of_range_is_refused_with_what_is_allowed(
    schedule: Schedule, jitter: timedelta, message: str, hint: str
) -> None:
    with pytest.raises(ScheduleError) as caught:
        check_schedule(replace(schedule, jitter=jitter))
    assert caught.value.code == "schedule.jitter"
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "schedule",
    [
        replace(cron("*/10 * * * *"), jitter=5 * MINUTE - MILLISECOND),
        replace(cron("0 9 * * 1"), jitter=3 * DAY),
        replace(every(seconds=1), jitter=499 * MILLISECOND),
        replace(Schedule(timezone="UTC", at=utc("2030-01-01")), jitter=3650 * DAY),
    ],
)
def test_a_jitter_under_half_the_gap_is_sound_and_beside_a_single_instant_any(schedule: Schedule) -> None:
    check_schedule(schedule)


@settings(deadline=None)
@given(schedules, jitters)
def test_jitter_is_told_apart_but_moves_no_slot(schedule: Schedule, jitter: timedelta) -> None:
    shaken = replace(schedule, jitter=jitter)
    after = utc("2026-05-05")
    assert first(shaken, after, 3) == first(schedule, after, 3)
    assert shaken != schedule
    assert shaken.timing == schedule.timing
    assert len({shaken, schedule}) == 2


@given(unions)
def test_the_order_of_entries_moves_no_slot(schedule: Schedule) -> None:
    turned = replace(schedule, timezone=schedule.union[-1].timezone, union=schedule.union[::-1])
    assert turned.timing == schedule.timing
    assert first(turned.timing, utc("2026-05-05"), 5) == first(schedule, utc("2026-05-05"), 5)


@given(schedules, st.just(timedelta()) | jitters)
def test_a_schedule_is_stored_and_read_back_with_its_jitter(schedule: Schedule, jitter: timedelta) -> None:
    shaken = replace(schedule, jitter=jitter)
    assert Schedule.from_json(shaken.to_json()) == shaken
    assert shaken.to_json() == {**schedule.to_json(), **({"jitter_ms": jitter // MILLISECOND} if jitter else {})}


def test_a_definition_without_jitter_has_the_digest_it_had_before_there_was_any() -> None:
    spec = JobSpec(id="a", name="a", schedule=cron("0 9 * * *", "Europe/Berlin"), runner="cat")
    assert spec.digest == "1150e42614059a8c4e4a8b6878a8d24eb52e6a807c011b490fcd6c31e7ac7a7c"
    assert replace(spec, schedule=replace(spec.schedule, jitter=SECOND)).digest != spec.digest
