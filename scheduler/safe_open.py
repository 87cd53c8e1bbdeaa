"""Reading a file of the root without ever leaving it, blocking, or seeing it half written (design F2)."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.models import Fault

_ATTEMPTS = 4
_PAUSE_S = 0.02  # between attempts, growing: an editor's save takes a few milliseconds
_CHUNK = 1024 * 1024
# A folder is only passed through, so leave to search it is enough; macOS knows no O_PATH.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file as it stood, whole."""

    path: str  # root-relative POSIX path without symlinks
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def read_file(root: Path, path: str, *, limit: int, forbidden: Path | None = None) -> bytes | Fault:
    """The bytes of a file below `root`, or why not; see `read_source`."""
    found = read_source(root, path, limit=limit, forbidden=forbidden)
    return found if isinstance(found, Fault) else found.data


def read_source(root: Path, path: str, *, limit: int, forbidden: Path | None = None) -> Source | Fault:
    """A regular file of at most `limit` bytes, unchanged while it was read, with its real path; or why not.

    path: root-relative POSIX path. A symlink is followed as long as its real path stays below the root and, like
    the path itself, has no component that starts with a dot.
    forbidden: a folder, such as the state folder, from which nothing may be read, under whatever name.

    Opens one component at a time and follows no link on the way, so a folder swapped for a link meanwhile
    leads nowhere. Fault reasons: source_missing, source_outside_root, source_not_regular, source_denied,
    source_too_large, source_changed, source_unreadable. No message holds any of the file's content.
    """
    if refused := _refused(path, path):
        return refused
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S * attempt)
        try:
            found = _read_once(root, path, limit, forbidden)
        except _RacedError:
            continue
        except (OSError, ValueError) as error:
            return _fault(path, error)
        return found
    return Fault(reason="source_changed", message=f"{path!r} kept changing while it was read")


class _RacedError(Exception):
    """The file, or the way to it, changed under us: look again."""


def _refused(path: str, real: str) -> Fault | None:
    via = "" if real == path else f", a link to {real!r},"
    parts = real.split("/")
    if real.startswith("/") or ".." in parts:
        return Fault(reason="source_outside_root", message=f"{path!r}{via} leads outside the root")
    if any(not part or part.startswith(".") for part in parts):
        return Fault(
            reason="source_outside_root",
            message=f"{path!r}{via} has an empty or hidden component; only plain root-relative paths are read",
        )
    return None


def _read_once(root: Path, path: str, limit: int, forbidden: Path | None) -> Source | Fault:
    real = path
    found = _open(root, real, forbidden)
    if found is None:  # a symlink somewhere: take the way it really leads, again without following any
        top = os.path.realpath(root)
        real = os.path.relpath(_real(f"{top}/{path}"), top)
        if refused := _refused(path, real):
            return refused
        found = _open(root, real, forbidden)
        if found is None:
            raise _RacedError
    if isinstance(found, Fault):
        return found
    try:
        before = os.fstat(found)
        if not stat.S_ISREG(before.st_mode):
            raise _RacedError  # it was regular a moment ago
        data = _read(found, limit + 1)
        if len(data) > limit:
            return Fault(reason="source_too_large", message=f"{path!r} is larger than {limit:,} bytes")
        if _mark(os.fstat(found)) != _mark(before) or len(data) != before.st_size:
            raise _RacedError
    finally:
        os.close(found)
    # An editor that saves by rename leaves the open file as it was: the bytes must still be the path's.
    try:
        again = _open(root, real, forbidden)
    except OSError:
        raise _RacedError from None
    if not isinstance(again, int):
        raise _RacedError
    try:
        if _mark(os.fstat(again)) != _mark(before):
            raise _RacedError
    finally:
        os.close(again)
    return Source(path=real, data=data)


def _mark(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _read(file: int, limit: int) -> bytes:
    chunks = []
    while limit > 0 and (chunk := os.read(file, min(limit, _CHUNK))):
        chunks.append(chunk)
        limit -= len(chunk)
    return b"".join(chunks)


def _real(path: str) -> str:
    try:
        return os.path.realpath(path, strict=True)
    except FileNotFoundError:
        return os.path.realpath(path)  # a link that dangles: inside it is missing, outside it is outside


def _open(root: Path, path: str, forbidden: Path | None) -> int | Fault | None:
    """An open regular file, why not, or None if a symlink stands in the way. Raises OSError."""
    *folders, name = path.split("/")
    closed = _identity(forbidden)
    here = os.open(root, _FOLDER & ~os.O_NOFOLLOW)  # the root itself may be reached by a link
    try:
        for folder in folders:
            mode = os.stat(folder, dir_fd=here, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                return None
            if not stat.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            below = _open_unswapped(folder, _FOLDER, here)
            os.close(here)
            here = below
            if closed is not None and closed == _identity(here):
                return Fault(reason="source_outside_root", message=f"{path!r} lies in the state folder")
        # Looked at before it is opened: opening a device can already do something.
        mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            return None
        if not stat.S_ISREG(mode):
            return Fault(reason="source_not_regular", message=f"{path!r} is {_kind(mode)}, not a regular file")
        return _open_unswapped(name, _FILE, here)
    finally:
        os.close(here)


def _open_unswapped(name: str, flags: int, here: int) -> int:
    """Raises _RacedError where the name, no symlink when it was looked at, is one by now."""
    try:
        return os.open(name, flags, dir_fd=here)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _RacedError from None
        raise


def _identity(folder: Path | int | None) -> tuple[int, int] | None:
    """By inode: a case-insensitive file system and a bind mount have other names for the same folder."""
    if folder is None:
        return None
    try:
        found = os.stat(folder)  # noqa: PTH116 - an open folder or a path
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _fault(path: str, error: OSError | ValueError) -> Fault:
    if not isinstance(error, OSError):  # NUL, or a character no file name can hold
        return Fault(reason="source_unreadable", message=f"{path!r} is not a possible file name")
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return Fault(reason="source_missing", message=f"{path!r} does not exist")
        case errno.EACCES | errno.EPERM:
            return Fault(reason="source_denied", message=f"{path!r} may not be read: permission denied")
        case _:
            return Fault(reason="source_unreadable", message=f"{path!r} cannot be read: {error.strerror}")
