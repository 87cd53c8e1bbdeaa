"""Durations and sizes as people write them: `1h30m`, `256KiB`."""

from __future__ import annotations

import re
from datetime import timedelta

from scheduler.core.texts import short

MAX_DURATION = timedelta(days=3650)  # far below what timedelta or a database integer can hold
MAX_SIZE = 2**50

# Told to editors by the JSON Schema; all but the upper limits.
DURATION_PATTERN = r"^(?=[0-9])(?=.*[1-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
SIZE_PATTERN = r"^(?=.*[1-9])[0-9]+ ?(B|KiB|MiB|GiB)$"

_DURATION = re.compile(r"(?=[0-9])(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?")
_SIZE = re.compile(r"([0-9]+) ?(B|KiB|MiB|GiB)")
_SIZE_NEARLY = re.compile(r"([0-9]+) ?([kmg])i?b?", re.IGNORECASE)
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_MOST_DIGITS = 18  # int() refuses absurdly long digit strings with an error of its own


class UnitError(ValueError):
    """A duration or size that cannot be read. `code` ends a problem code: `invalid` or `range`."""

    def __init__(self, message: str, *, hint: str = "", code: str = "invalid") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


def parse_duration(text: str) -> timedelta:
    """`90s`, `20m`, `2h`, `1d` or a sum in that order of size, `1h30m`: whole seconds, above zero, at most ten years.

    Raises: UnitError.
    """
    if text.isascii() and text.isdecimal():
        raise UnitError(f"duration {text!r} has no unit", hint=f"write {text}s, {text}m or {text}h")
    found = _DURATION.fullmatch(text)
    if found is None:
        raise UnitError(
            f"{short(text)} is not a duration; allowed are whole numbers with d, h, m, s, largest first",
            hint="write one like 90s, 20m, 2h, 1d or 1h30m",
        )
    numbers = [number or "0" for number in found.groups()]
    if any(len(number) > _MOST_DIGITS for number in numbers):
        raise UnitError(f"duration {short(text)} is over 3650d", code="range")
    days, hours, minutes, seconds = map(int, numbers)
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise UnitError(f"duration {short(text)} is zero; it must be at least 1s", code="range")
    if total > MAX_DURATION // timedelta(seconds=1):
        raise UnitError(f"duration {short(text)} is over 3650d", code="range")
    return timedelta(seconds=total)


def format_duration(duration: timedelta) -> str:
    """The shortest form that `parse_duration` reads back; a rest below a second prints as a fraction."""
    if duration < timedelta(0):
        return "-" + format_duration(-duration)
    minutes, rest = divmod(duration, timedelta(minutes=1))
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    seconds = f"{rest.seconds}.{rest.microseconds:06d}".rstrip("0").rstrip(".") if rest.microseconds else rest.seconds
    parts = ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def parse_size(value: str | int) -> int:
    """`256KiB`, `10MiB`, `1GiB`, `512B` or a plain number, in bytes; above zero.

    Raises: UnitError.
    """
    if isinstance(value, int):
        size = value
    else:
        found = _SIZE.fullmatch(value)
        if found is None or len(found[1]) > _MOST_DIGITS:
            raise _size_error(value)
        size = int(found[1]) * _UNITS[found[2]]
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
    message = f"{short(text)} is not a size; allowed are a number of bytes, or a whole number with KiB, MiB or GiB"
    nearly = _SIZE_NEARLY.fullmatch(text)
    if nearly is None:
        return UnitError(message, hint="write one like 256KiB or 10MiB")
    return UnitError(message, hint=f"write {nearly[1][:_MOST_DIGITS]}{nearly[2].upper()}iB")
