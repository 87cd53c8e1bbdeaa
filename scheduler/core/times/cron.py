"""Parse crontab(5) text: five fields, six with the seconds first, or a macro. An error points into the text.

Only the text: fires.py decides which instants an expression names in a zone.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import overload

from scheduler.core.values.problems import did_you_mean
from scheduler.core.values.texts import InputError, short

_MINUTES_OF_DAY = tuple(timedelta(minutes=n) for n in range(24 * 60))  # shared: 1,440 objects for any dense cron
_SECONDS = tuple(timedelta(seconds=n) for n in range(60))


class ScheduleError(InputError):
    """A schedule that cannot be used.

    offset: characters into the cron text, if the position is known.
    key: the key to blame; empty means cron, every or at.
    entry: which entry of a list of schedules; counts from 0.
    """

    def __init__(
        self, code: str, message: str, *, hint: str = "", offset: int | None = None, key: str = "", entry: int = 0
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code  # stable; listed in docs/reference/problems.md
        self.offset = offset
        self.key = key
        self.entry = entry


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


_SECOND = _Field(name="second", low=0, high=59)
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


def _pattern() -> str:
    """What is a cron expression by its form: a regular expression of ECMA 262, which JSON Schema uses."""

    def any_of(words: Iterable[str]) -> str:
        return "|".join("".join(f"[{letter.upper()}{letter}]" for letter in word) for word in words)

    def cron_field(allowed: _Field) -> str:
        value = f"(?:{'|'.join(['[0-9]+', *([any_of(allowed.names)] if allowed.names else [])])})"
        item = rf"(?:\*|{value}(?:-{value})?)(?:/[0-9]+)?"
        return f"{item}(?:,{item})*"

    gap = r"[ \t\r\n]"
    second, *fields = (cron_field(each) for each in (_SECOND, *_FIELDS))
    expression = f"(?:(?:{second}){gap}+)?" + f"{gap}+".join(f"(?:{each})" for each in fields)
    return f"^{gap}*(?:{'|'.join(_MACROS)}|{expression}){gap}*$"


CRON_PATTERN = _pattern()

_TOKEN = re.compile(r"[^ \t\r\n]+")
_ITEM = re.compile(r"(?P<low>\*|[^-/]+)(?:-(?P<high>[^-/]+))?(?:/(?P<step>[^-/]+))?")
_CRON_LIKE = rf"(?:[0-9*?]|[lhr](?![a-vx-z])|{'|'.join(_MONTHS + _WEEKDAYS)})[0-9a-z*?#/,()-]*"
_YEARS = r"(?:19|20)[0-9]{2}(?:[,/-][0-9,/-]*)?"
_NUMBER = re.compile(r"[0-9]+")
_PLAIN = re.compile(r"[0-9*/-]*")

# What croniter, Quartz and Jenkins add to crontab(5). Patterns for mistakes are compiled on first use.
_EXTENSIONS = (
    (r"\?", "? belongs to another cron dialect; write minute hour day month weekday, with * for any and Sunday as 0"),
    (r".*#.*", "the n-th weekday of a month (#) is not crontab(5); list days, or let the task decide"),
    (rf"(?:[0-9]+|{'|'.join(_WEEKDAYS)})l", "the last weekday of a month (5L) is not crontab(5); let the task decide"),
    (
        r"lw?(?:/[0-9]+)?|l-?[0-9]+",
        "the last day (L) is not crontab(5), and no list of days replaces it; the first day of a month is 1",
    ),
    (r"[0-9]+w|w[0-9]+", "the nearest weekday (W) is not crontab(5); list the days"),
    (r"[hr](\(.*\))?(/.*)?", "H and R mean a number in other dialects; write the number"),
)


class TimesOfDay(Sequence[timedelta]):
    """Each of `minutes` with each of `seconds`, ascending. Computed on request: a day has 86,400."""

    __slots__ = ("_minutes", "_places", "_seconds")

    def __init__(self, minutes: Sequence[timedelta], seconds: Sequence[timedelta], places: range | None = None) -> None:
        self._minutes = minutes
        self._seconds = seconds
        self._places = range(len(minutes) * len(seconds)) if places is None else places

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, time: object) -> bool:
        """Does not compute any of them."""
        if not isinstance(time, timedelta):
            return False
        second = time % _MINUTES_OF_DAY[1]
        minute, place = bisect_left(self._minutes, time - second), bisect_left(self._seconds, second)
        if minute == len(self._minutes) or place == len(self._seconds):
            return False
        found = self._minutes[minute] + self._seconds[place] == time
        return found and minute * len(self._seconds) + place in self._places

    @overload
    def __getitem__(self, index: int) -> timedelta: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[timedelta]: ...
    def __getitem__(self, index: int | slice) -> timedelta | Sequence[timedelta]:
        if isinstance(index, slice):
            return TimesOfDay(self._minutes, self._seconds, self._places[index])
        minute, second = divmod(self._places[index], len(self._seconds))
        return self._minutes[minute] + self._seconds[second]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """One parsed expression. Equal ones name the same times, however they are written."""

    expression: str = field(compare=False)  # as written
    seconds: tuple[int, ...]  # these six are ascending, without repeats
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days_of_month: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]  # Sunday is 0
    days_meet: bool  # a day must match both day fields; otherwise one of them is enough
    fixed: bool  # no leading * in minute and hour: fires after a gap, and once in a fold
    every_day: bool
    times: Sequence[timedelta] = field(compare=False)  # since midnight of the wall clock, ascending
    days: str = field(compare=False)  # the expression for croniter: midnight of every matching day
    day_offset: int | None = field(compare=False)  # where the day of month is in the text


@functools.lru_cache(maxsize=16_384)
def parse_cron(expression: str) -> Cron:
    """Raises ScheduleError for anything but crontab(5). Does not check whether such a day exists."""
    tokens: list[tuple[str, int | None]]
    tokens = [(match.group(), match.start()) for match in _TOKEN.finditer(expression)]
    if len(tokens) == 1 and tokens[0][0] in _MACROS:
        tokens = [(text, None) for text in _MACROS[tokens[0][0]].split()]
    else:
        _check_shape(expression)
    six = [text for text, _ in tokens] if len(tokens) == 6 else []
    try:
        second = _values(_SECOND, tokens.pop(0)) if six else (0,)
        minute, hour, day, month, weekday = (_values(*each) for each in zip(_FIELDS, tokens, strict=True))
    except ScheduleError as error:
        raise _second_first(error, six) if six else error from None
    texts = [text for text, _ in tokens]

    weekday = tuple(sorted({n % 7 for n in weekday}))
    minutes = tuple(_MINUTES_OF_DAY[h * 60 + m] for h in hour for m in minute)
    # crontab(5): the days of month and of week are united, unless one of the fields starts with a star.
    both = texts[2].startswith("*") or texts[4].startswith("*")
    full = len(day) == 31, len(weekday) == 7
    return Cron(
        expression=expression,
        seconds=second,
        minutes=minute,
        hours=hour,
        days_of_month=day,
        months=month,
        weekdays=weekday,
        days_meet=both,
        fixed=not texts[0].startswith("*") and not texts[1].startswith("*"),
        every_day=len(month) == 12 and (all(full) if both else any(full)),
        times=minutes if second == (0,) else TimesOfDay(minutes, tuple(_SECONDS[s] for s in second)),
        days=f"0 0 {_plain(texts[2], day)} {_plain('', month)} {_plain(texts[4], weekday)}",
        day_offset=tokens[2][1],
    )


def _second_first(error: ScheduleError, six: Sequence[str]) -> ScheduleError:
    """The same error. If the fields without the last one are valid, it also says how six fields are read."""
    five = " ".join(six[:5])
    try:
        parse_cron(five)
        if six[5].isdecimal():
            _values(_SECOND, (six[5], None))
            error.hint += f'; or, if the last field is seconds, write "{six[5]} {five}"'
        elif six[5] == "*":
            error.hint = f'write "{five}", without the last field'
        else:
            return error
    except ScheduleError:
        return error
    error.message = f"in six fields the first is seconds, so {error.message}"
    error.args = (error.message,)
    return error


def is_macro(expression: str) -> bool:
    return expression.strip(" \t\r\n") in _MACROS


def _plain(text: str, values: Sequence[int]) -> str:
    """A field that croniter cannot misread: it reads N-N as the whole field and 0-6 as a star.

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
                message = f"{allowed.name} {short(item)} is not crontab(5); values are {allowed.allowed}"
                raise ScheduleError("schedule.cron", message, hint=hint, offset=offset)
    match = _ITEM.fullmatch(item)
    if match is None or (match["low"] == "*" and match["high"] is not None):
        raise ScheduleError(
            "schedule.cron",
            f"{allowed.name} {short(item)} is not *, a value in {allowed.allowed}, a range or a step",
            hint="write for example *, */5, 3, 1-5 or 1,3,5"
            if allowed in (_SECOND, _MINUTE)
            else "write for example *, */2, 3, 1-5",
            offset=offset,
        )

    def place(group: str) -> int | None:
        return None if offset is None else offset + match.start(group)

    step = 1
    if match["step"] is not None:
        step = _integer(match["step"]) if _NUMBER.fullmatch(match["step"]) else 0
        if step < 1:
            message = f"{allowed.name} step {short(match['step'])} is outside 1-{allowed.high}"
            hint = f"write for example */{2 if allowed.high < 20 else 5}"
            raise ScheduleError("schedule.cron", message, hint=hint, offset=place("step"))
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
            "schedule.cron", f"{allowed.name} range {short(item)} runs backwards", hint=hint, offset=offset
        )
    return range(low, high + 1, step)


