"""Files of the root written whole or not at all: beside, then renamed, and only over the bytes that were read.

A file keeps its mode and owner. Folders are opened component by component, so one swapped for a link leads nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from scheduler.core.values.problems import RefusedError, Remedy, UnavailableError
from scheduler.machine.crash import crash_point
from scheduler.machine.locks import Lock

LOCK_S = 30.0  # how long one edit waits for another
_BESIDE = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Allow one edit of a root at a time. The lock is on the folder itself, so it leaves nothing behind.

    Raises: UnavailableError.
    """
    lock: contextlib.AbstractContextManager[object]
    try:
        lock = Lock(root, os.O_RDONLY | os.O_DIRECTORY, wait=LOCK_S)
    except BlockingIOError:
        raise UnavailableError("another edit of this root is taking too long", hint="try again") from None
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOLCK, errno.EBADF):
            raise UnavailableError(f"cannot read the root {root}: {error.strerror}") from error
        lock = contextlib.nullcontext()  # no locks here: the comparison before each rename must do
    with lock:
        yield


def sweep(root: Path, paths: Iterable[str]) -> None:
    """Remove what a killed edit left beside these files. Call it only during `alone`.

    If such a file is a second name of one of them, that one could not be edited any more. Never raises: this only
    tidies up.
    """
    names: dict[str, set[str]] = {}
    for path in paths:
        names.setdefault(path.rpartition("/")[0], set()).add(path.rpartition("/")[2][:100])
    for folder, wanted in names.items():
        with contextlib.suppress(OSError), _folder(root, f"{folder}/x" if folder else "x") as (here, _):
            with os.scandir(here) as entries:
                found = [each.name for each in entries]
            for name in found:
                left = _BESIDE.fullmatch(name)
                if left is not None and left[1] in wanted:
                    os.unlink(name, dir_fd=here)


def replace(root: Path, path: str, old: bytes, new: bytes) -> int:
    """Replace the file's content `old` by `new`, keeping mode, owner and attributes. Readers see one or the other.

    Returns its mode.

    path: root-relative, without symlinks.
    Raises: RefusedError if the file no longer holds `old`, is read-only, belongs to somebody else or has several
    names; UnavailableError.
    """
    with _errors(path), _folder(root, path) as (folder, name):
        before = _checked(folder, name, path, old)
        with _beside(folder, name, new, 0o600) as (file, beside):
            _dress(file, folder, name, before, path)
            os.fsync(file)
            crash_point("edit_before_rename")
            # Anyone who has saved the file meanwhile keeps their changes.
            if _mark(_checked(folder, name, path, old)) != _mark(before):
                raise _changed(path)
            os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
        return before.st_mode


def create(root: Path, path: str, data: bytes, *, mode: int | None = None) -> None:
    """Create a file and its missing folders. Readers see it whole or not at all, and nothing is overwritten.

    mode: None: by the umask.
    Raises: RefusedError if the name is taken; UnavailableError.
    """
    with _errors(path), _folder(root, path, make=True) as (folder, name):
        with _beside(folder, name, data, 0o666) as (file, beside):
            if mode is not None:
                os.fchmod(file, stat.S_IMODE(mode))
            os.fsync(file)
            crash_point("edit_before_link")
            try:
                os.link(beside, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                    raise
                if _is_there(folder, name):  # a file system without links: the best possible check
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
                os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
            crash_point("edit_after_link")
        os.fsync(folder)


@contextlib.contextmanager
def _beside(folder: int, name: str, data: bytes, mode: int) -> Iterator[tuple[int, str]]:
    """A file with `data`, under a temporary name beside its target. That name is gone in the end."""
    beside = f".{name[:100]}.{secrets.token_hex(4)}.tmp"
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder)
    try:
        with open(file, "wb", closefd=False) as out:
            out.write(data)
        yield file, beside
    finally:
        with contextlib.suppress(OSError):
            os.unlink(beside, dir_fd=folder)
        os.close(file)


