"""What is around every page: which root, how fresh, whether a daemon serves it, and what needs a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from scheduler.core.values.problems import UsageError
from scheduler.service.frame import Standing, standing
from scheduler.service.root import Root


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    root: str
    now: datetime
    zone: str  # in which times are shown; empty: each job's own
    standing: Standing
    query: dict[str, str]  # of the address


def frame(root: Root, query: Mapping[str, str]) -> Frame:
    """Raises: UsageError for an unknown zone."""
    zone = zone_in(query)
    return Frame(
        root=str(root.place.label), now=root.clock.now(), zone=zone, standing=standing(root), query=dict(query)
    )


def zone_in(query: Mapping[str, str]) -> str:
    """`tz`; empty for each job's own. Raises: UsageError."""
    zone = query.get("tz", "")
    try:
        if zone:
            ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError("tz is not a known time zone", hint="write one such as ?tz=UTC or ?tz=Europe/Berlin") from None
    return zone
