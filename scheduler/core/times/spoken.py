"""Schedules in plain English, as people and models write them, and the equivalent cron expressions."""

from __future__ import annotations

import re
from datetime import timedelta

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_COUNTS = {word: number for number, word in enumerate(_NUMBERS) if number} | {"a": 1, "an": 1, "other": 2}
_UNITS = {"second": "s", "sec": "s", "s": "s", "minute": "m", "min": "m", "m": "m", "hour": "h", "hr": "h", "h": "h"}
_UNITS |= {"day": "d", "d": "d"}
_UNIT = rf"(?P<unit>{'|'.join(sorted(_UNITS, key=len, reverse=True))})s?"
_COUNT = rf"(?P<count>[0-9]+(?=\s*[a-z])|(?:{'|'.join(_COUNTS)})(?=\s))"
_INTERVAL = re.compile(
    rf"(?:@?every:?|each)\s+(?:(?P<part>half|quarter)(?:\s+(?:of\s+)?an?)?|{_COUNT})\s*{_UNIT}"
    r"(?:\s*,?\s+(?P<days>[a-z].*))?"
)
_RATE = re.compile(rf"rate\(\s*(?P<count>[0-9]+)\s+{_UNIT}\s*\)")

_DAY = {"mon": "mon(?:day)?", "tue": "tue(?:s|sday)?", "wed": "wed(?:nesday)?", "thu": "thu(?:r|rs|rsday)?"}
_DAY |= {"fri": "fri(?:day)?", "sat": "sat(?:urday)?", "sun": "sun(?:day)?"}
_ANY_DAY = rf"(?:{'|'.join(_DAY.values())})s?"
_LEAD = r"(?:(?:weekly|every\s+week|every|each|on)\s+)*"
_DAYS = re.compile(rf"{_LEAD}{_ANY_DAY}(?:\s*(?:,\s*and|,|&|and|to|through|until|-)\s*(?:on\s+|every\s+)?{_ANY_DAY})*")
_DAY_OR_SIGN = re.compile(rf"(?P<day>{_ANY_DAY})(?![a-z])|(?P<range>\bto\b|\bthrough\b|\buntil\b|-)")
_GROUPS = {
    re.compile(rf"{_LEAD}(?:daily|nightly|day|everyday)|"): "*",
    re.compile(rf"{_LEAD}(?:week\s?days?|work(?:ing)?[\s-]?days?|business\s+days?)"): "mon-fri",
    re.compile(rf"{_LEAD}weekends?"): "sat,sun",
}
_MONTHLY = re.compile(
    r"(?:(?:monthly|every\s+month|each\s+month)\s*,?\s*)?(?:on\s+)?(?:the\s+)?(?:(?P<first>first)|day\s+(?P<day>[0-9]{1,2})|"
    r"(?P<nth>[0-9]{1,2})(?:st|nd|rd|th))(?:\s+day)?(?:\s+(?:of|in)\s+(?:(?:the|every|each)\s+)?month)?"
)
_PERIOD = re.compile(r"(?:\b(?:every|each|in\s+the|at)\s+|\b)(?P<period>morning|afternoon|evening|night)s?\b")
_HALF = r"a\.?m\.?|p\.?m\.?"
_TIME = rf"(?:noon|midday|midnight|[0-9]{{1,2}}(?:[:.h][0-9]{{2}})?\s*(?:{_HALF})?(?:\s*o'?clock)?)(?![\w:/])"
_TIMES = re.compile(rf"(?P<at>\bat\s+)?(?<![\w:/])(?P<times>{_TIME}(?:\s*(?:,\s*and|,|&|and)\s*(?:at\s+)?{_TIME})*)")
_ONE_TIME = re.compile(
    rf"(?P<word>noon|midday|midnight)|(?P<hour>[0-9]{{1,2}})(?:[:.h](?P<minute>[0-9]{{2}}))?\s*(?P<half>{_HALF})?"
)
_PAST_HOUR = re.compile(r"(?:hourly|every\s+hour)\s+at\s+:(?P<minute>[0-9]{2})")
ZONE = re.compile(r"(?P<rest>.*?\S)\s+(?:in\s+)?(?P<zone>[A-Z][A-Za-z_]+(?:/[A-Za-z_+-]+[0-9]*)+|UTC)")


