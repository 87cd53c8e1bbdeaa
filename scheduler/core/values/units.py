"""Durations and sizes as people write them: `1h30m`, `256KiB`."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

from scheduler.core.values.texts import InputError, short

MAX_DURATION = timedelta(days=3650)  # far below what timedelta or a database integer can hold
MAX_SIZE = 2**50

# For editors, through the JSON Schema; covers everything but the upper limits.
DURATION_PATTERN = r"^(?=[0-9])(?=.*[1-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
SIZE_PATTERN = r"^(?=.*[1-9])[0-9]+ ?(B|KiB|MiB|GiB)$"

_DURATION_HINT = "write one like 90s, 20m, 2h, 1d or 1h30m"
_SIZE_HINT = "write one like 256KiB or 10MiB"
_DURATION = re.compile(r"(?=[0-9])(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?")
_SIZE = re.compile(r"([0-9]+) ?(B|KiB|MiB|GiB)")
# In whatever case. Patterns of mistakes are compiled when one is made.
_DURATION_NEARLY = (
    r"([0-9]+(?:\.[0-9]+)?)\s*(weeks?|wks?|w|days?|d|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s)(?![a-z])[\s,]*"
)
_CALENDAR = r"[0-9]\s*(?:M(?![A-Za-z])|(?i:mon?|months?|mths?)(?![A-Za-z])|(?i:(y)(?:ea)?r?s?)(?![A-Za-z]))"
_SIZE_NEARLY = r"([0-9]+(?:\.[0-9]+)?)\s?([kmgtp])(i?)(b?|bytes?)"
_BYTES_NEARLY = r"([0-9]+)\s?(b|bytes?)"
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_PREFIXES = "KMGTP"
_UNIT_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_NEXT_UNIT = {"h": "m", "m": "s"}
_LONGEST_NEARLY = 40  # characters in which to look for what was meant
_MOST_DIGITS = 18  # int() refuses absurdly long digit strings with an error of its own


class UnitError(InputError):
    """A duration or size that cannot be read. `code` ends a problem code: `invalid` or `range`."""

    def __init__(self, message: str, *, hint: str = "", code: str = "invalid") -> None:
        super().__init__(message, hint=hint)
        self.code = code


def parse_duration(text: str) -> timedelta:
    """`90s`, `20m`, `2h`, `1d` or a sum in descending order, `1h30m`: whole seconds, above zero, at most ten years.

    Raises: UnitError.
    """
    if text.isascii() and text.isdecimal():
        raise UnitError(f"duration {short(text)} has no unit", hint=with_units(text) or _DURATION_HINT)
    found = _DURATION.fullmatch(text)
    if found is None:
        meant = _meant(text)
        message = f"{short(text)} is not a duration; allowed: whole numbers with d, h, m, s, largest first"
        hint = _DURATION_HINT if meant is None else f"write {format_duration(meant)}"
        if len(text) <= _LONGEST_NEARLY and (calendar := re.search(_CALENDAR, text)) is not None:
            hint = 'a month is not a duration; for every month, write cron: "0 0 1 * *"'
            if calendar[1]:
                hint = 'a year is not a duration; for every year, write cron: "0 0 1 1 *"'
            elif calendar[0].endswith("M"):
                hint = f"m means minutes; {hint}"
        raise UnitError(message, hint=hint)
    numbers = [number or "0" for number in found.groups()]
    if any(len(number) > _MOST_DIGITS for number in numbers):
        raise UnitError(f"duration {short(text)} is longer than 3650d", code="range")
    days, hours, minutes, seconds = map(int, numbers)
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise UnitError(f"duration {short(text)} is zero; it must be at least 1s", code="range")
    if total > MAX_DURATION // timedelta(seconds=1):
        raise UnitError(f"duration {short(text)} is longer than 3650d", code="range")
    return timedelta(seconds=total)


def with_units(number: str) -> str:
    """The hint for a number that was written without a unit; empty if one of these units would be wrong too."""
    hours = MAX_DURATION // timedelta(hours=1)
    possible = number.isdecimal() and len(number) <= _MOST_DIGITS and 0 < int(number) <= hours
    return f"write {number}s, {number}m or {number}h" if possible else ""


def _meant(text: str) -> timedelta | None:
    """What `1.5h`, `20 min`, `2 weeks`, `1h, 30m` or `1h30` probably stands for."""
    if bare := re.fullmatch(r"([0-9]+([hm]))([0-5]?[0-9])", text, re.IGNORECASE):
        text = f"{bare[1]}{bare[3]}{_NEXT_UNIT[bare[2].lower()]}"
    if len(text) > _LONGEST_NEARLY or re.sub(_DURATION_NEARLY, "", text, flags=re.IGNORECASE):
        return None
    parts = re.findall(_DURATION_NEARLY, text, re.IGNORECASE)
    if any(len(number) > _MOST_DIGITS for number, _ in parts):
        return None
    seconds = sum(Decimal(number) * _UNIT_SECONDS[unit[0].lower()] for number, unit in parts)
    whole = seconds == int(seconds) and 0 < seconds <= MAX_DURATION // timedelta(seconds=1)
    return timedelta(seconds=int(seconds)) if whole else None


def format_duration(duration: timedelta) -> str:
    """The shortest form that `parse_duration` reads back; a remainder below a second prints as a fraction."""
    if duration < timedelta(0):
        return "-" + format_duration(-duration)
    minutes, rest = divmod(duration, timedelta(minutes=1))
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    seconds = f"{rest.seconds}.{rest.microseconds:06d}".rstrip("0").rstrip(".") if rest.microseconds else rest.seconds
    parts = ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def format_seconds(seconds: float) -> str:
    """A limit in seconds, written as `format_duration` does: `0.5s`, `30s`, `1m30s`."""
    return format_duration(timedelta(seconds=seconds))


_ROUGH = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def rough(ms: float) -> str:
    """How long something took, as every face writes it: `411ms`, `1.1s`, `2m5s`, `1d3h`: at most two units."""
    if ms < 1_000:
        return f"{ms:.0f}ms" if ms else "0s"
    if ms < 10_000:
        return f"{ms / 1000:.1f}s"
    seconds = round(ms / 1000)
    place = next(place for place, (size, _) in enumerate(_ROUGH) if seconds >= size)
    parts = [(seconds // size, unit) for size, unit in _ROUGH[place : place + 1]]
    parts += [(seconds % _ROUGH[place][0] // size, unit) for size, unit in _ROUGH[place + 1 : place + 2]]
    return "".join(f"{number}{unit}" for number, unit in parts if number)


def rough_seconds(seconds: int) -> str:
    """How long ago or ahead something is, in its largest unit alone: `5s`, `3d`."""
    size, unit = next((each for each in _ROUGH if seconds >= each[0]), (1, "s"))
    return f"{seconds // size}{unit}"


def parse_size(value: str | int) -> int:
    """`256KiB`, `10MiB`, `1GiB`, `512B` or a plain number, in bytes; above zero.

    Raises: UnitError.
    """
    if isinstance(value, int):
        size = value
    else:
        found = _SIZE.fullmatch(value)
        if found is None:
            raise _size_error(value)
        # A number with too many digits is too large, whatever its exact value is.
        size = int(found[1]) * _UNITS[found[2]] if len(found[1]) <= _MOST_DIGITS else MAX_SIZE + 1
    if not 0 < size <= MAX_SIZE:
        raise UnitError(f"size {short(str(value))} is outside 1B-{format_size(MAX_SIZE)}", code="range")
    return size


def format_size(size: int) -> str:
    """In the largest unit that divides it, so that `parse_size` reads the same number back."""
    for unit, factor in reversed(_UNITS.items()):
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def _size_error(text: str) -> UnitError:
    message = f"{short(text)} is not a size; allowed: a number of bytes, or a whole number with KiB, MiB or GiB"
    return UnitError(message, hint=_meant_size(text) if len(text) <= _LONGEST_NEARLY else _SIZE_HINT)


def _meant_size(text: str) -> str:
    """The hint with exactly the size that was written: KB is 1,000 bytes and KiB 1,024, and a K alone may be either."""
    if plain := re.fullmatch(_BYTES_NEARLY, text, re.IGNORECASE):
        number, prefix, binary, unit = plain[1], "", "", plain[2]
    elif nearly := re.fullmatch(_SIZE_NEARLY, text, re.IGNORECASE):
        number, prefix, binary, unit = nearly.groups()
    else:
        return _SIZE_HINT
    power = _PREFIXES.find(prefix.upper()) + 1 if prefix else 0
    factors = [1024**power] if binary or not prefix else [1000**power] if unit else [1000**power, 1024**power]
    sizes = [Decimal(number) * factor for factor in factors]
    meant = [format_size(int(size)) for size in sizes if size == int(size) and 0 < size <= MAX_SIZE]
    if not meant:
        return _SIZE_HINT
    why = ""
    if len(factors) > 1:
        why = f"{prefix} alone is {factors[0]:,} or {factors[1]:,} bytes: "
    elif prefix and not binary:
        why = f"{prefix.upper()}B is {factors[0]:,} bytes: "
    if unit == "b":
        why += "b can mean bits; for bytes, "
    return f"{why}write {' or '.join(meant)}"
