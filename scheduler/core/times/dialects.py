"""Schedules as other programs write them, and the equivalent schedules of ours."""

from __future__ import annotations

import re

from scheduler.core.times.cron import ScheduleError
from scheduler.core.times.fires import zone_of
from scheduler.core.times.spoken import ZONE, spoken_cron, spoken_interval
from scheduler.core.times.valid import check_cron
from scheduler.core.values.units import UnitError, format_duration, parse_duration

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WORDS = {
    "hourly": "@hourly",
    "every hour": "@hourly",
    "daily": "@daily",
    "nightly": "@daily",
    "every day": "@daily",
    "every night": "@daily",
    "midnight": "@daily",
    "noon": "0 12 * * *",
    "midday": "0 12 * * *",
    "weekly": "@weekly",
    "every week": "@weekly",
    "monthly": "@monthly",
    "every month": "@monthly",
    "yearly": "@yearly",
    "annually": "@yearly",
    "every year": "@yearly",
    "minutely": "* * * * *",
    "every minute": "* * * * *",
    "quarterly": "0 0 1 1,4,7,10 *",
    "semiannually": "0 0 1 1,7 *",
    "weekday": "0 0 * * mon-fri",
    "weekdays": "0 0 * * mon-fri",
    "every weekday": "0 0 * * mon-fri",
}
_WRAPPED = re.compile(r"cron\((.*)\)", re.IGNORECASE | re.DOTALL)
_CALENDAR = re.compile(
    r"(?:(?P<days>[a-z,. -]*[a-z])\s+)?(?:(?P<date>[0-9*,/-]+-[0-9*,/.-]+)\s+)?(?P<time>[0-9*,/.]+:[0-9*,/.:]+)",
    re.IGNORECASE,
)


def same_schedule(text: str) -> str | None:
    """What to write for a schedule in another dialect, as YAML. None if that cannot be determined.

    EventBridge (`cron(...)`, `rate(...)`), Quartz and Spring (`?`, a year), systemd's calendar, and plain words. Every
    answer has been parsed as one of our schedules.
    """
    said = " ".join(text.split())
    if len(said) > 200:
        return None
    if found := _interval(said) or _quoted(_cron_of(said)):
        return found
    return _with_zone(said)


def _with_zone(said: str) -> str | None:
    """Words that end in a time zone, as in "daily at 9:00 Europe/Berlin"."""
    found = ZONE.fullmatch(said)
    cron = None if found is None else _quoted(spoken_cron(found["rest"]))
    if found is None or cron is None:
        return None
    try:
        zone_of(found["zone"])
    except ScheduleError:
        return None
    return f"{{cron: {cron}, timezone: {found['zone']}}}"


def _quoted(cron: str | None) -> str | None:
    if cron is None:
        return None
    try:
        check_cron(cron)
    except ScheduleError:
        return None
    return f'"{cron}"'


def _interval(said: str) -> str | None:
    try:
        length = spoken_interval(said)
        return None if length is None else f"{{every: {format_duration(parse_duration(length))}}}"
    except UnitError:
        return None


def _cron_of(said: str) -> str | None:
    wrapped = _WRAPPED.fullmatch(said)
    if wrapped:
        return _aws(wrapped[1].split())
    lower = said.lower().removeprefix("@")
    if lower in _WORDS:
        return _WORDS[lower]
    if spoken := spoken_cron(said):
        return spoken
    tokens = said.split()
    if "?" in tokens:
        return _with_question_mark(tokens)
    if len(tokens) == 7 and not re.search("[0-9]", tokens[5]):
        return _quartz(tokens)
    if calendar := _CALENDAR.fullmatch(said):
        return _systemd(calendar)
    return None


def _with_question_mark(tokens: list[str]) -> str | None:
    """The position of the ? reveals the dialect: it stands for a day, and Quartz starts with the second."""
    place = tokens.index("?")
    match len(tokens):
        case 5 if place in (2, 4):
            return " ".join("*" if each == "?" else each for each in tokens)
        case 6 if place in (2, 4):
            return _aws(tokens)
        case 6 | 7 if place in (3, 5):
            return _quartz(tokens)
    return None


def _aws(tokens: list[str]) -> str | None:
    """Minute, hour, day of month, month, day of week, year."""
    if len(tokens) != 6 or tokens[5] != "*":
        return None
    return _five(tokens[:5])


def _quartz(tokens: list[str]) -> str | None:
    """Second, minute, hour, day of month, month, day of week, and perhaps a year."""
    if len(tokens) == 7 and tokens[6] != "*":
        return None
    five = _five(tokens[1:6])
    if five is None:
        return None
    return five if tokens[0] == "0" else f"{tokens[0]} {five}"


def _five(tokens: list[str]) -> str | None:
    """With * for ? and Sunday as 0 instead of 1. None if a day field means more than our syntax can express."""
    *rest, weekday = ("*" if each == "?" else each for each in tokens)
    if weekday != "*":
        if rest[2] != "*" or not re.fullmatch(r"[0-9a-z,-]+", weekday, re.IGNORECASE):
            return None
        days = re.sub(r"[0-9]+", lambda number: _day(int(number[0])), weekday)
        if "x" in days:
            return None
        weekday = days.lower()
    return " ".join([*rest, weekday])


def _day(number: int) -> str:
    return _DAYS[number - 1] if 1 <= number <= 7 else "x"


def _systemd(found: re.Match[str]) -> str | None:
    """A calendar event: days, date, time; `..` is a range, `0/15` a step."""
    times = found["time"].split(":")
    if len(times) == 3 and times[2] not in ("00", "0"):
        return None
    hour, minute = (_number(each) for each in times[:2])
    day = month = "*"
    if found["date"]:
        parts = found["date"].split("-")
        if len(parts) == 3 and parts[0] != "*":
            return None
        month, day = (_number(each) for each in parts[-2:])
    weekday = "*"
    if found["days"]:
        names = [each.strip() for each in re.split(r"(\.\.|,|-)", found["days"].lower())]
        weekday = "".join({"..": "-"}.get(each, each[:3]) for each in names)
        if day != "*" and weekday != "*":
            return None  # there both must match; here one of them is enough
    return f"{minute} {hour} {day} {month} {weekday}"


def _number(text: str) -> str:
    plain = re.sub(r"\b0+(?=[0-9])", "", text).replace("..", "-")
    return re.sub(r"^0/", "*/", plain)