def spoken_interval(said: str) -> str | None:
    """The duration of "every 2 hours" or "every half hour", or None for anything else."""
    found = _RATE.fullmatch(said.lower()) or _INTERVAL.fullmatch(said.lower())
    if found is None or found.groupdict().get("days"):
        return None
    return _length(found)


def _length(found: re.Match[str]) -> str | None:
    unit = _UNITS.get(found["unit"])
    part = found.groupdict().get("part")
    if part:
        return {"half": "30m", "quarter": "15m"}[part] if unit == "h" else None
    count = found["count"]
    number = int(count) if count.isdigit() else _COUNTS.get(count)
    return None if unit is None or number is None else f"{number}{unit}"


def spoken_cron(said: str) -> str | None:
    """The cron expression for "weekdays at 7:30" or "every 2 hours on weekdays", or None if it cannot be determined.

    Does not check for day ranges that run backwards: the caller must reject them.
    """
    text = " ".join(said.lower().split()).rstrip(".!")
    if past := _PAST_HOUR.fullmatch(text):
        return f"{int(past['minute'])} * * * *"
    if (interval := _INTERVAL.fullmatch(text)) is not None and interval["days"]:
        return _steps(_length(interval), _weekdays(interval["days"]))
    timed = [found for found in _TIMES.finditer(text) if found["at"] or _is_time(found["times"])]
    if len(timed) != 1:
        return None
    (found,) = timed
    rest = " ".join(f"{text[: found.start()]} {text[found.end() :]}".replace(",", " , ").split()).strip(" ,")
    period = _PERIOD.search(rest)
    if period is not None:
        rest = " ".join(f"{rest[: period.start()]} {rest[period.end() :]}".split())
    clock = _clock(found["times"], None if period is None else period["period"])
    if clock is None:
        return None
    monthly = _MONTHLY.fullmatch(rest)
    if monthly is not None:
        return f"{clock} {1 if monthly['first'] else int(monthly['day'] or monthly['nth'])} * *"
    days = _weekdays(rest)
    return None if days is None else f"{clock} * * {days}"


def _is_time(text: str) -> bool:
    """True if this is a time even without the word `at`. A bare number could be anything."""
    return bool(re.search(rf"[:.h][0-9]{{2}}|noon|mid|clock|[0-9]\s*(?:{_HALF})", text))


def _clock(text: str, period: str | None) -> str | None:
    """The minute and hour fields of cron, for one time or several at the same minute."""
    times = [_time(found, period) for found in _ONE_TIME.finditer(text)]
    if None in times or len({minute for _, minute in filter(None, times)}) != 1:
        return None
    hours = sorted({hour for hour, _ in filter(None, times)})
    return f"{next(minute for _, minute in filter(None, times))} {','.join(map(str, hours))}"


def _time(found: re.Match[str], period: str | None) -> tuple[int, int] | None:
    if found["word"]:
        return (0 if found["word"] == "midnight" else 12), 0
    hour, minute = int(found["hour"]), int(found["minute"] or 0)
    half = (found["half"] or "").replace(".", "")
    if half:
        return (hour % 12 + 12 * (half == "pm"), minute) if 1 <= hour <= 12 else None
    late = {"afternoon": range(1, 12), "evening": range(1, 12), "night": range(6, 12)}.get(period or "", ())
    if hour == 12 and period in ("morning", "night", "evening"):
        return (0, minute) if period == "night" else None
    return hour + 12 * (hour in late), minute


def _weekdays(text: str) -> str | None:
    for group, days in _GROUPS.items():
        if group.fullmatch(text):
            return days
    if not _DAYS.fullmatch(text):
        return None
    told = ""
    for found in _DAY_OR_SIGN.finditer(text):
        told += "-" if found["range"] else ("" if not told or told.endswith("-") else ",") + found["day"][:3]
    return told


def _steps(length: str | None, days: str | None) -> str | None:
    """The cron expression for an interval on some days only, or None if it does not divide an hour or a day."""
    if length is None or days is None:
        return None
    number, unit = int(length[:-1]), length[-1]
    if unit == "m" and 0 < number < 60 and 60 % number == 0:
        return f"{'*' if number == 1 else f'*/{number}'} * * * {days}"
    if unit == "h" and 0 < number < 24 and timedelta(days=1) % timedelta(hours=number) == timedelta():
        return f"0 {'*' if number == 1 else f'*/{number}'} * * {days}"
    return None
