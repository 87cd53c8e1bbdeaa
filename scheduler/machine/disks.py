"""Free disk space: every claimed run must have room for its attempt, its output and its end."""

from __future__ import annotations

import errno
import os
from pathlib import Path

RESERVE_BYTES = 1024 * 1024
_PROBE_BYTES = 64 * 1024


def lack_of_room(*folders: Path) -> str:
    """Why no run may be claimed, or an empty string. The wording stays the same as long as the reason does.

    folders: where runs write. For a folder that does not exist yet, its nearest existing parent is checked.
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
        if found.f_blocks and free < RESERVE_BYTES:  # some file systems do not report their size
            return f"the disk of {there} is full: less than {RESERVE_BYTES // 1024} KiB are free"
        if found.f_files and not found.f_ffree:
            return f"the file system of {there} can hold no more files: it has no inodes left"
    return ""


def nearest_folder(folder: Path) -> Path:
    """The folder itself, or its nearest existing parent."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def free_bytes(found: os.statvfs_result, *, reserved: bool = False) -> int:
    """reserved: include the space reserved for root."""
    return (found.f_bfree if reserved else found.f_bavail) * found.f_frsize


def cannot_write(folder: Path) -> str:
    """Why no file can be created and written there, or an empty string. Tries it with an unnamed file."""
    try:
        file = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):  # no unnamed files here
            return ""
        return f"{folder} cannot be written: {error.strerror}"
    except AttributeError:  # nor does every system
        return ""
    try:
        os.write(file, bytes(_PROBE_BYTES))
        os.fsync(file)
    except OSError as error:
        return f"{folder} cannot be written: {error.strerror}"
    finally:
        os.close(file)
    return ""
