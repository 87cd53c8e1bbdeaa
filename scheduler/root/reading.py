"""Reading a file of the root without leaving the root, blocking, or seeing the file half written (design F2)."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.values.facts import Fault

_ATTEMPTS = 4
_PAUSE_S = 0.02  # between attempts, growing: an editor saves in a few milliseconds
_CHUNK = 1024 * 1024
# Folders are only passed through, so search permission is enough. macOS has no O_PATH.
FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Identities = frozenset[tuple[int, int]]  # device and inode of each


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file as it was, complete."""

    path: str  # root-relative POSIX path without symlinks: the name the file is known by
    data: bytes
    real: str  # the same with the version folders of a mounted volume (ADR 13): git may know it by this
    stands_for: str | None = None  # in a commit, for a Git LFS pointer: the sha256 of the content that it points to
    executable: bool = False  # by its owner: the only part of a mode that git keeps

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def read_file(root: Path, path: str, *, limit: int, forbidden: Identities = frozenset()) -> bytes | Fault:
    """The bytes of a file below `root`, or why not. See `read_source`."""
    found = read_source(root, path, limit=limit, forbidden=forbidden)
    return found if isinstance(found, Fault) else found.data


def read_source(
    root: Path, path: str, *, limit: int, forbidden: Identities = frozenset(), hidden: bool = False
) -> Source | Fault:
    """A regular file of at most `limit` bytes, unchanged during the read, with its real path; or why not.

    path: root-relative POSIX path. A symlink is followed as long as its real path stays below the root and, like
    the path itself, has no component that starts with a dot. But see `known_as`.
    forbidden: files and folders, such as the state folder, that are never read from, under whatever name.
    hidden: components that start with a dot are read too.

    Opens one component at a time and follows no link on the way, so a folder swapped for a link meanwhile
    leads nowhere. Fault reasons: source_missing, source_outside_root, source_not_regular, source_denied,
    source_too_large, source_changed, source_unreadable. No message contains any of the file's content.
    """
    if refused := refused_path(path, path, hidden=hidden):
        return refused
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S * attempt)
        try:
            found = _read_once(root, path, limit, forbidden, hidden)
        except _RacedError:
            continue
        except (OSError, ValueError) as error:
            return os_fault(path, error)
        return found
    return Fault(reason="source_changed", message=f"{path!r} kept changing while it was read")


class _RacedError(Exception):
    """The file, or the way to it, changed during the read: look again."""


def real_path(root: Path, path: str) -> str:
    """Where a path leads, relative to the root. The path itself if that is outside the root."""
    inside = os.path.relpath(os.path.realpath(root / path), root)
    return path if inside.split("/")[0] == ".." else inside


def known_as(real: str) -> str:
    """The path that a file is known by, given its real path.

    They differ for a mounted ConfigMap: `jobs/a.yaml` leads to `jobs/..2024_11_25_10_00_00.123/a.yaml`, a folder that
    each update replaces. Components that start with two dots and continue are left out.
    """
    return "/".join(part for part in real.split("/") if not _is_version(part))


def _is_version(part: str) -> bool:
    return part.startswith("..") and part != ".."


def refused_path(path: str, real: str, *, hidden: bool = False) -> Fault | None:
    """Why a path that leads to `real` is not read, or None. hidden: names may start with a dot."""
    via = "" if real == path else f", a link to {real!r},"
    parts = real.split("/")
    if real.startswith("/") or ".." in parts:
        return Fault(reason="source_outside_root", message=f"{path!r}{via} leads outside the root")
    if hidden:
        return None
    linked = real != path  # a person does not write such a component
    if any(not part or (part.startswith(".") and not (linked and _is_version(part))) for part in parts):
        return hidden_path(path, real)
    return None


def hidden_path(path: str, real: str) -> Fault:
    via = "" if real == path else f", a link to {real!r},"
    return Fault(
        reason="source_outside_root",
        message=f"{path!r}{via} has an empty or hidden component; only plain root-relative paths are read",
    )


def _read_once(root: Path, path: str, limit: int, closed: Identities, hidden: bool) -> Source | Fault:
    real = path
    found = _open(root, real, closed)
    if found is None:  # a symlink on the way: resolve it, then open the real path without following any
        real = _led_to(root, path)
        if refused := refused_path(path, real, hidden=hidden):
            return refused
        known = known_as(real)
        if known != real and _led_to(root, known) != real:  # the file could not be found again under its own name
            _still_leads(root, path, real)
            return hidden_path(path, real)
        try:
            found = _open(root, real, closed)
        except FileNotFoundError:
            _still_leads(root, path, real)  # a replaced version is removed at once
            raise
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
            return too_large(path, limit)
        if mark_of(os.fstat(found)) != mark_of(before) or len(data) != before.st_size:
            raise _RacedError
    finally:
        os.close(found)
    # If an editor saves by rename, the open file stays as it was. Its bytes must still be those of the path.
    try:
        again = _look(root, real)
    except OSError:
        raise _RacedError from None
    if again is None or mark_of(again) != mark_of(before):
        raise _RacedError
    if real != path:
        _still_leads(root, path, real)
    return Source(path=known_as(real), data=data, real=real, executable=bool(before.st_mode & stat.S_IXUSR))


