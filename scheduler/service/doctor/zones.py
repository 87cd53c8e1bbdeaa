"""Are the rules of the time zones there, and of these years?"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
import re
import zoneinfo
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from scheduler.core.values.spec import Job, Settings
from scheduler.service.doctor.check import Check, names

_OLD_YEARS = 2  # governments change their clocks at a few months' notice
_HINT = "install the system's tzdata, or `pip install --upgrade tzdata` beside the scheduler"


def zones(settings: Settings, jobs: Iterable[Job], now: datetime) -> Iterator[Check]:
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


def rules() -> tuple[str, str]:
    """Where the rules come from, the system before the package, and their version, such as 2026f; empty: unknown."""
    for folder in map(Path, zoneinfo.TZPATH):
        if (folder / "UTC").exists() or (folder / "Etc/UTC").exists():
            return str(folder), _version(folder)
    try:
        import tzdata

        return "the Python package tzdata", str(tzdata.IANA_VERSION)
    except ImportError:
        return "nowhere", ""


def _version(folder: Path) -> str:
    for name in ("tzdata.zi", "+VERSION", "version"):
        try:
            with (folder / name).open(encoding="ascii", errors="replace") as file:
                first = file.readline(100)
        except OSError:
            continue
        if found := re.search(r"\d{4}[a-z]+", first):
            return found[0]
    return ""


def digest(names: Iterable[str]) -> str:
    """A digest of the rules of these zones as they are on this machine now: another one, where any has changed."""
    found = hashlib.sha256()
    for name in sorted(names):
        found.update(name.encode() + b"\0" + _bytes(name) + b"\0")
    return found.hexdigest()


def _bytes(name: str) -> bytes:
    """The compiled rules, from where `zoneinfo` takes them; empty if nowhere."""
    for folder in zoneinfo.TZPATH:
        with contextlib.suppress(OSError, ValueError):
            return (Path(folder) / name).read_bytes()
    with contextlib.suppress(ImportError, OSError, ValueError):
        return importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
    return b""
