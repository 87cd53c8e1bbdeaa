"""Are the rules of the time zones there, and of these years?"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable, Iterator
from datetime import datetime

from scheduler.core.values.facts import Job
from scheduler.core.values.settings import Settings
from scheduler.core.values.texts import names
from scheduler.machine.zones import rules
from scheduler.service.doctor.check import Check

_OLD_YEARS = 2  # governments change their clocks at a few months' notice
_HINT = "install the system's tzdata, or `pip install --upgrade tzdata` beside the scheduler"


def check_zones(settings: Settings, jobs: Iterable[Job], now: datetime) -> Iterator[Check]:
    used: dict[str, list[str]] = {settings.timezone: ["scheduler.yaml"]}
    for job in jobs:
        if not job.archived:
            for entry in job.file.spec.schedule.entries:
                used.setdefault(entry.timezone, []).append(job.id)
    unknown = {name: who for name, who in sorted(used.items()) if not _is_known(name)}
    for name, who in unknown.items():
        yield Check("zones", "error", f"the rules of {name} are not to be had here; used by {names(who)}", _HINT)
    if unknown:
        return
    source, version = rules()
    said = f"rules {version or 'of an unknown version'}, from {source}"
    year = re.match(r"\d{4}", version)
    if year is not None and now.year - int(year[0]) >= _OLD_YEARS:
        yield Check("zones", "warning", f"{said}, are old: clocks may have been changed since", _HINT)
    else:
        yield Check("zones", "ok", said)


def _is_known(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo.no_cache(name)  # the cache would know one whose file is gone by now
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
