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
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from subprocess import Popen

_PR_SET_CHILD_SUBREAPER = 36
_RUN_ID = b"SCHEDULER_RUN_ID="
_VSIZE, _ENV_END = 20, 48  # of `_fields`
_STARTS_WITHIN_S = 1.0
_LOOKS = 3  # at one that shows no environment and is not starting

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
    listed = _every_pid if everywhere or not _adopts else _adopted
    known: set[int] = set()
    found: list[Orphan] = []
    # Until nothing new is listed: one that ended after it was listed has left its children to be listed now.
    while new := [pid for pid in listed() if pid not in known]:
        known.update(new)
        for pid in new:
            carried = None if pid in (1, os.getpid()) else environ_of(pid)
            if carried and wanted <= carried and is_living(pid) and not _is_in(pid, beside):
                found.append(Orphan(pid, name_of(pid), _run_id(carried)))
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


def started_at(pid: int) -> int | None:
    """In clock ticks after boot; None for one that is gone, and without /proc."""
    fields = _fields(pid)
    return int(fields[19]) if len(fields) > 19 else None


def of_root(root: Path) -> list[Orphan]:
    """Every living process that carries the id of a run of this root, or of a folder below it."""
    ours, below = f"SCHEDULER_ROOT={root}".encode(), f"SCHEDULER_ROOT={root}/".encode()
    found = []
    for pid in _every_pid():
        carried = environ_of(pid) or set()
        if (ours in carried or any(each.startswith(below) for each in carried)) and is_living(pid):
            run_id = _run_id(carried)
            if run_id is not None:
                found.append(Orphan(pid, name_of(pid), run_id))
    return found


def environ_of(pid: int) -> set[bytes] | None:
    """What it was started with; empty for one that has ended, None for another user's."""
    path, give_up, looks = Path(f"/proc/{pid}/environ"), monotonic() + _STARTS_WITHIN_S, 0
    try:
        # The kernel shows none of one that is just starting a program, nor of the memory that it has left since the
        # file was opened. That says nothing of whose it is, so it is looked at again.
        while not (read := path.read_bytes()) and looks < _LOOKS and monotonic() < give_up:
            looks = 0 if _is_starting(pid) else looks + 1
    except PermissionError:
        return None
    except OSError:
        return set()
    return set(read.split(b"\0"))


def _is_starting(pid: int) -> bool:
    """Whether it has memory, and no environment there yet: between the two halves of execve(2)."""
    fields = _fields(pid)
    return len(fields) > _ENV_END and fields[_VSIZE] != b"0" and fields[_ENV_END] == b"0"


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"


def is_living(pid: int) -> bool:
    """Whether it is there and may still do something: neither a zombie nor, without memory, about to be one."""
    fields = _fields(pid)
    return fields[:1] not in ([], [b"Z"], [b"X"]) and fields[_VSIZE] != b"0"


def _is_in(pid: int, group: int | None) -> bool:
    return group is not None and _fields(pid)[2:3] == [b"%d" % group]


def _fields(pid: int) -> list[bytes]:
    """State, parent, group and what follows (proc_pid_stat(5)); empty for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def _run_id(carried: set[bytes]) -> str | None:
    found = next((each for each in carried if each.startswith(_RUN_ID)), None)
    return None if found is None else os.fsdecode(found.removeprefix(_RUN_ID))


def _every_pid() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    return []


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