def _value(allowed: _Field, text: str, offset: int | None) -> int:
    if _NUMBER.fullmatch(text):
        number = _integer(text)
        if allowed.low <= number <= allowed.high:
            return number
        message = f"{allowed.name} {short(text)[1:-1]} is outside {allowed.low}-{allowed.high}"
        raise ScheduleError("schedule.cron", message, hint=_range_hint(allowed, number), offset=offset)
    if (named := allowed.names.get(text.lower())) is not None:
        return named
    hint = ""
    if allowed.names:
        near = next((name for name in allowed.names if text.lower().startswith(name)), None)
        hint = f"did you mean {near!r}?" if near else did_you_mean(text.lower(), allowed.names)
    message = f"{allowed.name} {short(text)} is not in {allowed.allowed}"
    hint = hint or f"write a value in {allowed.allowed}, or *"
    raise ScheduleError("schedule.cron", message, hint=hint, offset=offset)


def _range_hint(allowed: _Field, number: int) -> str:
    match allowed, number:
        case _Field(name="second"), 60:
            return "for the start of a minute, write 0"
        case _Field(name="minute"), 60:
            return "for the start of an hour, write 0"
        case _Field(name="hour"), 24:
            return "for midnight, write 0"
        case _Field(name="hour"), int() if 24 < number < 36:
            return f"for {number - 24} a.m., write {number - 24}"
    return f"write a value in {allowed.allowed}"


