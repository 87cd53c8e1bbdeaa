"""Processes of this machine: told apart from later ones with the same pid, and killed with their groups."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scheduler.machine.clock import boot_id
from scheduler.machine.orphans import carried_by
from scheduler.machine.proc import Stat, environ_of, started_at, stat_of, stats

_PATIENCE_S = 1.0
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A child. Its start time and the boot id tell it from a later process with the same pid."""

    pid: int
    started: int | None  # clock ticks after boot
    boot_id: str | None


def identify(pid: int) -> Process:
    """Record what identifies this child. Without Linux's /proc only the pid is known."""
    return Process(pid=pid, started=started_at(pid), boot_id=boot_id())


def end_group_of(process: Process) -> bool:
    """Kill the process and its group, if it is still the same process. Returns whether it was."""
    if process.started is None or process.boot_id != boot_id():
        return False
    leader = stat_of(process.pid)
    if leader is None or leader.started != process.started:
        return False
    _kill_group(process.pid)
    return True


def end_processes(process: Process | None, told: Mapping[str, str], *, root_below: Path | None = None) -> list[int]:
    """Kill the processes that a dead owner's run left behind. Returns the pids of those that survived.

    process: the run's child, if the owner could still record it. Until that child is reaped, its pid is also the
    number of its group. After that the number may belong to anyone. Then processes are found by `told`, the
    environment entries that identify the run; so are those that left the group. Without /proc nothing is killed.
    root_below: the parent folder of its SCHEDULER_ROOT, where each commit has its own.
    """
    if process is not None:
        end_group_of(process)
    wanted = carried_by(told)
    if wanted is None:
        return []
    start = None if root_below is None else b"SCHEDULER_ROOT=" + os.fsencode(root_below) + b"/"
    give_up = time.monotonic() + _PATIENCE_S
    while left := [each for each in stats() if _carries(each, wanted, start)]:
        for group in {each.group for each in left}:
            _kill_group(group)
        if time.monotonic() > give_up:
            break
        time.sleep(_LOOK_S)  # the next look finds what they started while they ended
    return [each.pid for each in left]


def _carries(stat: Stat, wanted: set[bytes], start: bytes | None) -> bool:
    if stat.group in (1, os.getpgrp()) or stat.is_zombie:
        return False
    found = environ_of(stat.pid) or set()
    return wanted <= found and (start is None or any(each.startswith(start) for each in found))


def is_stopped(pid: int) -> bool:
    """True if a signal or a debugger stopped the process. Always False without /proc."""
    stat = stat_of(pid)
    return stat is not None and stat.state in ("T", "t")


def has_living_member(group: int) -> bool:
    """True if a group has members other than zombies, which a container may never reap (proc(5)).

    Always True without /proc: macOS reaps its orphans.
    """
    stat = None
    for stat in stats():
        if stat.group == group and not stat.is_zombie:
            return True
    return stat is None


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
