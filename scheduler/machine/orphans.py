"""Processes that outlive the one that started them and have left its group: adopted here, or known by what they carry.

Linux hands orphans to the nearest ancestor that asks for them (prctl(2), PR_SET_CHILD_SUBREAPER). Whoever asks has to
reap them, and must never reap a child that somebody here waits for: `start` starts all of those.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from scheduler.machine.proc import environ_of, every_pid, is_living, name_of, started_at, stats

if TYPE_CHECKING:
    from subprocess import Popen

_PR_SET_CHILD_SUBREAPER = 36
_RUN_ID = b"SCHEDULER_RUN_ID="

_lock = threading.Lock()
_starting = 0
_started: WeakValueDictionary[int, Popen[bytes]] = WeakValueDictionary()
_adopts = False
_named: set[int] = set()  # of those that no run's id was found on


@dataclass(frozen=True, slots=True)
class Orphan:
    pid: int
    name: str
    run_id: str | None  # as its environment says
    why: str = ""  # it could not be ended

    def __str__(self) -> str:
        return f"{self.pid} ({self.name}{f': {self.why}' if self.why else ''})"


@contextlib.contextmanager
def adopting() -> Iterator[bool]:
    """Within the block this process is the parent of what its descendants leave behind; False where it cannot be.

    For a daemon: each child has to be started by `start`, and a process with other children is not changed.
    """
    global _adopts
    _adopts = _children() == [] and _ask_for_orphans(wanted=True)
    try:
        yield _adopts
    finally:
        if _adopts:
            _adopts = False
            _ask_for_orphans(wanted=False)


def _ask_for_orphans(*, wanted: bool) -> bool:
    import ctypes

    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0) == 0)
    except (OSError, AttributeError):  # not Linux
        return False


def start(argv: Sequence[str | bytes], **options: Any) -> Popen[bytes]:
    """`subprocess.Popen`, for a child that its caller waits for."""
    import subprocess

    global _starting
    with _lock:
        _starting += 1
    try:
        process: Popen[bytes] = subprocess.Popen(argv, **options)
        with _lock:
            _started[process.pid] = process
        return process
    finally:
        with _lock:
            _starting -= 1


def reap() -> None:
    """Take the ends of adopted processes, which would stay as zombies."""
    _adopted()


def of_run(told: Mapping[str, str], *, everywhere: bool, beside: int | None = None) -> list[Orphan]:
    """Living processes that carry what a run has put into its environment.

    everywhere: not only among those that are adopted here. beside: a group that its caller ends itself.
    Empty where `told` names no run: every process of the machine would match.
    """
    wanted = carried_by(told)
    if wanted is None:
        return []
    found = []
    for stat in stats(every_pid if everywhere or not _adopts else _adopted):
        carried = None if stat.pid in (1, os.getpid()) else environ_of(stat.pid)
        if carried and wanted <= carried and stat.group != beside and is_living(stat.pid):
            found.append(Orphan(stat.pid, name_of(stat.pid), _run_id(carried)))
    return found


def carried_by(told: Mapping[str, str]) -> set[bytes] | None:
    """The lines of an environment by which a run's processes are known; None where they name no run."""
    if not told.get("SCHEDULER_RUN_ID"):
        return None
    return {f"{name}={value}".encode() for name, value in told.items()}


def send(orphan: Orphan, told: Mapping[str, str], number: signal.Signals) -> str:
    """Signal the process, unless its number is another one's by now; why that is not possible, or empty."""
    wanted = carried_by(told)
    if wanted is None:
        return "it is not known to be of the run"
    try:
        with _held(orphan.pid) as handle:
            if not wanted <= (environ_of(orphan.pid) or set()):
                return ""
            numbers = (number, signal.SIGCONT) if number == signal.SIGTERM else (number,)
            for each in numbers:  # who is stopped would hear TERM only when killed
                if handle is None:
                    os.kill(orphan.pid, each)
                else:
                    signal.pidfd_send_signal(handle, each)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "it belongs to another user"
    return ""


def left_here(active: Sequence[str]) -> list[Orphan]:
    """What is adopted here, lives, and belongs to no run under way; what git has left is none of a run's."""
    found = []
    for pid in _adopted():
        carried = environ_of(pid)
        run_id = None if carried is None else _run_id(carried)
        if run_id in active or not is_living(pid) or any(each.startswith(b"GIT_") for each in carried or ()):
            continue
        why = "it belongs to another user" if carried is None else "" if run_id else "it carries no SCHEDULER_RUN_ID"
        found.append(Orphan(pid, name_of(pid), run_id, why))
    return found


def strangers(since: int | None) -> list[Orphan]:
    """What is adopted here and says of no run that it is its, started at that clock tick or later; each told once."""
    found = [each for each in left_here(()) if each.run_id is None and each.pid not in _named]
    found = [each for each in found if since is None or (started_at(each.pid) or 0) >= since]
    _named.update(each.pid for each in found)
    return found


def of_root(root: Path) -> list[Orphan]:
    """Every living process that carries the id of a run of this root, or of a folder below it."""
    ours, below = f"SCHEDULER_ROOT={root}".encode(), f"SCHEDULER_ROOT={root}/".encode()
    found = []
    for stat in stats():
        carried = environ_of(stat.pid) or set()
        if (ours in carried or any(each.startswith(below) for each in carried)) and is_living(stat.pid):
            run_id = _run_id(carried)
            if run_id is not None:
                found.append(Orphan(stat.pid, name_of(stat.pid), run_id))
    return found


def _run_id(carried: set[bytes]) -> str | None:
    found = next((each for each in carried if each.startswith(_RUN_ID)), None)
    return None if found is None else os.fsdecode(found.removeprefix(_RUN_ID))


def _children() -> list[int] | None:
    """Of the main thread, to which the kernel gives orphans; None where it does not tell."""
    try:
        return [int(each) for each in Path(f"/proc/self/task/{os.getpid()}/children").read_bytes().split()]
    except OSError:
        return None


def _adopted() -> list[int]:
    """Adopted children that have not ended; those that have are reaped."""
    if not _adopts:
        return []
    with _lock:
        ours = {pid for pid, process in _started.items() if process.returncode is None}
        found = [pid for pid in _children() or () if pid not in ours]
        _named.intersection_update(found)
        if _starting:  # one of them may be a child whose number nobody knows yet
            return found
        return [pid for pid in found if not _has_ended(pid)]


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


@contextlib.contextmanager
def _held(pid: int) -> Iterator[int | None]:
    """A handle that stays this process's, where there are such: its number may become another one's at any time."""
    if not hasattr(os, "pidfd_open"):
        yield None
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:  # before Linux 5.3
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)
