"""Who is alive: every process that runs jobs holds a lock file, which the kernel frees when it dies.

A pid alone proves nothing (it may be somebody else's by now); a lock that cannot be taken does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
from pathlib import Path
from types import TracebackType

from scheduler.config import unusable
from scheduler.store import Process


class Owner:
    """This process's claim to the runs it starts. `id` is what their rows name."""

    def __init__(self, folder: Path) -> None:
        """Raises: UnavailableError where the state folder cannot be written."""
        self.id = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._path = folder / f"{self.id}.lock"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError as error:
            raise unusable(folder, error) from error

    def release(self) -> None:
        # Unlinked while still locked: nobody can take a lock on a name that is gone.
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
    path = folder / f"{owner}.lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(file)


def identify(pid: int) -> Process:
    """What tells this child from a later process with its pid; Linux's /proc, or the pid alone elsewhere."""
    return Process(pid=pid, started=_started(pid), boot_id=_boot_id())


def end_group(process: Process) -> bool:
    """Kills the process group of a dead owner's child; False where that child is not there any more."""
    if process.started is None or process.boot_id != _boot_id() or _started(process.pid) != process.started:
        return False
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    return True


def _started(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name may hold spaces and parentheses: count fields after the last one.
    return int(text.rpartition(")")[2].split()[19])


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
