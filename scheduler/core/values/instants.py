"""Instants and durations as text and numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_MILLISECOND = timedelta(milliseconds=1)


def instant(at: datetime) -> str:
    """RFC 3339 in UTC with `Z`; whole seconds print without a fraction."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return at.isoformat()[:-6] + "Z"  # without +00:00


def parse_instant(text: str) -> datetime:
    """The inverse of `instant`. Raises ValueError for an instant without an offset."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is UTC:
        return at
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is outside the years 1 to 9999") from None


def on_the_clock(at: datetime, timezone: str) -> tuple[datetime, str]:
    """An instant in a zone, and the zone's name. At the calendar's ends, where the zone has no date for it, in UTC."""
    try:
        return at.astimezone(ZoneInfo(timezone)), timezone
    except OverflowError:
        return at.astimezone(UTC), "UTC"


def milliseconds(duration: timedelta) -> int:
    return round(duration / _MILLISECOND)