_FIVE = "5 are needed: minute hour day month weekday; or 6, with seconds first"


def _check_shape(expression: str) -> None:
    """Accept five or six fields. For anything else, the error says what to write instead."""
    tokens = [(match.group(), match.start()) for match in _TOKEN.finditer(expression)]
    if not tokens:
        raise ScheduleError(
            "schedule.cron", "cron is empty; 5 fields are needed", hint="write for example 0 9 * * *", offset=0
        )
    (first, start), rest = tokens[0], tokens[1:]
    count = len(tokens)
    if first.startswith("@"):
        raise _macro_error(first, start, rest)
    if "TZ=" in first.upper():
        message = f"cron starts with {short(first)}, which is not a field"
        hint = f"write `timezone: {first.partition('=')[2]}` next to cron"
        raise ScheduleError("schedule.cron", message, hint=hint, offset=start)
    if first.lower().startswith("cron("):
        message = f"cron starts with {short(first)}, which is not a field"
        hint = "write minute hour day month weekday, without cron() and the year, with * for ? and Sunday as 0"
        raise ScheduleError("schedule.cron", message, hint=hint, offset=start)
    if count < 5:
        end = tokens[-1][1] + len(tokens[-1][0])
        message = f"cron has {count} field{'s' if count > 1 else ''}; {_FIVE}"
        raise ScheduleError("schedule.cron", message, hint="write * in each field that can have any value", offset=end)
    like_cron = all(re.fullmatch(_CRON_LIKE, text, re.IGNORECASE) for text, _ in tokens[5:])
    # Six fields with a year behind them: whoever mends them one by one gets a schedule that begins with a second.
    has_year = count == 6 and re.fullmatch(_YEARS, tokens[5][0]) is not None
    if count == 5 or (count == 6 and like_cron and not has_year):
        return
    if has_year or (like_cron and count == 7):
        hint = "leave out the year; for a single instant, write `at:`"
    else:
        hint = "keep only the time fields; the command belongs in the task"
    raise ScheduleError("schedule.cron", f"cron has {count} fields; {_FIVE}", hint=hint, offset=tokens[5][1])


def _macro_error(first: str, start: int, rest: Sequence[tuple[str, int]]) -> ScheduleError:
    known = ", ".join(_MACROS)
    match first.lower():
        case "@reboot":
            hint = "@reboot is not supported; write a time, or start the job at boot with `scheduler run`"
        case "@every":
            hint = f"write `every: {rest[0][0] if rest else '5m'}` instead of cron"
        case lower if lower in _MACROS and rest:
            hint = f"write {lower} alone; the command belongs in the task"
        case lower:
            alike = [macro for macro in _MACROS if macro[:3] == lower[:3]]  # @biweekly is no misspelt @weekly
            hint = did_you_mean(lower, alike) or "write five fields, or one of the macros"
    message = f"cron {short(' '.join([first, *(text for text, _ in rest)]))} is not one of {known}"
    return ScheduleError("schedule.cron", message, hint=hint, offset=start)


def never_fires(cron: Cron) -> ScheduleError:
    longest = {month: 29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31 for month in cron.months}
    month = max(cron.months, key=lambda each: longest[each])
    message = f"cron {short(cron.expression)} never fires: its months have no such day"
    hint = f"{_MONTHS[month - 1]} has at most {longest[month]} days"
    return ScheduleError("schedule.never", message, hint=hint, offset=cron.day_offset)


def _integer(digits: str) -> int:
    # int() itself refuses thousands of digits with an error of its own.
    return int(digits) if len(digits) < 10 else 10**9