def delete(root: Path, path: str, old: bytes) -> int:
    """Delete a file that holds `old`, and return its mode. Raises: RefusedError, UnavailableError."""
    with _errors(path), _folder(root, path) as (folder, name):
        found = _checked(folder, name, path, old)
        os.unlink(name, dir_fd=folder)
        os.fsync(folder)
        return found.st_mode


def set_mode(root: Path, path: str, mode: int) -> None:
    """Gives a file its mode, where it has another. Raises: RefusedError, UnavailableError."""
    with _errors(path), _folder(root, path) as (folder, name):
        file = os.open(name, _FILE, dir_fd=folder)
        try:
            found = os.fstat(file).st_mode
            if stat.S_ISREG(found) and stat.S_IMODE(found) != stat.S_IMODE(mode):
                os.fchmod(file, stat.S_IMODE(mode))
        finally:
            os.close(file)


def check_writable(root: Path, path: str, old: bytes) -> None:
    """Raises: RefusedError, UnavailableError, as `replace` would."""
    with _errors(path), _folder(root, path) as (folder, name):
        _checked(folder, name, path, old)


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _changed(path: str) -> RefusedError:
    return RefusedError(
        f"someone else has just changed {path}; nothing was written", hint="check the file, then try again"
    )


def _mark(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _checked(folder: int, name: str, path: str, old: bytes) -> os.stat_result:
    """The state of a file that holds `old` and may be replaced."""
    try:
        file = os.open(name, _FILE, dir_fd=folder)
    except FileNotFoundError:
        raise _changed(path) from None
    try:
        found = os.fstat(file)
        chunks, left = [], len(old) + 1
        while left > 0 and (chunk := os.read(file, left)):
            chunks.append(chunk)
            left -= len(chunk)
    finally:
        os.close(file)
    if not stat.S_ISREG(found.st_mode) or b"".join(chunks) != old:
        raise _changed(path)
    if not found.st_mode & 0o222:
        raise RefusedError(f"{path} is read-only; nothing was written", hint=f"run: chmod u+w {path}")
    if not os.access(name, os.W_OK, dir_fd=folder, effective_ids=_EFFECTIVE):
        raise RefusedError(
            f"this user cannot write {path}, or it is on a read-only file system; nothing was written",
            remedy=Remedy.ON_BRANCH,
        )
    if found.st_nlink > 1:
        raise RefusedError(
            f"{path} has {found.st_nlink} names (hard links), and only one of them would get the new text; "
            "nothing was written",
            hint="replace it with a copy that has only one name",
        )
    return found


_EFFECTIVE = os.access in os.supports_effective_ids


def _dress(file: int, folder: int, name: str, before: os.stat_result, path: str) -> None:
    """Give the new file the owner, mode and attributes of the old one."""
    mine = os.fstat(file)
    if (mine.st_uid, mine.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(file, before.st_uid, before.st_gid)
        except PermissionError:
            raise RefusedError(
                f"{path} belongs to user {before.st_uid} and group {before.st_gid}, and you cannot "
                "create a file with that owner; nothing was written",
                hint="run this command as its owner",
            ) from None
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):  # a file system without them
            old = os.open(name, _FILE, dir_fd=folder)
            try:
                for each in os.listxattr(old):
                    with contextlib.suppress(OSError):
                        os.setxattr(file, each, os.getxattr(old, each))
            finally:
                os.close(old)
    os.fchmod(file, stat.S_IMODE(before.st_mode))


@contextlib.contextmanager
def _folder(root: Path, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    *folders, name = path.split("/")
    here = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for each in folders:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(each, dir_fd=here)
            below = os.open(each, _FOLDER, dir_fd=here)
            os.close(here)
            here = below
        yield here, name
    finally:
        os.close(here)


@contextlib.contextmanager
def _errors(path: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise RefusedError(f"{path} already exists; nothing was written", hint="choose another path") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise RefusedError(f"the path {path} goes through a link or a file; nothing was written") from error
        raise UnavailableError(f"{path} cannot be written: {error.strerror}; it was not changed") from error
