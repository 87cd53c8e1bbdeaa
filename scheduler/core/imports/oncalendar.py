"""Calendar events of systemd.time(7) as entries of a schedule. What cron cannot say is refused by name."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, product
from zoneinfo import ZoneInfo

from scheduler.core.imports.secrets import quoted
from scheduler.core.times.fires import zone_of
from scheduler.core.values.instants import instant
from scheduler.core.values.texts import InputError

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NAME = "|".join(f"{each}|{each[:3]}" for each in _DAYS)
_WEEKDAYS = re.compile(rf"(?:{_NAME})(?:(?:,|\.\.|-)(?:{_NAME}))*,?", re.IGNORECASE)
_DATE = re.compile(r"[0-9*][0-9*,./]*(?:-[0-9*][0-9*,./]*)*(?:[-~][0-9*][0-9*,./]*)")
_ITEM = re.compile(r"([0-9]+)(?:\.\.([0-9]+))?(?:/([0-9]+))?")
_SHORTHANDS = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "weekly": "Mon *-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    **dict.fromkeys(("semiannually", "semi-annually", "biannually", "bi-annually"), "*-01,07-01 00:00:00"),
    **dict.fromkeys(("yearly", "annually", "anually"), "*-01-01 00:00:00"),
}
_YEARS = (1970, 2199)
_MOST = 100  # instants that are written one by one
_MOST_GROUPS = 10  # of years

Values = tuple[int, ...] | None  # ascending; None: any


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    weekdays: Values = None  # 0 is Monday
    years: Values = None
    months: Values = None
    days: Values = None
    from_end: bool = False  # 1 is the last day of the month
    hours: Values = (0,)
    minutes: Values = (0,)
    seconds: Values = (0,)
    zone: str | None = None


def calendar_entries(text: str, *, zone: str) -> tuple[Mapping[str, str], ...]:
    """The entries that fire when the event elapses. zone: of the machine, for an event that names none.

    Raises: InputError if it is no calendar event, or cannot be expressed here.
    """
    if found := re.fullmatch(r"@([0-9]{1,12})", text.strip()):
        return ({"at": instant(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(found[1])))},)
    event = _event(text)
    here = ZoneInfo(event.zone or zone)
    finite = _instants(event, here)
    if finite is not None:
        return tuple({"at": instant(each)} for each in finite)
    crons = tuple(_crons(event, text))
    named = {} if event.zone is None else {"timezone": event.zone}
    return tuple({"cron": cron, **named, **span} for span in _spans(event, here, text) for cron in crons)


def _event(text: str) -> _Event:
    words = text.split()
    zone = None
    if len(words) > 1 and (words[-1] == "UTC" or re.fullmatch(r"[A-Za-z][\w+-]*(?:/[\w+-]+)+", words[-1])):
        zone = words.pop()
        try:
            zone_of(zone)
        except ValueError as error:
            raise InputError(f"{quoted(text)}: {error}", hint=getattr(error, "hint", "")) from None
    if len(words) == 1 and words[0].lower() in _SHORTHANDS:
        words = _SHORTHANDS[words[0].lower()].split()
    weekdays = _weekdays(words.pop(0), text) if words and _WEEKDAYS.fullmatch(words[0]) else None
    parts: dict[str, Values | bool] = {}
    if words and _DATE.fullmatch(words[0]):
        parts |= _date(words.pop(0), text)
    if words and ":" in words[0]:
        parts |= _time(words.pop(0), text)
    if words or (weekdays is None and not parts):
        raise InputError(f"{quoted(text)} is not a calendar event of systemd.time(7)")
    return _Event(weekdays=weekdays, zone=zone, **parts)  # type: ignore[arg-type]


def _weekdays(text: str, whole: str) -> tuple[int, ...]:
    found: set[int] = set()
    for each in text.lower().rstrip(",").split(","):
        first, _, last = (word[:3] for word in re.sub(r"\.\.|-", " - ", each).partition(" - "))
        short_names = [day[:3] for day in _DAYS]
        low = short_names.index(first)
        high = short_names.index(last) if last else low
        if high < low or re.search(r"(?:\.\.|-).*(?:\.\.|-)", each):
            raise InputError(f"{quoted(whole)}: {each} is not a range of weekdays, which begin with Monday")
        found |= {*range(low, high + 1)}
    return tuple(sorted(found))


def _date(text: str, whole: str) -> Mapping[str, Values | bool]:
    *front, last = re.split(r"[-~]", text)
    if len(front) > 2:
        raise InputError(f"{quoted(whole)}: {text} is not a date")
    from_end = "~" in text
    years = _values(front[0], *_YEARS, whole=whole, years=True) if len(front) == 2 else None
    months = _values(front[-1], 1, 12, whole=whole)
    return {
        "years": years,
        "months": months,
        "days": _values(last, 1, 31, whole=whole, down=from_end),
        "from_end": from_end,
    }


def _time(text: str, whole: str) -> Mapping[str, Values | bool]:
    fields = re.sub(r"(\d)\.0+(?![\d.])", r"\1", text).split(":")
    if re.search(r"\d\.\d", text.replace("..", " ")) and len(fields) == 3 and re.search(r"[0-9]\.[0-9]", fields[2]):
        raise InputError(f"{quoted(whole)}: fractions of a second cannot be expressed here")
    if len(fields) not in (2, 3):
        raise InputError(f"{quoted(whole)}: {text} is not a time of day")
    hours, minutes, seconds = (*fields, "00")[:3]
    return {
        "hours": _values(hours, 0, 23, whole=whole),
        "minutes": _values(minutes, 0, 59, whole=whole),
        "seconds": _values(seconds, 0, 59, whole=whole),
    }


def _values(text: str, low: int, high: int, *, whole: str, years: bool = False, down: bool = False) -> Values:
    """down: they count from the end, and a step leads towards it."""
    if text == "*":
        return None
    found: set[int] = set()
    for each in text.split(","):
        item = _ITEM.fullmatch(each)
        if item is None or (down and item[2]) or item[3] in ("0", "00"):
            raise InputError(f"{quoted(whole)}: {each or text!r} is not a value, range or repetition")
        first, last, step = (None if part is None else int(part) for part in item.groups())
        assert first is not None
        if years:
            first, last = (None if year is None else _full_year(year) for year in (first, last))
        assert first is not None
        stop = last if last is not None else (1 if down else high) if step is not None else first
        never = step is not None and last is None and not (first - step >= 0 if down else first + step <= high)
        if never or not low <= first <= high or not low <= stop <= high or (stop < first and not down):
            raise InputError(f"{quoted(whole)}: {each} is outside {low}-{high}, or no range or repetition")
        found |= {*(range(first, stop - 1, -(step or 1)) if down else range(first, stop + 1, step or 1))}
    return tuple(sorted(found))


def _full_year(year: int) -> int:
    return year + 2000 if year < 70 else year + 1900 if year < 100 else year


def _dates(event: _Event, years: Iterable[int]) -> Iterator[date]:
    for year, month in product(years, event.months or range(1, 13)):
        size = monthrange(year, month)[1]
        for day in event.days or range(1, size + 1):
            number = size + 1 - day if event.from_end else day
            if 1 <= number <= size and (
                event.weekdays is None or date(year, month, number).weekday() in event.weekdays
            ):
                yield date(year, month, number)


def _instants(event: _Event, zone: ZoneInfo) -> list[datetime] | None:
    """The instants of an event that has few of them; None if there are many."""
    if event.years is None or len(event.years) > _MOST:
        return None
    times = [*product(event.hours or range(24), event.minutes or range(60), event.seconds or range(60))]
    dates = [*_dates(event, event.years)]
    simple = event.weekdays is None and not event.from_end and event.days is None
    if len(times) * len(dates) > (1 if simple else _MOST) or not dates:
        return None
    return sorted(
        datetime(*each.timetuple()[:3], *time, tzinfo=zone).astimezone(UTC) for each in dates for time in times
    )


def _spans(event: _Event, zone: ZoneInfo, whole: str) -> list[Mapping[str, str]]:
    """The years of an event as the first and last instant of each run of them."""
    if event.years is None:
        return [{}]
    groups = [
        [year for _, year in group] for _, group in groupby(enumerate(event.years), lambda each: each[1] - each[0])
    ]
    if len(groups) > _MOST_GROUPS:
        raise InputError(f"{quoted(whole)}: years that repeat cannot be expressed here", hint="list the next few years")
    begin = [datetime(years[0], 1, 1, tzinfo=zone) for years in groups]
    end = [datetime(years[-1], 12, 31, 23, 59, 59, tzinfo=zone) for years in groups]
    return [
        {
            "starts": instant(low.astimezone(UTC)),
            **({} if high.year == _YEARS[1] else {"ends": instant(high.astimezone(UTC))}),
        }
        for low, high in zip(begin, end, strict=True)
    ]


def _crons(event: _Event, whole: str) -> Iterator[str]:
    seconds = "" if event.seconds == (0,) else f"{_field(event.seconds, 0, 59)} "
    clock = f"{seconds}{_field(event.minutes, 0, 59)} {_field(event.hours, 0, 23)}"
    weekdays = None if event.weekdays is None else sorted((each + 1) % 7 for each in event.weekdays)
    for months, days in _months_and_days(event, whole):
        dom, dow = _field(days, 1, 31), _field(weekdays, 0, 6)
        if "*" not in (dom, dow):
            step = next((n for n in range(2, 16) if days == tuple(range(1, 32, n))), None)
            if step is None:
                why = "a weekday together with days of the month cannot be expressed here: cron fires on either"
                raise InputError(
                    f"{quoted(whole)}: {why}", hint="keep one of them, and let the task decide on the other"
                )
            dom = f"*/{step}"  # with which cron requires both
        yield f"{clock} {dom} {_field(months, 1, 12)} {dow}"


def _months_and_days(event: _Event, whole: str) -> Iterator[tuple[Values, Values]]:
    if not event.from_end or event.days is None:
        yield event.months, event.days
        return
    months = event.months or tuple(range(1, 13))
    if 2 in months:
        why = "the last days of February cannot be expressed here, as they are not the same every year"
        raise InputError(f"{quoted(whole)}: {why}", hint="use the first of March, or let the task decide")
    for size in (30, 31):
        own = tuple(each for each in months if monthrange(2026, each)[1] == size)
        if own:
            yield own, tuple(sorted(size + 1 - day for day in event.days if day <= size))


def _field(values: Sequence[int] | None, low: int, high: int) -> str:
    """Values of one field as cron writes them."""
    if values is None or len(values) == high - low + 1:
        return "*"
    step = values[1] - values[0] if len(values) > 2 else 0
    if step > 1 and [*values] == [*range(values[0], high + 1, step)]:
        return f"*/{step}" if values[0] == low and low == 0 else f"{values[0]}-{high}/{step}"
    runs = [[each for _, each in run] for _, run in groupby(enumerate(values), lambda each: each[1] - each[0])]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)
