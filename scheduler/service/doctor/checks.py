"""What doctor checks on the machine: clock, disks, programs of runners, time zones."""

from __future__ import annotations

import os
import re
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from scheduler.control.client import answer_of
from scheduler.control.daemon_lock import Holder
from scheduler.core.times.clocks import JUMP, NOT_BEFORE, ClockReading
from scheduler.core.values.channels import ChannelKind
from scheduler.core.values.facts import Job
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import UsageError
from scheduler.core.values.settings import Settings
from scheduler.core.values.texts import names
from scheduler.ledger.clock_steps import Clocked
from scheduler.machine.disks import free_bytes, lack_of_room, nearest_folder
from scheduler.machine.timesync import is_synchronized
from scheduler.machine.zones import rules
from scheduler.run.local.prepare import troubles

BACK = timedelta(minutes=1)  # a correction is smaller than this
LITTLE_BYTES = 1024**3
LITTLE_SHARE = 0.05  # of a large disk: warn only if both are low
SCARCE_BYTES = 100 * 1024**2  # warn whatever the size of the disk, unless the disk is only a few times larger by design
SMALL_BYTES = 5 * SCARCE_BYTES
LITTLE_FILES = 0.01
OLD_YEARS = 2  # governments change their clocks at a few months' notice
HINT = "install the system's tzdata package, or run `pip install --upgrade tzdata` in the scheduler's environment"


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    status: Literal["ok", "warning", "error"]
    message: str
    hint: str = ""


def check_clock(reading: ClockReading, left: Clocked | None) -> Iterator[Check]:
    """left: the clock of those who wrote to the database, or None if there is none."""
    now = reading.wall
    if now < NOT_BEFORE:
        yield Check(
            "clock",
            "error",
            f"the clock says {_second(now)}, which is impossible",
            "set the clock; nothing fires until then",
        )
        return
    newest = None if left is None else left.newest
    if newest is not None and newest - now > BACK:
        hint = "set the clock if it is wrong; if not, the next `scheduler serve` or `sync` corrects the database"
        yield Check(
            "clock",
            "error",
            f"the clock says {_second(now)}, but the newest database entry is from {_second(newest)}",
            hint,
        )
        return
    boot = None if left is None else left.boot
    if boot is not None and boot.boot_id is not None and boot.boot_id == reading.boot_id:
        gain = reading.booted_at - boot.booted_at
        if gain > JUMP:
            hint = "set the clock if it is wrong; firing resumes once it is known to be right, or after two minutes"
            ahead = timedelta(seconds=round(gain.total_seconds()))
            said = f"the clock has jumped ahead by {ahead} since the machine started"
            yield Check("clock", "error", f"{said}, to {_second(now)}", hint)
            return
    synchronized = is_synchronized()
    if synchronized is False:
        # chronyd corrects the clock without this and does not touch the kernel's flag.
        hint = "run systemd-timesyncd, ntpd, or chrony; chrony reports to the kernel only with `rtcsync`"
        yield Check("clock", "warning", "the clock is not synchronised (no NTP)", hint)
    else:
        kept = "synchronised" if synchronized else "this system does not say whether it is synchronised"
        yield Check("clock", "ok", f"{_second(now)}; {kept}")


def _second(at: datetime) -> str:
    return instant(at.replace(microsecond=0))


def check_disks(folders: Iterable[Path]) -> Iterator[Check]:
    """folders: those that are written to. For a folder that does not exist yet, its future parent is checked."""
    seen = set()
    fine = []
    for folder in map(nearest_folder, folders):
        device = folder.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        found = os.statvfs(folder)
        if found.f_flag & os.ST_RDONLY:
            hint = "remount it read-write, or choose another folder with --state"
            yield Check("disk", "error", f"the file system of {folder} is read-only", hint)
            continue
        if full := lack_of_room(folder):
            yield Check("disk", "error", full, "free some space; nothing fires until then")
            continue
        free, size = free_bytes(found), found.f_blocks * found.f_frsize
        if size and _is_little(free, size):
            hint = "captured output is in `runs` in the state folder; nothing fires once the disk is full"
            yield Check("disk", "warning", f"{_size(free)} of {_size(size)} are free on the disk of {folder}", hint)
        elif found.f_files and found.f_favail < LITTLE_FILES * found.f_files:
            hint = "delete some files; each run creates two, and nothing fires if it cannot"
            yield Check("disk", "warning", f"only {found.f_favail:,} more files fit on the disk of {folder}", hint)
        else:
            fine.append(
                f"{_size(free)} free on the disk of {folder}"
                if size
                else f"the file system of {folder} reports no size limit"
            )
    if fine:
        yield Check("disk", "ok", "; ".join(fine))


