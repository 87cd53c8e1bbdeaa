"""Room on disks: a claim that is made must find space for its attempt, its output and its end."""

from __future__ import annotations

import errno
import os
from pathlib import Path

RESERVE_BYTES = 1024 * 1024
_PROBE_BYTES = 64 * 1024


def lack_of_room(*folders: Path) -> str:
    """Why no run should be claimed, in words that stay the same as long as the reason does; empty if one may be.

    folders: where runs write. One that is not there yet is asked for by the nearest one above it.
    """
    for folder in folders:
        there = nearest_folder(folder)
        try:
            found = os.statvfs(there)
        except OSError as error:
            return f"{there} cannot be used: {error.strerror}"
        if found.f_flag & os.ST_RDONLY:
            return f"{there} is on a read-only file system"
        if not os.access(there, os.W_OK | os.X_OK):
            return f"{there} is not writable"
        free = free_bytes(found, reserved=os.geteuid() == 0)
        if found.f_blocks and free < RESERVE_BYTES:  # some file systems do not say how large they are
            return f"the disk of {there} is full: less than {RESERVE_BYTES // 1024} KiB are free"
        if found.f_files and not found.f_ffree:
            return f"the file system of {there} can hold no more files: it has no inodes left"
    return ""


def nearest_folder(folder: Path) -> Path:
    """The folder, or the one above it that it will be in."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def free_bytes(found: os.statvfs_result, *, reserved: bool = False) -> int:
    """reserved: with what is kept back for root."""
    return (found.f_bfree if reserved else found.f_bavail) * found.f_frsize


def cannot_write(folder: Path) -> str:
    """Why no file can be made and written there; empty if one can. Tries it with one that has no name."""
    try:
        file = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):  # not every file system has such files
            return ""
        return f"{folder} cannot be written: {error.strerror}"
    except AttributeError:  # nor has every system
        return ""
    try:
        os.write(file, bytes(_PROBE_BYTES))
        os.fsync(file)
    except OSError as error:
        return f"{folder} cannot be written: {error.strerror}"
    finally:
        os.close(file)
    return ""
