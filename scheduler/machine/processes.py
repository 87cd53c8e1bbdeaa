"""Processes of this machine: told apart from later ones with the same pid, and ended with their groups."""

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
    """A child, told from a later one with the same pid by when it and the machine started."""

    pid: int
    started: int | None  # clock ticks after boot
    boot_id: str | None


def identify(pid: int) -> Process:
    """What tells this child from a later process with its pid; without Linux's /proc only the pid is known."""
    return Process(pid=pid, started=started_at(pid), boot_id=boot_id())


def end_group_of(process: Process) -> bool:
    """Kills the process and its group, if it still lives and is no later one with its pid; whether that was so."""
    if process.started is None or process.boot_id != boot_id():
        return False
    leader = stat_of(process.pid)
    if leader is None or leader.started != process.started:
        return False
    _kill_group(process.pid)
    return True


def end_processes(process: Process | None, told: Mapping[str, str], *, root_below: Path | None = None) -> list[int]:
    """Kills what a dead owner's run has left behind; the pids of what lives on all the same.

    process: its child, where the owner could still note it. While that child lives, or nobody has reaped it, its
    pid is its group's number. Once it is gone the number may be anybody's: then a process is known by
    `told`, what the run has put into its environment, and so is what has left the group. Without /proc nothing is
    killed.
    root_below: the folder in which its SCHEDULER_ROOT was, where that is another one for each commit.
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
        time.sleep(_LOOK_S)  # what one of them has started as it ended is found by the next look
    return [each.pid for each in left]


def _carries(stat: Stat, wanted: set[bytes], start: bytes | None) -> bool:
    if stat.group in (1, os.getpgrp()) or stat.is_zombie:
        return False
    found = environ_of(stat.pid) or set()
    return wanted <= found and (start is None or any(each.startswith(start) for each in found))


def is_stopped(pid: int) -> bool:
    """Whether it was stopped by a signal or a debugger, as far as /proc tells: False elsewhere."""
    stat = stat_of(pid)
    return stat is not None and stat.state in ("T", "t")


def has_living_member(group: int) -> bool:
    """Whether more than zombies is left of a group: in a container nobody may ever reap those (proc(5)).

    True where there is no /proc to ask: macOS reaps its orphans.
    """
    stat = None
    for stat in stats():
        if stat.group == group and not stat.is_zombie:
            return True
    return stat is None


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
