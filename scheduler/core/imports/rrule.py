"""Recurrence rules of RFC 5545 as schedules: FREQ, INTERVAL, BYDAY, BYHOUR, BYMINUTE. The rest is refused by name.

A part that is missing comes from the start of the rule, for each FREQ: its minute, hour or weekday. The second is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from itertools import product
from zoneinfo import ZoneInfo

from scheduler.core.imports.incoming import every_from
from scheduler.core.imports.secrets import quoted
from scheduler.core.values.texts import InputError, listed
from scheduler.core.values.units import format_duration

DAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")  # in the order of cron
_READ = ("FREQ", "INTERVAL", "BYDAY", "BYHOUR", "BYMINUTE", "BYSECOND", "WKST")
# What a rule of each frequency takes from its start, if it does not have it.
_FROM_START = {
    "MINUTELY": (),
    "HOURLY": ("BYMINUTE",),
    "DAILY": ("BYHOUR", "BYMINUTE"),
    "WEEKLY": ("BYDAY", "BYHOUR", "BYMINUTE"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Translated:
    """Entries of a schedule as a job file has them, and what is not quite the same here; empty if all is."""

    entries: tuple[Mapping[str, str], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    freq: str
    interval: int
    days: tuple[int, ...]  # 0 is Sunday; empty: any
    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    first_day: int  # of a week
    start: datetime | None  # on the clock of the rule; what INTERVAL counts from
    zone: ZoneInfo


def translated(text: str, *, start: datetime | None, zone: str) -> Translated:
    """What a rule says, on the clock of `zone`. start: its DTSTART. Raises: InputError for what has no place here."""
    rule = _rule(text, None if start is None else start.astimezone(ZoneInfo(zone)), ZoneInfo(zone))
    rule, notes = _completed(rule)
    found = {"MINUTELY": _minutes, "HOURLY": _hours}.get(rule.freq, _days)(rule)
    return replace(found, notes=(*notes, *found.notes))


def _completed(rule: _Rule) -> tuple[_Rule, tuple[str, ...]]:
    """The rule with what it has from its start, and that this was done."""
    values = {"BYDAY": rule.days, "BYHOUR": rule.hours, "BYMINUTE": rule.minutes}
    missing = [name for name in _FROM_START[rule.freq] if not values[name]]
    if not missing:
        return rule, ()
    at, day = (0, 0), rule.first_day
    if rule.start is not None:
        at, day = (rule.start.hour, rule.start.minute), rule.start.isoweekday() % 7
    taken = {"BYDAY": DAYS[day], "BYHOUR": f"{at[0]}", "BYMINUTE": f"{at[1]}"}
    told = ";".join(f"{name}={taken[name]}" for name in missing)
    where = "and no start to take it from" if rule.start is None else f"so it has that of its creation, {_begin(rule)}"
    return replace(
        rule,
        days=rule.days if "BYDAY" not in missing else (day,),
        hours=rule.hours if "BYHOUR" not in missing else (at[0],),
        minutes=rule.minutes if "BYMINUTE" not in missing else (at[1],),
    ), (f"its rule has no {' and no '.join(missing)}, {where}: {told}{' is assumed' if rule.start is None else ''}",)


def _rule(text: str, start: datetime | None, zone: ZoneInfo) -> _Rule:
    if not text.strip():
        raise InputError("it has no rule, so it names no time")
    parts: dict[str, str] = {}
    for each in text.strip().removeprefix("RRULE:").strip(";").split(";"):
        name, equals, value = (word.strip().upper() for word in each.partition("="))
        if not equals or name in parts:
            raise InputError(f"its rule {quoted(text)} is not a recurrence rule of RFC 5545: {quoted(each)}")
        parts[name] = value
    refused = [f"{name}={value}" for name, value in parts.items() if name not in _READ]
    refused += [f"BYSECOND={parts['BYSECOND']}"] if parts.get("BYSECOND", "0") not in ("0", "00") else []
    refused += [f"FREQ={parts['FREQ']}"] if parts.get("FREQ") not in (*_FROM_START, None) else []
    refused += [f"WKST={parts['WKST']}"] if parts.get("WKST", "MO") not in DAYS else []
    if any(each not in DAYS for each in _split(parts.get("BYDAY"))):
        refused.append(f"BYDAY={parts['BYDAY']}")
    if refused:
        known = "FREQ=MINUTELY|HOURLY|DAILY|WEEKLY, INTERVAL, BYDAY without numbers, BYHOUR and BYMINUTE"
        raise InputError(
            f"its rule has {listed(refused)}, which no schedule here can express", hint=f"allowed: {known}"
        )
    if "FREQ" not in parts:
        raise InputError(f"its rule {quoted(text)} has no FREQ")
    return _Rule(
        freq=parts["FREQ"],
        interval=_numbers(parts, "INTERVAL", 1, 10_000)[0] if "INTERVAL" in parts else 1,
        days=tuple(sorted({DAYS.index(each) for each in _split(parts.get("BYDAY"))})),
        hours=_numbers(parts, "BYHOUR", 0, 23),
        minutes=_numbers(parts, "BYMINUTE", 0, 59),
        first_day=DAYS.index(parts.get("WKST", "MO")),
        start=start,
        zone=zone,
    )


def _split(value: str | None) -> list[str]:
    return [] if value is None else [each.strip() for each in value.split(",")]


def _numbers(parts: Mapping[str, str], name: str, low: int, high: int) -> tuple[int, ...]:
    found = _split(parts.get(name))
    if any(not (each.isascii() and each.isdecimal() and low <= int(each) <= high) for each in found):
        raise InputError(f"its rule has {quoted(f'{name}={parts[name]}')}; allowed: {low}-{high}")
    return tuple(sorted({int(each) for each in found}))


def _cron(minutes: Sequence[int], hours: Sequence[int], days: Sequence[int]) -> Mapping[str, str]:
    """Empty: any."""
    return {"cron": f"{_field(minutes, 60)} {_field(hours, 24)} * * {'*' if len(days) == 7 else _field(days, 7)}"}


def _field(values: Sequence[int], size: int) -> str:
    if not values or len(values) == size:
        return "*"
    step = values[1] - values[0] if len(values) > 1 else 0
    if len(values) > 2 and step > 1 and [*values] == [*range(values[0], size, step)]:
        return f"*/{step}" if values[0] == 0 else f"{values[0]}-{size - 1}/{step}"
    if len(values) > 2 and values[-1] - values[0] == len(values) - 1:
        return f"{values[0]}-{values[-1]}"
    return ",".join(map(str, values))


def _days(rule: _Rule) -> Translated:
    if rule.interval == 1:
        return Translated(entries=(_cron(rule.minutes, rule.hours, rule.days),))
    if rule.start is None or (rule.freq == "DAILY" and rule.days):
        raise _uncounted(rule)
    day = rule.start.date()
    firsts = [day]
    if rule.freq == "WEEKLY":
        day -= timedelta(days=(day.isoweekday() - rule.first_day) % 7)
        firsts = [day + timedelta(days=(each - rule.first_day) % 7) for each in rule.days]
    every = timedelta(days=rule.interval * (7 if rule.freq == "WEEKLY" else 1))
    times = product(firsts, rule.hours, rule.minutes)
    entries = [
        every_from(every, datetime.combine(first, time(hour, minute), rule.zone)) for first, hour, minute in times
    ]
    return Translated(entries=tuple(entries), notes=(*_counted(rule), *_in_utc(rule, every)))


def _hours(rule: _Rule) -> Translated:
    start = rule.start
    if rule.interval == 1:
        return Translated(entries=(_cron(rule.minutes, rule.hours, rule.days),))
    begin = 0 if start is None else start.hour
    if 24 % rule.interval == 0:
        hours = [each for each in range(begin % rule.interval, 24, rule.interval) if each in (rule.hours or range(24))]
        if not hours:
            raise InputError("its rule never comes due: BYHOUR leaves out each hour that INTERVAL reaches")
        return Translated(entries=(_cron(rule.minutes, hours, rule.days),), notes=_counted(rule))
    if rule.hours or rule.days or start is None:
        raise _uncounted(rule)
    every, first = timedelta(hours=rule.interval), start.replace(second=0, microsecond=0)
    return Translated(
        entries=tuple(every_from(every, first.replace(minute=each)) for each in rule.minutes),
        notes=(*_counted(rule), *_in_utc(rule, every)),
    )


def _minutes(rule: _Rule) -> Translated:
    begin = 0 if rule.start is None else rule.start.minute
    if rule.interval == 1:
        return Translated(entries=(_cron(rule.minutes, rule.hours, rule.days),))
    if 60 % rule.interval == 0:
        near = range(begin % rule.interval, 60, rule.interval)
        minutes = [each for each in near if each in (rule.minutes or range(60))]
        if not minutes:
            raise InputError("its rule never comes due: BYMINUTE leaves out each minute that INTERVAL reaches")
        return Translated(entries=(_cron(minutes, rule.hours, rule.days),), notes=_counted(rule))
    if rule.minutes or rule.hours or rule.days or rule.start is None:
        raise _uncounted(rule)
    every, first = timedelta(minutes=rule.interval), rule.start.replace(second=0, microsecond=0)
    return Translated(entries=(every_from(every, first),), notes=(*_counted(rule), *_in_utc(rule, every)))


def _in_utc(rule: _Rule, every: timedelta) -> tuple[str, ...]:
    """What is to be said about an interval where the clocks change in the year of its start."""
    if rule.start is None:
        return ()
    year = rule.start.year
    if len({datetime(year, month, 1, tzinfo=rule.zone).utcoffset() for month in range(1, 13)}) == 1:
        return ()
    said = f"every {format_duration(every)} is counted in UTC"
    return (f"{said}: its hour shifts when the clocks of {rule.zone} change",)


def _begin(rule: _Rule) -> str:
    return f"{rule.start:%Y-%m-%d %H:%M} {rule.zone}"


def _counted(rule: _Rule) -> tuple[str, ...]:
    if rule.start is None:
        return ("its rule does not say when it starts; it is counted from midnight",)
    return (f"its rule does not say when it starts; it is counted from its creation, {_begin(rule)}",)


def _uncounted(rule: _Rule) -> InputError:
    why = f"its rule has INTERVAL={rule.interval} with FREQ={rule.freq}, which cannot be expressed here"
    return InputError(why, hint="write the job by hand, such as with `schedule: {every: 2d, phase: 7h}`")
