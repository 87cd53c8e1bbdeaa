"""Whether there is room for a run: a claim that is made must find space for its attempt, its output and its end."""

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
        there = folder
        while not there.exists() and there != there.parent:
            there = there.parent
        try:
            found = os.statvfs(there)
        except OSError as error:
            return f"{there} cannot be used: {error.strerror}"
        if found.f_flag & os.ST_RDONLY:
            return f"{there} is on a read-only file system"
        if not os.access(there, os.W_OK | os.X_OK):
            return f"{there} is not writable"
        free = (found.f_bfree if os.geteuid() == 0 else found.f_bavail) * found.f_frsize
        if found.f_blocks and free < RESERVE_BYTES:  # some file systems do not say how large they are
            return f"the disk of {there} is full: less than {RESERVE_BYTES // 1024} KiB are free"
        if found.f_files and not found.f_ffree:
            return f"the file system of {there} can hold no more files: it has no inodes left"
    return ""


def cannot_write(folder: Path) -> str:
    """Why no file can be made and written there; empty if one can. Tries it with one that has no name."""
    try:
        file = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        known = error.errno not in (
            errno.EOPNOTSUPP,
            errno.EISDIR,
            errno.EINVAL,
        )  # not every file system has such files
        return f"{folder} cannot be written: {error.strerror}" if known else ""
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
