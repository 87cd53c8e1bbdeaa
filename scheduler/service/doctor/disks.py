"""Is there room on the disks, before there is none?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from scheduler.machine.disks import free_bytes, nearest_folder
from scheduler.service.doctor.check import Check

LITTLE_BYTES = 1024**3
LITTLE_SHARE = 0.05  # of a large disk: warn only where both are little
SCARCE_BYTES = 100 * 1024**2  # warn whatever its size; unless it is smaller than some times that by design
SMALL_BYTES = 5 * SCARCE_BYTES
LITTLE_FILES = 0.01


def check_disks(folders: Iterable[Path]) -> Iterator[Check]:
    """folders: those that are written to; of one that is not there yet, the one it will be in."""
    seen = set()
    fine = []
    for folder in map(nearest_folder, folders):
        device = folder.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        found = os.statvfs(folder)
        if found.f_flag & os.ST_RDONLY:
            hint = "mount it for writing, or name another folder with --state"
            yield Check("disk", "error", f"the file system of {folder} is read-only", hint)
            continue
        free, size = free_bytes(found), found.f_blocks * found.f_frsize
        if size and _is_little(free, size):
            hint = "outputs of runs are in `runs` of the state folder; without room nothing fires"
            yield Check("disk", "warning", f"{_size(free)} of {_size(size)} are free for {folder}", hint)
        elif found.f_files and found.f_favail < LITTLE_FILES * found.f_files:
            hint = "each run makes two files; without room for them nothing fires"
            yield Check("disk", "warning", f"{found.f_favail:,} more files fit on the disk of {folder}", hint)
        else:
            fine.append(f"{_size(free)} free for {folder}" if size else f"{folder} has no limit of its own")
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
