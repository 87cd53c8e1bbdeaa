"""What is around every page: which root, how fresh, whether a daemon serves it, and what needs a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from scheduler.core.times.fires import zone_of
from scheduler.core.values.problems import UsageError
from scheduler.core.values.texts import InputError, short
from scheduler.service.frame import Standing, standing
from scheduler.service.instants import root_zone
from scheduler.service.root import Root
from scheduler.web.links import ZONE, Links


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    root: str
    now: datetime
    zone: str  # in which times are shown; empty: each job's own
    root_zone: str  # in which times are shown that belong to no job, unless `zone` says another
    standing: Standing
    query: dict[str, str]  # of the address
    whole: bool = True  # the page is for somebody who sees all jobs


def frame(root: Root, query: Mapping[str, str], *, whole: bool = True) -> Frame:
    """Raises: UsageError for an unknown zone."""
    return Frame(
        root=str(root.place.label),
        now=root.clock.now(),
        zone=zone_in(query),
        root_zone=root_zone(root),
        standing=standing(root),
        query=dict(query),
        whole=whole,
    )


def links_in(query: Mapping[str, str]) -> Links:
    """Links that keep the zone of an address. Raises: UsageError for an unknown one."""
    return Links(zone_in(query))


def zone_in(query: Mapping[str, str]) -> str:
    """The zone that an address asks for; empty if it asks for none. Raises: UsageError for an unknown one."""
    zone = query.get(ZONE, "")
    try:
        return zone_of(zone).key if zone else ""
    except InputError as error:
        hint = f"{error.hint} For example: ?tz=UTC or ?tz=Europe/Berlin"
        raise UsageError(f"tz={short(zone)} is not a known time zone", hint=hint.strip()) from None
