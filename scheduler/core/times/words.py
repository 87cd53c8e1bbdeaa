"""A schedule in plain English: exact, with its zone, and readable aloud.

Times of day use a 24-hour clock. "to" includes both ends. If a cron names more than a few times, its parts are
described, minutes past hours, rather than rounded to something shorter. The words do not cover what happens on a night
of a clock change.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from scheduler.core.times.cron import Cron, parse_cron
from scheduler.core.values.instants import on_the_clock
from scheduler.core.values.spec import Schedule

_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August"]
_MONTHS += ["September", "October", "November", "December"]
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1)))
_FEW = 6  # up to this many times of day are listed one by one


def describe(schedule: Schedule) -> str:
    """What a valid schedule says. Of a list, all entries in order."""
    said = "; and ".join(_entry(entry) for entry in schedule.entries)
    return f"{said}; each run starts up to {_duration(schedule.jitter)} later" if schedule.jitter else said


def _entry(entry: Schedule) -> str:
    if entry.manual:
        return "only by hand"
    if entry.cron is not None:
        said = f"{_cron(entry.cron)}, {entry.timezone}"
    elif entry.every is not None:
        said = _every(entry.every, entry.phase)
    else:
        assert entry.at is not None
        said = f"once, at {_moment(entry.at, entry.timezone)}"
    if entry.starts is not None:
        said += f", from {_moment(entry.starts, entry.timezone)}"
    if entry.ends is not None:
        said += f", up to and including {_moment(entry.ends, entry.timezone)}"
    return said


def _moment(at: datetime, timezone: str) -> str:
    local, timezone = on_the_clock(at, timezone)
    wall = local.replace(tzinfo=None)
    text = wall.isoformat(" ") if wall.second or wall.microsecond else wall.isoformat(" ", "minutes")
    if local.replace(fold=1 - local.fold).utcoffset() == local.utcoffset():
        return f"{text} {timezone}"
    return f"{text} {timezone} ({'second' if local.fold else 'first'} of two)"


def _every(every: timedelta, phase: timedelta) -> str:
    said = f"every {_duration(every, one='')}"
    first = _EPOCH + phase
    if every == timedelta(days=1):
        return f"{said} at {_wall(first)} UTC"
    if every == timedelta(days=7):
        return f"{said}, on {_WEEKDAYS[first.weekday()]} at {_wall(first)} UTC"
    # If it does not restart with each day, or week, nobody could guess which times it names.
    if timedelta(days=1) % every:
        weekday = "" if every % timedelta(days=7) else f"{_WEEKDAYS[first.weekday()]} "
        return f"{said}, counted from {weekday}{_moment(first, 'UTC')}"
    return f"{said}, with a phase of {_duration(phase)}" if phase else said


def _wall(at: datetime) -> str:
    wall = at.time()
    return wall.isoformat() if wall.second or wall.microsecond else wall.isoformat("minutes")


def _duration(duration: timedelta, *, one: str = "1 ") -> str:
    """one: how a single unit begins, as in "every hour" and "a phase of 1 hour"."""
    parts = []
    for unit, size in _UNITS:
        number, duration = divmod(duration, size)
        if number:
            parts.append((f"{number}", unit))
    if duration:
        parts.append((f"{duration / timedelta(seconds=1):f}".rstrip("0").rstrip("."), "second"))
    if len(parts) == 1 and parts[0][0] == "1":
        return f"{one}{parts[0][1]}"
    return " ".join(f"{number} {unit}{'' if number == '1' else 's'}" for number, unit in parts)


@functools.lru_cache(maxsize=4096)
def _cron(expression: str) -> str:
    cron = parse_cron(expression)
    return _times(cron) + _days(cron)


def _times(cron: Cron) -> str:
    """The times of one matching day."""
    all_day, all_minutes = len(cron.hours) == 24, len(cron.minutes) == 60
    pattern = _pattern(cron)
    if pattern and all_day:
        return f"every {pattern[0]}"
    if len(cron.seconds) == 1 and len(cron.hours) * len(cron.minutes) <= _FEW:
        times = [_clock(hour, minute, cron.seconds[0]) for hour in cron.hours for minute in cron.minutes]
        return f"at {_and(times)}"
    runs = _runs(cron.hours)
    if pattern and len(runs) <= 2:
        word, first, last = pattern
        return f"every {word} " + " and ".join(f"from {_clock(a, *first)} to {_clock(b, *last)}" for a, b in runs)
    step = _step(cron.hours)
    if len(cron.seconds) == 1 == len(cron.minutes) and step and not all_day:
        begin, end = (_clock(hour, cron.minutes[0], cron.seconds[0]) for hour in (cron.hours[0], cron.hours[-1]))
        return f"every {'hour' if step == 1 else f'{step} hours'} from {begin} to {end}"
    hours = "of every hour" if all_day else f"{'of' if all_minutes else 'past'} {_numbers('hour', cron.hours)}"
    minutes = "every minute" if all_minutes else _numbers("minute", cron.minutes)
    if cron.seconds == (0,):
        return f"{minutes if all_minutes else f'at {minutes}'} {hours}"
    seconds = "every second" if len(cron.seconds) == 60 else f"at {_numbers('second', cron.seconds)}"
    if all_minutes and all_day:
        return f"{seconds} of every minute"
    return f"{seconds} of {minutes} {hours}"


def _pattern(cron: Cron) -> tuple[str, tuple[int, int], tuple[int, int]] | None:
    """A regular interval that fills each hour: its words, and its first and last (minute, second) of the hour."""
    if len(cron.minutes) == 60:
        beat = _fills(cron.seconds)
        if beat is not None and beat < 60:
            return "second" if beat == 1 else f"{beat} seconds", (0, 0), (59, cron.seconds[-1])
    beat = _fills(cron.minutes)
    if cron.seconds == (0,) and beat is not None and beat < 60:
        return "minute" if beat == 1 else f"{beat} minutes", (0, 0), (cron.minutes[-1], 0)
    return None


def _fills(values: Sequence[int]) -> int | None:
    """The step at which values go round 60 without a break, from 0 on."""
    step = 60 // len(values)
    return step if tuple(values) == tuple(range(0, 60, step)) and 60 % step == 0 else None


def _clock(hour: int, minute: int, second: int) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _days(cron: Cron) -> str:
    """The matching days, led by a comma or a space; empty for every day if the times already imply it."""
    of_month = None if len(cron.days_of_month) == 31 else cron.days_of_month
    weekdays = None if len(cron.weekdays) == 7 else sorted((day - 1) % 7 for day in cron.weekdays)
    if not cron.days_meet and (of_month is None or weekdays is None):
        of_month = weekdays = None  # either will do, and one of them always does
    dates, months = _dates(of_month or (), cron.months)
    if of_month is not None and (dates or weekdays is None or cron.days_meet):
        days = f" on {_of_month(dates or of_month)} of {_of_months(dates or of_month, months or cron.months)}"
        if weekdays is None:
            return days
        if cron.days_meet:
            return f"{days}, if that is a {_any_of(weekdays)}"
        return f"{days}, or on any {_any_of(weekdays)}" + _in_months(cron.months)
    during = f"{_in_months(cron.months)} every year" if len(cron.months) < 12 else ""
    if weekdays is not None:
        named = _listed(weekdays, lambda day: _WEEKDAYS[day])
        return (f", every {named}" if len(weekdays) == 1 else f", {named}") + during
    return f", every day{during}" if during or len(cron.hours) < 24 else ""


def _dates(days: Sequence[int], months: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """The days of the month that some month has, and the months that have one of them; of all months, all stay."""
    if len(months) == 12:
        return days, months
    days = [day for day in days if any(day <= _LONGEST[month - 1] for month in months)]
    return days, [month for month in months if any(day <= _LONGEST[month - 1] for day in days)]


def _any_of(weekdays: Sequence[int]) -> str:
    if len(weekdays) > 2 and len(_runs(weekdays)) == 1:
        return f"day from {_WEEKDAYS[weekdays[0]]} to {_WEEKDAYS[weekdays[-1]]}"
    names = [_WEEKDAYS[day] for day in weekdays]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _of_month(days: Sequence[int]) -> str:
    step = _step(days)
    if step is not None and step > 1:
        return f"every {_ordinal(step)} day from the {_ordinal(days[0])} to the {_ordinal(days[-1])}"
    return f"the {_listed(days, _ordinal)}"


def _of_months(days: Sequence[int], months: Sequence[int]) -> str:
    """The months of days of the month, and what becomes of those that some month does not have."""
    sure = max(days) <= min(28 if month == 2 else _LONGEST[month - 1] for month in months)
    sure = sure or (_step(days) or 1) > 1
    season = _season(months)
    if len(months) == 12 or season is not None:
        named = "every month" if season is None else f"every month from {season}"
        return named if sure else f"{named} that has one" if len(days) == 1 else f"{named}, as far as it has them"
    if tuple(months) == (2,) and tuple(days) == (29,):
        return "February in every leap year"
    named = _and([_MONTHS[month - 1] for month in months])
    return f"{named} every year" + ("" if sure else ", as far as there are such days")


def _in_months(months: Sequence[int]) -> str:
    """The months of any other days, led by a space; empty for all of them."""
    if len(months) == 12:
        return ""
    if (season := _season(months)) is not None:
        return f" from {season}"
    parts: list[str] = []
    alone: list[str] = []
    for low, high in [*_runs(months), (13, 15)]:  # the last one closes what stands alone
        if high - low < 2:
            alone += _MONTHS[low - 1 : high]
            continue
        parts += [f"in {_and(alone)}"] if alone else []
        alone = []
        parts += [f"from {_MONTHS[low - 1]} to {_MONTHS[high - 1]}"] if high <= 12 else []
    return f" {_and(parts)}"


def _season(months: Sequence[int]) -> str | None:
    """Three or more months that follow each other, also over the end of the year, but not all of them."""
    runs = _runs(months)
    if len(runs) == 2 and runs[0][0] == 1 and runs[1][1] == 12:
        runs = [(runs[1][0], runs[0][1])]
    if len(runs) != 1 or not 3 <= len(months) < 12:
        return None
    return f"{_MONTHS[runs[0][0] - 1]} to {_MONTHS[runs[0][1] - 1]}"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _numbers(unit: str, values: Sequence[int]) -> str:
    if len(values) == 1:
        return f"{unit} {values[0]}"
    step = _step(values)
    if step is not None and step > 1:
        return f"{unit}s {values[0]}, {values[1]}, {values[2]} \u2026 {values[-1]}"
    return f"{unit}s {_listed(values, str)}"


def _step(values: Sequence[int]) -> int | None:
    """The difference between neighbours of many values, if it is the same throughout."""
    steps = {later - earlier for earlier, later in itertools.pairwise(values)}
    return steps.pop() if len(values) > _FEW and len(steps) == 1 else None


def _listed(values: Sequence[int], name: Callable[[int], str]) -> str:
    """Names in order; three or more consecutive ones as `first to last`."""
    parts: list[str] = []
    for low, high in _runs(values):
        if high - low < 2:
            parts += [name(value) for value in range(low, high + 1)]
        else:
            parts.append(f"{name(low)} to {name(high)}")
    return _and(parts)


def _runs(values: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending values as ranges, both ends included."""
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and runs[-1][1] == value - 1:
            runs[-1] = (runs[-1][0], value)
        else:
            runs.append((value, value))
    return runs


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