def _is_little(free: int, size: int) -> bool:
    if size < SMALL_BYTES:
        return free < size * LITTLE_SHARE * 2
    return free < SCARCE_BYTES or (free < LITTLE_BYTES and free < size * LITTLE_SHARE)


def _size(n: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if n >= 10 or unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:,.1f} TiB"


def check_runners(
    settings: Settings, jobs: Iterable[Job], root: Path, environ: Mapping[str, str], holder: Holder | None
) -> Iterator[Check]:
    """holder: the daemon to ask. With None, judge by our own environment."""
    used: dict[str, list[str]] = {}
    for job in jobs:
        if not job.archived and job.file.spec.enabled:
            used.setdefault(job.file.spec.runner, []).append(job.id)
    whose, found = "in this environment", troubles(settings, root, environ)
    if holder is not None:
        try:
            whose, found = "in the daemon's environment", answer_of(holder, "runners")["runners"]
        except UsageError:  # a daemon of an earlier version does not know this request
            whose += ", which may not be the daemon's"
    ill = False
    for name, of in found.items():
        need = f"used by {names(used[name])}" if name in used else "no job uses it"
        for fault in of["faults"]:
            ill = True
            yield Check("runners", "error" if name in used else "warning", f"{name}: {fault}", f"{whose}; {need}")
        if of["lacks"]:
            # It starts without them, for example with only one provider's key: only the runner knows what it needs.
            ill = True
            yield Check(
                "runners",
                "warning",
                f"{name}: env_from variables not set {whose}: {', '.join(of['lacks'])}",
                f"set them in the environment of the daemon, or remove them from env_from; {need}",
            )
    if not ill:
        yield Check("runners", "ok", f"{len(found)} can start {whose}" if found else "scheduler.yaml has no runners")


def check_channels(settings: Settings, jobs: Iterable[Job]) -> Iterator[Check]:
    """Whether somebody hears of the root, and the extra package for channels with a url is installed."""
    named = {name for job in jobs if not job.archived and job.file.spec.enabled for name in job.file.spec.deliver}
    if named and not settings.alerts.deliver:
        first = min(named)
        message = "jobs deliver messages, but nobody is told of an error in a file or a daemon that does not fire"
        yield Check("alerts", "warning", message, f"add `alerts: {{deliver: [{first}]}}` to scheduler.yaml")
    channels = sorted(name for name, each in settings.channels.items() if each.kind is ChannelKind.URL)
    if not channels:
        return
    if find_spec("apprise") is not None:
        yield Check("channels", "ok", "the package for channels with a url is installed")
        return
    used = [name for name in channels if name in named or name in settings.alerts.deliver]
    message = f"nothing can be sent to {names(used or channels)}: the package for channels with a url is not installed"
    hint = "run `pip install 'gitops-scheduler[notify]'` in the scheduler's environment, and restart the daemon"
    yield Check("channels", "error" if used else "warning", message, hint)


def check_zones(settings: Settings, jobs: Iterable[Job], now: datetime) -> Iterator[Check]:
    used: dict[str, list[str]] = {settings.timezone: ["scheduler.yaml"]}
    for job in jobs:
        if not job.archived:
            for entry in job.file.spec.schedule.entries:
                used.setdefault(entry.timezone, []).append(job.id)
    unknown = {name: who for name, who in sorted(used.items()) if not _is_known(name)}
    for name, who in unknown.items():
        yield Check("zones", "error", f"this system has no time zone data for {name}, used by {names(who)}", HINT)
    if unknown:
        return
    source, version = rules()
    said = f"time zone data {version or 'of an unknown version'} from {source}"
    year = re.match(r"\d{4}", version)
    if year is not None and now.year - int(year[0]) >= OLD_YEARS:
        yield Check("zones", "warning", f"{said} is old: a country may have changed its clocks since", HINT)
    else:
        yield Check("zones", "ok", said)


def _is_known(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo.no_cache(name)  # the cache could return a zone whose file is gone
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
