"""Which owners are alive: every process that runs jobs holds a lock file, which the kernel releases when it dies.

A pid alone proves nothing, because another process may have it now. A lock that cannot be taken does.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from scheduler.core.values.runs import LOCAL as LOCAL  # the kind of every owner here: a process of this machine
from scheduler.machine.locks import Lock
from scheduler.root.place import unusable


def kind_of(owner: str | None) -> str:
    """The engine that an owner belongs to. Any owner that is not a process on this machine is `KIND:HANDLE`."""
    kind, is_told, _ = (owner or "").partition(":")
    return kind if is_told else LOCAL


class Owner(contextlib.AbstractContextManager["Owner"]):
    """This process's claim to the runs it starts. `id` is what their rows name."""

    def __init__(self, folder: Path) -> None:
        """Raises: UnavailableError if the state folder cannot be written."""
        self.id = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._path = folder / f"{self.id}.lock"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = Lock(self._path)
        except OSError as error:
            raise unusable(folder, error) from error

    @property
    def scratch(self) -> Path:
        """A folder for this process's private files. Whoever finds the owner dead removes it."""
        return _scratch(self._path)

    def release(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        # Unlinked while still locked: nobody can lock a name that is gone.
        with contextlib.suppress(OSError):  # on a failing disk it stays; whoever finds it unlocked removes it
            self._path.unlink(missing_ok=True)
        self._lock.close()

    def __exit__(self, *_: object) -> None:
        self.release()


def is_alive(folder: Path, owner: str | None) -> bool:
    """True if the process with this id still holds its lock. Removes the file of a dead one."""
    if owner is None:
        return False
    return not _tidied(folder / f"{owner}.lock")


def tidy(folder: Path) -> None:
    """Remove what killed processes left in the folder, even if no row names them any more."""
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return
    for name in names:
        if name.endswith(".lock"):
            with contextlib.suppress(OSError):  # another user's, who can tidy it
                _tidied(folder / name)


def _tidied(path: Path) -> bool:
    """True if nobody holds this lock. Its owner's leftovers are removed then."""
    try:
        with Lock(path, os.O_RDONLY, wait=0):  # works on a read-only file system, too
            # Only the holder of the lock removes the name.
            shutil.rmtree(_scratch(path), ignore_errors=True)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


def pid_of(owner: str) -> int:
    """The pid in an owner's id. It is the owner's only while the owner is alive."""
    return int(owner.partition("-")[0])


def _scratch(lock: Path) -> Path:
    return lock.with_suffix(".scratch")
