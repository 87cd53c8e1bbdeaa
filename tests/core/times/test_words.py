"""What a schedule says in English, and that it says exactly what the schedule means."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler.core.times.cron import parse_cron
from scheduler.core.times.valid import unite
from scheduler.core.times.words import describe
from scheduler.core.values.spec import Schedule
from tests.core.times.test_schedule import expressions, fields, schedules

MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cron(expression: str, timezone: str = "UTC") -> Schedule:
    return Schedule(timezone=timezone, cron=expression)


def every(timezone: str = "UTC", **units: float) -> Schedule:
    return Schedule(timezone=timezone, every=timedelta(**units))


def at(text: str, timezone: str) -> Schedule:
    return Schedule(timezone=timezone, at=utc(text))


# -- examples --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/1 0-23 * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("0,30 * * * *", "every 30 minutes"),
        ("*/7 * * * *", "at minutes 0, 7, 14 \u2026 56 of every hour"),
        ("5,20,35,50 * * * *", "at minutes 5, 20, 35 and 50 of every hour"),
        ("1-59/2 * * * *", "at minutes 1, 3, 5 \u2026 59 of every hour"),
        ("@hourly", "at minute 0 of every hour"),
        ("30 * * * *", "at minute 30 of every hour"),
        ("@daily", "at 00:00, every day"),
        ("@weekly", "at 00:00, every Sunday"),
        ("@monthly", "at 00:00 on the 1st of every month"),
        ("@yearly", "at 00:00 on the 1st of January every year"),
        (" 0 9  * * 1-5", "at 09:00, Monday to Friday"),
        ("0 9 * * mon,wed,fri", "at 09:00, Monday, Wednesday and Friday"),
        ("0 9 * * 5-7", "at 09:00, Friday to Sunday"),
        ("0 9 * * 0,1", "at 09:00, Monday and Sunday"),
        ("0 9,12,17 * * *", "at 09:00, 12:00 and 17:00, every day"),
        ("15,45 8,20 * * *", "at 08:15, 08:45, 20:15 and 20:45, every day"),
        ("0 9-17 * * 1-5", "every hour from 09:00 to 17:00, Monday to Friday"),
        ("30 9-17 * * *", "every hour from 09:30 to 17:30, every day"),
        ("7 1-23/2 * * *", "every 2 hours from 01:07 to 23:07, every day"),
        ("0 */8 * * *", "at 00:00, 08:00 and 16:00, every day"),
        ("* 9 * * *", "every minute from 09:00 to 09:59, every day"),
        ("* 9-17 * * 1-5", "every minute from 09:00 to 17:59, Monday to Friday"),
        ("*/15 9-17 * * *", "every 15 minutes from 09:00 to 17:45, every day"),
        ("*/20 9-11,14-16 * * *", "every 20 minutes from 09:00 to 11:40 and from 14:00 to 16:40, every day"),
        ("*/15 9,11,13 * * *", "at minutes 0, 15, 30 and 45 past hours 9, 11 and 13, every day"),
        ("* 0,2,4 * * *", "every minute of hours 0, 2 and 4, every day"),
        ("3,7,21 1-5 * * *", "at minutes 3, 7 and 21 past hours 1 to 5, every day"),
        ("30 2 1 * *", "at 02:30 on the 1st of every month"),
        ("0 0 1,15 * *", "at 00:00 on the 1st and 15th of every month"),
        ("0 0 2-4,11,22,23 * *", "at 00:00 on the 2nd to 4th, 11th, 22nd and 23rd of every month"),
        ("0 0 */2 * *", "at 00:00 on every 2nd day from the 1st to the 31st of every month"),
        ("0 0 28-31 * *", "at 00:00 on the 28th to 31st of every month, as far as it has them"),
        ("0 0 1 1-6 *", "at 00:00 on the 1st of every month from January to June"),
        ("0 0 31 * *", "at 00:00 on the 31st of every month that has one"),
        ("0 0 29 2 *", "at 00:00 on the 29th of February in every leap year"),
        ("0 0 1 jan,jul *", "at 00:00 on the 1st of January and July every year"),
        ("0 9 * 6-8 *", "at 09:00, every day from June to August every year"),
        ("0 9 * 1,7 *", "at 09:00, every day in January and July every year"),
        ("0 9 * 1,2 *", "at 09:00, every day in January and February every year"),
        ("0 9 * 1-3,6 *", "at 09:00, every day from January to March and in June every year"),
        ("0 9 * 1,3-5,7,9 *", "at 09:00, every day in January, from March to May and in July and September every year"),
        ("0 9 * 11,12,1,2 *", "at 09:00, every day from November to February every year"),
        ("0 9 * 11-12,1 0", "at 09:00, every Sunday from November to January every year"),
        ("0 9 * 12,1 *", "at 09:00, every day in January and December every year"),
        ("0 9 * */3 1-5", "at 09:00, Monday to Friday in January, April, July and October every year"),
        ("0 9 * 1-6 1", "at 09:00, every Monday from January to June every year"),
        ("*/5 * * 12 *", "every 5 minutes, every day in December every year"),
        ("* * * 1-6 *", "every minute, every day from January to June every year"),
        ("0 9 * 6 1-5", "at 09:00, Monday to Friday in June every year"),
        (
            "*/10 9-17 * 6-8 1-5",
            "every 10 minutes from 09:00 to 17:50, Monday to Friday from June to August every year",
        ),
        ("*/15 * * * 1-5", "every 15 minutes, Monday to Friday"),
        ("0 9 * * 1-3,5", "at 09:00, Monday to Wednesday and Friday"),
        ("0 9 * * 6,0", "at 09:00, Saturday and Sunday"),
        ("0 9 1-7 * *", "at 09:00 on the 1st to 7th of every month"),
        ("0 9 1-15/2 * *", "at 09:00 on every 2nd day from the 1st to the 15th of every month"),
        ("0 9 */2 6 *", "at 09:00 on every 2nd day from the 1st to the 29th of June every year"),
        ("0 9 1,11,21 * *", "at 09:00 on the 1st, 11th and 21st of every month"),
        ("0 9 29-31 * *", "at 09:00 on the 29th to 31st of every month, as far as it has them"),
        ("0 9 29 * *", "at 09:00 on the 29th of every month that has one"),
        ("0 9 28 * *", "at 09:00 on the 28th of every month"),
        ("0 9 30 1-6 *", "at 09:00 on the 30th of January, March, April, May and June every year"),
        ("0 9 29 1-6 *", "at 09:00 on the 29th of every month from January to June that has one"),
        ("0 9 28-31 1-6 *", "at 09:00 on the 28th to 31st of every month from January to June, as far as it has them"),
        ("0 9 28-31 4-6 *", "at 09:00 on the 28th to 31st of every month from April to June, as far as it has them"),
        ("0 9 28-30 4-6 *", "at 09:00 on the 28th to 30th of every month from April to June"),
        ("0 9 31 1-6 *", "at 09:00 on the 31st of January, March and May every year"),
        ("0 9 31 4,5 *", "at 09:00 on the 31st of May every year"),
        ("0 9 30,31 4 *", "at 09:00 on the 30th of April every year"),
        ("0 9 28-31 2 *", "at 09:00 on the 28th and 29th of February every year, as far as there are such days"),
        ("0 9 30,31 4,5 *", "at 09:00 on the 30th and 31st of April and May every year, as far as there are such days"),
        ("0 9 25-31 12 *", "at 09:00 on the 25th to 31st of December every year"),
        ("0 9 1 */3 *", "at 09:00 on the 1st of January, April, July and October every year"),
        ("0 9 1 11,12,1,2 *", "at 09:00 on the 1st of every month from November to February"),
        ("0 9 1-5 6-8 *", "at 09:00 on the 1st to 5th of every month from June to August"),
        ("0 9 31 * 1", "at 09:00 on the 31st of every month that has one, or on any Monday"),
        ("0 9 31 4 1", "at 09:00, every Monday in April every year"),
        ("0 9 29 2 1", "at 09:00 on the 29th of February in every leap year, or on any Monday in February"),
        (
            "0 9 13 6-8 5",
            "at 09:00 on the 13th of every month from June to August, or on any Friday from June to August",
        ),
        ("0 9 8-14 6 */5", "at 09:00 on the 8th to 14th of June every year, if that is a Friday or Sunday"),
        ("0 0 13 * 5", "at 00:00 on the 13th of every month, or on any Friday"),
        ("0 0 13 6 5", "at 00:00 on the 13th of June every year, or on any Friday in June"),
        ("0 0 1,15 * 1-5", "at 00:00 on the 1st and 15th of every month, or on any day from Monday to Friday"),
        ("0 0 1 * 1,3", "at 00:00 on the 1st of every month, or on any Monday or Wednesday"),
        ("0 0 1-31 * 1", "at 00:00, every day"),  # neither day field starts with a star: one of them always matches
        (
            "0 0 */10 * 1",
            "at 00:00 on the 1st, 11th, 21st and 31st of every month, as far as it has them, if that is a Monday",
        ),
        ("0 0 1-7 * */3", "at 00:00 on the 1st to 7th of every month, if that is a Wednesday, Saturday or Sunday"),
        ("* * * * * *", "every second"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("30 * * * * *", "at second 30 of every minute"),
        ("0,20 * * * * *", "at seconds 0 and 20 of every minute"),
        ("0 30 9 * * 1-5", "at 09:30, Monday to Friday"),
        ("30 0 9 * * *", "at 09:00:30, every day"),
        ("30 0 9-17 * * *", "every hour from 09:00:30 to 17:00:30, every day"),
        ("*/10 * 9-17 * * *", "every 10 seconds from 09:00 to 17:59:50, every day"),
        ("* 30 2 * * *", "every second of minute 30 past hour 2, every day"),
        ("30 */15 * * * *", "at second 30 of minutes 0, 15, 30 and 45 of every hour"),
    ],
)
def test_a_cron_is_said_in_words(expression: str, words: str) -> None:
    assert describe(cron(expression, "Europe/Berlin")) == f"{words}, Europe/Berlin"


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (cron("0 9 * * 1-5", "America/Los_Angeles"), "at 09:00, Monday to Friday, America/Los_Angeles"),
        (every(seconds=10), "every 10 seconds"),
        (every(seconds=1), "every second"),
        (every(minutes=1), "every minute"),
        (every(hours=1), "every hour"),
        (every(minutes=90), "every 1 hour 30 minutes"),
        (every(seconds=3661), "every 1 hour 1 minute 1 second, counted from 1970-01-01 00:00 UTC"),
        (every(milliseconds=1500), "every 1.5 seconds"),
        (every(days=1), "every day at 00:00 UTC"),
        (every("Asia/Tokyo", days=7), "every 7 days, on Thursday at 00:00 UTC"),
        (replace(every(days=7), phase=(4 * 1440 + 480) * MINUTE), "every 7 days, on Monday at 08:00 UTC"),
        (every(days=14), "every 14 days, counted from Thursday 1970-01-01 00:00 UTC"),
        (every(days=3), "every 3 days, counted from 1970-01-01 00:00 UTC"),
        (every(hours=20), "every 20 hours, counted from 1970-01-01 00:00 UTC"),
        (every(minutes=7), "every 7 minutes, counted from 1970-01-01 00:00 UTC"),
        (replace(every(hours=8), jitter=MINUTE), "every 8 hours; each run starts up to 1 minute later"),
        (
            replace(unite([cron("0 9 * * *"), every(hours=1)]), jitter=MINUTE),
            "at 09:00, every day, UTC; and every hour; each run starts up to 1 minute later",
        ),
        (replace(every(hours=1), phase=5 * MINUTE), "every hour, with a phase of 5 minutes"),
        (replace(every(hours=6), phase=60 * MINUTE), "every 6 hours, with a phase of 1 hour"),
        (replace(every(days=1), phase=540 * MINUTE), "every day at 09:00 UTC"),
        (at("2029-12-31T23:00", "Europe/Berlin"), "once, at 2030-01-01 00:00 Europe/Berlin"),
        (at("2030-01-01T17:00:05", "UTC"), "once, at 2030-01-01 17:00:05 UTC"),
        (at("2027-10-31T00:30", "Europe/Berlin"), "once, at 2027-10-31 02:30 Europe/Berlin (first of two)"),
        (at("2027-10-31T01:30", "Europe/Berlin"), "once, at 2027-10-31 02:30 Europe/Berlin (second of two)"),
        (
            replace(cron("@daily", "Europe/Berlin"), starts=utc("2027-01-01T08:00")),
            "at 00:00, every day, Europe/Berlin, from 2027-01-01 09:00 Europe/Berlin",
        ),
        (
            replace(every("Asia/Tokyo", minutes=5), starts=utc("2027-01-01"), ends=utc("2027-02-01T00:00:30")),
            "every 5 minutes, from 2027-01-01 09:00 Asia/Tokyo, up to and including 2027-02-01 09:00:30 Asia/Tokyo",
        ),
        (at("9999-12-31T23:59:59", "Asia/Tokyo"), "once, at 9999-12-31 23:59:59 UTC"),  # no date for it in Tokyo
        (
            replace(cron("@daily", "Europe/Berlin"), ends=utc("9999-12-31T23:59:59")),
            "at 00:00, every day, Europe/Berlin, up to and including 9999-12-31 23:59:59 UTC",
        ),
        (
            replace(every("America/Lima", hours=1), starts=utc("0001-01-01T00:00")),
            "every hour, from 0001-01-01 00:00 UTC",
        ),
        (
            replace(every(minutes=90), starts=utc("2027-01-01T01:00")),  # its first slot is that of 01:30
            "every 1 hour 30 minutes, from 2027-01-01 01:00 UTC",
        ),
        (
            replace(every(minutes=90), starts=utc("2027-01-01T01:00"), phase=60 * MINUTE),
            "every 1 hour 30 minutes, with a phase of 1 hour, from 2027-01-01 01:00 UTC",
        ),
        (
            unite([cron("0 9 * * 1-5", "Europe/Berlin"), cron("0 12 * * 6"), every(hours=7)]),
            (
                "at 09:00, Monday to Friday, Europe/Berlin; and at 12:00, every Saturday, UTC; "
                "and every 7 hours, counted from 1970-01-01 00:00 UTC"
            ),
        ),
    ],
)
def test_a_schedule_is_said_in_words_and_a_time_of_day_never_without_its_zone(schedule: Schedule, words: str) -> None:
    assert describe(schedule) == words


# -- reading it back -------------------------------------------------------------------------

WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
CLOCK = r"\d\d:\d\d(?::\d\d)?"
NUMBERS = r"(?:{0} \d+|{0}s [\d, toand\u2026]+?\d)"
DAYS = rf"(?P<days>(?: on (?:the|every \d+\w\w day) .*|, (?:every )?(?:day|{'|'.join(WEEKDAYS)})\b.*)?)"
Time = tuple[int, int, int]
Named = Callable[[int, int, int], bool]  # of a day of the month, a month and a weekday


def listed(text: str, number: Callable[[str], int], *, wrap: int = 0) -> set[int]:
    """`a, b to c and d`, or with `or`."""
    found: set[int] = set()
    for part in re.split(r", | and | or ", text):
        low, _, high = part.partition(" to ")
        a, b = number(low), number(high or low)
        found |= {each % wrap if wrap else each for each in range(a, (b if b >= a else b + wrap) + 1)}
    return found


def numbers(text: str, unit: str, size: int) -> set[int]:
    if text == f"every {unit}":
        return set(range(size))
    if found := re.fullmatch(rf"{unit}s (\d+), (\d+), \d+ \u2026 (\d+)", text):
        low, second, high = map(int, found.groups())
        return set(range(low, high + 1, second - low))
    assert re.match(rf"{unit}s? ", text), text
    return listed(text.split(" ", 1)[1], int)


def seconds_of(clock: str) -> int:
    hour, minute, second = (*map(int, clock.split(":")), 0)[:3]
    return (hour * 60 + minute) * 60 + second


def times_said(text: str) -> set[Time]:
    if found := re.fullmatch(rf"every (?:(\d+) )?(second|minute|hour)s?((?: (?:and )?from {CLOCK} to {CLOCK})*)", text):
        step = int(found[1] or 1) * {"second": 1, "minute": 60, "hour": 3600}[found[2]]
        ranges = re.findall(rf"from ({CLOCK}) to ({CLOCK})", found[3]) or [("00:00", "23:59:59")]
        ticks = [each for a, b in ranges for each in range(seconds_of(a), seconds_of(b) + 1, step)]
        return {(each // 3600, each // 60 % 60, each % 60) for each in ticks}
    if re.fullmatch(rf"at {CLOCK}(?:(?:, | and ){CLOCK})*", text):
        ticks = [seconds_of(each) for each in re.findall(CLOCK, text)]
        return {(each // 3600, each // 60 % 60, each % 60) for each in ticks}
    second, minute, hour = (NUMBERS.format(unit) for unit in ("second", "minute", "hour"))
    found = re.fullmatch(
        rf"(?:at )?(?:(?P<second>every second|{second}) of )?(?P<minute>every minute|{minute})"
        rf"(?: (?:of|past) (?P<hour>every hour|{hour}))?",
        text,
    )
    assert found, text
    return {
        (h, m, s)
        for h in numbers(found["hour"] or "every hour", "hour", 24)
        for m in numbers(found["minute"], "minute", 60)
        for s in (numbers(found["second"], "second", 60) if found["second"] else {0})
    }


def weekdays_said(text: str) -> set[int]:
    return listed(text.removeprefix("day from ").removeprefix("every "), WEEKDAYS.index, wrap=7)


def days_said(text: str) -> Named:
    def months(text: str | None) -> set[int]:
        text = re.sub(r", as far as .*$", "", text or "")
        text = re.sub(r"^every month from| that has one$| every year$| in every leap year$", "", text)
        if not text or text.startswith("every month"):
            return set(range(1, 13))
        text = re.sub(r"\b(?:in|from) ", "", text).strip()
        return {each + 1 for each in listed(text, MONTHS.index, wrap=12)}

    if text.startswith(", "):
        named, during = re.fullmatch(r"(.*?)((?: (?:in|from) .*)?)", text[2:]).groups()  # type: ignore[union-attr]
        weekdays = set(range(7)) if named == "every day" else weekdays_said(named)
        return lambda day, month, weekday: month in months(during) and weekday in weekdays
    if not text:
        return lambda day, month, weekday: True
    found = re.fullmatch(
        r" on (.*) of (.*?)(?:, if that is a (.*?)|, or on any (day from \w+ to \w+|.*?)((?: (?:in|from) .*)?))?", text
    )
    assert found, text
    which, when, meets, others, during = found.groups()
    if stepped := re.fullmatch(r"every (\d+)\w\w day from the (\d+)\w\w to the (\d+)\w\w", which):
        step, low, high = map(int, stepped.groups())
        dates = set(range(low, high + 1, step))
    else:
        dates = listed(which.removeprefix("the "), lambda each: int(each[:-2]))
    if others is not None:
        weekdays = weekdays_said(others)
        return lambda day, month, weekday: (
            (month in months(when) and day in dates) or (month in months(during) and weekday in weekdays)
        )
    weekdays = set(range(7)) if meets is None else weekdays_said(meets)
    return lambda day, month, weekday: month in months(when) and day in dates and weekday in weekdays


def check_said(expression: str) -> None:
    words = describe(cron(expression, "Europe/Berlin"))
    text, zone = words.rsplit(", ", 1)
    assert zone == "Europe/Berlin"
    parts = re.fullmatch(rf"(?P<times>.*?){DAYS}", text)
    assert parts, words
    known = parse_cron(expression)
    assert times_said(parts["times"]) == {(h, m, s) for h in known.hours for m in known.minutes for s in known.seconds}
    said = days_said(parts["days"])
    existing = [(day, month) for month, last in ((1, 31), (2, 29), (6, 30), (12, 31)) for day in range(1, last + 1)]
    for day, month, weekday in [(*each, weekday) for each in existing for weekday in range(7)]:
        match = (day in known.days_of_month, weekday in known.weekdays)
        expected = month in known.months and (all(match) if known.days_meet else any(match))
        assert said(day, month, weekday) == expected, (words, day, month, weekday)


@given(expressions)
def test_read_back_the_words_of_a_cron_name_its_times_and_days(expression: str) -> None:
    check_said(expression)


even = st.sampled_from(["*", "*/5", "*/15", "*/30", "0", "30", "0-30", "10-50/10", "*/7", "1,2,3,9", "59"])
hours = st.sampled_from(["*", "9", "9-17", "*/2", "0,12", "1-5,8-10", "22,23,0", "1-23/2", "0-23", "6-18/3"])
days = st.sampled_from(["*", "*", "1", "1,15", "*/2", "31", "10-20", "1-7", "*/10"])
months = st.sampled_from(["*", "*", "*", "2", "6-8", "1,7", "*/3"])
weekdays = st.sampled_from(["*", "*", "1-5", "0,6", "7", "1", "mon,wed,fri", "5-7", "*/2"])


@given(st.tuples(even, hours, days, months, weekdays), st.none() | even)
def test_so_do_those_of_crons_as_people_write_them(written: tuple[str, ...], second: str | None) -> None:
    check_said(" ".join(written if second is None else (second, *written)))


@given(fields(0, 59), fields(0, 59), fields(0, 23))
def test_so_do_those_of_any_three_fields_of_a_time(second: str, minute: str, hour: str) -> None:
    check_said(f"{second} {minute} {hour} * * *")


@given(schedules, schedules)
def test_schedules_that_differ_in_more_than_spelling_differ_in_words(one: Schedule, other: Schedule) -> None:
    def meaning(schedule: Schedule) -> list[object]:
        return [
            (
                replace(parse_cron(entry.cron), fixed=False) if entry.cron else (entry.every, entry.phase, entry.at),
                entry.timezone if entry.cron else "",
                entry.starts,
                entry.ends,
            )
            for entry in schedule.entries
        ]

    assume(meaning(one) != meaning(other))
    if one.cron is None or other.cron is None or one.timezone != other.timezone:  # two crons are read back above
        assert describe(one) != describe(other)


@given(schedules)
def test_every_schedule_is_said_on_one_line_with_each_zone_it_needs(schedule: Schedule) -> None:
    words = describe(schedule)
    assert words.isprintable()
    assert not re.search(r"None|  |,,|, $", words)
    for entry, said in zip(schedule.entries, re.sub("; each start .*", "", words).split("; and "), strict=True):
        needs_zone = entry.cron or entry.at or entry.starts or entry.ends
        assert (entry.timezone in said) or not needs_zone
        assert ("from " in said) >= bool(entry.starts)
        assert ("up to and including " in said) == bool(entry.ends)


def test_the_words_end_with_the_jitter() -> None:
    assert (
        describe(replace(cron("@daily"), jitter=MINUTE))
        == describe(cron("@daily")) + "; each run starts up to 1 minute later"
    )
