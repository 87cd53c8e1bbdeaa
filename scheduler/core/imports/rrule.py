"""Recurrence rules of RFC 5545 as schedules: FREQ, INTERVAL, BYDAY, BYHOUR, BYMINUTE. The rest is refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import product
from zoneinfo import ZoneInfo

from scheduler.core.imports.incoming import every_from
from scheduler.core.values.texts import InputError, listed
from scheduler.core.values.units import format_duration

DAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")  # in the order of cron
_READ = ("FREQ", "INTERVAL", "BYDAY", "BYHOUR", "BYMINUTE", "BYSECOND", "WKST")
_FREQUENCIES = ("MINUTELY", "HOURLY", "DAILY", "WEEKLY")


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
    if rule.freq in ("DAILY", "WEEKLY"):
        return _days(rule)
    return _hours(rule) if rule.freq == "HOURLY" else _minutes(rule)


def _rule(text: str, start: datetime | None, zone: ZoneInfo) -> _Rule:
    parts: dict[str, str] = {}
    for each in text.strip().removeprefix("RRULE:").strip(";").split(";"):
        name, equals, value = (word.strip().upper() for word in each.partition("="))
        if not equals or name in parts:
            raise InputError(f"its rule {text[:60]!r} is not a recurrence rule of RFC 5545: {each[:40]!r}")
        parts[name] = value
    refused = [f"{name}={value}" for name, value in parts.items() if name not in _READ]
    refused += [f"BYSECOND={parts['BYSECOND']}"] if parts.get("BYSECOND", "0") not in ("0", "00") else []
    refused += [f"FREQ={parts['FREQ']}"] if parts.get("FREQ") not in (*_FREQUENCIES, None) else []
    if any(each not in DAYS for each in _split(parts.get("BYDAY"))):
        refused.append(f"BYDAY={parts['BYDAY']}")
    if refused:
        known = "FREQ=MINUTELY|HOURLY|DAILY|WEEKLY, INTERVAL, BYDAY without numbers, BYHOUR and BYMINUTE"
        raise InputError(
            f"its rule has {listed(refused)}, which no schedule here can express", hint=f"allowed: {known}"
        )
    if "FREQ" not in parts:
        raise InputError(f"its rule {text[:60]!r} has no FREQ")
    return _Rule(
        freq=parts["FREQ"],
        interval=_numbers(parts, "INTERVAL", 1, 10_000)[0] if "INTERVAL" in parts else 1,
        days=tuple(sorted({DAYS.index(each) for each in _split(parts.get("BYDAY"))})),
        hours=_numbers(parts, "BYHOUR", 0, 23),
        minutes=_numbers(parts, "BYMINUTE", 0, 59),
        first_day=DAYS.index(parts["WKST"]) if parts.get("WKST") in DAYS else 1,
        start=start,
        zone=zone,
    )


def _split(value: str | None) -> list[str]:
    return [] if value is None else [each.strip() for each in value.split(",")]


def _numbers(parts: Mapping[str, str], name: str, low: int, high: int) -> tuple[int, ...]:
    found = _split(parts.get(name))
    if any(not (each.isascii() and each.isdecimal() and low <= int(each) <= high) for each in found):
        raise InputError(f"its rule has {name}={parts[name][:40]}; allowed: {low}-{high}")
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
    missing = [name for name, values in (("BYHOUR", rule.hours), ("BYMINUTE", rule.minutes)) if not values]
    missing += ["BYDAY"] if rule.freq == "WEEKLY" and not rule.days else []
    if missing:
        raise InputError(
            f"its rule has no {' and no '.join(missing)}, so it names no time", hint="write its time there"
        )
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
    shifts = len({datetime(day.year, month, 1, tzinfo=rule.zone).utcoffset() for month in range(1, 13)}) > 1
    by_hour = f"every {format_duration(every)} is counted in UTC: its hour shifts when the clocks of {rule.zone} change"
    return Translated(entries=tuple(entries), notes=(*_counted(rule), *([by_hour] if shifts else [])))


def _hours(rule: _Rule) -> Translated:
    minutes, start = rule.minutes, rule.start
    if not minutes and start is not None:
        minutes = (start.minute,)
    if rule.interval == 1:
        counted = () if rule.minutes else _counted(rule)
        return Translated(entries=(_cron(minutes or (0,), rule.hours, rule.days),), notes=counted)
    begin = 0 if start is None else start.hour
    if 24 % rule.interval == 0:
        hours = [each for each in range(begin % rule.interval, 24, rule.interval) if each in (rule.hours or range(24))]
        if not hours:
            raise InputError("its rule never comes due: BYHOUR leaves out each hour that INTERVAL reaches")
        return Translated(entries=(_cron(minutes or (0,), hours, rule.days),), notes=_counted(rule))
    if rule.hours or rule.days or start is None:
        raise _uncounted(rule)
    every, first = timedelta(hours=rule.interval), start.replace(second=0, microsecond=0)
    return Translated(
        entries=tuple(every_from(every, first.replace(minute=each)) for each in minutes), notes=_counted(rule)
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
    first = rule.start.replace(second=0, microsecond=0)
    return Translated(entries=(every_from(timedelta(minutes=rule.interval), first),), notes=_counted(rule))


def _counted(rule: _Rule) -> tuple[str, ...]:
    if rule.start is None:
        return ("its rule does not say when it starts; it is counted from midnight",)
    begin = f"{rule.start:%Y-%m-%d %H:%M} {rule.zone}"
    return (f"its rule does not say when it starts; it is counted from its creation, {begin}",)


def _uncounted(rule: _Rule) -> InputError:
    why = f"its rule has INTERVAL={rule.interval} with FREQ={rule.freq}, which cannot be expressed here"
    return InputError(why, hint="write the job by hand, such as with `schedule: {every: 2d, phase: 7h}`")
