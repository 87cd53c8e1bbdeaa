"""When other schedulers fire, by their own rules: each minute or day is asked, nothing is computed ahead."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def either_day_cron(expression: str, zone: str, after: datetime, n: int = 50) -> list[datetime]:
    """Five fields, as croner, croniter, robfig/cron and the desktop app of Claude read them.

    A day matches by either of its fields if both are limited, and `*/2` limits a field.
    """
    return list(islice(_cron(expression.split(), ZoneInfo(zone), after), n))


def _cron(fields: list[str], zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    day = after.astimezone(zone).date()
    minutes, hours = (_values(each, high) for each, high in zip(fields[:2], (59, 23), strict=True))
    while True:
        if _day_matches(fields, day):
            for hour in sorted(hours):
                for minute in sorted(minutes):
                    at = datetime.combine(day, time(hour, minute), zone).astimezone(UTC)
                    if at > after:
                        yield at
        day += timedelta(days=1)


def _day_matches(fields: list[str], day: date) -> bool:
    days, weekdays = _values(fields[2], 31, 1), {each % 7 for each in _values(fields[4], 7, names=_DAYS)}
    if day.month not in _values(fields[3], 12, 1, names=_MONTHS):
        return False
    by_day, by_weekday = day.day in days, day.isoweekday() % 7 in weekdays
    limits = [each.replace("?", "*") != "*" for each in (fields[2], fields[4])]
    return (by_day or by_weekday) if all(limits) else (by_day and by_weekday)


def _values(field: str, high: int, low: int = 0, *, names: tuple[str, ...] = ()) -> set[int]:
    found: set[int] = set()
    for part in field.lower().replace("?", "*").split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if first == "*":
            start, stop = low, high
        else:
            start = names.index(first) + low if first in names else int(first)
            stop = (names.index(last) + low if last in names else int(last)) if last else high if step else start
        found |= {*range(start, stop + 1, int(step or 1))}
    return found