def mark_of(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _read(file: int, limit: int) -> bytes:
    chunks = []
    while limit > 0 and (chunk := os.read(file, min(limit, _CHUNK))):
        chunks.append(chunk)
        limit -= len(chunk)
    return b"".join(chunks)


def _led_to(root: Path, path: str) -> str:
    """Where a path leads, relative to the root. Raises: OSError."""
    top = os.path.realpath(root)
    return os.path.relpath(_real(f"{top}/{path}"), top)


def _still_leads(root: Path, path: str, real: str) -> None:
    """Raises: _RacedError if the links on the way now lead elsewhere."""
    if _led_to(root, path) != real:
        raise _RacedError


def _real(path: str) -> str:
    try:
        return os.path.realpath(path, strict=True)
    except FileNotFoundError:
        return os.path.realpath(path)  # a dangling link: inside it is missing, outside it is outside
    except OSError as error:
        if error.errno == errno.EINVAL:  # no longer the link that it just was
            raise _RacedError from None
        raise


def _open(root: Path, path: str, closed: Identities) -> int | Fault | None:
    """An open regular file, why not, or None if there is a symlink on the way. Raises: OSError."""
    here = _folder_of(root, path, closed)
    if not isinstance(here, int):
        return here
    name = path.rpartition("/")[2]
    try:
        # Looked at before it is opened: opening a device can already have effects.
        target = os.stat(name, dir_fd=here, follow_symlinks=False)
        if stat.S_ISLNK(target.st_mode):
            return None
        if not stat.S_ISREG(target.st_mode):
            return not_regular(path, _kind(target.st_mode))
        if _identity(target) not in closed:
            file = _open_unswapped(name, FILE, here)
            if _identity(os.fstat(file)) not in closed:
                return file
            # Swapped in meanwhile. Never closed: that would release this process's SQLite locks (fcntl(2)).
        return Fault(reason="source_outside_root", message=f"{path!r} is the scheduler's own database")
    finally:
        os.close(here)


def _look(root: Path, path: str) -> os.stat_result | None:
    """What is at a path, or None if there is a symlink on the way. Raises: OSError."""
    here = _folder_of(root, path)
    if not isinstance(here, int):
        return None
    try:
        return os.stat(path.rpartition("/")[2], dir_fd=here, follow_symlinks=False)
    finally:
        os.close(here)


def _folder_of(root: Path, path: str, closed: Identities = frozenset()) -> int | Fault | None:
    """The open folder that holds a path, why not, or None if there is a symlink on the way. Raises: OSError."""
    here = os.open(root, FOLDER & ~os.O_NOFOLLOW)  # the root itself may be reached through a link
    try:
        for folder in path.split("/")[:-1]:
            below = _open_folder(folder, here)
            if below is None:
                return None
            os.close(here)
            here = below
            if closed and _identity(os.fstat(here)) in closed:
                return Fault(reason="source_outside_root", message=f"{path!r} is in the state folder")
        found, here = here, -1
        return found
    finally:
        if here >= 0:
            os.close(here)


def _open_folder(name: str, here: int) -> int | None:
    """An open folder, or None if the name is a symlink. Raises: OSError."""
    try:
        return os.open(name, FOLDER, dir_fd=here)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
    mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode):
        raise _RacedError
    if stat.S_ISLNK(mode):
        return None
    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _open_unswapped(name: str, flags: int, here: int) -> int:
    """Raises: _RacedError if the name, no symlink when looked at, is one now."""
    try:
        return os.open(name, flags, dir_fd=here)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _RacedError from None
        raise


def identities(paths: Collection[str | Path]) -> Identities:
    """By device and inode: case-insensitive file systems and bind mounts have other names for the same folder."""
    found = set()
    for path in paths:
        with contextlib.suppress(OSError):
            found.add(_identity(os.stat(path)))  # noqa: PTH116 - every fire asks
    return frozenset(found)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def not_regular(path: str, kind: str) -> Fault:
    return Fault(reason="source_not_regular", message=f"{path!r} is {kind}, not a regular file")


def too_large(path: str, limit: int) -> Fault:
    return Fault(reason="source_too_large", message=f"{path!r} is larger than {limit:,} bytes")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def os_fault(path: str, error: OSError | ValueError) -> Fault:
    if not isinstance(error, OSError):  # NUL, or a character that no file name can contain
        return Fault(reason="source_unreadable", message=f"{path!r} is not a possible file name")
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return Fault(reason="source_missing", message=f"{path!r} does not exist")
        case errno.EACCES | errno.EPERM:
            return Fault(reason="source_denied", message=f"{path!r} cannot be read: permission denied")
        case _:
            return Fault(reason="source_unreadable", message=f"{path!r} cannot be read: {error.strerror}")
