"""Facts about processes from /proc (proc(5)). There are none without /proc, as on macOS."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

_STARTS_WITHIN_S = 1.0
_STAT_BYTES = 4096  # more than its 52 numbers and a name of at most 64 bytes take
_LOOKS = 3  # at a process that shows no environment and is not starting a program


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of proc_pid_stat(5) that are used here."""

    pid: int
    state: str  # one letter
    group: int
    started: int  # clock ticks after boot
    has_memory: bool
    has_environ: bool

    @property
    def is_zombie(self) -> bool:
        return self.state in ("Z", "X")


def stat_of(pid: int) -> Stat | None:
    """The stat of a process, or None if it is gone."""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)  # a Path takes as long again: every run asks
    except OSError:
        return None
    try:
        data = os.read(file, _STAT_BYTES)
    except OSError:  # gone meanwhile
        return None
    finally:
        os.close(file)
    # The command name may hold spaces and parentheses: count fields after the last one.
    fields = data.rpartition(b")")[2].split()
    return Stat(
        pid=pid,
        state=fields[0].decode(),
        group=int(fields[2]),
        started=int(fields[19]),
        has_memory=fields[20] != b"0",
        has_environ=fields[48:49] != [b"0"],
    )


def is_living(pid: int) -> bool:
    """True if a process may still act. A zombie cannot, nor can one that has already lost its memory."""
    stat = stat_of(pid)
    return stat is not None and stat.has_memory and not stat.is_zombie


def is_dying(pid: int) -> bool:
    """True if a process has lost its memory and is not a zombie yet: its children still have it as their parent."""
    stat = stat_of(pid)
    return stat is not None and not stat.has_memory and not stat.is_zombie


def group_of(pid: int) -> int | None:
    """The process group, or None if the process is gone."""
    stat = stat_of(pid)
    return None if stat is None else stat.group


def started_at(pid: int) -> int | None:
    """When a process started, in clock ticks after boot; None if it is gone, or without /proc."""
    stat = stat_of(pid)
    return None if stat is None else stat.started


def ticks_since_boot() -> int:
    """Now, as `started_at` counts: a process that starts later is not older."""
    since_boot = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return int(time.clock_gettime(since_boot) * os.sysconf("SC_CLK_TCK"))


def every_pid() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - ten times faster than paths
    return []


def all_pids(listed: Callable[[], Sequence[int]] = every_pid) -> Iterator[int]:
    """Every process. Lists again until nothing new appears.

    A process that ended after it was listed may have left children that the list did not contain yet.
    """
    known: set[int] = set()
    while new := [pid for pid in listed() if pid not in known]:
        known.update(new)
        yield from new


def stats() -> Iterator[Stat]:
    return filter(None, map(stat_of, all_pids()))


def environ_of(pid: int) -> set[bytes] | None:
    """The environment that a process was started with; empty if it has ended, None if it is another user's."""
    path, give_up, looks = Path(f"/proc/{pid}/environ"), monotonic() + _STARTS_WITHIN_S, 0
    try:
        # The kernel shows an empty environment during execve(2), and for memory that the process left after the file
        # was opened. That says nothing about its owner, so look again.
        while not (read := path.read_bytes()) and looks < _LOOKS and monotonic() < give_up:
            looks = 0 if _is_starting(pid) else looks + 1
    except PermissionError:
        return None
    except OSError:
        return set()
    return set(read.split(b"\0"))


def _is_starting(pid: int) -> bool:
    """True in the middle of execve(2): the process has memory, but no environment in it yet."""
    stat = stat_of(pid)
    return stat is not None and stat.has_memory and not stat.has_environ


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
