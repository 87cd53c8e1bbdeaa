"""Fire times: which instants a schedule names, and what is wrong with one that names none.

Wall-clock cron follows Debian's cron(8) across clock changes (docs/adr/0002-wall-clock-cron.md).
croniter only ever sees calendar days without a zone; the step from the wall clock to instants is
made here, by cutting the time line into stretches of one UTC offset.
"""

from __future__ import annotations

import copy
import functools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from scheduler.core.models import Schedule
from scheduler.core.problems import did_you_mean
from scheduler.core.units import format_duration


class ScheduleError(ValueError):
    """A schedule that cannot be used. `offset` counts characters into the cron text, where a place is known."""

    def __init__(self, code: str, message: str, *, hint: str = "", offset: int | None = None) -> None:
        super().__init__(message)
        self.code = code  # stable; listed in docs/reference/problems.md
        self.message = message
        self.hint = hint
        self.offset = offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The slots of one closed interval: the earliest, the latest, and how many (at least one)."""

    first: datetime
    last: datetime
    count: int


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MIDNIGHT = time()
_ZERO = timedelta()
_TICK = timedelta.resolution
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_MINUTES = tuple(timedelta(minutes=n) for n in range(24 * 60))  # shared, so a dense cron is not 1,440 objects

# Naive UTC. The margins leave room for the largest offset on either side of the calendar's ends.
_EARLIEST = datetime.combine(date(1, 1, 8), _MIDNIGHT)
_LATEST = datetime.combine(date(MAXYEAR, 12, 30), _MIDNIGHT)

# No zone has changed its offset by more than a day, and no two changes lie within one (tzdata 2026).
_REACH = 2 * _DAY

# The 29th of February on a given weekday comes back within forty years.
_GIVE_UP = timedelta(days=36525)


# -- what is wrong with a schedule -----------------------------------------------------------


def check_cron(expression: str) -> None:
    """Accepts exactly crontab(5): five fields of `*`, numbers, names, ranges, lists and steps, or a macro.

    `N/S` counts as `N-max/S`. A range that runs backwards and croniter's own extensions are refused.

    Raises:
        ScheduleError: `schedule.cron`, `schedule.never`, or `key.not-supported-yet` for six fields.
    """
    cron = _cron(expression)
    if not cron.every_day and _Days(cron).since(date(2000, 1, 1)) is None:
        raise _never(cron)


def check_timezone(name: str) -> None:
    """Raises ScheduleError `schedule.timezone` for anything but an IANA name such as Europe/Berlin."""
    _zone(name)


def check_schedule(schedule: Schedule) -> None:
    """All of one schedule, zone first. Does not depend on the clock: an `at` in the past is fine here.

    Raises:
        ScheduleError: the codes of `check_timezone` and `check_cron`, and `schedule.kind`,
            `schedule.every`, `schedule.at`.
    """
    named = [key for key in ("cron", "every", "at") if getattr(schedule, key) is not None]
    if len(named) != 1:
        found = " and ".join(named) or "none of them"
        raise ScheduleError(
            "schedule.kind",
            f"a schedule has exactly one of cron, every, at; found {found}",
            hint="keep one of them" if named else 'write for example `cron: "0 9 * * *"`',
        )
    check_timezone(schedule.timezone)
    if schedule.cron is not None:
        check_cron(schedule.cron)
        _check_wall_clock(schedule.cron, schedule.timezone)
    if schedule.every is not None:
        _check_every(schedule.every)
    if schedule.at is not None and schedule.at.tzinfo is None:
        raise ScheduleError(
            "schedule.at",
            f"at {schedule.at.isoformat()} has no UTC offset",
            hint=f"write {schedule.at.isoformat()}Z, or the offset of your zone instead of Z",
        )


def _check_every(every: timedelta) -> None:
    if every < _SECOND:
        raise ScheduleError(
            "schedule.every",
            f"every {format_duration(every)} is outside 1s and longer",
            hint="the shortest interval is 1s",
        )
    if every % timedelta(milliseconds=1):
        raise ScheduleError("schedule.every", f"every {every / _SECOND}s is not a whole number of milliseconds")


@functools.lru_cache(maxsize=4096)
def _check_wall_clock(expression: str, timezone: str) -> None:
    """A cron that follows the clock can name only times that its zone always skips."""
    cron = _cron(expression)
    if cron.fixed:
        return
    # From here, never from now: the verdict must not change by the hour.
    start = datetime.combine(date(2026, 1, 1), _MIDNIGHT)
    if next(_cron_slots(cron, _zone(timezone), start=start, stop=_LATEST), None) is None:
        raise ScheduleError(
            "schedule.never",
            f"cron {expression!r} never fires in {timezone}: its clock skips these times whenever they would come",
            hint="choose a time outside the hour that is skipped in spring",
        )


_NOT_ZONES = frozenset({"localtime", "posixrules", "Factory"})
_ZONE_NAME = re.compile(r"[A-Za-z0-9_+-]{1,64}(?:/[A-Za-z0-9_+-]{1,64}){0,3}")


def _zone(name: str) -> ZoneInfo:
    """The zone of this name; the standard library keeps it."""
    # The machine's own zone and the posix/ and right/ trees load as well, but not on every machine.
    if _ZONE_NAME.fullmatch(name) and name not in _NOT_ZONES and not name.startswith(("posix/", "right/")):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass  # OSError: a folder of zones, such as Europe
    raise ScheduleError("schedule.timezone", f"timezone {_shown(name)} is not an IANA zone name", hint=_zone_hint(name))


@functools.cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones()) - _NOT_ZONES


def _zone_hint(name: str) -> str:
    example = "write a name such as Europe/Berlin or UTC"
    wanted = name.strip().replace(" ", "_").casefold()
    if not wanted or len(wanted) > 64:
        return example
    if re.search(r"[0-9+]", wanted):
        return f"an offset is not a zone; {example}"  # and Etc/GMT+2 lies west, so it is no correction of GMT+2
    for known in sorted(_zone_names(), key=lambda each: ("/" not in each, each)):
        if wanted == known.casefold() or wanted == known.casefold().rpartition("/")[2]:
            return f"did you mean {known!r}?"
    # PST is close to EST in letters only.
    return (did_you_mean(name, _zone_names()) if len(wanted) > 4 else "") or example


# -- crontab(5) ------------------------------------------------------------------------------

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    name: str
    low: int
    high: int
    names: Mapping[str, int] = field(default_factory=dict)

    @property
    def allowed(self) -> str:
        words = list(self.names)
        return f"{self.low}-{self.high}" + (f" or {words[0]}-{words[-1]}" if words else "")


_MINUTE = _Field(name="minute", low=0, high=59)
_HOUR = _Field(name="hour", low=0, high=23)
_DAY_OF_MONTH = _Field(name="day of month", low=1, high=31)
_MONTH = _Field(name="month", low=1, high=12, names={name: n for n, name in enumerate(_MONTHS, 1)})
_DAY_OF_WEEK = _Field(name="day of week", low=0, high=7, names={name: n for n, name in enumerate(_WEEKDAYS)})
_FIELDS = (_MINUTE, _HOUR, _DAY_OF_MONTH, _MONTH, _DAY_OF_WEEK)

_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_TOKEN = re.compile(r"[^ \t\r\n]+")
_ITEM = re.compile(r"(?P<low>\*|[^-/]+)(?:-(?P<high>[^-/]+))?(?:/(?P<step>[^-/]+))?")
_CRON_LIKE = rf"(?:[0-9*?]|[lhr](?![a-vx-z])|{'|'.join(_MONTHS + _WEEKDAYS)})[0-9a-z*?#/,()-]*"
_NUMBER = re.compile(r"[0-9]+")
_PLAIN = re.compile(r"[0-9*/-]*")

# What croniter, Quartz and Jenkins add to crontab(5). Patterns of mistakes are compiled when one is made.
_EXTENSIONS = (
    (r"\?", "write * instead of ?"),
    (r".*#.*", "the n-th weekday of a month (#) is not crontab(5); list days or let the task decide"),
    (
        rf"l|lw|(?:[0-9]+|{'|'.join(_WEEKDAYS)})l|l-?[0-9]+",
        "the last day (L) is not crontab(5); list the days, such as 28",
    ),
    (r"[0-9]+w|w[0-9]+", "the nearest weekday (W) is not crontab(5); list the days"),
    (r"[hr](\(.*\))?(/.*)?", "H and R stand for a number elsewhere; write the number"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cron:
    """One parsed expression."""

    expression: str  # as written
    times: tuple[timedelta, ...]  # since midnight of the wall clock, ascending
    fixed: bool  # no leading * in minute and hour: made up for in a gap, fired once in a fold
    every_day: bool
    days: str  # the expression for croniter: midnight of every day that matches
    months: tuple[int, ...]
    day_offset: int | None  # where the day of month stands in the text


@functools.lru_cache(maxsize=16_384)
def _cron(expression: str) -> _Cron:
    """Raises ScheduleError for what is not crontab(5); does not look whether a day exists."""
    tokens = [(match.group(), match.start()) for match in _TOKEN.finditer(expression)]
    if len(tokens) == 1 and tokens[0][0] in _MACROS:
        fields = [(text, None) for text in _MACROS[tokens[0][0]].split()]
        minute, hour, day, month, weekday = (_values(*each) for each in zip(_FIELDS, fields, strict=True))
        texts, day_offset = [text for text, _ in fields], None
    else:
        _check_shape(tokens)
        minute, hour, day, month, weekday = (_values(*each) for each in zip(_FIELDS, tokens, strict=True))
        texts, day_offset = [text for text, _ in tokens], tokens[2][1]

    weekday = tuple(sorted({n % 7 for n in weekday}))
    # crontab(5): days of month and of week unite, unless one of the fields starts with a star.
    both = texts[2].startswith("*") or texts[4].startswith("*")
    full = len(day) == 31, len(weekday) == 7
    return _Cron(
        expression=expression,
        times=tuple(_MINUTES[h * 60 + m] for h in hour for m in minute),
        fixed=not texts[0].startswith("*") and not texts[1].startswith("*"),
        every_day=len(month) == 12 and (all(full) if both else any(full)),
        days=f"0 0 {_plain(texts[2], day)} {_plain('', month)} {_plain(texts[4], weekday)}",
        months=month,
        day_offset=day_offset,
    )


def _plain(text: str, values: Sequence[int]) -> str:
    """A field croniter cannot misread: it takes N-N for the whole field and 0-6 for a star.

    The leading star stays, because it decides how the two day fields combine.
    """
    listed = ",".join(map(str, values))
    if not text.startswith("*"):
        return listed
    star = text.partition(",")[0]
    return star if star in ("*", text) else f"{star},{listed}"


def _values(allowed: _Field, token: tuple[str, int | None]) -> tuple[int, ...]:
    """The numbers one field names, ascending."""
    text, offset = token
    found: set[int] = set()
    for item in text.split(","):
        found.update(_item(allowed, item, offset))
        offset = None if offset is None else offset + len(item) + 1
    return tuple(sorted(found))


def _item(allowed: _Field, item: str, offset: int | None) -> range:
    if not _PLAIN.fullmatch(item) and item.lower() not in allowed.names:
        for pattern, hint in _EXTENSIONS:
            if re.fullmatch(pattern, item, re.IGNORECASE):
                message = f"{allowed.name} {_shown(item)} is not crontab(5); values are {allowed.allowed}"
                raise ScheduleError("schedule.cron", message, hint=hint, offset=offset)
    match = _ITEM.fullmatch(item)
    if match is None or (match["low"] == "*" and match["high"] is not None):
        raise ScheduleError(
            "schedule.cron",
            f"{allowed.name} {_shown(item)} is not *, a value in {allowed.allowed}, a range or a step",
            hint="write for example *, */5, 3, 1-5 or 1,3,5"
            if allowed is _MINUTE
            else "write for example *, */2, 3, 1-5",
            offset=offset,
        )

    def place(group: str) -> int | None:
        return None if offset is None else offset + match.start(group)

    step = 1
    if match["step"] is not None:
        step = _integer(match["step"]) if _NUMBER.fullmatch(match["step"]) else 0
        if step < 1:
            raise ScheduleError(
                "schedule.cron",
                f"{allowed.name} step {_shown(match['step'])} is outside 1-{allowed.high}",
                hint=f"write for example */{2 if allowed.high < 20 else 5}",
                offset=place("step"),
            )
    if match["low"] == "*":
        return range(allowed.low, allowed.high + 1, step)
    low = _value(allowed, match["low"], place("low"))
    if match["high"] is None:
        return range(low, (low if match["step"] is None else allowed.high) + 1, step)
    high = _value(allowed, match["high"], place("high"))
    if low > high:
        if allowed is _DAY_OF_WEEK and high == 0:
            hint = f"Sunday is also 7: write {match['low']}-7"
        else:
            last = 6 if allowed is _DAY_OF_WEEK else allowed.high
            hint = f"write {low}-{last},{allowed.low}-{high}"
        raise ScheduleError(
            "schedule.cron", f"{allowed.name} range {_shown(item)} runs backwards", hint=hint, offset=offset
        )
    return range(low, high + 1, step)


def _value(allowed: _Field, text: str, offset: int | None) -> int:
    if _NUMBER.fullmatch(text):
        number = _integer(text)
        if allowed.low <= number <= allowed.high:
            return number
        message = f"{allowed.name} {_shown(text, quote=False)} is outside {allowed.low}-{allowed.high}"
        raise ScheduleError("schedule.cron", message, hint=_range_hint(allowed, number), offset=offset)
    if (named := allowed.names.get(text.lower())) is not None:
        return named
    hint = ""
    if allowed.names:
        near = next((name for name in allowed.names if text.lower().startswith(name)), None)
        hint = f"did you mean {near!r}?" if near else did_you_mean(text.lower(), allowed.names)
    raise ScheduleError(
        "schedule.cron",
        f"{allowed.name} {_shown(text)} is not in {allowed.allowed}",
        hint=hint or f"write a value in {allowed.allowed}, or *",
        offset=offset,
    )


def _range_hint(allowed: _Field, number: int) -> str:
    match allowed, number:
        case _Field(name="minute"), 60:
            return "for the full hour write 0"
        case _Field(name="hour"), 24:
            return "for midnight write 0"
        case _Field(name="hour"), int() if 24 < number < 36:
            return f"for {number - 24} a.m. write {number - 24}"
    return f"write a value in {allowed.allowed}"


def _check_shape(tokens: Sequence[tuple[str, int]]) -> None:
    """Five fields; for anything else, the error that says what to write instead."""
    if not tokens:
        raise ScheduleError(
            "schedule.cron", "cron is empty; 5 fields are needed", hint="write for example 0 9 * * *", offset=0
        )
    (first, start), rest = tokens[0], tokens[1:]
    count = len(tokens)
    if first.startswith("@"):
        raise _macro_error(first, start, rest)
    if "TZ=" in first.upper():
        raise ScheduleError(
            "schedule.cron",
            f"cron starts with {_shown(first)}, which is not a field",
            hint=f"write `timezone: {first.partition('=')[2]}` beside cron",
            offset=start,
        )
    if count == 5:
        return
    if count < 5:
        end = tokens[-1][1] + len(tokens[-1][0])
        raise ScheduleError(
            "schedule.cron",
            f"cron has {count} field{'s' if count > 1 else ''}; 5 are needed: minute hour day month weekday",
            hint="write * for a field that does not matter",
            offset=end,
        )
    texts = [text for text, _ in tokens]
    if not all(re.fullmatch(_CRON_LIKE, text, re.IGNORECASE) for text in texts) or count > 7:
        raise ScheduleError(
            "schedule.cron",
            f"cron has {count} fields; 5 are needed: minute hour day month weekday",
            hint="keep the five time fields; the command belongs into the task",
            offset=tokens[5][1],
        )
    if count == 7:
        raise ScheduleError(
            "schedule.cron",
            "cron has 7 fields; 5 are needed: minute hour day month weekday",
            hint="leave out the seconds and the year; for a single instant write `at:`",
            offset=tokens[5][1],
        )
    seconds = re.fullmatch(r"\*(?:/([0-9]{1,2}))?", first)
    if seconds and all(text == "*" for text in texts[1:]):
        hint = f"write `every: {int(seconds[1] or 1)}s` instead of cron"
    else:
        hint = f"leave out the seconds: {' '.join(texts[1:])}"
    raise ScheduleError(
        "key.not-supported-yet", "cron with 6 fields (seconds first) is not supported yet", hint=hint, offset=start
    )


def _macro_error(first: str, start: int, rest: Sequence[tuple[str, int]]) -> ScheduleError:
    known = ", ".join(_MACROS)
    match first.lower():
        case "@reboot":
            hint = "a start of the machine is not an instant; write a time, or start the job with `scheduler run`"
        case "@every":
            hint = f"write `every: {rest[0][0] if rest else '5m'}` instead of cron"
        case lower if lower in _MACROS and rest:
            hint = f"write {lower} alone; the command belongs into the task"
        case lower:
            hint = did_you_mean(lower, _MACROS) or "write five fields, or one of the macros"
    return ScheduleError(
        "schedule.cron",
        f"cron {_shown(' '.join([first, *(text for text, _ in rest)]))} is none of {known}",
        hint=hint,
        offset=start,
    )


def _never(cron: _Cron) -> ScheduleError:
    longest = {month: 29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31 for month in cron.months}
    month = max(cron.months, key=lambda each: longest[each])
    return ScheduleError(
        "schedule.never",
        f"cron {_shown(cron.expression)} never fires: no such day in its months",
        hint=f"{_MONTHS[month - 1]} has at most {longest[month]} days",
        offset=cron.day_offset,
    )


def _integer(digits: str) -> int:
    # int() itself refuses thousands of digits with an error of its own.
    return int(digits) if len(digits) < 10 else 10**9


def _shown(text: str, *, quote: bool = True) -> str:
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return repr(text) if quote else text


# -- fire times ------------------------------------------------------------------------------


def fires(schedule: Schedule, *, after: datetime) -> Iterator[datetime]:
    """Slots strictly after `after`: strictly ascending, aware UTC, without end but for `at` and the calendar's.

    after: aware, any zone.

    Raises:
        ScheduleError: at the call, for what cannot be read. A cron that names no day has no slots.
    """
    after = _utc(after)
    if schedule.cron is not None:
        cron, zone = _cron(schedule.cron), _zone(schedule.timezone)
        return _cron_fires(cron, zone, after)
    if schedule.every is not None:
        _check_every(schedule.every)
        return _every_fires(schedule.every, after)
    assert schedule.at is not None
    at = _utc(schedule.at)
    return iter([at] if at > after else [])


def next_fire(schedule: Schedule, *, after: datetime) -> datetime | None:
    """The first slot strictly after `after` (aware), or None where none is left. Raises like `fires`."""
    return next(fires(schedule, after=after), None)


def span(schedule: Schedule, *, start: datetime, until: datetime) -> Span | None:
    """The slots of [start, until], both ends included; None if there are none. Raises like `fires`.

    Counts without making each slot: the cost is constant for `every` and `at`, and per calendar
    day (some microseconds) for cron.
    """
    start, until = _utc(start), _utc(until)
    if start > until:
        return None
    if schedule.cron is not None:
        return _cron_span(_cron(schedule.cron), _zone(schedule.timezone), start, until)
    if schedule.every is not None:
        every = schedule.every
        _check_every(every)
        low, high = -((_EPOCH - start) // every), (until - _EPOCH) // every
        if low > high:
            return None
        return Span(first=_EPOCH + low * every, last=_EPOCH + high * every, count=high - low + 1)
    assert schedule.at is not None
    at = _utc(schedule.at)
    return Span(first=at, last=at, count=1) if start <= at <= until else None


def describe(schedule: Schedule) -> str:
    """A few words for `schedule_text`; a time of day never stands without its zone."""
    if schedule.cron is not None:
        return f"{' '.join(schedule.cron.split())} ({schedule.timezone})"
    if schedule.every is not None:
        return f"every {format_duration(schedule.every)}"
    assert schedule.at is not None
    local = schedule.at.astimezone(_zone(schedule.timezone)).replace(tzinfo=None)
    text = local.isoformat(" ") if local.second or local.microsecond else local.isoformat(" ", "minutes")
    return f"at {text} {schedule.timezone}"


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no zone")  # astimezone would take it for the machine's
    return at.astimezone(UTC)


def _every_fires(every: timedelta, after: datetime) -> Iterator[datetime]:
    try:
        slot = _EPOCH + ((after - _EPOCH) // every + 1) * every
        while True:
            yield slot
            slot += every
    except OverflowError:
        return


def _cron_fires(cron: _Cron, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    after = after.replace(tzinfo=None)
    if after >= _LATEST:
        return
    for base, times in _cron_slots(cron, zone, start=after + _TICK, stop=_LATEST):
        for each in times:
            yield base + each


def _cron_span(cron: _Cron, zone: ZoneInfo, start: datetime, until: datetime) -> Span | None:
    first = last = None
    count = 0
    for base, times in _cron_slots(cron, zone, start=start.replace(tzinfo=None), stop=until.replace(tzinfo=None)):
        within = bisect_right(times, until - base)
        if not within:
            break
        first = first or base + times[0]
        last = base + times[within - 1]
        count += within
    return None if first is None or last is None else Span(first=first, last=last, count=count)


def _cron_slots(
    cron: _Cron, zone: ZoneInfo, *, start: datetime, stop: datetime
) -> Iterator[tuple[datetime, Sequence[timedelta]]]:
    """Slots from `start` (naive UTC) on, at most a day of them at once: each is base (aware UTC) + time.

    Ascending, without repeats, never empty; the last ones may lie beyond `stop`. Ends where a
    century holds none.
    """
    days = _Days(cron)
    begin = latest = max(start, _EARLIEST)
    stop = min(stop, _LATEST)
    while True:
        for stretch in _stretches(zone, begin, stop):
            offset = stretch.offset
            low, high = stretch.begin + offset, stretch.end + offset
            if cron.fixed:
                # A fixed time fires when the clock first reaches or passes it: the rest of Debian's rule follows.
                skipped = stretch.reached < low and _any(_matches(cron, days, stretch.reached, low))
                if skipped and stretch.begin >= begin and not _any(_matches(cron, days, low, low + _TICK)):
                    latest = stretch.begin
                    yield stretch.begin.replace(tzinfo=UTC), (_ZERO,)
                low = max(low, stretch.reached)
            low = max(low, begin + offset)
            for midnight, times in _matches(cron, days, low, high):
                latest = stretch.begin
                yield (midnight - offset).replace(tzinfo=UTC), times
            following = days.since(high.date())
            if following is None or following - high.date() > 2 * _REACH:
                # The clock may yet be set back by a day: look again from before that.
                following = days.since(high.date() - _REACH)
                if following is None:
                    return
                jump = datetime.combine(following, _MIDNIGHT) - offset - _REACH
                if jump - latest > _GIVE_UP:
                    return
                if jump > stretch.end:
                    begin = jump
                    break
        else:
            return


def _any(found: Iterator[object]) -> bool:
    return next(found, None) is not None


def _matches(cron: _Cron, days: _Days, low: datetime, high: datetime) -> Iterator[tuple[datetime, Sequence[timedelta]]]:
    """Wall times in [low, high) that the expression names, by day: midnight, and the times since then."""
    day = days.since(low.date()) if low < high else None
    while day is not None:
        midnight = datetime.combine(day, _MIDNIGHT)
        if midnight >= high:
            return
        times = cron.times[bisect_left(cron.times, low - midnight) : bisect_left(cron.times, high - midnight)]
        if times:
            yield midnight, times
        day = days.since(day + _DAY)


class _Days:
    """The calendar days one expression names, looked up forwards. Holds a place: one per walk, not shared."""

    def __init__(self, cron: _Cron) -> None:
        self._every_day = cron.every_day
        self._croniter: Any = None if cron.every_day else copy.copy(_croniter(cron.days))
        self._asked = date.max
        self._found: date | None = None

    def since(self, day: date) -> date | None:
        """The first matching day at or after `day`; None if there is none in the calendar or for fifty years."""
        if self._every_day:
            return day
        if self._asked <= day and (self._found is None or day <= self._found):
            return self._found
        from croniter import CroniterBadDateError

        before = datetime.combine(day, _MIDNIGHT) - timedelta(minutes=1)
        self._asked = day
        try:
            found: datetime = self._croniter.get_next(datetime, start_time=before)
            self._found = found.date()
        except (CroniterBadDateError, ValueError, OverflowError):  # the last two: beyond the year 9999
            self._found = None
        return self._found


@functools.lru_cache(maxsize=4096)
def _croniter(days: str) -> Any:
    from croniter import croniter  # costs more than the rest of a listing

    return croniter(
        days, datetime.combine(date(2000, 1, 1), _MIDNIGHT), implement_cron_bug=True, second_at_beginning=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """[begin, end) of naive UTC with one offset, within one day of the wall clock."""

    begin: datetime
    end: datetime
    offset: timedelta
    reached: datetime  # the latest wall time the clock had shown before `begin`


def _stretches(zone: ZoneInfo, start: datetime, stop: datetime) -> Iterator[_Stretch]:
    """The stretches from the one that holds `start` to the one that holds `stop`, without holes."""
    # Begins early: after the clock was set back, `reached` lies in the past. On a whole second, as changes are.
    begin = max(start.replace(microsecond=0) - _REACH, _EARLIEST)
    offset = _offset(zone, begin)
    reached = begin + offset
    while begin <= stop:
        midnight = datetime.combine((begin + offset).date() + _DAY, _MIDNIGHT)
        end = midnight - offset
        following = _offset(zone, end)
        if following != offset:
            end = _change(zone, begin, end, offset)
            following = _offset(zone, end)
        if end > start:
            yield _Stretch(begin=begin, end=end, offset=offset, reached=reached)
        reached = max(reached, end + offset)
        begin, offset = end, following


def _change(zone: ZoneInfo, low: datetime, high: datetime, offset: timedelta) -> datetime:
    """The second in (low, high], both of them whole, at which the offset stops being `offset`."""
    while high - low > _SECOND:
        middle = low + (high - low) // 2 // _SECOND * _SECOND
        if _offset(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return zone.fromutc(at.replace(tzinfo=zone)).replace(tzinfo=None) - at
