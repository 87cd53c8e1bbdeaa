"""Processes that left their run's process group and outlived its leader. They are adopted, or found by environment.

Linux gives orphans to the nearest ancestor that asked for them (prctl(2), PR_SET_CHILD_SUBREAPER). That process must
reap them, but never a child that another thread waits for. `start` starts all of those.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ref

from scheduler.machine import spawning
from scheduler.machine.proc import all_pids, environ_of, every_pid, group_of, is_dying, is_living, name_of, started_at

if TYPE_CHECKING:
    from subprocess import Popen

    from scheduler.machine.spawning import Child

    AnyChild = TypeVar("AnyChild", Child, Popen[bytes])

_PR_SET_CHILD_SUBREAPER = 36
_RUN_ID = b"SCHEDULER_RUN_ID="
_DIES_WITHIN_S, _LOOK_S = 1.0, 0.001

_lock = threading.Lock()
_starting = 0
_started: dict[int, ref[Child | Popen[bytes]]] = {}  # also some that have ended, until the next look
_adopts = False
_named: set[int] = set()  # pids of processes without a run's id


@dataclass(frozen=True, slots=True)
class Orphan:
    pid: int
    name: str
    run_id: str | None  # from its environment
    why: str = ""  # why it could not be ended

    def __str__(self) -> str:
        return f"{self.pid} ({self.name}{f': {self.why}' if self.why else ''})"


@contextlib.contextmanager
def adopting() -> Iterator[bool]:
    """Within the block, adopt the orphans of all descendants. Yields False where the system cannot do that.

    For a daemon: every child must be started by `start`. A process that already has children is left as it is.
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


def adopts() -> bool:
    """True within `adopting`, where the system can do that."""
    return _adopts


def start(argv: Sequence[str | bytes], **options: Any) -> Popen[bytes]:
    """Start a child that the caller waits for, as `subprocess.Popen` does."""
    import subprocess

    _begin_start()
    try:
        return _known(subprocess.Popen(argv, **options))
    finally:
        _end_start()


def spawn(argv: Sequence[bytes], *, cwd: str, env: Mapping[str, str], stdin: int, stdout: int, stderr: int) -> Child:
    """Start a child that the caller reaps. Raises: OSError, ValueError, as `spawning.spawn`."""
    _begin_start()
    try:
        return _known(spawning.spawn(argv, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr))
    finally:
        _end_start()


def _begin_start() -> None:
    global _starting
    with _lock:
        _starting += 1


def _end_start() -> None:
    global _starting
    with _lock:
        _starting -= 1


def _known(child: AnyChild) -> AnyChild:
    if _adopts:  # nobody else asks
        with _lock:
            _started[child.pid] = ref(child)
    return child


def has_adopted() -> bool:
    """True if this process has adopted others, or may be about to. Unlike `adopted`, never waits for one that dies."""
    found, reaped = _running_adopted() if _adopts else ([], False)
    return bool(found) or reaped


def adopted() -> list[int]:
    """Adopted processes that are still running. Reaps the others. Empty if this process adopts none."""
    return _adopted()


@dataclass(frozen=True, slots=True)
class Sought:
    """The processes of one run: those that carry what it put into their environment."""

    told: Mapping[str, str]
    everywhere: bool = False  # not only adopted ones
    beside: int | None = None  # a group to leave out: somebody else ends it


def of_runs(sought: Sequence[Sought]) -> list[list[Orphan]]:
    """The living processes of each of these runs.

    None of one whose `told` names no run: every process of the machine would match.
    """
    found: list[list[Orphan]] = [[] for _ in sought]
    wanted: dict[bytes, list[tuple[int, set[bytes]]]] = {}
    for n, each in enumerate(sought):
        if (entries := carried_by(each.told)) is not None:
            run_id = next(entry for entry in entries if entry.startswith(_RUN_ID))
            wanted.setdefault(run_id, []).append((n, entries))
    everywhere = not _adopts or any(each.everywhere for each in sought)
    ours = set(_adopted()) if _adopts and everywhere else None
    for pid in all_pids(every_pid if everywhere else _adopted):
        carried = (None if pid in (1, os.getpid()) else environ_of(pid)) or set()
        for n, entries in [one for entry in carried for one in wanted.get(entry, ())]:
            near = sought[n].everywhere or ours is None or pid in ours
            # The group last: a process that leaves it while this looks is nobody else's to end.
            if near and entries <= carried and is_living(pid) and group_of(pid) != sought[n].beside:
                found[n].append(Orphan(pid, name_of(pid), _run_id(carried)))
    return found


