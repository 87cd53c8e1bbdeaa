"""Every zone of the time zone database, 2020 to 2035, against two evaluators that share no code with the program.

Sparse expressions are compared over all sixteen years with a walk through the calendar; dense ones around each change
of a clock with Debian's rule applied minute by minute.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from scheduler.core.times.fires import coming, fires
from scheduler.core.values.spec import Schedule
from tests.core.times.test_schedule import minute_by_minute

BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
CHUNKS = 24
Change = tuple[datetime, timedelta, timedelta]  # the first instant after it, the offset before and after

# hour, minute and which days; each with the cron that says so.
SPARSE: dict[str, tuple[list[time], Callable[[date], bool]]] = {
    "30 2 * * *": ([time(2, 30)], lambda _: True),
    "15,45 0-3 * * *": ([time(hour, minute) for hour in range(4) for minute in (15, 45)], lambda _: True),
    "0 0 1 * *": ([time(0)], lambda day: day.day == 1),
    "5 1 * 3-4,9-11 SUN": ([time(1, 5)], lambda day: day.month in (3, 4, 9, 10, 11) and day.isoweekday() == 7),
    "59 23 29 2 *": ([time(23, 59)], lambda day: (day.month, day.day) == (2, 29)),
    "0 3 13 * FRI": ([time(3)], lambda day: day.day == 13 or day.isoweekday() == 5),
}
DENSE = ("*/15 * * * *", "0 * * * *", "*/20 1-3 * * *", "30 */2 * * *", "* 2 * * SUN")


def zones(chunk: int) -> list[str]:
    return sorted(available_timezones() - {"localtime", "posixrules", "Factory"})[chunk::CHUNKS]


@functools.cache
def changes(timezone: str) -> tuple[Change, ...]:
    """When the clock of a zone jumps: found by looking once an hour, and then closer."""
    zone, found = ZoneInfo(timezone), []

    def offset(at: datetime) -> timedelta:
        shift = at.astimezone(zone).utcoffset()
        assert shift is not None
        return shift

    at, known = BEGIN - 3 * DAY, offset(BEGIN - 3 * DAY)
    while at < END + 3 * DAY:
        later = at + 6 * HOUR
        if offset(later) != known:
            low, high = at, later
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                low, high = (middle, high) if offset(middle) == known else (low, middle)
            found.append((high.replace(microsecond=0), known, offset(later)))
            known = offset(later)
        at = later
    return tuple(found)


def by_calendar(timezone: str, expression: str) -> Iterator[datetime]:
    """Debian's rule for fixed times: what a gap takes away comes right after it, what a fold repeats counts once."""
    times, days = SPARSE[expression]
    known = changes(timezone)
    first = ZoneInfo(timezone)
    start = (BEGIN - 3 * DAY).astimezone(first).utcoffset()
    assert start is not None
    stretches = [(BEGIN - 4 * DAY, start), *((at, after) for at, _, after in known)]
    found = set()
    day = BEGIN.date() - DAY
    while day <= END.date() + DAY:
        if days(day):
            for each in times:
                wall = datetime.combine(day, each, tzinfo=UTC)
                for n, (begun, offset) in enumerate(stretches):
                    at = wall - offset
                    over = stretches[n + 1][0] if n + 1 < len(stretches) else END + 9 * DAY
                    if at < over:  # in this stretch, or in the gap before it
                        found.add(max(at, begun))
                        break
        day += DAY
    return iter(sorted(at for at in found if BEGIN < at <= END))


@functools.cache
def expected(history: tuple[Change, ...], timezone: str, expression: str) -> tuple[datetime, ...]:
    return tuple(by_calendar(timezone, expression))


@functools.cache
def around(history: tuple[Change, ...], timezone: str, expression: str) -> tuple[datetime, ...]:
    windows = ((at - DAY, at + DAY) for at, _, _ in history if BEGIN <= at < END)
    return tuple(itertools.chain.from_iterable(minute_by_minute(expression, timezone, *each) for each in windows))


def alike(chunk: int) -> Iterator[tuple[str, tuple[Change, ...], str]]:
    """Zones, how their clocks jump, and the first zone whose clock does the same: what is due there is known then."""
    first: dict[tuple[timedelta, tuple[Change, ...]], str] = {}
    for timezone in zones(chunk):
        history = changes(timezone)
        offset = BEGIN.astimezone(ZoneInfo(timezone)).utcoffset()
        assert offset is not None
        yield timezone, history, first.setdefault((offset, history), timezone)


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_fixed_times_agree_with_a_walk_through_the_calendar_of_sixteen_years(chunk: int) -> None:
    for timezone, history, like in alike(chunk):
        for expression in SPARSE:
            found = itertools.takewhile(
                lambda at: at <= END, fires(Schedule(timezone=timezone, cron=expression), after=BEGIN)
            )
            assert tuple(found) == expected(history, like, expression), (timezone, expression)


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_times_that_follow_the_clock_agree_with_it_minute_by_minute_around_each_change(chunk: int) -> None:
    for timezone, history, like in alike(chunk):
        for expression in DENSE:
            schedule = Schedule(timezone=timezone, cron=expression)
            windows = ((at - DAY, at + DAY) for at, _, _ in history if BEGIN <= at < END)
            found = itertools.chain.from_iterable(coming(schedule, after=low, until=high) for low, high in windows)
            assert tuple(found) == around(history, like, expression), (timezone, expression)


def test_the_changes_of_a_clock_are_those_that_everybody_knows() -> None:
    berlin = changes("Europe/Berlin")
    assert [f"{at:%m-%dT%H:%M}" for at, _, _ in berlin][:4] == [
        "03-29T01:00",
        "10-25T01:00",
        "03-28T01:00",
        "10-31T01:00",
    ]
    assert len(berlin) == 32
    assert changes("UTC") == ()
    assert sum(len(zones(chunk)) for chunk in range(CHUNKS)) > 400


def test_the_walk_knows_what_gaps_and_folds_do() -> None:
    spring = [at for at in by_calendar("Europe/Berlin", "15,45 0-3 * * *") if at.date() == date(2027, 3, 28)]
    assert [f"{at:%H:%M}" for at in spring] == [
        "00:15",
        "00:45",
        "01:00",
        "01:15",
        "01:45",
        "22:15",
        "22:45",
        "23:15",
        "23:45",
    ]
    autumn = [at for at in by_calendar("Europe/Berlin", "30 2 * * *") if at.date() == date(2026, 10, 25)]
    assert [f"{at:%H:%M}" for at in autumn] == ["00:30"]
