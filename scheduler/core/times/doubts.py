"""What a valid schedule says that was probably not intended, and how to write the likely intention."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler.core.times.cron import is_macro, parse_cron
from scheduler.core.times.fires import ZERO, first_slot, zone_of
from scheduler.core.values.instants import instant
from scheduler.core.values.spec import Schedule
from scheduler.core.values.texts import short
from scheduler.core.values.units import format_duration

_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_STEP = re.compile(r"(?:\*|0|0-59|0-23)/([0-9]{1,9})")
_UNITS = ("second", "minute", "hour")  # of the fields of a time of day, from the left
_SIZES = (60, 60, 24)
_LIMITS = {"day of month": 31, "month": 12, "day of week": 7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """One doubtful thing in an entry of a schedule."""

    code: str
    message: str
    hint: str
    key: str
    at_key: bool = False  # blame the key rather than its value


def doubts(entry: Schedule, written: Mapping[str, Any]) -> Iterator[Doubt]:
    """Doubts about one valid entry. written: its keys as they are in the file."""
    given = {key for key, value in written.items() if value is not None}
    zoned = "timezone" in given and entry.timezone not in ("UTC", "Etc/UTC")
    if entry.cron is not None:
        yield from _cron_doubts(entry.cron)
    elif entry.every is not None:
        if zoned:
            yield Doubt(
                code="key.no-effect",
                message="timezone has no effect with every, which counts in UTC from 1970-01-01T00:00Z",
                hint=_as_cron(entry.every, entry.phase, entry.timezone),
                key="timezone",
                at_key=True,
            )
        if entry.starts is not None and "phase" not in given:
            yield from _anchor(entry, entry.starts)
    else:
        for key in ("starts", "ends"):
            if key in given:
                message = f"{key} has no effect with at, which is a single instant"
                yield Doubt(code="key.no-effect", message=message, hint="delete the key", key=key, at_key=True)
    if zoned:
        yield from _offsets(entry, written)


def _as_cron(every: timedelta, phase: timedelta, timezone: str) -> str:
    """The hint with the cron that names the times of day of an interval, in the zone."""
    minute, hour = phase // timedelta(minutes=1) % 60, phase // timedelta(hours=1) % 24
    minutes, hours = every // timedelta(minutes=1), every // timedelta(hours=1)
    cron = ""
    if phase % timedelta(minutes=1) or every % timedelta(minutes=1):
        pass
    elif every == _DAY:
        cron = f"{minute} {hour} * * *"
    elif every == 7 * _DAY:
        cron = f"{minute} {hour} * * {_WEEKDAYS[(_EPOCH + phase).weekday()]}"
    elif not every % timedelta(hours=1) and hours < 24 and 24 % hours == 0 and hour == 0:
        cron = f"{minute} * * * *" if hours == 1 else f"{minute} */{hours} * * *"
    elif minutes < 60 and 60 % minutes == 0 and not phase:
        cron = "* * * * *" if minutes == 1 else f"*/{minutes} * * * *"
    if cron:
        written = f'{{cron: "{cron}", timezone: {timezone}}}'
        return f"for times of day in that zone, write {written}; otherwise delete the key"
    return "delete the key; for times of day in that zone, write cron instead of every"


def _anchor(entry: Schedule, starts: datetime) -> Iterator[Doubt]:
    assert entry.every is not None
    phase = (starts - _EPOCH) % entry.every
    first = first_slot(entry)
    if not phase or first is None:
        return
    day = f"{first:%A} " if entry.every >= _DAY else ""
    message = f"starts does not move the interval: the first fire after {instant(starts)} is {day}{instant(first)}"
    whole = not phase % timedelta(seconds=1)
    hint = f"to count from starts, write phase: {format_duration(phase)}" if whole else "write whole seconds"
    yield Doubt(code="schedule.anchor", message=message, hint=hint, key="starts")


def _offsets(entry: Schedule, written: Mapping[str, Any]) -> Iterator[Doubt]:
    """Instants whose offset differs from that of the zone beside them, unless they explicitly say UTC."""
    zone = zone_of(entry.timezone)
    for key in ("at", "starts", "ends"):
        text = written.get(key)
        if not isinstance(text, str):
            continue
        found = re.search(r"([+-])([0-9]{2}):([0-9]{2})$", text)
        if found is None:
            continue
        offset = timedelta(hours=int(found[2]), minutes=int(found[3])) * (-1 if found[1] == "-" else 1)
        at = getattr(entry, key)
        try:
            here = at.astimezone(zone)
            wall = (at + offset).replace(tzinfo=zone)
            zone_offset, meant = here.utcoffset(), wall.utcoffset()
        except OverflowError:
            continue
        if zone_offset == offset or offset in (meant, wall.replace(fold=1).utcoffset()):
            continue
        right = wall.isoformat(timespec="auto" if wall.microsecond else "seconds")
        message = f"{key} {short(text)} does not have the offset of {entry.timezone}, where it is {here:%H:%M} then"
        yield Doubt(code="schedule.offset", message=message, hint=f'write {key}: "{right}"', key=key)


@functools.lru_cache(maxsize=4096)
def _cron_doubts(expression: str) -> tuple[Doubt, ...]:
    """Cached: many jobs have the same expression."""
    return tuple(_doubts_of_cron(expression))


def _doubts_of_cron(expression: str) -> Iterator[Doubt]:
    tokens = expression.split()
    if is_macro(expression) or len(tokens) not in (5, 6):
        return
    six = len(tokens) == 6
    times = tokens[:3] if six else ["0", *tokens[:2]]
    days = tokens[-3:]
    cron = parse_cron(expression)
    for place, (text, unit, size) in enumerate(zip(times, _UNITS, _SIZES, strict=True)):
        found = _STEP.fullmatch(text)
        step = int(found[1]) if found else 0
        if step <= size // 2 or step == size:
            continue
        of = {"second": "minute", "minute": "hour", "hour": "day"}[unit]
        named = f"{unit}s 0 and {step}" if step < size else f"only {unit} 0"
        message = f"{unit} {text} means {named} of each {of}, not every {step} {unit}s"
        hint = _every_hint(step, place, times, days)
        yield Doubt(code="schedule.unlikely", message=message, hint=hint, key="cron")
    for text, (unit, size) in zip(days, _LIMITS.items(), strict=True):
        found = re.fullmatch(r"\*/([0-9]{1,9})", text)
        if found and int(found[1]) > size:
            first = "0 (Sunday)" if unit == "day of week" else "1"
            message = f"{unit} {text} means only {unit} {first}: a step starts over each time"
            hint = f"name the {unit}s, or write a step up to {size}"
            yield Doubt(code="schedule.unlikely", message=message, hint=hint, key="cron")
    if times[1] == "*" and len(cron.hours) == 1 and len(cron.seconds) == 1:
        hour = cron.hours[0]
        message = f"minute * means every minute from {hour:02}:00 to {hour:02}:59, 60 fires"
        once = " ".join([*(tokens[:1] if six else []), "0", times[2], *days])
        yield Doubt(code="schedule.unlikely", message=message, hint=f'for one fire, write "{once}"', key="cron")
    if six and tokens[5].isdecimal() and tokens[2] == "*" != tokens[1] and tokens[4] != "*" and tokens[0].isdecimal():
        yield from _second_last(tokens)


def _every_hint(step: int, place: int, times: list[str], days: list[str]) -> str:
    """The interval that a step beyond its field was probably meant to be, if the rest of the expression allows one."""
    smaller, larger = times[:place], [*times[place + 1 :], *days]
    if any(text != "*" for text in larger) or not all(text.isdecimal() for text in smaller):
        return f"name the {_UNITS[place]}s one by one, as in 0,30"
    every = timedelta(**{f"{_UNITS[place]}s": step})
    phase = sum((timedelta(**{f"{unit}s": int(text)}) for unit, text in zip(_UNITS, smaller, strict=False)), ZERO)
    more = f", phase: {format_duration(phase)}" if phase else ""
    return f"write {{every: {format_duration(every)}{more}}} instead of cron"


def _second_last(tokens: list[str]) -> Iterator[Doubt]:
    """Six fields that make a likely schedule with the second last, and an unlikely one as they are read."""
    turned = " ".join([tokens[5], *tokens[:5]])
    try:
        parse_cron(turned)
    except ValueError:
        return
    message = f"in six fields the first is seconds: this means minute {tokens[1]} of every hour"
    hint = f'if the last field is seconds, write "{turned}"'
    yield Doubt(code="schedule.unlikely", message=message, hint=hint, key="cron")
