"""Who is alive: every process that runs jobs holds a lock file, which the kernel frees when it dies.

A pid alone proves nothing (it may be somebody else's by now); a lock that cannot be taken does.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from scheduler.machine.locks import Lock
from scheduler.root.place import unusable

LOCAL = "local"  # the kind of every owner here: a process of this machine


def kind_of(owner: str | None) -> str:
    """Which engine's an owner is. Another than a process of this machine says so: `KIND:HANDLE`."""
    kind, is_told, _ = (owner or "").partition(":")
    return kind if is_told else LOCAL


class Owner(contextlib.AbstractContextManager["Owner"]):
    """This process's claim to the runs it starts. `id` is what their rows name."""

    def __init__(self, folder: Path) -> None:
        """Raises: UnavailableError where the state folder cannot be written."""
        self.id = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._path = folder / f"{self.id}.lock"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = Lock(self._path)
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
        self._lock.close()

    def __exit__(self, *_: object) -> None:
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


def _tidied(path: Path) -> bool:
    """Whether nobody holds this lock; what its owner has left is gone then."""
    try:
        with Lock(path, os.O_RDONLY, wait=0):  # a read-only file system may hold it
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
    """The pid in an owner's id: the owner's as long as that is alive."""
    return int(owner.partition("-")[0])


def _scratch(lock: Path) -> Path:
    return lock.with_suffix(".scratch")