def carried_by(told: Mapping[str, str]) -> set[bytes] | None:
    """The environment entries that identify a run's processes, or None if they name no run."""
    if not told.get("SCHEDULER_RUN_ID"):
        return None
    return {f"{name}={value}".encode() for name, value in told.items()}


def send(orphan: Orphan, told: Mapping[str, str], number: signal.Signals) -> str:
    """Signal the process, unless its pid now belongs to another. Returns why that failed, or an empty string."""
    wanted = carried_by(told)
    if wanted is None:
        return "it may not belong to the run"
    try:
        with _held(orphan.pid) as handle:
            if not wanted <= (environ_of(orphan.pid) or set()):
                return ""
            numbers = (number, signal.SIGCONT) if number == signal.SIGTERM else (number,)
            for each in numbers:  # a stopped process would handle TERM only after CONT
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
    """Living adopted processes that belong to no active run. Those that git left behind do not count."""
    return _left_of(_adopted(), active)


def _left_of(pids: Sequence[int], active: Sequence[str]) -> list[Orphan]:
    found = []
    for pid in pids:
        carried = environ_of(pid)
        run_id = None if carried is None else _run_id(carried)
        if run_id in active or not is_living(pid) or any(each.startswith(b"GIT_") for each in carried or ()):
            continue
        why = "it belongs to another user" if carried is None else "" if run_id else "it has no SCHEDULER_RUN_ID"
        found.append(Orphan(pid, name_of(pid), run_id, why))
    return found


def strangers(since: int | None) -> list[Orphan]:
    """Adopted processes without a run's id that started at that clock tick or later. Each is returned once, at once."""
    now = _running_adopted()[0] if _adopts else []
    found = [each for each in _left_of(now, ()) if each.run_id is None and each.pid not in _named]
    found = [each for each in found if since is None or (started_at(each.pid) or 0) >= since]
    _named.update(each.pid for each in found)
    return found


def of_root(root: Path) -> list[Orphan]:
    """Every living process of a run of this root, or of a folder below it."""
    ours, below = f"SCHEDULER_ROOT={root}".encode(), f"SCHEDULER_ROOT={root}/".encode()
    found = []
    for pid in all_pids():
        carried = environ_of(pid) or set()
        if (ours in carried or any(each.startswith(below) for each in carried)) and is_living(pid):
            run_id = _run_id(carried)
            if run_id is not None:
                found.append(Orphan(pid, name_of(pid), run_id))
    return found


def _run_id(carried: set[bytes]) -> str | None:
    found = next((each for each in carried if each.startswith(_RUN_ID)), None)
    return None if found is None else os.fsdecode(found.removeprefix(_RUN_ID))


def _children() -> list[int] | None:
    """Children of the main thread, which gets the orphans; None where the kernel does not list them."""
    try:
        file = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(file, "rb", buffering=0) as found:  # a daemon looks each second
        return [int(each) for each in found.readall().split()]


def _adopted() -> list[int]:
    """Adopted children that are still running. Reaps the others.

    A process hands its own children over while it dies, so after one that dies or was reaped, look again.
    """
    give_up = monotonic() + _DIES_WITHIN_S
    while True:
        found, reaped = _running_adopted() if _adopts else ([], False)
        dies = any(map(is_dying, found))
        if not (reaped or dies) or monotonic() > give_up:
            return found
        if dies:
            sleep(_LOOK_S)


def _running_adopted() -> tuple[list[int], bool]:
    """Adopted children that are still running, and whether others were reaped."""
    with _lock:
        for pid, child in list(_started.items()):
            if (process := child()) is None or process.returncode is not None:
                del _started[pid]
        found = [pid for pid in _children() or () if pid not in _started]
        _named.intersection_update(found)
        if _starting:  # one of them may be a new child whose pid is not recorded yet
            return found, False
        running = [pid for pid in found if not _has_ended(pid)]
        return running, len(running) < len(found)


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


@contextlib.contextmanager
def _held(pid: int) -> Iterator[int | None]:
    """A pidfd, where the system has them: a pid may be reused at any time."""
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
