"""Who is alive: every process that runs jobs holds a lock file, which the kernel frees when it dies.

A pid alone proves nothing (it may be somebody else's by now); a lock that cannot be taken does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType

from scheduler.root.place import unusable

LOCAL = "local"  # the kind of every owner here: a process of this machine


def kind_of(owner: str | None) -> str:
    """Which engine's an owner is. Another than a process of this machine says so: `KIND:HANDLE`."""
    kind, is_told, _ = (owner or "").partition(":")
    return kind if is_told else LOCAL


class Owner:
    """This process's claim to the runs it starts. `id` is what their rows name."""

    def __init__(self, folder: Path) -> None:
        """Raises: UnavailableError where the state folder cannot be written."""
        self.id = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._path = folder / f"{self.id}.lock"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = _made_and_locked(self._path)
        except OSError as error:
            raise unusable(folder, error) from error

    @property
    def scratch(self) -> Path:
        """A folder for this process's private files; whoever finds the owner dead removes it."""
        return _scratch(self._path)

    def release(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        # Unlinked while still locked: nobody can take a lock on a name that is gone.
        with contextlib.suppress(OSError):  # on a disk that fails it stays, and who finds it unlocked removes it
            self._path.unlink(missing_ok=True)
        os.close(self._file)

    def __enter__(self) -> Owner:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.release()


def is_alive(folder: Path, owner: str | None) -> bool:
    """Whether the process that goes by this id still holds its lock; a dead one's file is tidied away."""
    if owner is None:
        return False
    return not _tidied(folder / f"{owner}.lock")


def tidy(folder: Path) -> None:
    """Removes what killed processes have left in the folder, also where no row names them any more."""
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return
    for name in names:
        if name.endswith(".lock"):
            with contextlib.suppress(OSError):  # somebody else's, which is theirs to tidy
                _tidied(folder / name)


def _made_and_locked(path: Path) -> int:
    """A descriptor of the file of that name, locked.

    Whoever tidies may find the new file before it is locked, take it for a dead one's and remove it: a lock on a file
    without a name would tell nobody that we live.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if _is_named(file, path):
            return file
        os.close(file)


def _tidied(lock: Path) -> bool:
    """Whether nobody holds this lock; what its owner has left is gone then."""
    try:
        file = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)  # a read-only file system may hold it
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        # Only the holder of the lock removes the name. If it is another file's by now, that one is not ours to judge.
        if _is_named(file, lock):
            shutil.rmtree(_scratch(lock), ignore_errors=True)
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)
            return True
    finally:
        os.close(file)
    return _tidied(lock)


def _is_named(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))  # noqa: PTH116
    except FileNotFoundError:
        return False


def pid_of(owner: str) -> int:
    """The pid in an owner's id: the owner's as long as that is alive."""
    return int(owner.partition("-")[0])


def _scratch(lock: Path) -> Path:
    return lock.with_suffix(".scratch")
