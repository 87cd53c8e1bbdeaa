"""The window of time that an address asks for, and the windows beside it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from scheduler.core.values.instants import instant
from scheduler.core.values.problems import UsageError
from scheduler.core.values.units import UnitError, parse_duration


def length(query: Mapping[str, str]) -> timedelta | None:
    """`window`, such as 7d. Raises: UsageError."""
    try:
        return parse_duration(query["window"]) if query.get("window") else None
    except UnitError as error:
        raise UsageError(f"window: {error}", hint="write one such as ?window=7d") from None


def beside(start: datetime, end: datetime) -> dict[str, dict[str, str]]:
    """The parameters of the windows that are earlier, later, wider and narrower than this one."""
    half = (end - start) / 2
    found = {
        "earlier": (start - half, end - half),
        "later": (start + half, end + half),
        "wider": (start - 2 * half, end),
        "narrower": (start + half, end),
    }
    return {name: {"from": _text(first), "to": _text(last), "window": ""} for name, (first, last) in found.items()}


def _text(at: datetime) -> str:
    return instant(at.replace(microsecond=0))
