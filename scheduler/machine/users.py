"""Facts about this machine: the current user, its users and programs, and its time zone."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

from scheduler.core.times.fires import zone_of

_UTC = ("Etc/UTC", "Etc/UCT", "UCT", "Etc/Zulu", "Zulu", "Etc/Universal", "Universal")


def me() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    return True


def is_program(name: str) -> bool:
    return shutil.which(name) is not None


def local_zone(environ: Mapping[str, str]) -> str | None:
    """The IANA name of the time zone that this machine's cron uses, or None if unknown."""
    names = []
    named = environ.get("TZ", "").removeprefix(":")
    if named:
        names.append(named)
    else:
        with contextlib.suppress(OSError):
            real = os.path.realpath("/etc/localtime")
            names.append(real.partition("/zoneinfo/")[2])
        with contextlib.suppress(OSError):
            names.append(Path("/etc/timezone").read_text().strip())
        if not os.path.lexists("/etc/localtime"):
            names.append("UTC")  # as the C library does
    for name in names:
        try:
            zone_of(name)
            ZoneInfo(name)
        except (ValueError, OSError):
            continue
        return "UTC" if name in _UTC else name
    return None
